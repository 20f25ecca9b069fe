"""Does a training fit the memory there is: an estimate with its terms shown, and the batch that would.

The estimate is for planning; what counts is what the smoke stage measures (verdicts/training.py compares the two). GB are 1e9 bytes.
Nothing but the standard library: benchmarks/memory.py imports this where the server is not installed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tunegate.tasks import activations
from tunegate.tasks.activations import Sample

LORA_SHARE = 0.6  # bfloat16 weights above this share of a GPU: recommend LoRA
FULL_BYTES = {"weights": 4, "gradients": 4, "optimizer": 8}  # float32 weights, AdamW with two float32 moments
ADAPTER_SHARE, ADAPTER_RANK = 0.01, 16  # adapters of rank 16 on every linear layer, of the base model's parameters
NF4_BYTES = 0.516  # 4 bits and their doubly quantized scales (QLoRA, arXiv 2305.14314, section 3)
# On an H100 (benchmarks/memory.md): what the driver takes for a process; what cuBLAS, cuDNN and inputs take of the allocator; the
# share that the allocator reserves and does not use.
CONTEXT_GB, WORKSPACE_GB, ESTIMATE_SLACK = 0.82, 0.1, 0.1
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
WITH_LORA = ("text-generation", "image-text-to-text")  # the tasks whose scaffolds train an adapter
UNIVERSAL, UNIVERSAL_PIXELS = ("instance-segmentation", "panoptic-segmentation"), 512  # as their model.py resizes
Code = Literal["fits", "tight", "too_large", "unknown"]


@dataclass(frozen=True)
class Plan:
    """How a model would be trained. gpus: 0 is the CPU, in float32. batch: of one device, in one forward pass."""

    method: str = "full"
    lora_r: int = ADAPTER_RANK
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
    """verdict: a sentence for people; code: the same for programs. would_fit: what to change, the smallest change first."""

    code: Code
    verdict: str
    terms_gb: dict[str, float]
    needed_gb: float | None = None
    room_gb: float | None = None
    recommend: str | None = None  # "lora": to be asked for, never switched on
    would_fit: list[str] = field(default_factory=list)
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
    terms["overhead"] = CONTEXT_GB + ESTIMATE_SLACK * allocated if plan.gpus else CPU_GB
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
        if (
            plan.gpus and plan.sample.amp
        ):  # autocast's bfloat16 copies of the weights; an embedding that is only looked up in needs none
            terms["bf16_copies"] = 2 * (total - (embedding if shape.get("tie_word_embeddings") is False else 0.0))
        trained = total
    else:
        trained = ADAPTER_SHARE * total * plan.lora_r / ADAPTER_RANK
        frozen = 2 if plan.gpus else 4  # bytes: a GPU holds the frozen weights in bfloat16, a CPU in float32
        base = frozen * total if plan.method != "qlora" else NF4_BYTES * max(total - embedding, 0) + 2 * embedding
        terms = {"weights": base + 4 * trained, "gradients": 4 * trained, "optimizer": 8 * trained}
    if plan.gpus > 1:
        terms["ddp_buckets"] = 4 * trained  # DistributedDataParallel keeps a second copy of the gradients to reduce
    return terms


def plan_of(config: Any, model: dict[str, Any], defaults: dict[str, Any]) -> Plan:
    """config: RunConfig; defaults: render.plan_defaults, which is what the scaffold trains with where config is silent."""

    def value(key: str, otherwise: int) -> int:
        return getattr(config, key) or defaults.get(key) or otherwise

    return Plan(
        method="lora" if config.adapted else "qlora" if config.training_method == "qlora" else "full",
        lora_r=config.lora_r,
        batch=value("per_device_train_batch_size", DEFAULT_BATCH),
        accumulation=value("gradient_accumulation_steps", 1),
        gpus=config.gpu_count or 0,
        checkpointing=_checkpointing(config, defaults),
        sample=_sample(config, model, value("max_length", DEFAULT_TOKENS)),
    )


def _checkpointing(config: Any, defaults: dict[str, Any]) -> bool:
    """As train.py is rendered: training_arguments first, then what the scaffold switches on where there is a GPU."""
    for name in ("activation_checkpointing", "gradient_checkpointing"):
        if name in config.training_arguments:
            return bool(config.training_arguments[name])
    return bool(config.gpu_count and defaults.get("activation_checkpointing"))


def _sample(config: Any, model: dict[str, Any], tokens: int) -> Sample:
    labels = len(config.class_names) or model.get("num_labels") or 2
    height, width = _pixels(config.image_size, model, config.task)
    sequences = 2 if config.training_method == "dpo" else 1  # the chosen and the rejected answer, in one pass
    given = [config.training_arguments[name] for name in ("bf16", "fp16") if name in config.training_arguments]
    amp = any(given) if given else bool(config.gpu_count)
    return Sample(height, width, sequences * tokens, labels, amp=amp)


def _pixels(asked: int | None, model: dict[str, Any], task: str | None = None) -> tuple[int, int]:
    """(height, width) that the image processor makes; where it keeps the aspect ratio, the largest it allows."""
    processor = model.get("processor") or {}
    if task in UNIVERSAL:
        asked = asked or model.get("image_size") or UNIVERSAL_PIXELS
    if isinstance(asked, int):
        keeps_ratio = task == "object-detection" and "shortest_edge" in _dict(processor.get("size"))
        return asked, asked * 5 // 3 if keeps_ratio else asked
    for size in (asked, processor.get("crop_size"), processor.get("size"), model.get("image_size")):
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


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def room_gb(host: dict[str, Any]) -> tuple[float, str]:
    """(GB that a training may use on one device, what they are). Free GPU memory decides, not what the GPU was sold with."""
    total, free = host.get("vram_gb_per_gpu"), host.get("free_vram_gb")
    if not host.get("gpu_count") or not total:
        return host["memory_gb"], "memory"
    if free is None:
        return total, "GPU memory"
    return free, f"free GPU memory (of {total} GB)"


def judge(model: dict[str, Any], host: dict[str, Any], config: Any, defaults: dict[str, Any]) -> Fit:
    """The verdict at the planned batch; `too_large` is said only where no batch would fit."""
    room, what = room_gb(host)
    if not model.get("parameters"):
        says = "unknown: the repository declares no parameter count; smoke will show whether it fits"
        return Fit("unknown", says, {}, room_gb=room)
    plan = plan_of(config, model, defaults)
    found, least = estimate(model, plan), _least(model, plan)
    fit = Fit("fits", "", found.terms_gb, round(found.needed_gb, 2), room)
    of = f"{found.needed_gb:.2f} GB at a batch of {plan.batch} against {room} GB of {what}"
    if found.per_sample_gb is None:
        of = f"{found.needed_gb:.2f} GB of states against {room} GB of {what}"
        fit.notes.append(
            f"no formula for the activations of {model.get('model_type')!r}: they come on top, smoke measures them"
        )
    if least.needed_gb > room:
        fit.code = "too_large"
        fit.verdict = f"does not fit: {least.needed_gb:.1f} GB at a batch of 1 against {room} GB of {what}"
    elif found.needed_gb > TIGHT * room:
        fit.code, fit.verdict = "tight", f"tight: {of}"
    else:
        fit.verdict = f"fits: {of}"
    if fit.code in ("tight", "too_large"):
        fit.would_fit = _would_fit(model, plan, config, room)
    if fit.code == "tight" and found.per_sample_gb is None:
        fit.notes.append("activations come on top: if smoke runs out of memory, its diagnosis names the smaller batch")
    if fit.code == "too_large" and not fit.would_fit:
        fit.notes.append("nothing that this version renders would fit: a smaller model, or a machine with more memory")
    _recommend_lora(fit, model, plan, host, config)
    return fit


def _would_fit(model: dict[str, Any], plan: Plan, config: Any, room: float) -> list[str]:
    """What fits into the room, as render_project's overrides, in this order: a smaller batch, checkpointing, LoRA.

    Each with the largest batch that fits and the same effective batch. Only what this version renders is offered.
    """
    offers = [("", plan)]
    checkpointable = model.get("model_type") in activations.CHECKPOINTABLE
    if checkpointable and not plan.checkpointing:
        offers.append(("training_arguments {'activation_checkpointing': True}", replace(plan, checkpointing=True)))
    if plan.method == "full" and config.task in WITH_LORA:
        offers.append(("training_method lora", replace(plan, method="lora")))
        if checkpointable and not plan.checkpointing:
            both = "training_method lora and training_arguments {'activation_checkpointing': True}"
            offers.append((both, replace(plan, method="lora", checkpointing=True)))
    return [said for change, offer in offers if (said := _offer(model, change, plan, offer, room))]


def _offer(model: dict[str, Any], change: str, plan: Plan, offer: Plan, room: float) -> str | None:
    """The change with the batch that it needs, in words; None where a batch of 1 does not fit either, or nothing changes."""
    effective = plan.batch * plan.accumulation
    for batch in (b for b in range(plan.batch, 0, -1) if effective % b == 0):
        accumulation = effective // batch
        found = estimate(model, replace(offer, batch=batch, accumulation=accumulation))
        if found.needed_gb > (TIGHT if batch > 1 else 1) * room:
            continue
        split = f"per_device_train_batch_size {batch} with gradient_accumulation_steps {accumulation}"
        parts = [change] if change else []
        parts += [split] if batch < plan.batch else []
        same = ", the same effective batch" if batch < plan.batch else ""
        return f"{' and '.join(parts)}{same}: {found.needed_gb:.1f} GB" if parts else None
    return None


def _least(model: dict[str, Any], plan: Plan) -> Estimate:
    return estimate(model, replace(plan, batch=1))


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


def _recommend_lora(fit: Fit, model: dict[str, Any], plan: Plan, host: dict[str, Any], config: Any) -> None:
    """Full training that is out of reach, or bfloat16 weights over 60 % of a GPU; only where the task's scaffold has LoRA."""
    total = host.get("vram_gb_per_gpu") if host.get("gpu_count") else None
    weights = 2 * model["parameters"] / 1e9
    if plan.method != "full" or config.task not in WITH_LORA or not total:
        return
    if fit.code != "too_large" and weights <= LORA_SHARE * total:
        return
    fit.recommend = "lora"
    needs = estimate(model, replace(plan, method="lora", batch=1)).needed_gb
    fit.notes.append(
        f"the weights alone take {weights:.1f} GB in bfloat16, of {total} GB: LoRA is recommended ({needs:.1f} GB at a batch of 1). "
        "Ask the user: training_method is changed with their approval only"
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
