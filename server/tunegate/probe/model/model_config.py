"""Facts out of a transformers config: sizes, heads, labels, nested parts included. A value of an odd type is left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunegate.probe.model.repo_files import items, mapping, whole

# Where a composite config keeps its parts; the language model's before the vision tower's.
NESTED_CONFIGS = (
    "text_config",
    "llm_config",
    "language_config",
    "thinker_config",
    "decoder",
    "vision_config",
    "backbone_config",
    "encoder",
)
FACT_NAMES = {  # fact -> what model configs call it
    "hidden_size": ("hidden_size", "hidden_sizes", "d_model", "n_embd", "hidden_dim", "embed_dim", "embed_dims"),
    "intermediate_size": ("intermediate_size", "ffn_dim", "n_inner", "d_ff", "encoder_ffn_dim"),
    "vocab_size": ("vocab_size",),
    "max_position_embeddings": ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"),
    "num_attention_heads": ("num_attention_heads", "num_heads", "n_head", "encoder_attention_heads"),
    "num_key_value_heads": ("num_key_value_heads", "n_head_kv"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "num_layers", "encoder_layers", "depths"),
}


def facts(config: dict[str, Any]) -> dict[str, Any]:
    """The fields of ModelFacts that config.json tells."""
    tied = config.get("tie_word_embeddings")
    return {
        **{fact: _number(config, names) for fact, names in FACT_NAMES.items()},
        **_labels(config),
        "image_size": _image_size(config),
        "patch_size": _number(config, ("patch_size",)),
        "tied_embeddings": tied if isinstance(tied, bool) else None,
    }


def needs_timm(config: dict[str, Any]) -> bool:
    """Whether a part is built by the timm package: an old config's use_timm_backbone, a new one's backbone_config."""
    return any(
        part.get("use_timm_backbone") is True or part.get("model_type") in ("timm_backbone", "timm_wrapper")
        for part in _parts(config)
        if part is not config or part.get("model_type") != "timm_wrapper"
    )


def _parts(config: dict[str, Any], depth: int = 2) -> Iterator[dict[str, Any]]:
    """The config and what it nests, the outer ones first."""
    yield config
    if depth:
        for key in NESTED_CONFIGS:
            if isinstance(config.get(key), dict):
                yield from _parts(config[key], depth - 1)


def _number(config: dict[str, Any], names: tuple[str, ...]) -> int | None:
    """The first that is set, at the top or nested. Of one value for each stage the widest counts; depths add up."""
    for part in _parts(config):
        for name in names:
            value = part.get(name)
            if isinstance(value, list) and value and all(whole(item) is not None for item in value):
                return sum(value) if name == "depths" else max(value)
            if whole(value) is not None:
                return value
    return None


def _labels(config: dict[str, Any]) -> dict[str, Any]:
    names = mapping(config.get("id2label"))
    count = len(names) or whole(config.get("num_labels")) or None
    return {
        "num_labels": count,
        "id2label": {str(key)[:12]: str(value)[:80] for key, value in list(names.items())[:20]},
    }


def _image_size(config: dict[str, Any]) -> int | list[int] | None:
    for part in (config, mapping(config.get("vision_config"))):
        value = part.get("image_size")
        if whole(value) is not None:
            return value
        if len(items(value)) == 2 and all(whole(item) is not None for item in value):
            return value
    return None
