"""config.yaml: every value of a run, with one pydantic model as its schema."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tunegate.errors import ToolFailure

MAX_BYTES = 256 * 1024  # a config.yaml is a few kB; anything far larger is a mistake or an attack

Task = Literal[
    "image-classification",
    "object-detection",
    "semantic-segmentation",
    "instance-segmentation",
    "panoptic-segmentation",
    "depth-estimation",
    "image-text-to-text",
    "text-generation",
]
Reshape = Literal[
    "nest_objects",
    "transpose_objects",
    "question_answer_to_messages",
    "prompt_completion_to_messages",
    "instruction_to_messages",
    "sharegpt_to_messages",
    "language_modelling",
]  # the closed set of ways in which columns become a task's: probe/schemas.py says what each does
RepoId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$", max_length=96)]
Scalar = str | int | float | bool


class RunConfig(BaseModel):
    """The whole of config.yaml. Unknown keys are refused; `null` means "not decided yet"."""

    model_config = ConfigDict(extra="forbid", strict=True, validate_assignment=True, allow_inf_nan=False)

    # what to train
    model_id: RepoId
    model_revision: str | None = Field(None, description="commit SHA, resolved by probe_model")
    dataset_id: RepoId | None = None
    local_dataset_path: str | None = None
    local_dataset_format: Literal[
        "auto", "imagefolder", "coco", "voc", "segfolder", "jsonl", "arrow", "parquet", "csv"
    ] = "auto"
    dataset_revision: str | None = Field(None, description="commit SHA, resolved by probe_dataset")
    dataset_config: str | None = None
    train_split: str | None = None
    eval_split: str | None = Field(None, description="null: held out of train_split with `seed`")
    column_map: dict[str, str] = Field(
        default_factory=dict, description="task column -> dataset column or column.field"
    )
    column_reshape: Reshape | None = Field(
        None, description="how these columns become the task's; null: by their names alone"
    )
    box_format: Literal["xywh", "xyxy", "cxcywh"] | None = None
    boxes_normalised: bool | None = Field(None, description="shares of the image's sides, not pixels")
    ignore_index: int | None = Field(None, description="mask value of pixels without a class")
    mask_values: Literal["ids", "ids_from_1", "binary_255", "segment_ids", "class_and_instance"] | None = None
    depth_scale: float | None = Field(
        None, gt=0, description="metres for one unit of the stored depth; null: not known"
    )
    class_names: list[str] = Field(default_factory=list)
    task: Task | None = None
    training_method: Literal["full", "lora", "qlora", "dpo", "grpo"] | None = None

    # how much
    n_train: int = Field(10_000, ge=1)
    n_eval: int = Field(1_000, ge=1)
    n_epochs: int = Field(3, ge=1)
    lora_r: int = Field(16, ge=1)

    # training keys; null is filled by render_project from the recipe or the scaffold
    learning_rate: float | None = Field(None, gt=0)
    per_device_train_batch_size: int | None = Field(None, ge=1)
    per_device_eval_batch_size: int | None = Field(None, ge=1)
    gradient_accumulation_steps: int | None = Field(None, ge=1)
    weight_decay: float | None = Field(None, ge=0)
    warmup_steps: float | None = Field(None, ge=0, description="below 1: a share of all steps")
    lr_scheduler_type: str | None = None
    label_smoothing_factor: float | None = Field(None, ge=0, lt=1)
    image_size: int | None = Field(None, ge=16, le=4096, description="pixels, square")
    horizontal_flip: bool | None = Field(None, description="false where left and right mean something (digits, text)")
    crop_scale_min: float | None = Field(
        None, gt=0, le=1, description="smallest share of the image a random crop keeps"
    )
    max_length: int | None = Field(None, ge=16, description="tokens of a row; longer rows are left out, never cut")
    max_new_tokens: int | None = Field(None, ge=1, description="of an answer, when the model is asked")
    lora_alpha: float | None = Field(None, gt=0)
    lora_dropout: float | None = Field(None, ge=0, lt=1)
    lora_target_modules: str | list[str] | None = Field(None, description="module names, or all-linear")
    beta: float | None = Field(None, ge=0, description="dpo, grpo: how dear it is to leave the untuned model")
    num_generations: int | None = Field(None, ge=2, description="grpo: answers to each prompt")
    max_completion_length: int | None = Field(None, ge=1, description="grpo: tokens of an answer")
    temperature: float | None = Field(None, gt=0, description="grpo: of the answers that are drawn")
    seed: int = Field(42, ge=0)
    training_arguments: dict[str, Scalar] = Field(
        default_factory=dict,
        description="further TrainingArguments keywords, rendered one by one and checked by check_api",
    )

    # where
    output_dir: str | None = None
    platform: Literal["local-docker", "local-process"] = "local-docker"
    gpu_count: int | None = Field(None, ge=0)
    gpu_name: str | None = None
    driver_major: int | None = Field(None, ge=0)
    vram_gb_per_gpu: float | None = Field(None, ge=0)
    ngc_image: str | None = None
    ngc_image_digest: str | None = None
    min_disk_gb: int = Field(100, ge=0)
    attn_implementation: str | None = None

    # what to deliver
    push_to_hub: bool = True
    hf_model_repo: RepoId | None = None
    skip_baseline: bool = False
    emit_progress_log: bool = False
    emit_report: bool = False
    emit_unit_tests: bool = False
    monitoring: Literal["none", "wandb", "trackio", "tensorboard"] = "none"

    # written by the tools
    skip_workarounds: list[str] = Field(default_factory=list)
    applicable_workarounds: list[str] | None = None
    research_sources: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_dataset(self) -> RunConfig:
        if self.dataset_id and self.local_dataset_path:
            raise ValueError("dataset_id and local_dataset_path are both set: keep exactly one")
        return self

    @property
    def adapted(self) -> bool:
        """Whether training makes a LoRA adapter, which is then merged into the weights."""
        return self.training_method in ("lora", "dpo", "grpo")

    @property
    def short_name(self) -> str:
        return short_name(self.model_id)


def short_name(model_id: str) -> str:
    """`org/ConvNeXt_Tiny.224` -> `convnext-tiny-224`: the [a-z0-9-] form that a skill's and an image's name allow."""
    return re.sub(r"[^a-z0-9]+", "-", model_id.rsplit("/", 1)[-1].lower()).strip("-") or "model"


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys (PyYAML keeps the last one silently) and aliases (billion laughs)."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(
                None, None, "YAML aliases are not allowed", self.peek_event().start_mark
            )
        return super().compose_node(parent, index)

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
            "invalid_config", f"{where} is not valid YAML: {' '.join(str(error).split())}; mend that line"
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
        return parse(data.decode("utf-8"), str(path))
    except UnicodeDecodeError:
        raise ToolFailure("invalid_config", f"{path} is not UTF-8 text: save it as UTF-8") from None


def dump(config: RunConfig) -> str:
    """RunConfig -> YAML text in field order."""
    header = "# Every value of this run. tunegate reads and writes this file; editing a value closes the gates that rest on it.\n"
    return header + to_yaml(config.model_dump())


def to_yaml(values: dict) -> str:
    """A mapping of config values as text that `parse` reads back as the same values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
