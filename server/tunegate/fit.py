"""Does a training fit the memory there is: an estimate with its terms shown, and the batch that would.

The estimate is for planning; what counts is what the smoke stage measures (verdicts/training.py compares the two). GB are 1e9 bytes.
Nothing but the standard library: benchmarks/memory.py imports this where the server is not installed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from tunegate import activations
from tunegate.activations import Sample

LORA_SHARE = 0.6  # bfloat16 weights above this share of a GPU: recommend LoRA
FULL_BYTES = {"weights": 4, "gradients": 4, "optimizer": 8}  # float32 weights, AdamW with two float32 moments
ADAPTER_SHARE = 0.01  # adapters of rank 16 on every linear layer, of the base model's parameters
NF4_BYTES = 0.516  # 4 bits and their doubly quantised scales (QLoRA, arXiv 2305.14314, section 3)
# On an H100 (benchmarks/memory.md): what the driver takes for a process; what cuBLAS, cuDNN and inputs take of the allocator; the
# share that the allocator reserves and does not use.
CONTEXT_GB, WORKSPACE_GB, SLACK = 0.82, 0.1, 0.1
CPU_GB = 0.7  # Python with torch, transformers and datasets loaded
TERMS = (
    "weights",
    "gradients",
    "optimizer",
    "bf16_copies",
    "ddp_buckets",
    "activations",
    "working",
    "workspace",
    "overhead",
)
TIGHT = 0.9
ROOMY = 0.5
DEFAULT_BATCH, DEFAULT_TOKENS, DEFAULT_PIXELS = 8, 1024, 224
TEXT = ("text-generation", "image-text-to-text")


@dataclass(frozen=True)
class Plan:
    """How a model would be trained. gpus: 0 is the CPU, in float32. batch: of one device, in one forward pass."""

    method: str = "full"
    batch: int = DEFAULT_BATCH
    accumulation: int = 1
    gpus: int = 1
    checkpointing: bool = False
    sample: Sample = field(default_factory=Sample)


@dataclass
class Estimate:
    """terms_gb: those of TERMS that there are. allocated_gb: their peak, which is less than their sum, because gradients
    grow while activations shrink. needed_gb: with what the libraries take outside the allocator. per_sample_gb: of
    activations, None where no formula knows them (then the other two are without them)."""

    terms_gb: dict[str, float]
    allocated_gb: float
    needed_gb: float
    per_sample_gb: float | None


@dataclass
class Fit:
    verdict: str
    terms_gb: dict[str, float]
    needed_gb: float | None = None
    room_gb: float | None = None
    recommend: str | None = None  # "lora": to be asked for, never switched on
    notes: list[str] = field(default_factory=list)


def estimate(model: dict[str, Any], plan: Plan) -> Estimate:
    """model: probe_model's facts: parameters, model_type, layout. What plan.batch samples need on one device."""
    terms = _states(model, plan)
    saved = activations.count(model.get("model_type") or "", model.get("layout") or {}, plan.sample)
    checkpointing = plan.checkpointing and model.get("model_type") in activations.CHECKPOINTABLE
    if saved:
        terms["activations"] = plan.batch * saved.total(checkpointing) / 1e9
        terms["working"] = plan.batch * saved.working(checkpointing) / 1e9
    flowing = sum(terms.get(name, 0.0) for name in ("bf16_copies", "activations", "working"))
    gradients = terms["gradients"]
    # in the first pass of a step there are no gradients yet while all activations are kept
    moving = flowing + gradients if plan.accumulation > 1 else max(flowing, gradients)
    allocated = terms["weights"] + terms["optimizer"] + terms.get("ddp_buckets", 0.0) + moving
    if plan.gpus:
        terms["workspace"] = WORKSPACE_GB
        allocated += WORKSPACE_GB
    terms["overhead"] = CONTEXT_GB + SLACK * allocated if plan.gpus else CPU_GB
    return Estimate(
        terms_gb={name: round(terms[name], 3) for name in TERMS if name in terms},
        allocated_gb=allocated,
        needed_gb=allocated + terms["overhead"],
        per_sample_gb=(saved.total(checkpointing) + saved.working(checkpointing)) / 1e9 if saved else None,
    )


def _states(model: dict[str, Any], plan: Plan) -> dict[str, float]:
    """GB of weights, gradients, optimizer states, and of what autocast and DDP copy."""
    total = (model.get("parameters") or 0) / 1e9
    shape = model.get("layout") or {}
    embedding = shape.get("vocab_size", 0) * (shape.get("hidden_size") or shape.get("n_embd") or 0) / 1e9
    if plan.method == "full":
        terms = {name: size * total for name, size in FULL_BYTES.items()}
        if plan.gpus:  # autocast's bfloat16 copies of the weights; an embedding that is only looked up in needs none
            terms["bf16_copies"] = 2 * (total - (embedding if shape.get("tie_word_embeddings") is False else 0.0))
        trained = total
    else:
        trained = ADAPTER_SHARE * total
        base = 2 * total if plan.method != "qlora" else NF4_BYTES * max(total - embedding, 0) + 2 * embedding
        terms = {"weights": base + 4 * trained, "gradients": 4 * trained, "optimizer": 8 * trained}
    if plan.gpus > 1:
        terms["ddp_buckets"] = 4 * trained  # DistributedDataParallel keeps a second copy of the gradients to reduce
    return terms


def plan_of(config: Any, model: dict[str, Any], defaults: dict[str, Any]) -> Plan:
    """config: RunConfig; defaults: the scaffold's training values, for what is not decided yet."""

    def value(key: str, otherwise: int) -> int:
        return getattr(config, key) or defaults.get(key) or otherwise

    extra = config.training_arguments
    return Plan(
        method="lora" if config.adapted else "qlora" if config.training_method == "qlora" else "full",
        batch=value("per_device_train_batch_size", DEFAULT_BATCH),
        accumulation=value("gradient_accumulation_steps", 1),
        gpus=config.gpu_count or 0,
        checkpointing=bool(extra.get("activation_checkpointing") or extra.get("gradient_checkpointing")),
        sample=_sample(config, model),
    )


def _sample(config: Any, model: dict[str, Any]) -> Sample:
    labels = len(config.class_names) or model.get("num_labels") or 2
    height, width = _pixels(config.image_size, model)
    return Sample(height, width, DEFAULT_TOKENS, labels, amp=bool(config.gpu_count))


def _pixels(asked: int | None, model: dict[str, Any]) -> tuple[int, int]:
    """(height, width) that the image processor makes; where it keeps the aspect ratio, the largest it allows."""
    if asked:
        return asked, asked
    processor = model.get("processor") or {}
    for size in (processor.get("crop_size"), processor.get("size"), model.get("image_size")):
        if isinstance(size, dict) and size.get("height") and size.get("width"):
            return int(size["height"]), int(size["width"])
        if isinstance(size, dict) and size.get("shortest_edge"):
            short = int(size["shortest_edge"])
            return short, int(size.get("longest_edge") or short)
        if isinstance(size, int) and size:
            return size, size
        if isinstance(size, list) and len(size) == 2:
            return int(size[0]), int(size[1])
    return DEFAULT_PIXELS, DEFAULT_PIXELS


def room_gb(host: dict[str, Any]) -> tuple[float, str]:
    """(GB that a training may use on one device, what they are). Free GPU memory decides, not what the GPU was sold with."""
    total, free = host.get("vram_gb_per_gpu"), host.get("free_vram_gb")
    if not host.get("gpu_count") or not total:
        return host["memory_gb"], "memory"
    if free is None:
        return total, "GPU memory"
    return free, f"free GPU memory (of {total} GB)"


def judge(model: dict[str, Any], host: dict[str, Any], config: Any, defaults: dict[str, Any]) -> Fit:
    """The verdict at the planned batch; `does not fit` is said only where no batch would."""
    room, what = room_gb(host)
    if not model.get("parameters"):
        return Fit(
            "unknown: the repository declares no parameter count; smoke will show whether it fits", {}, room_gb=room
        )
    plan = plan_of(config, model, defaults)
    found, least = estimate(model, plan), _least(model, plan)
    fit = Fit("", found.terms_gb, round(found.needed_gb, 2), room)
    of = f"{found.needed_gb:.2f} GB at a batch of {plan.batch} against {room} GB of {what}"
    if found.per_sample_gb is None:
        of = f"{found.needed_gb:.2f} GB of states against {room} GB of {what}"
        fit.notes.append(
            f"no formula for the activations of {model.get('model_type')!r}: they come on top, smoke measures them"
        )
    if least.needed_gb > room:
        fit.verdict = (
            f"does not fit: {least.needed_gb:.1f} GB at a batch of 1 against {room} GB of {what}: choose a smaller model, or a "
            "machine with more memory"
        )
    elif found.needed_gb > TIGHT * room:
        fit.verdict = f"tight: {of}"
        fit.notes += _smaller(plan, found, room)
    else:
        fit.verdict = f"fits: {of}"
    _recommend_lora(fit, model, plan, host, least.needed_gb > room)
    return fit


def _least(model: dict[str, Any], plan: Plan) -> Estimate:
    return estimate(model, replace(plan, batch=1))


def _smaller(plan: Plan, found: Estimate, room: float) -> list[str]:
    if found.per_sample_gb is None:
        return ["activations come on top: if smoke runs out of memory, its diagnosis names the smaller batch"]
    each = found.per_sample_gb * (1 + SLACK if plan.gpus else 1)
    fixed = found.needed_gb - plan.batch * each
    batch, accumulation = split(plan.batch, plan.accumulation, int((TIGHT * room - fixed) / each))
    if batch == plan.batch:
        return []
    return [
        f"per_device_train_batch_size {batch} with gradient_accumulation_steps {accumulation} is the same effective batch in "
        "less memory (render_project overrides); smoke measures"
    ]


def split(batch: int, accumulation: int, at_most: int) -> tuple[int, int]:
    """(batch, accumulation) with the same product, the batch the largest that divides it and is at most `at_most` (or 1)."""
    effective = batch * accumulation
    found = max((b for b in range(1, min(effective, max(1, at_most)) + 1) if effective % b == 0), default=1)
    return found, effective // found


def in_fewer_passes(model: dict[str, Any], host: dict[str, Any], plan: Plan) -> tuple[int, int, str] | None:
    """(batch, accumulation, note) of the same effective batch in fewer passes, where half of a GPU holds that; else None.

    A small batch keeps a fast GPU waiting for Python: a recipe's accumulation is its author's GPU's, not this one's.
    """
    if not plan.gpus or plan.accumulation == 1 or not model.get("parameters"):
        return None
    room, what = room_gb(host)
    effective = plan.batch * plan.accumulation
    for batch in (b for b in range(effective, plan.batch, -1) if effective % b == 0):
        found = estimate(model, replace(plan, batch=batch, accumulation=effective // batch))
        if found.per_sample_gb is not None and found.needed_gb <= ROOMY * room:
            note = (
                f"per_device_train_batch_size {plan.batch} -> {batch}, gradient_accumulation_steps {plan.accumulation} -> "
                f"{effective // batch}: the same effective batch in fewer passes, about {found.needed_gb:.1f} GB of {room} GB of {what}"
            )
            return batch, effective // batch, note
    return None


def _recommend_lora(fit: Fit, model: dict[str, Any], plan: Plan, host: dict[str, Any], too_large: bool) -> None:
    """Full training that is out of reach, or bfloat16 weights over 60 % of a GPU."""
    total = host.get("vram_gb_per_gpu") if host.get("gpu_count") else None
    weights = 2 * model["parameters"] / 1e9
    if plan.method != "full" or not total or not (too_large or weights > LORA_SHARE * total):
        return
    fit.recommend = "lora"
    why = f"the weights alone take {weights:.1f} GB in bfloat16, of {total} GB"
    needs = {name: estimate(model, replace(plan, method=name, batch=1)).needed_gb for name in ("lora", "qlora")}
    fit.notes.append(
        f"{why}: LoRA is recommended ({needs['lora']:.1f} GB at a batch of 1; QLoRA {needs['qlora']:.1f} GB). Ask the user: "
        "training_method is changed with their approval only"
    )


@dataclass(frozen=True)
class Measured:
    """What a measured peak asks for. split: (batch, accumulation) of the same effective batch that is expected to fit."""

    over: bool = False
    split: tuple[int, int] | None = None
    note: str | None = None


def weigh(plan: Plan, peak_gb: float, room: float, fixed_gb: float | None) -> Measured:
    """peak_gb: measured at plan.batch. fixed_gb: the part of it that does not grow with the batch, as predicted; None where
    nothing was predicted, and halving is the answer."""
    if peak_gb > TIGHT * room:
        known = fixed_gb is not None and 0 < fixed_gb < peak_gb
        at_most = int((TIGHT * room - fixed_gb) * plan.batch / (peak_gb - fixed_gb)) if known else plan.batch // 2
        found = split(plan.batch, plan.accumulation, min(at_most, plan.batch - 1)) if plan.batch > 1 else None
        smaller = (
            f"; per_device_train_batch_size {found[0]} with gradient_accumulation_steps {found[1]} takes less"
            if found
            else ""
        )
        over = peak_gb > room
        how = "is above" if over else "is close to"
        return Measured(
            over, found, f"peak memory of training, {peak_gb:.2f} GB, {how} the {room:.2f} GB there are{smaller}"
        )
    if peak_gb < ROOMY * room:
        more = split(plan.batch, plan.accumulation, int(plan.batch * ROOMY * room / peak_gb))
        if more[0] > plan.batch:
            offer = (
                f"per_device_train_batch_size {more[0]} with gradient_accumulation_steps {more[1]} (render_project overrides) would "
                "be the same training, faster"
            )
        else:
            offer = "a larger batch would fit, but is another training: ask the user"
        return Measured(note=f"peak memory of training {peak_gb:.2f} GB of {room:.2f} GB: {offer}; nothing was changed")
    return Measured()
