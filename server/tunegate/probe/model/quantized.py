"""Quantized repositories: which method, and how many parameters their packed tensors hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tunegate.probe.model.safetensors import Tensor


@dataclass(frozen=True)
class Quantization:
    """bits: of one weight, where the config says so. adapters: transformers 5.23 can train adapters on it (is_trainable)."""

    method: str
    bits: int | None
    adapters: bool

    @property
    def label(self) -> str:
        return f"{self.method}, {self.bits}-bit" if self.bits else self.method


# Names of tensors that the method adds: they hold no parameter of the model.
_SCALES = (".scales", ".qzeros", ".g_idx", ".weight_scale", ".weight_scale_inv", ".input_scale", ".weight_shape")
_BNB = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".SCB", ".weight_format")
AUXILIARY = (
    *_SCALES,
    *_BNB,
    ".weight_zero_point",
    ".output_scale",
    ".k_scale",
    ".v_scale",
    "_scales",
    ".weight_global_scale",
)
METHOD_BITS = {"mxfp4": 4, "nvfp4": 4, "fp8": 8, "fbgemm_fp8": 8}  # where the name says it
# Integers that hold several weights each.
PACKED = (".qweight", ".weight_packed", "_blocks")
# Methods whose quantizer in transformers 5.23 says is_trainable, for adapters.
ADAPTERS = (
    "bitsandbytes",
    "gptq",
    "awq",
    "aqlm",
    "quanto",
    "eetq",
    "hqq",
    "fp8",
    "compressed-tensors",
    "torchao",
    "sinq",
)


def of_config(config: dict[str, Any]) -> Quantization | None:
    """What config.json's quantization_config says, at the top or of the language model; None when it is not quantized."""
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        found = part.get("quantization_config")
        if isinstance(found, dict) and found:
            return _of(found)
    return None


def _of(found: dict[str, Any]) -> Quantization:
    four, eight = found.get("load_in_4bit") is True, found.get("load_in_8bit") is True
    named = found.get("quant_method")
    if not (isinstance(named, str) and re.fullmatch(r"[a-z0-9_-]{1,30}", named)):
        named = "bitsandbytes" if four or eight else "unknown method"
    stated = 4 if four else 8 if eight else found.get("bits", found.get("w_bit"))
    bits = _bits(stated) or METHOD_BITS.get(named) or _compressed_bits(found)
    return Quantization(named, bits, named in ADAPTERS)


def _bits(value: object) -> int | None:
    return value if type(value) is int and 1 <= value <= 16 else None


def _compressed_bits(found: dict[str, Any]) -> int | None:
    """compressed-tensors keeps them per group of layers."""
    groups = found.get("config_groups")
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        if bits := _bits(weights.get("num_bits")) if isinstance(weights, dict) else None:
            return bits
    return None


def elements(tensor: Tensor, quantization: Quantization | None) -> int:
    """How many of the model's parameters one stored tensor holds: 0 for scales, several for each packed integer."""
    if quantization is None:
        return tensor.elements
    if tensor.name.endswith(AUXILIARY) or ".quant_state." in tensor.name:
        return 0
    bnb4 = quantization.method == "bitsandbytes" and quantization.bits == 4 and tensor.dtype == "U8"
    if (bnb4 or tensor.name.endswith(PACKED)) and quantization.bits and tensor.dtype in ("U8", "I32"):
        return tensor.elements * (32 if tensor.dtype == "I32" else 8) // quantization.bits
    return tensor.elements
