"""The dataset's manifest in a run: kept beside the probe's evidence, handed to the project, and compared with the files that it names."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from tunegate import nofollow
from tunegate.config import RunConfig
from tunegate.readers import manifest
from tunegate.rundir import Run, file_sha256

PATH = "meta/dataset-manifest.json"
IN_PROJECT = f"harness/{manifest.FILE}"
MAX_HASHED = 100  # files whose content a gate looks at; of more of them (a file for each image) prepare looks at it


def keep(run: Run, text: str) -> None:
    nofollow.write(run.path / PATH, text, nofollow.PRIVATE_FILE, folder_mode=nofollow.PRIVATE_FOLDER)


def in_project(run: Run) -> dict[str, str]:
    """The manifest as a file of the project, path -> text; empty where the probe wrote none."""
    try:
        return {IN_PROJECT: (run.path / PATH).read_text(encoding="utf-8")}
    except OSError:
        return {}


def changes(run: Run, config: RunConfig) -> list[str]:
    """How a local dataset differs from what the probe read: sizes of all files, content of tables and annotation files."""
    sha256 = file_sha256(run.path / PATH)
    if not config.local_dataset_path or sha256 is None:
        return []
    found = _parsed(run.path / PATH, sha256)
    changed = []
    for part, path in _parts(found, config):
        hashed = _content_hash if len(part["contents"]) <= MAX_HASHED else None
        changed += manifest.changes(part, manifest.root_of(part, path), hashed)
    return changed


def _parts(found: dict[str, Any], config: RunConfig) -> list[tuple[dict[str, Any], Path]]:
    """(what is read there, the path) of the dataset, and of one of its own that is measured on."""
    parts = [(found, Path(config.local_dataset_path))]
    if "evaluation" in found and config.local_eval_path:
        parts.append((found["evaluation"], Path(config.local_eval_path)))
    return parts


def places(run: Run, config: RunConfig) -> list[str]:
    """The directories and files that the stages read: a dataset's own path, and of a file that names others (images
    beside it) the folder that holds them all. One that lies in another is left out."""
    named = [path for path in (config.local_dataset_path, config.local_eval_path) if path]
    sha256 = file_sha256(run.path / PATH) if named else None
    if sha256 is not None:
        parts = _parts(_parsed(run.path / PATH, sha256), config)
        named = [str(path if _alone(part) else manifest.root_of(part, path)) for part, path in parts]
    return [one for one in dict.fromkeys(named) if not any(Path(other) in Path(one).parents for other in named)]


def _alone(part: dict[str, Any]) -> bool:
    """Whether a dataset is a folder, or a file that names no other one."""
    return not part.get("above") or sum(map(len, part["files"].values())) + len(part["missing"]) <= 1


@lru_cache(maxsize=2)
def _parsed(path: Path, sha256: str) -> dict[str, Any]:
    """Parsed once: gate_status asks each time. sha256: of what lies there."""
    return json.loads(path.read_bytes())


def _content_hash(path: Path) -> str | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _hash_once(path, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))


@lru_cache(maxsize=4 * MAX_HASHED)
def _hash_once(path: Path, stamp: tuple[int, ...]) -> str | None:
    return manifest.content_hash(path)
