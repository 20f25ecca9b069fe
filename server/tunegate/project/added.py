"""Files in the run that nobody rendered: which of them the project's scripts could import, and which are not part of it."""

from __future__ import annotations

import ast
import contextlib
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePath

from tunegate import evidence
from tunegate.rundir import Run, file_sha256

GENERATED_FILES = {  # what tools and stages write beside the rendered files
    *("data", "checkpoints", "logs", "reports", "meta", "skills", "tests", "wandb", "trackio"),
    *(".cache", ".verify", ".probe", ".venv", "__pycache__", "config.yaml", "PROGRESS.md"),
}
COMPILED = (".pyc", ".so", ".pyd")  # imported like source, and check_api cannot read it
HARNESS_FOLDER = "harness"
AT_START = {"sitecustomize", "usercustomize"}  # Python imports them by itself


@dataclass
class Added:
    """unchecked: modules that check_api has to see; shadows: what closes the gate, each with its reason; ignored: the rest."""

    unchecked: list[str] = field(default_factory=list)
    shadows: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def inspect(run: Run, rendered: dict[str, str], checked: dict[str, str]) -> Added:
    """rendered: the project's files and their digests; checked: the modules that check_api read when it last passed."""
    found = Added()
    imported = _imported(run.path.glob("*.py"))
    own = {PurePath(name).parts[0].removesuffix(".py") for name in rendered if name.endswith(".py")} - {"tests"}
    # what a script as rendered imports is a library or the project's own; an edited one may import the user's modules
    as_rendered = [run.path / name for name, digest in rendered.items() if file_sha256(run.path / name) == digest]
    libraries = {*sys.stdlib_module_names, *AT_START, *_installed(run), *_imported(as_rendered)} - own
    for path in sorted(run.path.iterdir()):
        name = path.name
        if name == HARNESS_FOLDER and path.is_dir():
            _harness(found, run.path, rendered)
        elif path.is_dir():
            _folder(found, path, libraries, imported, own)
        elif path.suffix in COMPILED:
            found.shadows.append(f"{name} is compiled code, which check_api cannot read: remove it")
        elif path.suffix == ".py" and path.stem in libraries:
            found.shadows.append(f"{name} would be imported instead of the library {path.stem!r}: rename or remove it")
        elif path.suffix == ".py" and path.stem == HARNESS_FOLDER:
            found.shadows.append(f"{name} has the name of the project's package {HARNESS_FOLDER}/: rename or remove it")
        elif path.suffix == ".py" and name not in checked:
            found.unchecked.append(name)
        elif path.suffix != ".py" and name not in rendered and name not in GENERATED_FILES:
            found.ignored.append(name)
    return found


def _harness(found: Added, project: Path, rendered: dict[str, str]) -> None:
    """The package that measures is what was rendered: nothing else in it can be imported, or replaces what is."""
    if (project / HARNESS_FOLDER).is_symlink():
        found.shadows.append(f"{HARNESS_FOLDER}/ is a link: render again with overwrite=true")
    for path in sorted((project / HARNESS_FOLDER).rglob("*")):
        name = path.relative_to(project).as_posix()
        if (
            name in rendered or path.name == "__pycache__" or path.parent.name == "__pycache__"
        ):  # a stage's start empties it
            continue
        if path.suffix in (".py", *COMPILED) or path.is_symlink():
            found.shadows.append(
                f"{name} is not part of the harness as rendered: put it beside the scripts, or remove it"
            )
        elif path.is_file():
            found.ignored.append(name)


def _folder(found: Added, path: Path, libraries: set[str], imported: set[str], own: set[str]) -> None:
    """A folder is imported before a module of its name if it is a package; without __init__ only where nothing else is found."""
    name = path.name
    if any(path.glob("__init__.*")) and name in libraries | own:
        found.shadows.append(f"{name}/ would be imported instead of {name!r}: rename or remove it")
    elif name in GENERATED_FILES or name.startswith("checkpoints.old-"):
        return
    elif name in imported - libraries - own and any(path.glob("*.py")):
        found.shadows.append(
            f"{name}/ is imported by a script, and check_api reads no folders: put it beside the scripts"
        )
    else:
        found.ignored.append(f"{name}/")


def _imported(paths: Iterable[Path]) -> set[str]:
    """The top-level names that these modules import."""
    names: set[str] = set()
    for path in paths:
        with contextlib.suppress(OSError):
            names |= _imports(path.read_bytes()) if path.suffix == ".py" else frozenset()
    return names


@lru_cache(maxsize=256)
def _imports(source: bytes) -> frozenset[str]:
    """Parsed once: gate_status asks for those of every module each time."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError):
        return frozenset()  # check_api says what is wrong with it
    names = {alias.name.split(".")[0] for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    names |= {n.module.split(".")[0] for n in nodes if isinstance(n, ast.ImportFrom) and n.module and not n.level}
    return frozenset(names)


def _installed(run: Run) -> set[str]:
    """Import names of what `build` installed, as far as a package's name says them."""
    built = evidence.read(run, "stages/build")
    return {re.sub(r"[-.]+", "_", name) for name in (built.facts.get("packages", {}) if built else {})}
