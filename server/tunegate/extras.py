"""What a run has only where its user asked for it: unit tests, a report, monitoring. Packages that they need, as pins."""

from __future__ import annotations

from collections.abc import Callable

from tunegate.config import RunConfig

# What lies in the project's tests/, and where. (One batch of grpo would be the model's own answers, which smoke.py has.)
TESTS: tuple[tuple[str, Callable[[RunConfig], bool]], ...] = (
    *((name, lambda config: config.emit_unit_tests) for name in ("conftest", "fakes", "test_config", "test_data")),
    ("test_scoring", lambda config: config.emit_unit_tests),
    ("test_training", lambda config: config.emit_unit_tests and config.training_method != "grpo"),
)
# (config key, its value, what it needs): added to requirements.txt where the key has that value.
PINS = (("emit_unit_tests", True, "pytest==9.2.0"),)


def requirements(config: RunConfig, text: str) -> str:
    """requirements.txt with the pins of the options that are on, at the end."""
    for key, value, pin in PINS:
        if getattr(config, key) == value:
            text += f"# {key}: {value if isinstance(value, str) else 'true'}\n{pin}\n"
    return text
