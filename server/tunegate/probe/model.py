"""probe_model: what a model on the Hub is, from its configs and its weights' headers. Runs no code of the repository."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tunegate.errors import NextCall, ToolFailure
from tunegate.hub import Hub, RepoInfo, Source
from tunegate.probe import tasks
from tunegate.probe.safetensors import PREFIX, Weights, header_length, parse_header

MAX_CONFIG = 1_000_000
MAX_INDEX = 8_000_000
MAX_SHARDS = 32  # more shards than this are not read one by one: the index says what they hold
FIRST_READ = 16_384  # one request covers the header of most small models
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
NESTED = ("text_config", "vision_config", "llm_config", "backbone_config", "encoder", "decoder")
NAMES = {  # fact -> what model configs call it
    "hidden_size": ("hidden_size", "hidden_sizes", "d_model", "n_embd", "hidden_dim", "embed_dim", "embed_dims"),
    "num_attention_heads": ("num_attention_heads", "num_heads", "n_head", "encoder_attention_heads"),
    "num_key_value_heads": ("num_key_value_heads", "n_head_kv"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "num_layers", "encoder_layers", "depths"),
}
PROCESSOR_KEYS = (
    "image_processor_type",
    "size",
    "crop_size",
    "image_mean",
    "image_std",
    "do_resize",
    "do_center_crop",
    "do_rescale",
    "rescale_factor",
    "do_normalize",
    "resample",
)


class ModelFacts(BaseModel):
    """Everything that later steps may ask about the model. `verdict` is what gate 1 reads."""

    model_config = ConfigDict(extra="forbid")
    model_id: str
    revision: str = Field(description="commit SHA")
    task: str
    task_source: tasks.Source = Field(description="how the task was told")
    auto_class: str
    verdict: Literal["accept", "reject"]
    reasons: list[str] = Field(default_factory=list, description="why it is rejected")
    warnings: list[str] = Field(default_factory=list)
    model_type: str
    architectures: list[str]
    pipeline_tag: str | None = None
    library: str | None = None
    tags: list[str] = Field(default_factory=list)
    licence: str | None = None
    gated: str | None = Field(None, description="auto or manual; access was tested")
    private: bool = False
    weights_format: Literal["safetensors", "bin-only", "gguf", "none"]
    parameters: int | None = Field(None, description="exact, from the safetensors headers")
    parameters_by_dtype: dict[str, int] = Field(default_factory=dict)
    weights_bytes: int | None = None
    bytes_by_dtype: dict[str, int] = Field(default_factory=dict)
    n_files: int
    hidden_size: int | None = None
    num_attention_heads: int | None = None
    num_key_value_heads: int | None = None
    num_hidden_layers: int | None = None
    image_size: int | list[int] | None = Field(None, description="pixels; height, width if not square")
    num_labels: int | None = None
    id2label: dict[str, str] = Field(default_factory=dict, description="the first 20")
    processor: dict[str, Any] | None = Field(None, description="summary of the image processor's config")
    sources: list[Source]
    bytes_fetched: int


def probe_model(hub: Hub, model_id: str, *, task: str | None = None, revision: str = "main") -> ModelFacts:
    """Facts of a model on the Hub, from headers only (kilobytes, whatever its size).

    Raises ToolFailure: invalid_input, not_found, access_denied, unavailable (hub.py); out_of_scope; ambiguous (a backbone
    without a head and no `task`); rejected (no readable config, custom code).
    """
    if task is not None and task not in tasks.SUPPORTED:
        raise _out_of_scope(f"task = {task[:60]!r}")
    hub = hub.recording()
    info = hub.model_info(model_id, revision)
    hub.check_access("model", info)
    config = _config(hub, info)
    _refuse_custom_code(info, config)
    architectures = [a[:100] for a in _list(config.get("architectures")) if isinstance(a, str)][:5]
    chosen, source = decide_task(info, config, architectures, task)
    warnings, reasons = [], []
    processor = _processor(hub, info)
    found = _weights(hub, info, warnings, reasons)
    reasons += _unsuitable(chosen, config, processor)
    warnings += _remarks(info, config, architectures, chosen)
    return ModelFacts(
        model_id=info.id,
        revision=info.sha,
        task=chosen,
        task_source=source,
        auto_class=tasks.AUTO_CLASS[chosen],
        verdict="reject" if reasons else "accept",
        reasons=reasons,
        warnings=warnings,
        model_type=str(config["model_type"])[:60],
        architectures=architectures,
        pipeline_tag=_tag(info),
        library=(info.library or _str(info.card.get("library_name")) or "transformers")[:40],
        tags=info.tags,
        licence=_licence(info),
        gated=info.gated,
        private=info.private,
        n_files=len(info.files),
        image_size=_image_size(config),
        processor=processor,
        **found,
        **_labels(config),
        **{fact: _number(config, names) for fact, names in NAMES.items()},
        sources=hub.trail.sources,
        bytes_fetched=hub.trail.bytes_fetched,
    )


def _config(hub: Hub, info: RepoInfo) -> dict[str, Any]:
    """config.json as a transformers config. Raises rejected (or out_of_scope, if the tag says enough) with the reason."""
    tag = _tag(info)
    if "config.json" not in info.files:
        if tag and _foreign(tag):
            raise _out_of_scope(f"model_id = {info.id!r} is tagged {tag!r}")
        hint = next(
            (
                why
                for name, why in (
                    ("adapter_config.json", "it is a PEFT adapter: give its base model"),
                    ("model_index.json", "it is a diffusers pipeline, which is out of scope"),
                )
                if name in info.files
            ),
            "give a model in transformers' format",
        )
        raise ToolFailure("rejected", f"model_id = {info.id!r} has no config.json: {hint}")
    config = _json_file(hub, info, "config.json")
    if not isinstance(config.get("model_type"), str) or not config["model_type"]:
        timm = info.library == "timm" or "timm" in info.tags or "pretrained_cfg" in config
        hint = (
            "it is a timm checkpoint: give the same architecture in transformers' format"
            if timm
            else "give a model in transformers' format"
        )
        raise ToolFailure(
            "rejected", f"config.json of {info.id!r} has no model_type, so no AutoConfig reads it: {hint}"
        )
    return config


def _json_file(hub: Hub, info: RepoInfo, path: str, max_bytes: int = MAX_CONFIG) -> dict[str, Any]:
    text = hub.read_text("model", info.id, info.sha, path, max_bytes)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ToolFailure("rejected", f"{path} of {info.id!r} is not a JSON object: give another model or revision")
    return value


def _refuse_custom_code(info: RepoInfo, config: dict[str, Any]) -> None:
    if "auto_map" in config:
        raise ToolFailure(
            "rejected",
            f"model_id = {info.id!r} needs its own Python code to load (auto_map in config.json), and this version "
            "runs no repository's code: choose a model that transformers itself knows",
        )


def decide_task(
    info: RepoInfo, config: dict[str, Any], architectures: list[str], asked: str | None
) -> tuple[str, tasks.Source]:
    """(task, how it was told). The head of the architecture decides; a tag or the argument fills in where it is silent."""
    has_vision = isinstance(config.get("vision_config"), dict)
    name = architectures[0] if architectures else ""
    serves, foreign = tasks.task_of_architecture(name, has_vision=has_vision)
    tag = _tag(info)
    if foreign:
        raise _out_of_scope(f"model_id = {info.id!r} is a {name}, made for {foreign}")
    if serves:
        return _task_of_head(info, name, serves, tag, asked)
    if tag and _foreign(tag):
        raise _out_of_scope(f"model_id = {info.id!r} is tagged {tag!r}")
    if asked or tag in tasks.SUPPORTED:
        return (asked, "argument") if asked else (tag, "pipeline_tag")
    if config["model_type"] in tasks.IMAGE_CLASSIFIERS:
        raise ToolFailure(
            "ambiguous",
            (
                f"model_id = {info.id!r} is a backbone without a head ({name or config['model_type']}, tag {tag}): say what to train "
                "it for, e.g. task='image-classification'"
            ),
            next=NextCall(
                tool="probe_model",
                arguments={"model_id": info.id, "task": "image-classification"},
                why="names the task",
            ),
        )
    raise _out_of_scope(f"model_id = {info.id!r} ({name or config['model_type']}, tag {tag}) shows no task")


def _task_of_head(
    info: RepoInfo, name: str, serves: tuple[str, ...], tag: str | None, asked: str | None
) -> tuple[str, tasks.Source]:
    if asked and asked not in serves:
        raise ToolFailure(
            "invalid_input",
            (
                f"task = {asked!r} contradicts model_id = {info.id!r}, a {name} made for {' or '.join(serves)}: "
                f"leave task out, or give a model made for {asked}"
            ),
        )
    if len(serves) == 1:
        return serves[0], "argument" if asked else "architecture"
    if asked or tag in serves:
        return (asked, "argument") if asked else (tag, "pipeline_tag")
    raise ToolFailure(
        "ambiguous", f"model_id = {info.id!r} is a {name}, which serves {', '.join(serves)}: pass one of them as task"
    )


def _out_of_scope(what: str) -> ToolFailure:
    return ToolFailure(
        "out_of_scope",
        f"{what}: no task of tunegate's. Choose a model for one of {', '.join(tasks.SUPPORTED)} "
        f"(this version trains {', '.join(tasks.TRAINABLE)})",
    )


def _foreign(tag: str) -> bool:
    return (
        tag not in tasks.SUPPORTED
        and tag not in tasks.HEADLESS_TAGS
        and tag not in ("image-segmentation", "mask-generation")
    )


def _unsuitable(task: str, config: dict[str, Any], processor: dict | None) -> list[str]:
    """Why a model that was recognised cannot be trained here all the same."""
    reasons = []
    if task not in tasks.TRAINABLE:
        reasons.append(
            f"its task is {task}: this version trains {', '.join(tasks.TRAINABLE)} only, so choose such a model"
        )
    elif config["model_type"] not in tasks.IMAGE_CLASSIFIERS:
        reasons.append(
            f"transformers has no {tasks.AUTO_CLASS[task]} for model_type {str(config['model_type'])[:60]!r}: choose another model"
        )
    if task in tasks.VISION and processor is None:
        reasons.append(
            "it has no preprocessor_config.json or processor_config.json, so the size, mean and std of its images "
            "are unknown: choose a model that has one"
        )
    return reasons


def _remarks(info: RepoInfo, config: dict[str, Any], architectures: list[str], task: str) -> list[str]:
    remarks = []
    tag = _tag(info)
    if tag and tag != task and tag not in tasks.HEADLESS_TAGS:
        remarks.append(f"the repository is tagged {tag[:60]!r}; its architecture says {task}")
    if architectures and not tasks.task_of_architecture(architectures[0], has_vision="vision_config" in config)[0]:
        remarks.append(f"{architectures[0]} has no head for {task}: training starts it at random")
    if info.gated:
        remarks.append("the model is gated: stages that download it need HF_TOKEN")
    if _licence(info) is None:
        remarks.append("the repository names no licence: the user must know that the model may be used")
    if "auto_map" in config:
        remarks.append("the model runs its own Python code (approved by the user)")
    return remarks


def _weights(hub: Hub, info: RepoInfo, warnings: list[str], reasons: list[str]) -> dict[str, Any]:
    """weights_format, parameters and bytes. Only headers are read."""
    files = info.files
    if SINGLE in files or INDEX in files:
        try:
            weights, total, size = _safetensors(hub, info, warnings)
        except ValueError as error:
            reasons.append(f"its safetensors weights are damaged: {error}; choose another model or revision")
            weights, total, size = Weights(), None, None
        return {
            "weights_format": "safetensors",
            "parameters": total,
            "parameters_by_dtype": weights.parameters,
            "weights_bytes": size,
            "bytes_by_dtype": weights.bytes,
        }
    pickles = [
        name
        for name in files
        if name == "pytorch_model.bin" or (name.startswith("pytorch_model-") and name.endswith(".bin"))
    ]
    if pickles:
        sizes = [files[name] for name in pickles]
        warnings.append(
            "its weights are .bin (pickle) files only: loading them needs weights_only=True, and their "
            "parameters cannot be counted from a header"
        )
        return {"weights_format": "bin-only", "weights_bytes": sum(sizes) if None not in sizes else None}
    if any(name.endswith(".gguf") for name in files):
        reasons.append("its weights are GGUF only, made for inference: choose the model that they were converted from")
        return {"weights_format": "gguf"}
    others = [
        name for name in files if name.endswith((".safetensors", ".h5", ".msgpack", ".onnx", ".bin", ".pt", ".pth"))
    ][:3]
    reasons.append(
        f"it has neither {SINGLE} nor pytorch_model.bin at its top"
        + (f" (only {', '.join(others)})" if others else "")
        + ": choose a model with weights for transformers on PyTorch"
    )
    return {"weights_format": "none"}


def _safetensors(hub: Hub, info: RepoInfo, warnings: list[str]) -> tuple[Weights, int | None, int | None]:
    """(by dtype, parameters, bytes) over all shards. Raises ValueError with the reason if a header is damaged."""
    if SINGLE in info.files:
        shards, meta = [SINGLE], {}
    else:
        index = _json_file(hub, info, INDEX, MAX_INDEX)
        names = index.get("weight_map")
        meta = index["metadata"] if isinstance(index.get("metadata"), dict) else {}
        shards = sorted({n for n in names.values() if isinstance(n, str)}) if isinstance(names, dict) else []
    if not shards:
        raise ValueError(f"{INDEX} names no file")
    if missing := [name for name in shards if name not in info.files]:
        raise ValueError(f"{INDEX} names {missing[0][:80]}, which the repository lacks")
    if len(shards) > MAX_SHARDS:
        warnings.append(f"{len(shards)} shards: sizes are those that {INDEX} states, not counted from each header")
        return Weights(), _int(meta.get("total_parameters")), _int(meta.get("total_size"))
    total = Weights()
    for name in shards:
        total.add(_header(hub, info, name))
    return total, sum(total.parameters.values()), sum(total.bytes.values())


def _header(hub: Hub, info: RepoInfo, name: str) -> Weights:
    """One file's header, in one request or two."""
    size = info.files[name]
    start = hub.read_bytes("model", info.id, info.sha, name, max_bytes=FIRST_READ, length=FIRST_READ)
    try:
        length = header_length(start)
        header = start[PREFIX : PREFIX + length]
        if length > len(header):
            more = length - len(header)
            header += hub.read_bytes("model", info.id, info.sha, name, max_bytes=more, start=FIRST_READ, length=more)
        found = parse_header(header)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if size is not None and size != found.end:
        raise ValueError(f"{name}: its header describes {found.end:,} bytes, the file has {size:,}")
    return found


def _processor(hub: Hub, info: RepoInfo) -> dict[str, Any] | None:
    """The image processor's settings; transformers 5 may nest them in processor_config.json."""
    for path in ("preprocessor_config.json", "processor_config.json"):
        if path in info.files:
            raw = _json_file(hub, info, path)
            raw = raw["image_processor"] if isinstance(raw.get("image_processor"), dict) else raw
            found = {key: raw[key] for key in PROCESSOR_KEYS if key in raw and len(json.dumps(raw[key])) <= 200}
            if found:
                return found
    return None


def _labels(config: dict[str, Any]) -> dict[str, Any]:
    names = config.get("id2label") if isinstance(config.get("id2label"), dict) else {}
    count = len(names) or _int(config.get("num_labels")) or None
    return {
        "num_labels": count,
        "id2label": {str(key)[:12]: str(value)[:80] for key, value in list(names.items())[:20]},
    }


def _number(config: dict[str, Any], names: tuple[str, ...]) -> int | None:
    """The first that is set, at the top or nested. Of one value for each stage the widest counts; depths add up."""
    for part in (config, *(config[key] for key in NESTED if isinstance(config.get(key), dict))):
        for name in names:
            value = part.get(name)
            if isinstance(value, list) and value and all(_int(item) is not None for item in value):
                return sum(value) if name == "depths" else max(value)
            if _int(value) is not None:
                return value
    return None


def _image_size(config: dict[str, Any]) -> int | list[int] | None:
    vision = config.get("vision_config")
    for part in (config, vision if isinstance(vision, dict) else {}):
        value = part.get("image_size")
        if _int(value) is not None:
            return value
        if isinstance(value, list) and len(value) == 2 and all(_int(item) is not None for item in value):
            return value
    return None


def _tag(info: RepoInfo) -> str | None:
    return info.pipeline_tag or _str(info.card.get("pipeline_tag"))


def _licence(info: RepoInfo) -> str | None:
    value = info.card.get("license")
    named = ", ".join(map(str, value)) if isinstance(value, list) else _str(value)
    found = named or next((tag.removeprefix("license:") for tag in info.tags if tag.startswith("license:")), None)
    return found[:60] if found else None


def _str(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _int(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _list(value: object) -> list:
    return value if isinstance(value, list) else []
