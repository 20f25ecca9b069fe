"""Trainings: settings that one call, one command or one record of a page states together, and which of them may be adopted.

A learning rate means something only beside its epochs and its batch, for its own method. So a training is adopted as a
whole or not at all: `refusal` says why not.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue

TIMES = 3  # how far the source's epochs may be from ours, in both directions
STRANGERS = (0, 6)  # priorities of pages that neither the model's author nor the library wrote
EXAMPLES = (2, 4)  # of the library's own pages: they train a model of their choice, not ours
# What must be stated, or at least not stated in a form that cannot be read.
COUPLED = (
    "learning_rate",
    "num_train_epochs",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "optim",
)
# training_method -> objective and adapter
METHODS = {
    "full": ("supervised", "none"),
    "lora": ("supervised", "lora"),
    "qlora": ("supervised", "qlora"),
    "dpo": ("dpo", "lora"),
    "grpo": ("grpo", "lora"),
}
ADAPTERS_SAID = {"none": "all weights", "lora": "a LoRA adapter", "qlora": "a LoRA adapter on quantized weights"}
# Known words that no project can run with -> why.
UNSUPPORTED_ARGUMENTS = {
    **dict.fromkeys(
        ("reduce_lr_on_plateau", "cosine_with_min_lr", "warmup_stable_decay"),
        "this schedule needs arguments of its own (lr_scheduler_kwargs) or an evaluation while it trains",
    ),
    "adamw_bnb_8bit": "this optimizer needs bitsandbytes, which is not among the requirements",
}

Start = Literal["pretrained", "scratch"]
Objective = Literal["supervised", "dpo", "grpo", "other"]
Adapter = Literal["none", "lora", "qlora"]


class Training(BaseModel):
    """null: the page does not say, or says several things."""

    model_config = ConfigDict(extra="forbid")

    values: dict[str, JsonValue] = Field(description="TrainingArguments keyword -> value")
    lines: tuple[int, int] | None = None
    url: str = ""
    priority: int = Field(0, description="of the page, as in rungs.RUNGS")
    start: Start | None = None
    objective: Objective | None = None
    adapter: Adapter | None = None
    devices: int | None = Field(None, description="how many devices the batch size was for")
    unread: list[str] = Field(default_factory=list, description="keywords that it sets to what cannot be read")


class Ours(NamedTuple):
    """What this run trains."""

    method: str | None
    n_epochs: int
    devices: int


def misfit(training: Training, ours: Ours) -> str | None:
    """Why this training's settings do not fit ours; None when they do."""
    return other_method(training, ours.method) or _apart(training, ours)


def other_method(training: Training, method: str | None) -> str | None:
    """Why it is not seen to be a training of our method, by an author whose word counts."""
    if training.priority in STRANGERS:
        return "a page by neither the model's author nor the library gives no rate"
    if training.start != "pretrained":
        return "it trains from scratch" if training.start else "it is not seen to start from pretrained weights"
    objective, adapter = METHODS[method or "full"]
    if training.objective != objective:
        said = f"it is {training.objective} training" if training.objective else "its objective is not clear"
        return f"{said}, this run's is {objective}"
    if training.adapter != adapter:
        said = (
            f"it trains {ADAPTERS_SAID[training.adapter]}"
            if training.adapter
            else "it is not clear which weights it trains"
        )
        return f"{said}, this run trains {ADAPTERS_SAID[adapter]}"
    return None


def _apart(training: Training, ours: Ours) -> str | None:
    """Why its rate, epochs and batch cannot be taken together."""
    values = training.values
    if training.priority in EXAMPLES:
        return "the library's example trains another model, and its rate is for that one"
    if unread := [key for key in COUPLED if key in training.unread]:
        return f"its {', '.join(unread)} cannot be read"
    if missing := [key for key in COUPLED[:3] if key not in values]:
        return f"it does not state {', '.join(missing)}"
    epochs = values["num_train_epochs"]
    if "max_steps" in values:
        return f"max_steps = {values['max_steps']} ends it, so its epochs are not known"
    if not 1 / TIMES <= epochs / ours.n_epochs <= TIMES:
        return f"its rate is for {epochs:g} epochs, this run has {ours.n_epochs} (more than {TIMES} times apart)"
    if training.devices is None:
        return "how many devices it ran on is not known, so its batch is not"
    if passes(training) % ours.devices:
        return f"its batch is of {training.devices} devices and cannot be divided among {ours.devices}"
    return None


def passes(training: Training) -> int:
    """How many batches of one device make one step of all its devices."""
    return training.values.get("gradient_accumulation_steps", 1) * (training.devices or 1)


def in_order(trainings: list[Training], method: str | None, priorities: tuple[int, ...]) -> list[Training]:
    """Those of our method first, then those with a rate, then by the rank of their page."""

    def rank(training: Training) -> tuple[bool, bool, int]:
        place = priorities.index(training.priority) if training.priority in priorities else len(priorities)
        return other_method(training, method) is not None, "learning_rate" not in training.values, place

    return sorted(trainings, key=rank)
