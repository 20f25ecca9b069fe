"""Repositories that are no plain transformers checkpoint: what each is, how it is recognized, and what to take instead."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tunegate.clients.hub import Hub, RepoInfo, check_repo_id
from tunegate.errors import NextCall, ToolFailure

MLX = ("mlx", "mlx-lm", "mlx-vlm")


@dataclass(frozen=True)
class Format:
    """files: patterns of names at the top; keys: of config.json. Any one of them, or the library's name, tells the format."""

    what: str
    instead: str
    files: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()


# Looked at from the top when there is no config.json, or one without model_type. {base} is the base model, where one is named.
WEIGHT_FORMATS = (
    Format("a PEFT adapter, not a model", "{base}", ("adapter_config.json",), libraries=("peft",)),
    Format(
        "a diffusers pipeline, which is out of scope",
        "choose an image, vision-language or language model in transformers' format",
        ("model_index.json", "pytorch_lora_weights.safetensors"),
        ("_diffusers_version",),
        ("diffusers",),
    ),
    Format(
        "a sentence-transformers model, whose embeddings are out of scope",
        "choose a language model with a generating head",
        ("modules.json", "config_sentence_transformers.json"),
        libraries=("sentence-transformers",),
    ),
    Format(
        "an OpenCLIP checkpoint",
        "choose the same weights in transformers' format, e.g. openai/clip-vit-base-patch32",
        ("open_clip_config.json", "open_clip_*"),
        libraries=("open_clip", "open-clip"),
    ),
    Format(
        "a timm checkpoint, and the images that train it lack the timm package",
        "give the same architecture in transformers' format, e.g. microsoft/resnet-50 or facebook/convnext-tiny-224",
        (),
        ("pretrained_cfg",),
        ("timm",),
    ),
    Format("a GGUF conversion, made for inference", "{base}", ("*.gguf",), libraries=("gguf", "llama.cpp")),
    Format("an MLX conversion for Apple machines", "{base}", libraries=MLX),
    Format("a NeMo checkpoint", "choose its transformers version", ("*.nemo",), libraries=("nemo",)),
    Format("an ONNX export", "{base}", ("*.onnx",), libraries=("onnx", "optimum", "transformers.js")),
    Format("an OpenVINO export", "{base}", ("openvino_*.xml",), libraries=("openvino",)),
    Format(
        "a Keras or TensorFlow model",
        "choose its PyTorch version",
        ("*.keras", "saved_model.pb", "*.tflite"),
        libraries=("keras", "keras-hub", "tf-keras", "tflite"),
    ),
    Format("a Core ML model", "{base}", ("*.mlmodel", "Manifest.json"), libraries=("coreml",)),
    Format(
        "an Ultralytics (YOLO) checkpoint",
        "choose a detector that transformers has, e.g. PekingU/rtdetr_v2_r18vd or facebook/detr-resnet-50",
        ("yolo*.pt",),
        libraries=("ultralytics",),
    ),
    Format("a spaCy pipeline", "choose a language model", ("config.cfg",), libraries=("spacy",)),
    Format("a fastText model", "choose a language model", (), libraries=("fasttext",)),
    Format("a Flair model", "choose a language model", (), libraries=("flair",)),
    Format(
        "a SpeechBrain model", "choose an image or language model", ("hyperparams.yaml",), libraries=("speechbrain",)
    ),
    Format(
        "a scikit-learn model", "choose a model in transformers' format", ("*.joblib", "*.pkl"), libraries=("sklearn",)
    ),
    Format(
        "in its maker's original format",
        "choose the repository of the same model in transformers' format, often named …-hf",
        ("params.json", "consolidated.*"),
    ),
)


def find(info: RepoInfo, config: dict[str, Any] | None) -> Format | None:
    """The first format that this repository shows, by its files, then by the keys of its config.json, then by library."""
    names = [name for name in info.files if "/" not in name]
    for form in WEIGHT_FORMATS:
        if any(fnmatchcase(name, pattern) for pattern in form.files for name in names):
            return form
    libraries = {info.library or "", str(info.card.get("library_name") or ""), *info.tags}
    for form in WEIGHT_FORMATS:
        if any(key in (config or {}) for key in form.keys) or libraries & set(form.libraries):
            return form
    return None


def base_model(info: RepoInfo) -> str | None:
    """The model that this one was made from, as the card or the Hub's tags name it."""
    named = info.card.get("base_model")
    first = named[0] if isinstance(named, list) and named else named
    tagged = [tag.rsplit(":", 1)[-1] for tag in info.tags if tag.startswith("base_model:")]
    return next((found for found in (first, *tagged) if _is_id(found) and found != info.id), None)


def _is_id(value: object) -> bool:
    try:
        return bool(check_repo_id(value, "base_model"))
    except ToolFailure:
        return False


def adapter_base(hub: Hub, info: RepoInfo) -> str | None:
    """The base model of a PEFT adapter: its own config knows best."""
    if "adapter_config.json" in info.files:
        try:
            raw = json.loads(hub.read_text("model", info.id, info.sha, "adapter_config.json", 100_000))
        except (ValueError, RecursionError, ToolFailure):  # the card may still know it
            raw = None
        named = raw.get("base_model_name_or_path") if isinstance(raw, dict) else None
        if _is_id(named) and named != info.id:
            return named
    return base_model(info)


def choose_base(base: str | None) -> str:
    """What to do instead of a conversion or an adapter."""
    return f"probe its base model {base!r}" if base else "choose the model that it was made from (its page names it)"


def refusal(hub: Hub, info: RepoInfo, lacks: str, form: Format | None) -> ToolFailure:
    """`rejected` for a repository without a usable config.json. lacks: e.g. "has no config.json"."""
    if form is None:
        named = info.library or info.card.get("library_name")
        by = f" (its library is {named!r})" if isinstance(named, str) and named != "transformers" else ""
        return ToolFailure("rejected", f"model_id = {info.id!r} {lacks}{by}: give a model in transformers' format")
    base = adapter_base(hub, info) if "{base}" in form.instead else None
    instead = form.instead.format(base=choose_base(base))
    next_call = NextCall(tool="probe_model", arguments={"model_id": base}, why="the base model") if base else None
    return ToolFailure("rejected", f"model_id = {info.id!r} {lacks}: it is {form.what}; {instead}", next=next_call)


def refuse_converted(hub: Hub, info: RepoInfo, config: dict[str, Any], has_model: bool) -> None:
    """Raises rejected for a repository that has a transformers config and is no model to train all the same.

    has_model: there are weights of a whole model, not of an adapter alone.
    """
    library = info.library or info.card.get("library_name")
    if "adapter_config.json" in info.files and not has_model:
        base, why = adapter_base(hub, info), "holds a PEFT adapter only, no whole model"
    elif library in MLX or ("mlx" in info.tags and "quantization" in config):
        base, why = base_model(info), "was converted to MLX for Apple machines"
    elif {"modules.json", "config_sentence_transformers.json"} & info.files.keys():
        base, why = None, "is a sentence-transformers model, whose embeddings are out of scope"
    else:
        return
    instead = "choose a language model with a generating head" if "embeddings" in why else choose_base(base)
    next_call = NextCall(tool="probe_model", arguments={"model_id": base}, why="the base model") if base else None
    raise ToolFailure("rejected", f"model_id = {info.id!r} {why}: {instead}", next=next_call)
