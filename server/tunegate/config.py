"""config.yaml: every value of a run, with one pydantic model as its schema."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tunegate import hyperparameters, tasks
from tunegate.errors import ToolFailure
from tunegate.plain_yaml import PlainLoader
from tunegate.tasks.columns import CAPTION_PROMPT, Reshape
from tunegate.tasks.spec import LocalFormat

MAX_BYTES = 256 * 1024  # a config.yaml is a few kB; anything far larger is a mistake or an attack

Task = Literal[tasks.SUPPORTED]  # one file each: tasks/
# one folder each: platforms/, whose registry refuses any other list
PlatformName = Literal["local-process", "local-docker"]
LocalDatasetFormat = Literal["auto", *get_args(LocalFormat)]
RepoId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$", max_length=96)]
Scalar = str | int | float | bool


Basis = Literal[
    "model",  # which weights, for which task
    "dataset",  # which data, and how it is read
    "subset",  # which of its rows
    "row_filter",  # which rows a language model can use
    "recipe",  # what research looks for, beside the model
    "training",
    "signatures",  # what check_api holds against the installed packages
    "measuring",  # what a model is asked, beside the data
    "platform",
    "hardware",
    "image",
    "workarounds",
    "unit_tests",
    "report",
    "baseline",
    "monitoring",
    "push",
    "nothing",
]
SaidIn = Literal["probe_model", "probe_dataset", "render_project"]


def key(default: Any = ..., *, rests: str, said_in: str = "", asks: bool = False, **field: Any) -> Any:
    """A key of config.yaml, with what must be known of it.

    rests: the Basis words, separated by spaces, of what is stale when the value changes (evidence.KINDS names the same words).
    said_in: the SaidIn words of the tools that take it from the user or the agent; empty where a tool finds it.
    asks: once it is settled, only the user changes it: a call that would do so is approved first (evidence/approvals.py).
    """
    words, places = tuple(rests.split()), tuple(said_in.split())
    if unknown := {*words} - {*get_args(Basis)} | {*places} - {*get_args(SaidIn)}:
        raise ValueError(f"rests = {rests!r}, said_in = {said_in!r}: unknown: {', '.join(sorted(unknown))}")
    about = {"rests": words, "said_in": places, "asks": asks}
    if "default_factory" in field:
        return Field(json_schema_extra=about, **field)
    return Field(default, json_schema_extra=about, **field)


class RunConfig(BaseModel):
    """The whole of config.yaml. Unknown keys are refused; `null` means "not decided yet"."""

    model_config = ConfigDict(extra="forbid", strict=True, validate_assignment=True, allow_inf_nan=False)

    # what to train
    model_id: RepoId = key(rests="model", said_in="probe_model", asks=True)
    model_revision: str | None = key(None, description="commit SHA, resolved by probe_model", rests="model")
    dataset_id: RepoId | None = key(None, rests="dataset", said_in="probe_dataset", asks=True)
    local_dataset_path: str | None = key(None, rests="dataset", said_in="probe_dataset", asks=True)
    local_eval_path: str | None = key(
        None,
        description="a second local dataset, which is measured on; null: a split of the one",
        rests="dataset",
        said_in="probe_dataset",
        asks=True,
    )
    local_dataset_format: LocalDatasetFormat = key("auto", rests="dataset", said_in="probe_dataset")
    dataset_revision: str | None = key(None, description="commit SHA, resolved by probe_dataset", rests="dataset")
    dataset_config: str | None = key(None, rests="dataset", said_in="probe_dataset")
    train_split: str | None = key(None, rests="dataset", said_in="probe_dataset")
    eval_split: str | None = key(
        None, description="null: held out of train_split with `seed`", rests="dataset", said_in="probe_dataset"
    )
    column_map: dict[str, str] = key(
        default_factory=dict,
        description="task column -> dataset column or column.field",
        rests="dataset",
        said_in="probe_dataset",
    )
    column_reshape: Reshape | None = key(
        None,
        description="how these columns become the task's; null: by their names alone",
        rests="dataset",
        said_in="probe_dataset",
    )
    caption_prompt: str = key(
        CAPTION_PROMPT,
        min_length=1,
        max_length=1000,
        description="what the user says in a row of an image and its caption",
        rests="dataset",
        said_in="probe_dataset",
    )
    box_format: Literal["xywh", "xyxy", "cxcywh"] | None = key(None, rests="dataset", said_in="probe_dataset")
    boxes_normalised: bool | None = key(
        None, description="shares of the image's sides, not pixels", rests="dataset", said_in="probe_dataset"
    )
    ignore_index: int | None = key(
        None, description="mask value of pixels without a class", rests="dataset", said_in="probe_dataset"
    )
    mask_values: Literal["ids", "ids_from_1", "codes", "binary_255", "segment_ids", "class_and_instance"] | None = key(
        None, rests="dataset", said_in="probe_dataset"
    )
    mask_codes: list[int] = key(
        default_factory=list,
        description="the mask values of the classes, in order of their ids, where mask_values is codes",
        rests="dataset",
        said_in="probe_dataset",
    )
    depth_scale: float | None = key(
        None,
        gt=0,
        description="meters for one unit of the stored depth; null: not known",
        rests="dataset",
        said_in="probe_dataset",
    )
    class_names: list[str] = key(default_factory=list, rests="dataset", said_in="probe_dataset")
    task: Task | None = key(None, rests="model dataset", said_in="probe_model", asks=True)
    training_method: Literal["full", "lora", "qlora", "dpo", "grpo"] | None = key(
        None, rests="training row_filter recipe", said_in="probe_model render_project", asks=True
    )

    # how much
    n_train: int = key(10_000, ge=1, rests="subset", said_in="probe_dataset render_project")
    n_eval: int = key(1_000, ge=1, rests="subset", said_in="probe_dataset render_project")
    n_epochs: int = key(3, ge=1, rests="training", said_in="render_project")
    lora_r: int = key(16, ge=1, rests="training", said_in="render_project")

    # training keys; null is filled by render_project from the recipe or the scaffold
    learning_rate: float | None = key(None, gt=0, rests="training", said_in="render_project")
    per_device_train_batch_size: int | None = key(None, ge=1, rests="training", said_in="render_project")
    per_device_eval_batch_size: int | None = key(None, ge=1, rests="training", said_in="render_project")
    gradient_accumulation_steps: int | None = key(None, ge=1, rests="training", said_in="render_project")
    weight_decay: float | None = key(None, ge=0, rests="training", said_in="render_project")
    warmup_steps: float | None = key(
        None, ge=0, description="below 1: a share of all steps", rests="training", said_in="render_project"
    )
    lr_scheduler_type: str | None = key(None, rests="training signatures", said_in="render_project")
    label_smoothing_factor: float | None = key(None, ge=0, lt=1, rests="training", said_in="render_project")
    image_size: int | None = key(
        None, ge=16, le=4096, description="pixels, square", rests="training measuring", said_in="render_project"
    )
    horizontal_flip: bool | None = key(
        None,
        description="false where left and right mean something (digits, text)",
        rests="training",
        said_in="render_project",
    )
    crop_scale_min: float | None = key(
        None,
        gt=0,
        le=1,
        description="smallest share of the image a random crop keeps",
        rests="training",
        said_in="render_project",
    )
    max_length: int | None = key(
        None,
        ge=16,
        description="tokens of a row; longer rows are left out, never cut",
        rests="training row_filter",
        said_in="render_project",
    )
    max_new_tokens: int | None = key(
        None,
        ge=1,
        description="of an answer, when the model is asked",
        rests="training measuring",
        said_in="render_project",
    )
    lora_alpha: float | None = key(None, gt=0, rests="training", said_in="render_project")
    lora_dropout: float | None = key(None, ge=0, lt=1, rests="training", said_in="render_project")
    lora_target_modules: str | list[str] | None = key(
        None, description="module names, or all-linear", rests="training", said_in="render_project"
    )
    beta: float | None = key(
        None,
        ge=0,
        description="dpo, grpo: the cost (KL penalty) of leaving the untuned model",
        rests="training",
        said_in="render_project",
    )
    num_generations: int | None = key(
        None, ge=2, description="grpo: answers to each prompt", rests="training", said_in="render_project"
    )
    max_completion_length: int | None = key(
        None, ge=1, description="grpo: tokens of an answer", rests="training row_filter", said_in="render_project"
    )
    temperature: float | None = key(
        None, gt=0, description="grpo: of the answers that are drawn", rests="training", said_in="render_project"
    )
    seed: int = key(42, ge=0, rests="training subset", said_in="render_project")
    training_arguments: dict[str, Scalar] = key(
        default_factory=dict,
        description="further TrainingArguments keywords, rendered one by one and checked by check_api",
        rests="training signatures",
        said_in="render_project",
    )

    # where
    output_dir: str | None = key(None, rests="nothing", said_in="probe_model")
    platform: PlatformName = key("local-docker", rests="platform", said_in="probe_model")
    gpu_count: int | None = key(None, ge=0, rests="hardware")
    gpu_name: str | None = key(None, rests="hardware")
    driver_major: int | None = key(None, ge=0, rests="hardware")
    vram_gb_per_gpu: float | None = key(None, ge=0, rests="hardware")
    ngc_image: str | None = key(None, rests="image")
    ngc_image_digest: str | None = key(None, rests="image")
    min_disk_gb: int = key(100, ge=0, rests="nothing", said_in="probe_model")
    attn_implementation: str | None = key(None, rests="training", said_in="render_project")

    # what to deliver
    push_to_hub: bool = key(True, rests="push", said_in="probe_model", asks=True)
    hf_model_repo: RepoId | None = key(None, rests="push", said_in="render_project")
    skip_baseline: bool = key(False, rests="baseline", said_in="probe_model", asks=True)
    emit_progress_log: bool = key(False, rests="nothing", said_in="render_project")
    emit_report: bool = key(False, rests="report", said_in="render_project")
    emit_unit_tests: bool = key(False, rests="unit_tests", said_in="render_project")
    monitoring: Literal["none", "wandb", "trackio", "tensorboard"] = key(
        "none", rests="training monitoring", said_in="render_project", asks=True
    )

    # written by the tools
    skip_workarounds: list[str] = key(default_factory=list, rests="workarounds", said_in="render_project")
    applicable_workarounds: list[str] | None = key(None, rests="workarounds")
    research_sources: list[str] = key(default_factory=list, rests="nothing")
    notes: list[str] = key(default_factory=list, rests="nothing")

    @model_validator(mode="after")
    def _one_dataset(self) -> RunConfig:
        if self.dataset_id and self.local_dataset_path:
            raise ValueError("dataset_id and local_dataset_path are both set: keep exactly one")
        if self.local_eval_path and not self.local_dataset_path:
            raise ValueError("local_eval_path is set without local_dataset_path: set both, or neither")
        return self

    @model_validator(mode="after")
    def _learnable(self) -> RunConfig:
        if wrong := hyperparameters.problems(vars(self), self.training_arguments):
            raise ValueError("; ".join(wrong))
        return self

    @property
    def adapted(self) -> bool:
        """Whether training makes a LoRA adapter, which is then merged into the weights."""
        return self.training_method in ("lora", "dpo", "grpo")

    @property
    def short_name(self) -> str:
        return short_name(self.model_id)


def declared(name: str) -> dict[str, Any]:
    """What `key` was given for this key: rests, said_in, asks."""
    return RunConfig.model_fields[name].json_schema_extra


def keys_resting(*words: Basis) -> tuple[str, ...]:
    """The keys on which any of these rests, in the order of config.yaml."""
    return tuple(name for name in RunConfig.model_fields if set(words) & set(declared(name)["rests"]))


def keys_said_in(tool: SaidIn) -> tuple[str, ...]:
    return tuple(name for name in RunConfig.model_fields if tool in declared(name)["said_in"])


def keys_asking(tool: SaidIn) -> tuple[str, ...]:
    """Those of them that only the user changes once they are settled."""
    return tuple(name for name in keys_said_in(tool) if declared(name)["asks"])


def short_name(model_id: str) -> str:
    """`org/ConvNeXt_Tiny.224` -> `convnext-tiny-224`: the [a-z0-9-] form that a skill's and an image's name allow."""
    return re.sub(r"[^a-z0-9]+", "-", model_id.rsplit("/", 1)[-1].lower()).strip("-") or "model"


class _UniqueKeyLoader(PlainLoader):
    """PlainLoader that refuses duplicate keys: PyYAML keeps the last one silently."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes what the loader below would not read back as text."""


def _one_line(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Line breaks as escapes: no line of the YAML is a line of somebody's text, which could end a block around it."""
    style = '"' if re.search("[\n\r\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _one_line)

# PyYAML follows YAML 1.1, where 1e-3 is text; people write learning rates like that.
_FLOAT = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
for _yaml in (_UniqueKeyLoader, _Dumper):
    _yaml.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def parse(text: str, where: str = "config.yaml") -> RunConfig:
    """YAML text -> RunConfig. Raises ToolFailure(invalid_config) that names the key, the value and the remedy."""
    if len(text.encode()) > MAX_BYTES:
        raise ToolFailure(
            "invalid_config",
            f"{where} is larger than {MAX_BYTES // 1024} kB; a run's config is a few kB: remove what does not belong",
        )
    try:
        raw = yaml.load(text, Loader=_UniqueKeyLoader)
    except (
        yaml.YAMLError,
        RecursionError,
        ValueError,
        AttributeError,
    ) as error:  # PyYAML lets dates and integers raise their own
        raise ToolFailure(
            "invalid_config", f"{where} is not valid YAML: {' '.join(str(error).split())}; fix that line"
        ) from None
    if not isinstance(raw, dict):
        raise ToolFailure("invalid_config", f"{where} must be a mapping of keys to values, not {type(raw).__name__}")
    return validate(raw, where)


def validate(raw: dict, where: str = "config.yaml") -> RunConfig:
    """Mapping -> RunConfig, with one readable line for each key that is wrong."""
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise ToolFailure(
            "invalid_config", f"{where}: " + "; ".join(_readable(e) for e in error.errors()[:5])
        ) from None


def _readable(e: dict) -> str:
    key = ".".join(str(part) for part in e["loc"]) or "(whole file)"
    if e["type"] == "extra_forbidden":
        return f"unknown key {key!r}: remove it (extra TrainingArguments keywords go under training_arguments)"
    if e["type"] == "value_error":
        return str(e["ctx"]["error"])
    value = repr(e.get("input"))
    return f"{key} = {value[:80]}: {e['msg'][0].lower() + e['msg'][1:]}"


def load(path: Path) -> RunConfig:
    """Read config.yaml. Raises ToolFailure(not_found | invalid_config)."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except IsADirectoryError:
        raise ToolFailure(
            "invalid_config", f"{path} is a directory: move it away, and start the run with probe_model"
        ) from None
    except FileNotFoundError:
        raise ToolFailure("not_found", f"{path} does not exist: start the run with probe_model") from None
    try:
        return _parsed(data.decode("utf-8"), str(path)).model_copy(deep=True)
    except UnicodeDecodeError:
        raise ToolFailure("invalid_config", f"{path} is not UTF-8 text: save it as UTF-8") from None


@lru_cache(maxsize=16)
def _parsed(text: str, where: str) -> RunConfig:
    """PyYAML takes 15 ms for a run's config, and every tool reads it several times."""
    return parse(text, where)


def dump(config: RunConfig) -> str:
    """RunConfig -> YAML text in field order."""
    header = "# Every value of this run. tunegate reads and writes this file; editing a value closes the gates that rest on it.\n"
    return header + to_yaml(config.model_dump())


def to_yaml(values: dict) -> str:
    """A mapping of config values as text that `parse` reads back as the same values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
