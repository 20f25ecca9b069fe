"""What the workarounds of a run change in its project: config values, pins, image, environment, and what may not stand there.

Pure: the config names the workarounds (applicable_workarounds), the registry says what each one does.
"""

from __future__ import annotations

import fnmatch
import re
from typing import Any

from tunegate.config import RunConfig
from tunegate.errors import ToolFailure
from tunegate.knowledge import workarounds
from tunegate.knowledge.workarounds import Workaround

ARGUMENTS = "training_arguments."  # a fix's key for one TrainingArguments keyword
Settings = dict[str, dict[str, Any]]  # workaround id -> config key -> the value it set


def applied(config: RunConfig) -> list[Workaround]:
    chosen = set(config.applicable_workarounds or []) - set(config.skip_workarounds)
    return [w for w in workarounds.load() if w.id in chosen]


def with_settings(config: RunConfig, before: Settings) -> tuple[RunConfig, Settings]:
    """config with the values that its workarounds set, and which those are. Where someone set another value, it stays: see notes.

    before: what the last rendering set; a value of a workaround that no longer applies is taken back.
    """
    config = _taken_back(config, before)
    settings: Settings = {}
    notes = []
    for w in applied(config):
        wanted = w.fix.values if w.fix.kind == "config" else {}
        found = {key: _get(config, key) for key in wanted}
        others = [key for key, value in found.items() if value not in (None, wanted[key])]
        if others:  # all of a fix or none of it: half of one may be worse than neither
            notes.append(f"workaround {w.id}: not set, because {others[0]} is {found[others[0]]!r} already")
            continue
        for key, value in wanted.items():
            if found[key] is None or before.get(w.id, {}).get(key) == value:
                config = _set(config, key, value)
                settings.setdefault(w.id, {})[key] = value
                notes.append(f"workaround {w.id}: {key} is set to {value!r}")
    fresh = [note for note in notes if note not in config.notes]
    return config.model_copy(update={"notes": [*config.notes, *fresh]}), settings


def _taken_back(config: RunConfig, before: Settings) -> RunConfig:
    still = {w.id for w in applied(config)}
    for name, values in before.items():
        config = config if name in still else taken_back(config, values)
    return config


def taken_back(config: RunConfig, values: dict[str, Any]) -> RunConfig:
    """config without these values, where nobody set another one since."""
    for key, value in values.items():
        if _get(config, key) == value:
            config = _set(config, key, None)
    return config


def _get(config: RunConfig, key: str) -> Any:
    return (
        config.training_arguments.get(key.removeprefix(ARGUMENTS))
        if key.startswith(ARGUMENTS)
        else getattr(config, key)
    )


def _set(config: RunConfig, key: str, value: Any) -> RunConfig:
    """A copy with that value; None is the default again."""
    if not key.startswith(ARGUMENTS):
        field = RunConfig.model_fields[key]
        return config.model_copy(update={key: field.get_default(call_default_factory=True) if value is None else value})
    name = key.removeprefix(ARGUMENTS)
    others = {other: found for other, found in config.training_arguments.items() if other != name}
    return config.model_copy(update={"training_arguments": others if value is None else {**others, name: value}})


def requirements(config: RunConfig, text: str) -> str:
    """requirements.txt with the pins of the workarounds: in place of the package's own line, else at the end.

    Raises ToolFailure(invalid_config) when two of them pin one package to different versions.
    """
    pinned: dict[str, tuple[str, str]] = {}
    for w in applied(config):
        for package, version in w.fix.values.items() if w.fix.kind == "requirement" else ():
            other, found = pinned.setdefault(_plain(package), (w.id, str(version)))
            if found != str(version):
                raise ToolFailure(
                    "invalid_config",
                    f"workarounds {other} and {w.id} pin {package} to {found} and {version}: "
                    "name one of them in skip_workarounds",
                )
    for package, (name, version) in pinned.items():
        line = f"# workaround {name}\n{package}=={version}\n"
        text, replaced = re.subn(rf"(?im)^{re.escape(package).replace('-', '[-_.]')}==.*\n", line, text)
        text += "" if replaced else line
    return text


def _plain(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def environment(config: RunConfig) -> Settings:
    """Workaround id -> the environment variables that every stage runs with."""
    return {w.id: {k: str(v) for k, v in w.fix.values.items()} for w in applied(config) if w.fix.kind == "env"}


def image_lines(config: RunConfig) -> dict[str, list[str]]:
    """Workaround id -> Dockerfile instructions, for the layer between dependencies and code."""
    found = {
        name: [f"ENV {key}={value}" for key, value in values.items()] for name, values in environment(config).items()
    }
    return found | {w.id: list(w.fix.lines) for w in applied(config) if w.fix.kind == "dockerfile"}


def forbidden(config: RunConfig, files: dict[str, str]) -> list[str]:
    """What the rules of the run's workarounds find wrong in the project's files (path -> text)."""
    found = []
    for w in applied(config):
        for rule in w.fix.forbids:
            for name in sorted(fnmatch.filter(files, rule.file)):
                lines = [line for line in files[name].splitlines() if not line.lstrip().startswith("#")]
                if rule.text is None:
                    found.append(f"{name} may not have this name: rename it ({w.id}: {w.title})")
                elif any(rule.text in line for line in lines):
                    found.append(f"{name} holds `{rule.text}`: remove it ({w.id}: {w.title})")
    return found
