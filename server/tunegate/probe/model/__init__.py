"""probe_model: what a model on the Hub is, from its configs and its weights' headers. Runs no code of the repository."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tunegate import tasks
from tunegate.clients.hub import Hub, RepoInfo
from tunegate.evidence import Source
from tunegate.probe.model import custom_code, deep, detect, formats, model_config, parts, processors, quantized, weights
from tunegate.probe.model.deep import Seen
from tunegate.probe.model.repo_files import identifier, items, json_file, text
from tunegate.tasks import activations, architectures


class ModelFacts(BaseModel):
    """Everything that later steps may ask about the model. `verdict` is what gate 1 reads."""

    model_config = ConfigDict(extra="forbid")
    model_id: str
    revision: str = Field(description="commit SHA")
    task: str
    task_source: detect.TaskSource = Field(description="how the task was found")
    auto_class: str
    verdict: Literal["accept", "reject"]
    reasons: list[str] = Field(default_factory=list, description="why it is rejected")
    warnings: list[str] = Field(default_factory=list)
    model_type: str
    architectures: list[str]
    transformers: str | None = Field(None, description="the release whose mappings gave task and auto class")
    needs_timm: bool = Field(False, description="a part is built by the timm package")
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
    quantization: str | None = Field(None, description="method and bits, where the weights are quantized")
    n_files: int
    hashes: dict[str, str] = Field(
        default_factory=dict, description="of each file: sha256 where it is large, else git's id"
    )
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
    layout: dict[str, Any] = Field(default_factory=dict, description="config values that the memory estimate reads")
    processor: dict[str, Any] | None = Field(None, description="summary of the image processor's config")
    processor_class: str | None = None
    tokenizer_class: str | None = None
    chat_template: bool | None = Field(None, description="null: not looked for")
    deep: Seen | None = Field(None, description="what the real AutoConfig said; null: not asked, or not answered yet")
    sources: list[Source]
    bytes_fetched: int


def probe_model(
    hub: Hub,
    model_id: str,
    *,
    task: str | None = None,
    revision: str = "main",
    method: str = "full",
    deep_in: Path | None = None,
) -> ModelFacts:
    """Facts of a model on the Hub, from headers only (kilobytes, whatever its size). method: training_method of the run.

    deep_in: a run's directory, for asking the real AutoConfig too (deep.py), which raises its own failures.

    Raises ToolFailure: invalid_input, not_found, access_denied, unavailable (clients/hub/refusals.py); out_of_scope; ambiguous (several
    tasks are possible and no `task`); rejected (no config that transformers reads, custom code).
    """
    if task is not None and task not in tasks.SUPPORTED:
        raise detect.out_of_scope(f"task = {task[:60]!r}")
    hub = hub.recording()
    warnings, damage = [], []
    info, config = _recognized(hub, model_id, revision, warnings)
    names = [name for name in items(config.get("architectures")) if identifier(name)][:5]
    chosen, source = detect.decide_task(info, config, names, task)
    quantization = quantized.of_config(config)
    read = processors.read(hub, info, chosen, warnings, damage)
    part_of = partial(parts.of_tensor, task=chosen, model_type=config["model_type"])
    found = weights.read(hub, info, part_of, quantization, warnings, damage)
    reasons = [
        *_unsuitable(info, config["model_type"], chosen, quantization, method),
        *damage,
        *processors.missing(info, chosen, read),
    ]
    warnings += [*detect.remarks(detect.tag_of(info), names, chosen, source), *_remarks(info, config, chosen, read)]
    facts = ModelFacts(
        task=chosen,
        task_source=source,
        verdict="reject" if reasons else "accept",
        reasons=reasons,
        warnings=warnings,
        architectures=names,
        **_about(info, config, chosen, names),
        quantization=quantization.label if quantization else None,
        **read,
        **found,
        **model_config.facts(config),
        layout=activations.layout(config),
        sources=hub.trail.sources,
        bytes_fetched=hub.trail.bytes_fetched,
    )
    return _deep(facts, config, deep_in) if deep_in and facts.verdict == "accept" else facts


def _recognized(hub: Hub, model_id: str, revision: str, warnings: list[str]) -> tuple[RepoInfo, dict[str, Any]]:
    """The repository and its config, if transformers can read both without a stranger's code. Raises ToolFailure."""
    info = hub.model_info(model_id, revision)
    hub.check_access("model", info)
    config = _config(hub, info)
    custom_code.check(info, config, warnings)
    formats.refuse_converted(hub, info, config, weights.has_model(info))
    return info, config


def _deep(facts: ModelFacts, config: dict[str, Any], run_dir: Path) -> ModelFacts:
    """The facts with what AutoConfig says in a container; a contradiction rejects the model."""
    seen = deep.inspect(run_dir, json.dumps(config).encode(), deep.WAIT_S)
    if seen is None:
        waiting = "the deep probe is still at work in its container: make the same call again to see what it says"
        return facts.model_copy(update={"warnings": [*facts.warnings, waiting]})
    against = seen.contradiction(facts.auto_class, facts.architectures)
    reasons = [f"the deep probe disagrees: {against}"] if against else []
    return facts.model_copy(update={"deep": seen, "reasons": reasons, "verdict": "reject" if against else "accept"})


def _about(info: RepoInfo, config: dict[str, Any], task: str, names: list[str]) -> dict[str, Any]:
    """What the Hub says of the repository, and transformers of its type."""
    model_type = config["model_type"]
    return {
        "model_id": info.id,
        "revision": info.sha,
        "auto_class": architectures.auto_class(task, model_type, names[0] if names else "")
        or tasks.TASKS[task].auto_classes[0],
        "model_type": model_type,
        "transformers": architectures.version(),
        "needs_timm": model_config.needs_timm(config),
        "computes_loss": architectures.computes_loss(task, model_type),
        "pipeline_tag": detect.tag_of(info),
        "library": (info.library or text(info.card.get("library_name")) or "transformers")[:40],
        "tags": info.tags,
        "base_model": formats.base_model(info),
        "licence": _licence(info),
        "gated": info.gated,
        "private": info.private,
        "n_files": len(info.files),
        "hashes": info.hashes,
    }


def summary(facts: ModelFacts) -> str:
    """One line of what the model is, for people."""
    parts_found = ", ".join(f"{part} {count:,}" for part, count in facts.parameters_by_part.items())
    size = f"{facts.parameters:,} parameters" if facts.parameters is not None else "parameters not countable"
    parts = (
        facts.task,
        facts.architectures[0] if facts.architectures else facts.model_type,
        size + (f" ({parts_found})" if len(facts.parameters_by_part) > 1 else ""),
        facts.quantization,
        f"license {facts.licence}" if facts.licence else "no license named",
    )
    return "; ".join(part for part in parts if part)


def _config(hub: Hub, info: RepoInfo) -> dict[str, Any]:
    """config.json as a transformers config. Raises rejected (or out_of_scope, if the tag says enough) with the reason."""
    config = json_file(hub, info, "config.json") if "config.json" in info.files else None
    if config is not None and re.fullmatch(r"[\w.-]{1,60}", text(config.get("model_type")) or "", re.A):
        return config
    tag = detect.tag_of(info)
    if config is None and detect.is_foreign(tag):
        raise detect.out_of_scope(f"model_id = {info.id!r} is tagged {tag!r}")
    lacks = "has no config.json" if config is None else "has no model_type in config.json, so no AutoConfig reads it"
    custom_code.check(info, {**(config or {}), "model_type": ""}, [])
    raise formats.refusal(hub, info, lacks, formats.find(info, config))


def _unsuitable(
    info: RepoInfo, model_type: str, task: str, quantization: quantized.Quantization | None, method: str
) -> list[str]:
    """Why a model that was recognized cannot be trained here all the same; each reason names what would do instead."""
    reasons = []
    if not architectures.known_type(model_type):
        reasons.append(
            f"transformers {architectures.version()} knows no model_type {model_type!r}: choose a model whose type it has"
        )
    elif architectures.auto_class(task, model_type) is None:
        reasons.append(
            f"transformers has no {tasks.TASKS[task].auto_classes[0]} for model_type {model_type!r}: choose another model"
        )
    elif task in tasks.SEGMENTATION and (why := _no_segmenter(task, model_type)):
        reasons.append(f"model_type {model_type!r} is not trained for {task} in this version: {why}")
    if model_type == "timm_wrapper":
        reasons.append(
            "it wraps a timm checkpoint, and the images that train it lack the timm package: give the same architecture "
            "in transformers' own format, e.g. microsoft/resnet-50"
        )
    if quantization and not (quantization.adapters and method in ("lora", "qlora")):
        reasons.append(_too_small(info, quantization, method))
    return reasons


def _no_segmenter(task: str, model_type: str) -> str:
    """Why the scripts of a segmentation task cannot train such a model; "" where they can."""
    auto = architectures.auto_class(task, model_type)
    instead = "nvidia/mit-b0" if task == "semantic-segmentation" else "facebook/mask2former-swin-tiny-coco-instance"
    why = f"it is an {auto}" if auto != tasks.TASKS[task].auto_classes[0] else tasks.UNSUPPORTED.get(model_type, "")
    return f"{why}; choose one like {instead}" if why else ""


def _too_small(info: RepoInfo, quantization: quantized.Quantization, method: str) -> str:
    """Why quantized weights cannot be trained by this method."""
    base = formats.base_model(info)
    instead = f"choose its base model {base!r}" if base else "choose the model that it was made from"
    if quantization.adapters:
        instead += "; as it is, only an adapter (qlora) could be trained on it"
    return f"its weights are quantized ({quantization.label}), which {method!r} training cannot change: {instead}"


def _remarks(info: RepoInfo, config: dict[str, Any], task: str, read: dict[str, Any]) -> list[str]:
    remarks = []
    if info.gated:
        remarks.append("the model is gated: stages that download it need HF_TOKEN")
    if _licence(info) is None:
        remarks.append("the repository names no licence: the user must know that the model may be used")
    if model_config.needs_timm(config):
        remarks.append("its backbone is one of timm's: the project will pin the timm package, which needs torchvision")
    if not architectures.computes_loss(task, config["model_type"]):
        remarks.append("its forward computes no loss: the training script must")
    if task == "text-generation" and read.get("chat_template") is False:
        remarks.append("it has no chat template: it is a base model, and `messages` need a template to be trained on")
    return remarks


def _licence(info: RepoInfo) -> str | None:
    value = info.card.get("license")
    named = ", ".join(map(str, value)) if isinstance(value, list) else text(value)
    found = named or next((tag.removeprefix("license:") for tag in info.tags if tag.startswith("license:")), None)
    return re.sub(r"[^\w.,+ -]", "?", found)[:60] if found else None
