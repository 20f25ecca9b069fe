"""Hyperparameters with which nothing can be learned: one table of bounds, wide enough for every honest use.

What lies beyond a bound either leaves the weights where they were or throws them away, whatever the data: it is refused where it
is set, before a GPU is paid for. What merely trains badly is not refused here.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple


class Bound(NamedTuple):
    """The values that are allowed, both ends included, and what happens beyond them. off: a value that switches it off."""

    low: float
    high: float
    beyond: str
    off: float | None = None


EPSILON = "beside it the gradients count for nothing, or it divides by zero"
AVERAGED = "an average over so many steps never moves"
BOUNDS = {
    "learning_rate": Bound(1e-10, 10, "the weights stay where they are, or are thrown away in one step"),
    "n_epochs": Bound(1, 10_000, "the run would not end"),
    "weight_decay": Bound(0, 10, "the weights shrink to zero faster than they learn"),
    "label_smoothing_factor": Bound(0, 0.9, "the label hardly counts"),
    "lora_dropout": Bound(0, 0.9, "the adapter hardly sees its input"),
    "lora_r": Bound(1, 8192, "no layer has so many dimensions"),
    "lora_alpha": Bound(1e-3, 1e5, "the adapter has no effect, or drowns the model"),
    "beta": Bound(0, 100, "nothing may leave the untuned model"),
    "temperature": Bound(1e-3, 10, "all answers are the same, or noise"),
    "per_device_train_batch_size": Bound(1, 1_000_000, "no such batch is ever filled"),
    "gradient_accumulation_steps": Bound(1, 100_000, "no such batch is ever filled"),
    "adam_epsilon": Bound(1e-30, 1, EPSILON),
    "adam_beta1": Bound(0, 0.9999, AVERAGED),
    "adam_beta2": Bound(0, 0.999999, AVERAGED),
    "max_grad_norm": Bound(1e-5, math.inf, "every gradient is cut to nothing", off=0),
    "neftune_noise_alpha": Bound(0, 1000, "the input drowns in noise"),
}
# of lr_scheduler_kwargs, which TrainingArguments reads from JSON text
SCHEDULE = {
    "num_cycles": Bound(0, 1000, "the learning rate changes faster than anything is learned"),
    "power": Bound(0, 20, "the learning rate is gone after a few steps"),
    "lr_end": Bound(0, 10, "the weights are thrown away at the end"),
    "factor": Bound(0.01, 0.9999, "the learning rate is gone at its first reduction, or is never reduced"),
    "timescale": Bound(10, math.inf, "the learning rate is gone after a few steps"),
    "patience": Bound(0, math.inf, "the learning rate is gone at once"),
    "min_lr_ratio": Bound(0, 1, "the learning rate grows at the end"),
}
OF_OPTIMIZER = {"eps": BOUNDS["adam_epsilon"], "weight_decay": BOUNDS["weight_decay"]}  # of optim_args: "eps=1e-8, ..."


def problems(keys: dict[str, Any], arguments: dict[str, Any]) -> list[str]:
    """Each value of config.yaml, and of its training_arguments, beyond its bound: key, value, bound and what to do."""
    places = [(name, keys.get(name), bound) for name, bound in BOUNDS.items()]
    places += [(f"training_arguments.{name}", arguments.get(name), bound) for name, bound in BOUNDS.items()]
    for name, bounds, parts in (
        ("lr_scheduler_kwargs", SCHEDULE, _of_json(arguments.get("lr_scheduler_kwargs"))),
        ("optim_args", OF_OPTIMIZER, _of_pairs(arguments.get("optim_args"))),
    ):
        places += [(f"training_arguments.{name}.{part}", parts.get(part), bound) for part, bound in bounds.items()]
    found = [said for place in places if (said := _beyond(*place))] + _together(keys)
    steps = None if found else _most_steps(keys)
    late = schedule_problem(keys.get("warmup_steps"), arguments, steps) if steps else None
    return [*found, late] if late else found


def _most_steps(keys: dict[str, Any]) -> int | None:
    """Of a training on one device, if there are as many rows as are asked for."""
    batch, rows = keys.get("per_device_train_batch_size"), keys.get("n_train")
    if not batch or not rows:
        return None
    answers = (keys.get("num_generations") or 1) if keys.get("training_method") == "grpo" else 1
    return keys["n_epochs"] * math.ceil(rows * answers / (batch * (keys.get("gradient_accumulation_steps") or 1)))


def _beyond(name: str, value: Any, bound: Bound) -> str | None:
    if not isinstance(value, (int, float)) or value == bound.off or bound.low <= value <= bound.high:
        return None
    off = f", or {bound.off:g} to switch it off" if bound.off is not None else ""
    return f"{name} = {value:g}: {bound.beyond}; set it {_range(bound)}{off}"


def _range(bound: Bound) -> str:
    return f"to at least {bound.low:g}" if bound.high == math.inf else f"between {bound.low:g} and {bound.high:g}"


def _together(keys: dict[str, Any]) -> list[str]:
    """A step of decay is learning_rate x weight_decay of each weight."""
    rate, decay = keys.get("learning_rate") or 0, keys.get("weight_decay") or 0
    if rate * decay < 0.5 or decay > BOUNDS["weight_decay"].high or rate > BOUNDS["learning_rate"].high:
        return []
    return [
        f"learning_rate x weight_decay = {rate * decay:g}: each step takes that share of every weight away; lower one of the "
        "two until it is below 0.5"
    ]


def schedule_problem(warmup_steps: float | None, arguments: dict[str, Any], most_steps: int) -> str | None:
    """Why the learning rate is not there for most of a training of so many steps; None where it is, or cannot be told."""
    warmup = warmup_steps or 0
    if warmup >= 1 and warmup >= most_steps and warmup > 1:
        return (
            f"warmup_steps = {warmup:g}: the training has {most_steps} steps at most, so the learning rate would never be "
            "reached; set a share below 1 (0.1), or fewer steps"
        )
    parts = _of_json(arguments.get("lr_scheduler_kwargs"))
    stable, decay = parts.get("num_stable_steps"), parts.get("num_decay_steps")
    if stable is None or decay is None:
        return None
    ends = (warmup if warmup >= 1 else warmup * most_steps) + stable + decay
    if ends >= most_steps / 2:
        return None
    return (
        f"training_arguments.lr_scheduler_kwargs: num_stable_steps = {stable:g} and num_decay_steps = {decay:g} end the schedule "
        f"at step {ends:g} of up to {most_steps}; leave num_stable_steps out, and the schedule fills the training"
    )


def _of_json(text: Any) -> dict[str, Any]:
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
    found = found if isinstance(found, dict) else {}
    return {name: value for name, value in found.items() if isinstance(value, (int, float))}


def _of_pairs(text: Any) -> dict[str, float]:
    found = {}
    for part in text.split(",") if isinstance(text, str) else ():
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            continue
    return found
