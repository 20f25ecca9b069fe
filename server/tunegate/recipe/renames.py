"""Keywords and names that libraries renamed or removed: what pages, people and older scripts say -> what is installed here.

One table for all who meet the old ones: research (values of pages), render_project (training_arguments) and, rendered into it,
check_api. tests/recipe/test_renames.py holds every row to the installed packages. Pure data and plain lookups.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Rename(NamedTuple):
    of: str  # the class, function or, with a dot, method that took the keyword; what derives from the class too
    old: str
    new: str  # "": nothing takes its place
    since: str  # the first version that refuses the old one, or warns of it
    values: dict[Any, Any] | None = None  # old value -> new; None as the new one: left out. None: any value, as it is
    remark: str = ""


T5 = "transformers 5"
DEAD = {False: None}  # off is what there is now; on cannot be had
_CONFIG = "it is a keyword of {0} now: {0}({1}=...)"

TABLE: tuple[Rename, ...] = (
    Rename("TrainingArguments", "warmup_ratio", "warmup_steps", "transformers 5.15", None, "a value below 1 is a share of all steps"),
    Rename("TrainingArguments", "evaluation_strategy", "eval_strategy", "transformers 4.51"),
    Rename("TrainingArguments", "no_cuda", "use_cpu", T5),
    Rename("TrainingArguments", "group_by_length", "train_sampling_strategy", "transformers 5.2",
           {True: "group_by_length", False: "random"}, 'the value is "group_by_length"'),
    Rename("TrainingArguments", "gradient_checkpointing", "activation_checkpointing", "transformers 5.23"),
    Rename("TrainingArguments", "gradient_checkpointing_kwargs", "activation_checkpointing_kwargs", "transformers 5.23"),
    Rename("TrainingArguments", "per_gpu_train_batch_size", "per_device_train_batch_size", T5),
    Rename("TrainingArguments", "per_gpu_eval_batch_size", "per_device_eval_batch_size", T5),
    Rename("TrainingArguments", "adafactor", "optim", T5, {True: "adafactor", False: None}, 'the value is "adafactor"'),
    Rename("TrainingArguments", "push_to_hub_token", "hub_token", T5),
    Rename("TrainingArguments", "push_to_hub_model_id", "hub_model_id", T5),
    Rename("TrainingArguments", "push_to_hub_organization", "hub_model_id", T5, {}, "the value is organization/name"),
    Rename("TrainingArguments", "include_tokens_per_second", "include_num_input_tokens_seen", T5),
    Rename("TrainingArguments", "include_inputs_for_metrics", "include_for_metrics", T5, DEAD, 'the value is ["inputs"]'),
    Rename("TrainingArguments", "torchdynamo", "torch_compile_backend", T5),
    Rename("TrainingArguments", "overwrite_output_dir", "", T5, None, "a training goes on by resume_from_checkpoint"),
    Rename("TrainingArguments", "logging_dir", "", "transformers 5.15", None, "TENSORBOARD_LOGGING_DIR in the environment says it"),
    Rename("TrainingArguments", "save_safetensors", "", T5, {True: None}, "safetensors is the only format"),
    Rename("TrainingArguments", "use_mps_device", "", T5, {True: None}, "it is used where there is one"),
    Rename("TrainingArguments", "fp16_backend", "", T5, {"auto": None, "amp": None}, "torch.amp is the only one"),
    Rename("TrainingArguments", "half_precision_backend", "", T5,
           {"auto": None, "amp": None, "cuda_amp": None, "cpu_amp": None}, "torch.amp is the only one"),
    Rename("TrainingArguments", "jit_mode_eval", "", T5, DEAD, "torch_compile takes its place"),
    Rename("TrainingArguments", "use_legacy_prediction_loop", "", T5, DEAD),
    Rename("TrainingArguments", "use_ipex", "", "transformers 4.57", DEAD),
    Rename("TrainingArguments", "ray_scope", "", T5, None, "RAY_SCOPE in the environment says it"),
    Rename("Trainer", "tokenizer", "processing_class", T5),
    Rename("Trainer", "feature_extractor", "processing_class", T5),
    Rename(".train", "model_path", "resume_from_checkpoint", T5),
    Rename("SFTConfig", "max_seq_length", "max_length", "trl 0.20"),
    Rename("SFTConfig", "use_liger", "use_liger_kernel", "trl 0.18"),
    Rename("DPOConfig", "max_prompt_length", "", "trl 0.29", None, "max_length bounds prompt and answer together"),
    Rename("DPOConfig", "max_completion_length", "", "trl 0.29", None, "max_length bounds prompt and answer together"),
    Rename("DPOConfig", "generate_during_eval", "", "trl 0.29", DEAD),
    Rename("DPOConfig", "reference_free", "", "trl 0.29", DEAD, "the reference is the model with its adapter off"),
    Rename("DPOConfig", "rpo_alpha", "", "trl 0.29", {}, 'loss_type=["sigmoid", "sft"] with loss_weights'),
    Rename("GRPOConfig", "max_prompt_length", "", "trl 0.28", None, "leave longer prompts out of the dataset"),
    Rename("GRPOConfig", "wandb_log_unique_prompts", "log_unique_prompts", "trl 0.27"),
    Rename("GRPOConfig", "vllm_guided_decoding_regex", "vllm_structured_outputs_regex", "trl 0.28"),
    Rename("SFTTrainer", "dataset_text_field", "", "trl 0.13", None, _CONFIG.format("SFTConfig", "dataset_text_field")),
    Rename("SFTTrainer", "max_seq_length", "", "trl 0.13", None, _CONFIG.format("SFTConfig", "max_length")),
    Rename("SFTTrainer", "packing", "", "trl 0.13", None, _CONFIG.format("SFTConfig", "packing")),
    Rename("DPOTrainer", "beta", "", "trl 0.13", None, _CONFIG.format("DPOConfig", "beta")),
    Rename("DPOTrainer", "max_length", "", "trl 0.13", None, _CONFIG.format("DPOConfig", "max_length")),
    Rename(".from_pretrained", "torch_dtype", "dtype", T5),
    Rename(".from_pretrained", "use_auth_token", "token", T5),
    Rename(".from_pretrained", "use_fast", "backend", T5, {True: "torchvision", False: "pil"},
           'of image processors; the value is "torchvision" or "pil"'),
    Rename(".from_pretrained", "load_in_8bit", "quantization_config", T5, DEAD, "BitsAndBytesConfig(load_in_8bit=True)"),
    Rename(".from_pretrained", "load_in_4bit", "quantization_config", T5, DEAD, "BitsAndBytesConfig(load_in_4bit=True)"),
    Rename("load_dataset", "use_auth_token", "token", "datasets 3"),
    Rename("load_dataset", "ignore_verifications", "verification_mode", "datasets 3", {True: "no_checks", False: None},
           'the value is "no_checks"'),
    Rename("load_dataset", "trust_remote_code", "", "datasets 4", DEAD, "dataset scripts are no longer run"),
    Rename("load_dataset", "task", "", "datasets 3"),
)  # fmt: skip

# Names that packages no longer have -> what takes their place. See also `feature extractors` in check_api.
MOVED = {
    "transformers.AdamW": "torch.optim.AdamW",
    "transformers.AutoModelForVision2Seq": "transformers.AutoModelForImageTextToText",
    "transformers.AutoModelWithLMHead": "transformers.AutoModelForCausalLM",
    "datasets.load_metric": "evaluate.load",
    "trl.DataCollatorForCompletionOnlyLM": "SFTConfig(completion_only_loss=True)",
    "trl.setup_chat_format": "trl.clone_chat_template",
    "peft.prepare_model_for_int8_training": "peft.prepare_model_for_kbit_training",
}
OF_TRAINER = ("TrainingArguments", "Trainer", "SFTConfig", "DPOConfig", "GRPOConfig", "SFTTrainer", "DPOTrainer")


def find(old: str, *of: str) -> Rename | None:
    """The row for a keyword of one of these classes."""
    return next((row for row in TABLE if row.old == old and row.of in of), None)


def advice(row: Rename) -> str:
    """`warmup_steps (a value below 1 is a share of all steps)`: what to write instead, in a few words."""
    said = row.new or "leave it out"
    return f"{said} ({row.remark})" if row.remark else said


class NoCounterpart(Exception):
    """The value of an old keyword has no counterpart; the message says what to do."""


def carried(row: Rename, value: Any) -> Any:
    """The old keyword's value as the new one takes it; None: leave it out. Raises Refused."""
    if row.values is None:
        return value if row.new else None
    if isinstance(value, (str, int, float, bool)) and value in row.values:
        return row.values[value]
    raise NoCounterpart(f"{row.old} = {value!r} has no counterpart since {row.since}: use {advice(row)}")


def current(given: dict[str, Any], *of: str) -> tuple[dict[str, Any], list[str], list[str]]:
    """Keywords of these classes -> (the same under today's names, a note for each change, what cannot be carried over)."""
    found, notes, problems = dict(given), [], []
    for old, value in given.items():
        if (row := find(old, *of)) is None:
            continue
        del found[old]
        try:
            new = carried(row, value)
        except NoCounterpart as refusal:
            problems.append(str(refusal))
            continue
        if new is None:
            notes.append(
                f"{old} = {value!r} was left out: {row.since} takes it no more"
                + (f" ({row.remark})" if row.remark else "")
            )
        elif row.new in given and given[row.new] != new:
            problems.append(
                f"{old} = {value!r} is {row.new} since {row.since}, which is {given[row.new]!r} here too: remove one"
            )
        else:
            found[row.new] = new
            notes.append(f"{old} = {value!r} became {row.new} = {new!r}: it is called so since {row.since}")
    return found, notes, problems
