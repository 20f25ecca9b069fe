"""The project's package harness/: plain Python, copied byte by byte. Beside it, in two data files, what differs from run to run.

A project gets the modules that its scripts import, and what those import: no list is kept by hand.
"""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path
from typing import Any

from tunegate import readers, tasks
from tunegate.config import RunConfig
from tunegate.knowledge import fixes
from tunegate.paths import data_dir
from tunegate.recipe import renames

# Package of the project -> the folder here that its modules are copied from.
SOURCES = {"harness": data_dir("scaffolds") / "harness", "harness.readers": Path(readers.__file__).parent}
COMMANDS = ("harness.check_api", "harness.launch", "harness.smoke")  # run, and imported by nothing
# A library reads these when it is loaded: harness/__init__.py says how they get there in time.
# Where other programs want the cores too, torch's threads wait for each other by spinning, and a step takes 20 times as long.
ENVIRONMENT = {"GOMP_SPINCOUNT": "10000"}
OF_LOGS = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}  # in a log, a bar is only noise


def environment(config: RunConfig) -> dict[str, str]:
    """What every script of this project is to be started with: what all need, and its workarounds' variables."""
    return ENVIRONMENT | {
        name: value for values in fixes.environment(config).values() for name, value in values.items()
    }


def of_stage(config: RunConfig) -> dict[str, str]:
    """What a stage is started with, so that no script of it has to start itself anew. The server's own environment goes first."""
    return {name: os.environ.get(name, value) for name, value in (environment(config) | OF_LOGS).items()}


def rendered(config: RunConfig, fingerprint: list[str]) -> dict[str, str]:
    """The data files, project path -> text. fingerprint: the config keys that make two trainings the same one."""
    facts = {
        "environment": environment(config),
        "environment_of_logs": OF_LOGS,
        "fingerprint": fingerprint,
        "metric": tasks.metric(config.task, config.training_method),
        "name": config.short_name,
        "tuned": "merged" if config.adapted else "final",
    }
    table = {
        "keywords": [[row.of, row.old, row.new, row.since, row.remark] for row in renames.TABLE],
        "moved": renames.MOVED,
    }
    return {"harness/rendered.json": _json(facts), "harness/renames.json": _json(table)}


def copied(scripts: dict[str, str]) -> dict[str, str]:
    """The modules, project path -> text, that these scripts and COMMANDS need. scripts: path -> source."""
    found: dict[str, str] = {}
    waiting = [
        *COMMANDS,
        *(name for path, text in scripts.items() if path.endswith(".py") for name in _imports(text, "")),
    ]
    while waiting:
        name = waiting.pop()
        source = _source(name)
        path = f"{name.replace('.', '/')}{'/__init__' if source and source.name == '__init__.py' else ''}.py"
        if source and path not in found:
            found[path] = source.read_text()
            waiting += [*_imports(found[path], name.rpartition(".")[0]), name.rpartition(".")[0]]
    return dict(sorted(found.items()))


def _source(name: str) -> Path | None:
    """harness.rows -> the file that it is copied from; None for what is no module of the harness."""
    package = max((p for p in SOURCES if f"{name}.".startswith(f"{p}.")), key=len, default=None)
    if package is None:
        return None
    path = SOURCES[package].joinpath(*name.removeprefix(package).strip(".").split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def _imports(text: str, package: str) -> set[str]:
    """Dotted names that may be modules: `from a import b` is a, or a.b. package: what `from .a import b` starts from."""
    nodes = list(ast.walk(ast.parse(text)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            module = ".".join(filter(None, (package if node.level else "", node.module)))
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
