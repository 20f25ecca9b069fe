"""The image processor, the tokenizer and the chat template of a repository: what later steps need of them, and what is missing."""

from __future__ import annotations

import json
from typing import Any

from tunegate import tasks
from tunegate.clients.hub import Hub, RepoInfo
from tunegate.errors import ToolFailure
from tunegate.probe.model import chat_template
from tunegate.probe.model.repo_files import identifier, json_file

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
VOCABULARIES = (  # any of them makes a tokenizer
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
TEMPLATES = ("chat_template.jinja", "chat_template.json")


def read(hub: Hub, info: RepoInfo, task: str, warnings: list[str], damage: list[str]) -> dict[str, Any]:
    """processor, processor_class, tokenizer_class and chat_template; for tasks with text the tokenizer's config is read too."""
    found: dict[str, Any] = {"processor": None}
    for path in ("preprocessor_config.json", "processor_config.json"):
        if path in info.files and not (found["processor"] and task not in tasks.TEXT):
            raw = json_file(hub, info, path)
            found["processor"] = found["processor"] or _image_processor(raw)
            found.setdefault("processor_class", identifier(raw.get("processor_class")))
            found["chat_template"] = found.get("chat_template") or bool(raw.get("chat_template"))
            if "auto_map" in raw:
                warnings.append(f"{path} names Python code of the repository (auto_map), which is never run")
    if task not in tasks.TEXT:
        return {key: found.get(key) for key in ("processor", "processor_class")}
    tokenizer = _tokenizer_config(hub, info, warnings)
    templates = any(name in TEMPLATES or name.startswith("chat_templates/") for name in info.files)
    found["chat_template"] = bool(found.get("chat_template") or templates or tokenizer.get("chat_template"))
    if task == "text-generation" and (wrong := chat_template.problem(hub, info, tokenizer)):
        damage.append(wrong)
    return found | {"tokenizer_class": identifier(tokenizer.get("tokenizer_class"))}


def _image_processor(raw: dict[str, Any]) -> dict[str, Any] | None:
    """The image processor's settings; transformers 5 may nest them in processor_config.json."""
    raw = raw["image_processor"] if isinstance(raw.get("image_processor"), dict) else raw
    return {key: raw[key] for key in PROCESSOR_KEYS if key in raw and _plain(raw[key])} or None


def _plain(value: Any) -> bool:
    """Short, and JSON that others read too: Python's parser lets Infinity pass."""
    try:
        return len(json.dumps(value, allow_nan=False)) <= 200
    except (ValueError, RecursionError):
        return False


def _tokenizer_config(hub: Hub, info: RepoInfo, warnings: list[str]) -> dict[str, Any]:
    """tokenizer_config.json; one that cannot be read is a warning, because tokenizer.json alone is enough."""
    if "tokenizer_config.json" not in info.files:
        return {}
    try:
        return json_file(hub, info, "tokenizer_config.json")
    except ToolFailure as failure:
        if failure.code != "rejected":
            raise
        warnings.append("tokenizer_config.json cannot be read: its class and chat template are unknown")
        return {}


def missing(info: RepoInfo, task: str, found: dict[str, Any]) -> list[str]:
    """Reasons to reject a model that lacks what its inputs are prepared with."""
    reasons = []
    if task in tasks.VISION and found["processor"] is None:
        reasons.append(
            "it has no preprocessor_config.json or processor_config.json, so the size, mean and std of its images "
            "are unknown: choose a model that has one"
        )
    if task in tasks.TEXT and not any(name in VOCABULARIES or name.endswith(".tiktoken") for name in info.files):
        reasons.append(
            "it has no tokenizer (tokenizer.json, tokenizer.model or vocabulary): choose a model that has one"
        )
    return reasons
