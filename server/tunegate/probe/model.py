"""probe_model: what a model on the Hub is, from its configs and its weights' headers. Runs no code of the repository."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tunegate.hub import Hub, RepoInfo, Source
from tunegate.probe import (
    architectures,
    custom_code,
    detect,
    formats,
    model_config,
    parts,
    processors,
    quantised,
    tasks,
    weights,
)
from tunegate.probe.repo_files import items, json_file, text


class ModelFacts(BaseModel):
    """Everything that later steps may ask about the model. `verdict` is what gate 1 reads."""

    model_config = ConfigDict(extra="forbid")
    model_id: str
    revision: str = Field(description="commit SHA")
    task: str
    task_source: detect.Source = Field(description="how the task was told")
    auto_class: str
    verdict: Literal["accept", "reject"]
    reasons: list[str] = Field(default_factory=list, description="why it is rejected")
    warnings: list[str] = Field(default_factory=list)
    model_type: str
    architectures: list[str]
    transformers: str | None = Field(None, description="the release whose mappings told task and auto class")
    computes_loss: bool = Field(True, description="false: its forward takes no labels, the scaffold computes the loss")
    pipeline_tag: str | None = None
    library: str | None = None
    tags: list[str] = Field(default_factory=list)
    base_model: str | None = None
    licence: str | None = None
    gated: str | None = Field(None, description="auto or manual; access was tested")
    private: bool = False
    weights_format: Literal["safetensors", "bin-only", "gguf", "none"]
    parameters: int | None = Field(None, description="exact, from the safetensors headers")
    parameters_by_dtype: dict[str, int] = Field(default_factory=dict)
    parameters_by_part: dict[str, int] = Field(
        default_factory=dict, description="vision, connector, language, audio, head"
    )
    weights_bytes: int | None = None
    bytes_by_dtype: dict[str, int] = Field(default_factory=dict)
    quantisation: str | None = Field(None, description="method and bits, where the weights are quantised")
    n_files: int
    hidden_size: int | None = None
    intermediate_size: int | None = None
    vocab_size: int | None = None
    max_position_embeddings: int | None = None
    num_attention_heads: int | None = None
    num_key_value_heads: int | None = None
    num_hidden_layers: int | None = None
    image_size: int | list[int] | None = Field(None, description="pixels; height, width if not square")
    patch_size: int | None = None
    tied_embeddings: bool | None = None
    num_labels: int | None = None
    id2label: dict[str, str] = Field(default_factory=dict, description="the first 20")
    processor: dict[str, Any] | None = Field(None, description="summary of the image processor's config")
    processor_class: str | None = None
    tokenizer_class: str | None = None
    chat_template: bool | None = Field(None, description="null: not looked for")
    sources: list[Source]
    bytes_fetched: int


def probe_model(
    hub: Hub, model_id: str, *, task: str | None = None, revision: str = "main", method: str = "full"
) -> ModelFacts:
    """Facts of a model on the Hub, from headers only (kilobytes, whatever its size). method: training_method of the run.

    Raises ToolFailure: invalid_input, not_found, access_denied, unavailable (hub.py); out_of_scope; ambiguous (several
    tasks are possible and no `task`); rejected (no config that transformers reads, custom code).
    """
    if task is not None and task not in tasks.SUPPORTED:
        raise detect.out_of_scope(f"task = {task[:60]!r}")
    hub = hub.recording()
    info = hub.model_info(model_id, revision)
    hub.check_access("model", info)
    config = _config(hub, info)
    model_type = config["model_type"][:60]
    names = [name[:100] for name in items(config.get("architectures")) if isinstance(name, str)][:5]
    warnings, reasons = [], []
    custom_code.check(info, config, warnings)
    chosen, source = detect.decide_task(info, config, names, task)
    auto = architectures.auto_class(chosen, model_type, names[0] if names else "")
    quantisation = quantised.of_config(config)
    read = processors.read(hub, info, chosen, warnings)
    found = weights.read(
        hub, info, lambda name: parts.of_tensor(name, chosen, model_type), quantisation, warnings, reasons
    )
    reasons = [
        *_unsuitable(hub, info, config, chosen, auto, quantisation, method),
        *reasons,
        *processors.missing(info, chosen, read),
    ]
    warnings += [*detect.remarks(detect.tag_of(info), names, chosen, source), *_remarks(info, config, chosen, read)]
    return ModelFacts(
        model_id=info.id,
        revision=info.sha,
        task=chosen,
        task_source=source,
        auto_class=auto or tasks.AUTO_CLASS[chosen],
        verdict="reject" if reasons else "accept",
        reasons=reasons,
        warnings=warnings,
        model_type=model_type,
        architectures=names,
        transformers=architectures.version(),
        computes_loss=architectures.computes_loss(chosen, model_type),
        pipeline_tag=detect.tag_of(info),
        library=(info.library or text(info.card.get("library_name")) or "transformers")[:40],
        tags=info.tags,
        base_model=formats.base_model(info),
        licence=_licence(info),
        gated=info.gated,
        private=info.private,
        quantisation=quantisation.label if quantisation else None,
        n_files=len(info.files),
        **read,
        **found,
        **model_config.facts(config),
        sources=hub.trail.sources,
        bytes_fetched=hub.trail.bytes_fetched,
    )


def _config(hub: Hub, info: RepoInfo) -> dict[str, Any]:
    """config.json as a transformers config. Raises rejected (or out_of_scope, if the tag says enough) with the reason."""
    config = json_file(hub, info, "config.json") if "config.json" in info.files else None
    if config is not None and text(config.get("model_type")):
        return config
    tag = detect.tag_of(info)
    if config is None and detect.is_foreign(tag):
        raise detect.out_of_scope(f"model_id = {info.id!r} is tagged {tag!r}")
    lacks = "has no config.json" if config is None else "has no model_type in config.json, so no AutoConfig reads it"
    if config is not None and "auto_map" in config:
        custom_code.check(info, config | {"model_type": ""}, [])
    raise formats.refusal(hub, info, lacks, formats.find(info, config))


def _unsuitable(
    hub: Hub,
    info: RepoInfo,
    config: dict[str, Any],
    task: str,
    auto: str | None,
    quantisation: quantised.Quantisation | None,
    method: str,
) -> list[str]:
    """Why a model that was recognised cannot be trained here all the same; each reason names what would do instead."""
    model_type, reasons = config["model_type"][:60], []
    if task not in tasks.TRAINABLE:
        reasons.append(
            f"its task is {task}: this version trains {', '.join(tasks.TRAINABLE)} only, so choose such a model"
        )
    if not architectures.known_type(model_type):
        reasons.append(
            f"transformers {architectures.version()} knows no model_type {model_type!r}: choose another model, or one "
            "whose type it has"
        )
    elif auto is None:
        reasons.append(
            f"transformers has no {tasks.AUTO_CLASS[task]} for model_type {model_type!r}: choose another model"
        )
    if model_type == "timm_wrapper":
        reasons.append(
            "it wraps a timm checkpoint, and the images that train it lack the timm package: give the same architecture "
            "in transformers' own format, e.g. microsoft/resnet-50"
        )
    if unfit := formats.converted(hub, info, weights.has_model(info)):
        reasons.append(unfit)
    if quantisation and not (quantisation.adapters and method in ("lora", "qlora")):
        base = formats.base_model(info)
        instead = f"choose its base model {base!r}" if base else "choose the model that it was made from"
        only = ", or training_method='qlora'" if quantisation.adapters else ", nor adapters on them"
        reasons.append(
            f"its weights are quantised ({quantisation.label}), and full fine-tuning cannot train them"
            + (f": {instead}{only}" if quantisation.adapters else f"{only}: {instead}")
        )
    return reasons


def _remarks(info: RepoInfo, config: dict[str, Any], task: str, read: dict[str, Any]) -> list[str]:
    remarks = []
    if info.gated:
        remarks.append("the model is gated: stages that download it need HF_TOKEN")
    if _licence(info) is None:
        remarks.append("the repository names no licence: the user must know that the model may be used")
    if model_config.needs_timm(config):
        remarks.append("its backbone is one of timm's: the image that trains it needs the timm package")
    if not architectures.computes_loss(task, config["model_type"]):
        remarks.append("its forward computes no loss: the training script must")
    if task == "text-generation" and read.get("chat_template") is False:
        remarks.append("it has no chat template: it is a base model, and `messages` need a template to be trained on")
    return remarks


def _licence(info: RepoInfo) -> str | None:
    value = info.card.get("license")
    named = ", ".join(map(str, value)) if isinstance(value, list) else text(value)
    found = named or next((tag.removeprefix("license:") for tag in info.tags if tag.startswith("license:")), None)
    return found[:60] if found else None
