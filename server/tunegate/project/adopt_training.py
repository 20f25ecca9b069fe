"""Which of the trainings that research found this run adopts, and why not the others. Pure."""

from __future__ import annotations

import json
from typing import Any

from tunegate.config import RunConfig
from tunegate.project import render
from tunegate.recipe.trainings import COUPLED, UNSUPPORTED_ARGUMENTS, Ours, Training, misfit, passes


def judged(config: RunConfig, recipe: dict[str, Any]) -> list[tuple[Training, str | None]]:
    """The trainings that research found, each with why it does not fit this run; None for one that does."""
    stated = [Training.model_validate(item) for item in recipe.get("trainings") or []]
    slot = recipe["slots"].get("hyperparameters") or {}
    if not stated and isinstance(slot.get("value"), dict):  # a page of which nothing more is known
        source = slot.get("source") or {}
        stated = [Training(values=slot["value"], url=source.get("url", "no page"), priority=source.get("priority", 0))]
    ours = Ours(config.training_method, config.n_epochs, max(1, config.gpu_count or 0))
    return [(training, misfit(training, ours) or _set_otherwise(training, config)) for training in stated]


def _set_otherwise(training: Training, config: RunConfig) -> str | None:
    """Why it does not fit what is set already, or the answers that GRPO compares."""
    needed = batch(training, config)
    for key, value in needed.items():
        if getattr(config, key) not in (None, value):
            return f"{key} = {short(getattr(config, key))} is set here, and its settings belong together"
    if config.training_method == "grpo":
        defaults = render.training_defaults(config.task, config.training_method)
        answers = config.num_generations or training.values.get("num_generations") or defaults["num_generations"]
        together = needed["per_device_train_batch_size"] * needed["gradient_accumulation_steps"]
        together *= max(1, config.gpu_count or 0)
        if together % answers:
            return f"its batch of {together} cannot be divided by num_generations = {answers}"
    return None


def batch(training: Training, config: RunConfig) -> dict[str, Any]:
    """The rate with the batch that it is for, whose devices become passes of ours."""
    return {
        "learning_rate": training.values["learning_rate"],
        "per_device_train_batch_size": training.values["per_device_train_batch_size"],
        "gradient_accumulation_steps": passes(training) // max(1, config.gpu_count or 0),
    }


def unfit(key: str, value: Any) -> str | None:
    """Why this value of a fitting training cannot be used here."""
    if key == "warmup_steps" and value >= 1:
        return "warm-up counted in steps of its own data, whose total is not known; a share would be adopted"
    return UNSUPPORTED_ARGUMENTS.get(value) if isinstance(value, str) else None


def shown(values: dict[str, Any]) -> str:
    """The values that matter most, in few words."""
    first = [key for key in COUPLED if key in values]
    keys = [*first, *(key for key in values if key not in first)]
    return ", ".join(f"{key} = {short(values[key])}" for key in keys[:6]) + (", …" if len(keys) > 6 else "")


def short(value: Any) -> str:
    return json.dumps(value)[:80]
