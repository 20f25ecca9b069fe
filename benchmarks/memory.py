"""Predicted and measured peak memory of real training steps, for models of four tasks at their real sizes.

    PYTHONPATH=server python benchmarks/memory.py train OUT [--only NAME ...]   on a GPU: writes OUT/memory.json and OUT/memory.md
    PYTHONPATH=server python benchmarks/memory.py count OUT [--only NAME ...]   no GPU, no storage: what the backward pass keeps

Models are built from their configs with random weights and fed synthetic tensors, three steps in bfloat16 autocast with float32
weights and fused AdamW, as the Trainer does it; nothing is downloaded. Needs torch and transformers, not the server: only
tunegate.hardware.fit and tunegate.tasks.activations, which import nothing. `train --tiny` runs small shapes on the CPU to try the script out.

`count` runs each model on the meta device under autocast's rules for CUDA and adds up the tensors that autograd saves: the
source of the formulas in tunegate.tasks.activations.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
import transformers.masking_utils
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from tunegate.hardware import fit
from tunegate.tasks import activations

STEPS = 3
SCENES = 104  # FoodSeg103 and its background


@dataclass(frozen=True)
class Case:
    """kind: classes, boxes, masks or tokens. size: (height, width), or tokens. batches: each is measured."""

    task: str
    model: Callable[[], torch.nn.Module]
    kind: str
    size: tuple[int, ...] = (224, 224)
    batches: tuple[int, ...] = (32, 128)
    labels: int = 1000
    accumulation: int = 1
    checkpointing: bool = False

    @property
    def sample(self) -> activations.Sample:
        if self.kind == "tokens":
            return activations.Sample(tokens=self.size[0])
        return activations.Sample(*self.size, labels=self.labels)


def _classifier(name: str, **config: Any) -> Callable[[], torch.nn.Module]:
    return lambda: _make(f"{name}ForImageClassification", f"{name}Config", num_labels=1000, **config)


def _make(model: str, config: str, **values: Any) -> torch.nn.Module:
    return getattr(transformers, model)(getattr(transformers, config)(**values))


def _segformer(**config: Any) -> Callable[[], torch.nn.Module]:
    return lambda: _make("SegformerForSemanticSegmentation", "SegformerConfig", num_labels=SCENES, **config)


def _detr() -> torch.nn.Module:
    """As the published one: stem and first stage frozen, which its own rule does only with names of timm."""
    config = transformers.DetrConfig(backbone_config=transformers.ResNetConfig(), use_timm_backbone=False, num_labels=5)
    model = transformers.DetrForObjectDetection(config)
    for name, parameter in model.named_parameters():
        if "backbone" in name:
            parameter.requires_grad_(any(f"stages.{stage}." in name for stage in (1, 2, 3)))
    return model


def _decoder(name: str, **config: Any) -> Callable[[], torch.nn.Module]:
    head = "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM"
    return lambda: _make(head, f"{name}Config", tie_word_embeddings=True, use_cache=False, **config)


IMAGES, BOXES, MASKS, TEXT = "image-classification", "object-detection", "semantic-segmentation", "text-generation"
B0 = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280, "image_size": 224}
B2 = {"depths": [3, 4, 6, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768}
SMOLLM = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
}
QWEN = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
}
SMOL = _decoder("Llama", **SMOLLM)
CASES: dict[str, Case] = {
    "convnext-tiny": Case(IMAGES, _classifier("ConvNext"), "classes"),
    "vit-base": Case(IMAGES, _classifier("ViT"), "classes"),
    "vit-base, accumulation 2": Case(IMAGES, _classifier("ViT"), "classes", batches=(32,), accumulation=2),
    "dinov2-base": Case(IMAGES, _classifier("Dinov2"), "classes", batches=(32,)),
    "swin-tiny": Case(IMAGES, _classifier("Swin"), "classes", batches=(64,)),
    "resnet-50": Case(IMAGES, _classifier("ResNet"), "classes"),
    "efficientnet-b0": Case(IMAGES, _classifier("EfficientNet", **B0), "classes", batches=(64,)),
    "convnextv2-tiny": Case(IMAGES, _classifier("ConvNextV2"), "classes", batches=(32,)),
    "detr-resnet-50": Case(BOXES, _detr, "boxes", (480, 640), (4, 16), labels=5),
    "segformer-b0": Case(MASKS, _segformer(), "masks", (512, 512), (8, 32), labels=SCENES),
    "segformer-b2": Case(MASKS, _segformer(**B2), "masks", (512, 512), (8,), labels=SCENES),
    "smollm2-135m": Case(TEXT, SMOL, "tokens", (1024,), (4, 16)),
    "smollm2-135m, checkpointing": Case(TEXT, SMOL, "tokens", (1024,), (16,), checkpointing=True),
    "qwen2.5-0.5b": Case(TEXT, _decoder("Qwen2", **QWEN), "tokens", (1024,), (4,)),
    "gpt2": Case(TEXT, _decoder("GPT2"), "tokens", (1024,), (4,)),
}  # fmt: skip
TINY: dict[str, Case] = {  # the same code on a CPU in seconds
    "convnext-tiny": Case(IMAGES, _classifier("ConvNext", hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1]), "classes", (64, 64), (2,)),
    "segformer-b0": Case(MASKS, _segformer(), "masks", (64, 64), (2,), labels=SCENES),
    "detr-resnet-50": Case(BOXES, _detr, "boxes", (64, 96), (1,), labels=5),
    "smollm2-135m, checkpointing": Case(
        TEXT, _decoder("Llama", **{**SMOLLM, "num_hidden_layers": 2, "vocab_size": 500}), "tokens", (32,), (2,), checkpointing=True
    ),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "count"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="names of cases, as the table prints them")
    parser.add_argument("--tiny", action="store_true", help="small shapes, on the CPU where there is no GPU")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    cases = TINY if options.tiny else CASES
    cases = {name: case for name, case in cases.items() if not options.only or name in options.only}
    if options.what == "train" and not (torch.cuda.is_available() or options.tiny):
        parser.error("no GPU here: `count` needs none, `train --tiny` tries the script out on a CPU")
    rows = train_all(cases) if options.what == "train" else count_all(cases)
    report = {"what": options.what, **machine(), "rows": rows}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "memory.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "memory.md").write_text(table(rows) + "\n")
    print(table(rows))
    return 0


def machine() -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"gpu": gpu, "torch": torch.__version__, "transformers": transformers.__version__}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown. GB are 1e9 bytes; a case that failed says why in its last cell."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(str(row.get(key, "")) for key in columns) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def facts_of(model: torch.nn.Module) -> dict[str, Any]:
    """What probe_model would know of it."""
    config = model.config.to_dict()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"model_type": config["model_type"], "parameters": parameters, "layout": activations.layout(config)}


# -- train: measured on a device


def train_all(cases: dict[str, Case]) -> list[dict[str, Any]]:
    rows = []
    for name, case in cases.items():
        for batch in case.batches:
            began, row = time.monotonic(), {"model": name, "task": case.task, "batch": batch}
            try:
                row |= train(case, batch)
            except Exception as error:  # one model that this transformers cannot build must not cost the others
                row |= {"failed": f"{type(error).__name__}: {error}"[:200].replace("\n", " ")}
            row["seconds"] = round(time.monotonic() - began, 1)
            rows.append(row)
            print(json.dumps(row), flush=True)
            release()
    return rows


def release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def train(case: Case, batch: int) -> dict[str, Any]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = case.model().train()
        inputs = make_inputs(case, batch)
    if case.checkpointing:
        model.gradient_checkpointing_enable()
    facts = facts_of(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=device == "cuda")
    before = torch.cuda.memory_allocated() if device == "cuda" else 0
    for _ in range(STEPS):
        for _ in range(case.accumulation):
            step(model, inputs, device)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    plan = fit.Plan(batch=batch, accumulation=case.accumulation, checkpointing=case.checkpointing, sample=case.sample)
    expected = fit.estimate(facts, plan)
    row = {"parameters_m": round(facts["parameters"] / 1e6, 1), "predicted_gb": round(expected.allocated_gb, 2)}
    return row | (measured(expected, before) if device == "cuda" else {})


def step(model: torch.nn.Module, inputs: dict[str, Any], device: str) -> None:
    with torch.autocast(device, torch.bfloat16):
        loss = loss_of(model, inputs)
    loss.backward()


def loss_of(model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
    """The model's own, or for a detector, whose matching needs scipy, the mean of what it gives: it keeps as much."""
    given = model(**inputs)
    return given.loss if "labels" in inputs else given.logits.float().mean() + given.pred_boxes.float().mean()


def measured(expected: fit.Estimate, before: int) -> dict[str, Any]:
    """before: bytes of weights and inputs alone. outside_gb: what the device has in use beyond the allocator: the CUDA context."""
    peak, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    free, total = torch.cuda.mem_get_info()
    outside = total - free - torch.cuda.memory_reserved()
    return {
        "measured_gb": round(peak / 1e9, 2),
        "predicted/measured": round(expected.allocated_gb * 1e9 / peak, 3),
        "reserved_gb": round(reserved / 1e9, 2),
        "outside_gb": round(outside / 1e9, 2),
        "needed_predicted_gb": round(expected.needed_gb, 2),
        "needed/used": round(expected.needed_gb * 1e9 / (reserved + outside), 3),
        "weights_inputs_gb": round(before / 1e9, 2),
        "terms_gb": expected.terms_gb,
    }


def make_inputs(case: Case, batch: int) -> dict[str, Any]:
    """On the default device."""
    if case.kind == "tokens":
        ids = torch.randint(0, 400, (batch, *case.size))
        return {"input_ids": ids, "labels": ids.clone()}
    inputs = {"pixel_values": torch.randn(batch, 3, *case.size)}
    if case.kind == "boxes":
        return {**inputs, "pixel_mask": torch.ones(batch, *case.size, dtype=torch.long)}
    shape = (batch, *case.size) if case.kind == "masks" else (batch,)
    return {**inputs, "labels": torch.randint(0, case.labels, shape)}


# -- count: what autograd saves, on the meta device


LOWER = {
    F.linear,
    torch.conv1d,
    torch.conv2d,
    F.conv1d,
    F.conv2d,
    F.conv_transpose2d,
    torch.matmul,
    torch.Tensor.matmul,
}
LOWER |= {torch.Tensor.__matmul__, torch.bmm, torch.Tensor.bmm, torch.addmm, torch.baddbmm, torch.einsum}
RAISED = {
    F.layer_norm,
    torch.layer_norm,
    F.group_norm,
    torch.group_norm,
    F.softmax,
    torch.softmax,
    torch.Tensor.softmax,
}
RAISED |= {F.log_softmax, F.cross_entropy, F.nll_loss, torch.pow, torch.Tensor.pow, torch.Tensor.__pow__, torch.rsqrt}
RAISED |= {torch.Tensor.rsqrt, torch.Tensor.exp, torch.Tensor.log, torch.sum, torch.Tensor.sum, torch.norm}


class FlashAttention(torch.autograd.Function):
    """Keeps query, key, value and output, as the fused kernels do."""

    @staticmethod
    def forward(ctx, query, key, value):
        batch, heads, tokens, _ = query.shape
        out = query.new_empty(batch, tokens, heads, value.shape[-1]).transpose(1, 2)
        ctx.save_for_backward(query, key, value, out)
        return out


class Autocast(TorchFunctionMode):
    """CUDA's autocast lists, for the meta device, which has none of its own. Weights are cast once and kept, as there."""

    def __init__(self, dtype: torch.dtype | None):
        super().__init__()
        self.dtype, self.copies = dtype, {}

    def lowered(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(self.lowered(item) for item in value)
        if self.dtype is None or not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
            return value
        if not (value.is_leaf and value.requires_grad):
            return value.to(self.dtype)
        if id(value) not in self.copies:
            self.copies[id(value)] = value.to(self.dtype)
        return self.copies[id(value)]

    def raised(self, value: Any) -> Any:
        return value.float() if isinstance(value, torch.Tensor) and value.dtype == self.dtype else value

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.Tensor.all, torch.Tensor.any):  # no values here: all finite, nothing masked
            return func is torch.Tensor.all
        if func is F.scaled_dot_product_attention:
            named = [*args, *(kwargs[name] for name in ("query", "key", "value") if name in kwargs)][:3]
            with torch._C.DisableTorchFunction():
                return FlashAttention.apply(*(self.lowered(value) for value in named))
        if func is torch.linalg.vector_norm and self.dtype:  # its result is float32, what it reads is not cast
            kwargs = {**kwargs, "dtype": torch.float32}
        change = self.lowered if func in LOWER else self.raised if func in RAISED else None
        if change:
            args, kwargs = [change(item) for item in args], {name: change(item) for name, item in kwargs.items()}
        return func(*args, **kwargs)


def count_all(cases: dict[str, Case]) -> list[dict[str, Any]]:
    rows = []
    for name, case in cases.items():
        if case.checkpointing or case.accumulation > 1:
            continue
        for dtype in (torch.bfloat16, None):
            counted, facts = saved_bytes(case, dtype)
            sample = replace(case.sample, amp=dtype is not None)
            formula = activations.count(facts["model_type"], facts["layout"], sample)
            row = {"model": name, "task": case.task, "compute": "bfloat16" if dtype else "float32"}
            row |= {"counted_mb": round(counted / 1e6, 1), "formula_mb": round(formula.total() / 1e6, 1)}
            rows.append(row | {"formula/counted": round(formula.total() / counted, 3)})
    return rows


def saved_bytes(case: Case, dtype: torch.dtype | None, batch: int = 4) -> tuple[float, dict[str, Any]]:
    """(bytes a sample that autograd saves, beside weights and their copies; the model's facts)."""
    transformers.masking_utils._ignore_bidirectional_mask_sdpa = lambda *args, **kwargs: (
        True
    )  # a mask of ones is dropped
    with torch.device("meta"):
        model, inputs = case.model().train(), make_inputs(case, batch)
        weights = {t.untyped_storage()._cdata for t in [*model.parameters(), *model.buffers()]}
        kept: dict[int, torch.UntypedStorage] = {}
        mode = Autocast(dtype)

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in weights:
                kept[storage._cdata] = storage  # held, so that no other storage gets its address
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), mode:
            loss_of(model, inputs)
        copies = {copy.untyped_storage()._cdata for copy in mode.copies.values()}
    return sum(s.nbytes() for address, s in kept.items() if address not in copies) / batch, facts_of(model)


if __name__ == "__main__":
    raise SystemExit(main())
