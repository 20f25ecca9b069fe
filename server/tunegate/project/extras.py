"""What a run has only where its user asked for it: unit tests, a report, monitoring. Packages that they need, as pins."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from tunegate.config import RunConfig
from tunegate.stage_table import STAGES

# What lies in the project's tests/, and where. (One batch of grpo would be the model's own answers, which smoke.py has.)
TESTS: tuple[tuple[str, Callable[[RunConfig], bool]], ...] = (
    *((name, lambda config: config.emit_unit_tests) for name in ("conftest", "fakes", "test_config", "test_data")),
    ("test_scoring", lambda config: config.emit_unit_tests),
    ("test_training", lambda config: config.emit_unit_tests and config.training_method != "grpo"),
)
# (config key, its value, what it needs): added to requirements.txt where the key has that value.
PINS = (
    ("emit_unit_tests", True, ("pytest==9.2.0",)),
    ("monitoring", "wandb", ("wandb==0.31.0",)),
    ("monitoring", "tensorboard", ("tensorboard==2.21.0",)),
    ("monitoring", "trackio", ("trackio==0.43.0", "pillow==12.3.0")),  # trackio wants a pillow below 13
)
WANDB_SETTINGS = (
    "WANDB_PROJECT",
    "WANDB_ENTITY",
    "WANDB_BASE_URL",
    "WANDB_MODE",
)  # of the server's environment; no secrets


def requirements(config: RunConfig, text: str) -> str:
    """requirements.txt with the pins of the options that are on: in place of the package's own line, else at the end."""
    for key, value, pins in PINS:
        for pin in pins if getattr(config, key) == value else ():
            line = f"# {key}: {value if isinstance(value, str) else 'true'}\n{pin}\n"
            text, replaced = re.subn(rf"(?m)^{re.escape(pin.partition('==')[0])}==.*\n", line, text)
            text += "" if replaced else line
    return text


def needs_wandb_key(config: RunConfig) -> bool:
    """Whether training sends to Weights & Biases: WANDB_MODE=disabled or offline in the server's environment opts out."""
    return config.monitoring == "wandb" and os.environ.get("WANDB_MODE") not in ("disabled", "offline")


def secrets(config: RunConfig, stage: str) -> tuple[str, ...]:
    """Names of the secrets that monitoring needs: the training's alone."""
    return ("WANDB_API_KEY",) if STAGES[stage].monitored and needs_wandb_key(config) else ()


def environment(config: RunConfig, stage: str) -> dict[str, str]:
    """What monitoring reads from a stage's environment; every stage but the training is kept from it."""
    if config.monitoring != "wandb":
        return {}
    if not STAGES[stage].monitored:
        return {"WANDB_MODE": "disabled"}
    return {name: os.environ[name] for name in WANDB_SETTINGS if os.environ.get(name)}


def monitoring(config: RunConfig) -> str:
    """For people: where the curves can be looked at."""
    run = f"{config.model_id.rsplit('/', 1)[-1]}-{config.training_method}"
    if config.monitoring == "wandb":
        mode = os.environ.get("WANDB_MODE", "")
        entity = os.environ.get("WANDB_ENTITY", "")
        project = f"{entity + '/' if entity else ''}{os.environ.get('WANDB_PROJECT') or config.short_name}"
        return f"wandb: project {project}, run {run}" + (f" (WANDB_MODE={mode})" if mode else "")
    if config.monitoring == "trackio":
        return f"trackio: project {config.short_name}, run {run} (in logs/trackio)"
    return "tensorboard: logs/tensorboard" if config.monitoring == "tensorboard" else "none"
