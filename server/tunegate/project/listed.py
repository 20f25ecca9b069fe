"""The dataset's manifest in a run: kept beside the probe's evidence, handed to the project, and compared with the files that it names."""

from __future__ import annotations

import json
import os
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
    root = manifest.root_of(found, Path(config.local_dataset_path))
    hashed = _content_hash if len(found["contents"]) <= MAX_HASHED else None
    return manifest.changes(found, root, hashed)


def mounted(run: Run, config: RunConfig) -> list[str]:
    """What a container must see of a local dataset: its path or, where that is a file that names others, the folder of
    them all."""
    path, sha256 = config.local_dataset_path, file_sha256(run.path / PATH)
    found = _parsed(run.path / PATH, sha256) if path and sha256 else {}
    if not found.get("above"):
        return [path] if path else []
    root = manifest.root_of(found, Path(path))
    folders = [str(root / folder) for folder in found["files"]]
    alone = sum(map(len, found["files"].values())) < 2
    return [path if alone else os.path.commonpath([*folders, str(Path(path).parent)])]


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
