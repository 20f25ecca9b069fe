"""How many bytes a training step keeps for the backward pass: one formula a family of architectures.

Each formula counts what autograd saves in the modules of transformers 5.23, in training, with scaled-dot-product attention that
keeps no score matrix. Source: `benchmarks/memory.py count` runs those modules on tensors without storage under autocast's
rules and adds the saved tensors up; the formulas agree with it within a few per cent (tests/tasks/test_activations.py).

Two widths decide. `c`: bytes of what linear layers and convolutions compute (2 under bfloat16 autocast, else 4). The stream
between layers stays float32 either way, and autocast gives each layer that reads it a bfloat16 copy of its own.

Nothing but the standard library: the benchmark imports this where the server is not installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# What the formulas read of a config, and what a config that leaves a key out means (transformers' own defaults).
FORMULA_KEYS = (
    "model_type", "image_size", "patch_size", "hidden_size", "hidden_sizes", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "intermediate_size", "mlp_ratio", "mlp_ratios", "vocab_size", "tie_word_embeddings", "depths",
    "embed_dim", "embedding_size", "layer_type", "sr_ratios", "decoder_hidden_size", "in_channels", "out_channels", "strides",
    "expand_ratios", "num_block_repeats", "width_coefficient", "depth_coefficient", "backbone", "depth_divisor", "hidden_dim", "d_model",
    "encoder_layers", "decoder_layers", "encoder_ffn_dim", "decoder_ffn_dim", "num_queries", "n_embd", "n_layer", "n_inner",
    "max_position_embeddings", "n_positions",
)  # fmt: skip
NESTED = ("text_config", "vision_config", "backbone_config")
MAX_ITEMS = 64
WORKING = 0.5  # of a layer's saved bytes: the gradients that live beside them while it is run back


@dataclass
class Saved:
    """Bytes a sample. layers: what each checkpointable layer saves. inputs: of each of them, kept when it is checkpointed.
    other: stem, head and the loss's own. transient: what the backward pass of the loss allocates on top, at the peak."""

    layers: list[float]
    inputs: list[float] = field(default_factory=list)
    other: float = 0.0
    transient: float = 0.0

    def total(self, checkpointing: bool = False) -> float:
        """At the end of the forward pass."""
        return self.other + sum(self.inputs if checkpointing else self.layers)

    def working(self, checkpointing: bool = False) -> float:
        """What the peak has on top of `total`: gradients of the loss's tensors, or of half a layer's while it is run back;
        with checkpointing one layer at a time is computed again for that."""
        if checkpointing:
            return max(self.transient, (1 + WORKING) * max(self.layers))
        left, most = self.total(), self.total() + self.transient
        for layer in reversed(self.layers):
            most = max(most, left + WORKING * layer)
            left -= layer
        return most - self.total()


@dataclass(frozen=True)
class Sample:
    """One training sample: pixels (height, width), or tokens; labels: classes of the run's own head."""

    height: int = 224
    width: int = 224
    tokens: int = 1024
    labels: int = 1000
    amp: bool = True  # bfloat16 autocast

    @property
    def c(self) -> int:
        return 2 if self.amp else 4

    def read(self, readers: int) -> int:
        """Bytes an element of a float32 tensor that `readers` linear layers read: a copy each, or the tensor itself."""
        return 2 * readers if self.amp else 4

    @property
    def pixels(self) -> float:
        """The image, as the first convolution keeps it (in float32 it is the input itself, which counts too)."""
        return 3 * self.height * self.width * (4 + 2 * self.amp)

    def grid(self, stride: int) -> int:
        return math.ceil(self.height / stride) * math.ceil(self.width / stride)


def layout(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of a config.json that a formula reads: numbers, short texts and short lists of numbers; nothing else."""
    found = {key: config[key] for key in FORMULA_KEYS if _plain(config.get(key))}
    return found | {
        key: layout(config[key]) for key in NESTED if isinstance(config.get(key), dict) and config is not config[key]
    }


def _plain(value: Any) -> bool:
    if isinstance(value, list):
        return 0 < len(value) <= MAX_ITEMS and all(isinstance(item, (int, float)) for item in value)
    return isinstance(value, (int, float)) or (isinstance(value, str) and len(value) <= 60)


def count(model_type: str, shape: dict[str, Any], sample: Sample) -> Saved | None:
    """None: no formula for this architecture, or its config lacks what the formula reads."""
    formula = FORMULAS.get(model_type)
    try:
        return formula(ModelShape(shape, DEFAULTS.get(model_type, {})), sample) if formula else None
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError, OverflowError):
        return None


class ModelShape(dict):
    """Config values over the defaults of their class; a missing one is a KeyError."""

    def __init__(self, shape: dict[str, Any], defaults: dict[str, Any]):
        super().__init__({**defaults, **{key: value for key, value in shape.items() if value is not None}})


# -- blocks


def _attention(s: Sample, h: float, tokens: float) -> float:
    """Norm input, three copies to the projections, query, key, value, and the output that the last projection reads."""
    return tokens * h * (4 + s.read(3) + 4 * s.c)


def _mlp(s: Sample, h: float, m: float, tokens: float) -> float:
    """Norm input, its copy, then what GELU reads and what it gives."""
    return tokens * (h * (4 + s.read(1)) + 2 * s.c * m)


# -- image classification


def _vit(shape: ModelShape, s: Sample, extra_tokens: int = 1, scaled: bool = False) -> Saved:
    h, layers = shape["hidden_size"], shape["num_hidden_layers"]
    m = shape.get("intermediate_size") or h * shape.get("mlp_ratio", 4)
    tokens = s.grid(int(shape["patch_size"])) + extra_tokens
    layer = _attention(s, h, tokens) + _mlp(s, h, m, tokens)
    layer += 2 * s.c * h * tokens if scaled else 0  # a layer scale keeps what it multiplies
    return Saved([layer] * layers, [4.0 * h * tokens] * layers, s.pixels + 4 * h * tokens)


def _swin(shape: ModelShape, s: Sample) -> Saved:
    """Windowed attention with a bias, which some kernels pad: rougher than the others."""
    layers, other = [], s.pixels
    for stage, depth in enumerate(shape["depths"]):
        h, tokens = shape["embed_dim"] * 2**stage, s.grid(int(shape["patch_size"]) * 2**stage)
        layers += [_attention(s, h, tokens) + _mlp(s, h, h * shape["mlp_ratio"], tokens)] * depth
        other += tokens * h * (4 + s.c)  # patch merging: norm input and the copy that the reduction reads
    return Saved(layers, other=other)


def _convnext(shape: ModelShape, s: Sample, response_norm: bool = False) -> Saved:
    """A block at width h: convolution input, norm input (float32), then 4h wide: GELU in and out; layer scale's input. The
    second version has a response norm there instead of the scale, whose float32 product and output are kept too."""
    layers, other = [], s.pixels
    widths, stem = shape["hidden_sizes"], int(shape["patch_size"])
    wide = 4 * (3 * s.c + 4) if response_norm else 4 * 2 * s.c + s.c
    for stage, (h, depth) in enumerate(zip(widths, shape["depths"], strict=True)):
        pixels = s.grid(stem * 2**stage)
        layers += [pixels * h * (s.c + 4 + s.read(1) + wide)] * depth
        other += pixels * h * (4 + s.c)  # the norm before the next downsampling, and its convolution's input
    return Saved(layers, other=other)


def _bottleneck(s: Sample, into: int, out: int, pixels_in: float, pixels: float, basic: bool, shortcut: bool) -> float:
    """ResNet: each convolution's input is the ReLU before it; each batch norm keeps its own input."""
    kept = 2 * s.c * out * pixels  # the last norm's input, and the block's output
    if basic:
        kept += 2 * s.c * out * pixels
    else:
        kept += 2 * s.c * (out // 4) * (pixels_in + pixels)
    return kept + (s.c * out * pixels if shortcut else 0)


def _resnet(shape: ModelShape, s: Sample) -> Saved:
    stem, layers = shape["embedding_size"], []
    other = s.pixels + 2 * s.c * stem * s.grid(2) + (8 + s.c) * stem * s.grid(4)  # the pooling keeps int64 indices
    into, basic = stem, shape["layer_type"] == "basic"
    for stage, (out, depth) in enumerate(zip(shape["hidden_sizes"], shape["depths"], strict=True)):
        pixels, before = s.grid(4 * 2**stage), s.grid(4 * 2 ** max(stage - 1, 0))
        for block in range(depth):
            first = block == 0
            changed = first and (into != out or stage > 0)
            layers.append(_bottleneck(s, into, out, before if first else pixels, pixels, basic, changed))
            into = out
    return Saved(layers, other=other)


def _efficientnet(shape: ModelShape, s: Sample) -> Saved:
    """Each norm keeps its input, each SiLU its own; squeeze-and-excitation keeps what it scales."""

    def width(channels: int) -> int:
        divisor, scaled = shape["depth_divisor"], channels * shape["width_coefficient"]
        rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
        return rounded + divisor if rounded < 0.9 * scaled else rounded

    stride, layers = 2, []
    other = s.pixels + 3 * s.c * width(32) * s.grid(2)
    rows = zip(
        shape["in_channels"],
        shape["out_channels"],
        shape["strides"],
        shape["expand_ratios"],
        shape["num_block_repeats"],
        strict=True,
    )
    for into, out, step, ratio, repeats in rows:
        for block in range(math.ceil(repeats * shape["depth_coefficient"])):
            before = s.grid(stride)
            if block == 0:
                stride *= step
            wide, after = width(into if block == 0 else out) * ratio, s.grid(stride)
            expand = (3 if block == 0 and step > 1 else 2.0) * wide * before if ratio > 1 else 0.0
            # the depthwise convolution's input: padded anew where it strides, else SiLU's output
            depthwise = wide * before if ratio > 1 and not (block == 0 and step > 1) else 0.0
            layers.append(s.c * (expand + depthwise + 4 * wide * after + 2 * width(out) * after))
    top = width(1280)
    return Saved(layers, other=other + 3 * s.c * top * s.grid(stride))


# -- dense prediction


def _segformer(shape: ModelShape, s: Sample) -> Saved:
    layers, inputs, other = [], [], s.pixels
    for stage, (h, depth) in enumerate(zip(shape["hidden_sizes"], shape["depths"], strict=True)):
        tokens, m, reduced = s.grid(4 * 2**stage), h * shape["mlp_ratios"][stage], shape["sr_ratios"][stage] ** 2
        keys = h * tokens / reduced
        kept = tokens * h * (4 + s.read(1 if reduced > 1 else 3) + 2 * s.c) + 2 * s.c * keys
        if reduced > 1:  # keys and values come from a strided convolution with a norm of its own
            kept += s.c * h * tokens + keys * (4 + s.read(2))
        kept += tokens * (h * (4 + s.read(1)) + 3 * s.c * m)
        layers += [kept] * depth
        inputs += [4.0 * h * tokens] * depth
        other += tokens * h * (8 + 2 * s.c)
    wide, quarter = shape["decoder_hidden_size"], s.grid(4)
    other += (
        quarter * wide * s.c * (len(shape["depths"]) + 4)
    )  # all levels at a quarter of the size, then norm, ReLU, dropout
    logits = 4 * s.labels * s.height * s.width  # log-probabilities at full size; two gradients of that size come on top
    return Saved(layers, inputs, other + logits, 2.0 * logits)


def _detr(shape: ModelShape, s: Sample) -> Saved:
    """A ResNet-50 whose norms and first stage are frozen: ReLU outputs in float32, and copies for the convolutions; then the
    transformer over 1/32 of the image, and its queries."""
    backbone = ModelShape(
        shape.get("backbone_config") or {}, {"hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3]}
    )
    if "hidden_sizes" not in (shape.get("backbone_config") or {}) and "resnet101" in str(shape.get("backbone")):
        backbone["depths"] = [3, 4, 23, 3]
    relu, layers = 4 + 2 * s.amp, []
    for stage, (out, depth) in enumerate(zip(backbone["hidden_sizes"], backbone["depths"], strict=True)):
        pixels, before = s.grid(4 * 2**stage), s.grid(4 * 2 ** max(stage - 1, 0))
        if stage == 0:
            continue
        for block in range(depth):
            shortcut = 2 * s.amp * (out // 2) * before if block == 0 else 0.0
            layers.append(
                out // 4 * relu * ((before if block == 0 else pixels) + pixels) + out * relu * pixels + shortcut
            )
    h, tokens, queries = shape["d_model"], s.grid(32), shape["num_queries"]
    encoder = tokens * (h * (12 + s.read(4) + 6 * s.c) + s.c * shape["encoder_ffn_dim"])
    decoder = queries * (h * (12 + s.read(6) + 9 * s.c) + s.c * shape["decoder_ffn_dim"]) + 4 * s.c * h * tokens
    first = s.c * backbone["hidden_sizes"][0] * s.grid(4)
    return Saved(
        [*layers, *[encoder] * shape["encoder_layers"], *[decoder] * shape["decoder_layers"]],
        other=3 * 4 * s.height * s.width + first,
    )


# -- language models


def _llama(shape: ModelShape, s: Sample, normed_heads: bool = False) -> Saved:
    """RMSNorm keeps its input and its scaled input, both float32; SwiGLU keeps gate, its SiLU, up and their product."""
    h, m, layers = shape["hidden_size"], shape["intermediate_size"], shape["num_hidden_layers"]
    heads = shape["num_attention_heads"]
    head = shape.get("head_dim") or h // heads
    q, kv = heads * head, (shape.get("num_key_value_heads") or heads) * head
    layer = h * (8 + s.read(3)) + s.c * (2 * q + 2 * kv) + h * (8 + s.read(2)) + 4 * s.c * m
    layer += (q + kv) * (2 + 2 * s.c if s.amp else 8) if normed_heads else 0
    return _decoder(shape, s, layer, layers, h)


def _gpt2(shape: ModelShape, s: Sample) -> Saved:
    """GELU by its formula, in float32 where it takes a power: three such tensors of the wide layer beside its ends."""
    h, layers = shape["n_embd"], shape["n_layer"]
    m = shape.get("n_inner") or 4 * h
    layer = h * (8 + 2 * s.read(1) + 6 * s.c) + m * (12 + 2 * s.c)
    return _decoder(shape, s, layer, layers, h)


def _decoder(shape: ModelShape, s: Sample, layer: float, layers: int, h: int) -> Saved:
    vocab = shape["vocab_size"]
    log_probabilities = 4.0 * vocab * s.tokens  # two gradients of that size come on top when the loss is differentiated
    return Saved(
        [layer * s.tokens] * layers,
        [4.0 * h * s.tokens] * layers,
        h * (8 + s.read(1)) * s.tokens + log_probabilities,
        2 * log_probabilities,
    )


FORMULAS: dict[str, Callable[[ModelShape, Sample], Saved]] = {
    "vit": _vit,
    "deit": lambda shape, s: _vit(shape, s, extra_tokens=2),
    "dinov2": lambda shape, s: _vit(shape, s, scaled=True),
    "dinov2_with_registers": lambda shape, s: _vit(shape, s, extra_tokens=5, scaled=True),
    "swin": _swin,
    "convnext": _convnext,
    "convnextv2": lambda shape, s: _convnext(shape, s, response_norm=True),
    "resnet": _resnet,
    "efficientnet": _efficientnet,
    "segformer": _segformer,
    "detr": _detr,
    "llama": _llama,
    "mistral": _llama,
    "qwen2": _llama,
    "qwen3": lambda shape, s: _llama(shape, s, normed_heads=True),
    "smollm3": _llama,
    "gpt2": _gpt2,
}
_VIT = {"hidden_size": 768, "num_hidden_layers": 12, "patch_size": 16}
DEFAULTS: dict[str, dict[str, Any]] = {
    "vit": {**_VIT, "intermediate_size": 3072},
    "deit": {**_VIT, "intermediate_size": 3072},
    "dinov2": {**_VIT, "patch_size": 14, "mlp_ratio": 4},
    "dinov2_with_registers": {**_VIT, "patch_size": 14, "mlp_ratio": 4},
    "swin": {"embed_dim": 96, "depths": [2, 2, 6, 2], "patch_size": 4, "mlp_ratio": 4.0},
    "convnext": {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3], "patch_size": 4},
    "convnextv2": {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3], "patch_size": 4},
    "resnet": {"embedding_size": 64, "hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3], "layer_type": "bottleneck"},
    "efficientnet": {
        "in_channels": [32, 16, 24, 40, 80, 112, 192],
        "out_channels": [16, 24, 40, 80, 112, 192, 320],
        "strides": [1, 2, 2, 2, 1, 2, 1],
        "expand_ratios": [1, 6, 6, 6, 6, 6, 6],
        "num_block_repeats": [1, 2, 2, 3, 3, 4, 1],
        "width_coefficient": 2.0,
        "depth_coefficient": 3.1,
        "depth_divisor": 8,
    },
    "segformer": {
        "hidden_sizes": [32, 64, 160, 256],
        "depths": [2, 2, 2, 2],
        "sr_ratios": [8, 4, 2, 1],
        "mlp_ratios": [4, 4, 4, 4],
        "decoder_hidden_size": 256,
    },
    "detr": {
        "d_model": 256,
        "encoder_layers": 6,
        "decoder_layers": 6,
        "encoder_ffn_dim": 2048,
        "decoder_ffn_dim": 2048,
        "num_queries": 100,
    },
}  # fmt: skip
CHECKPOINTABLE = frozenset(FORMULAS) - {
    "convnext",
    "convnextv2",
    "resnet",
    "efficientnet",
}  # supports_gradient_checkpointing
