# Copyright (c) 2026, NVIDIA CORPORATION.  All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The manifest: what the probe found of a dataset, as plain data that prepare obeys.

    layout     how the dataset is read: split -> files, rows, classes (each reader writes its own, and is made from it)
    files      folder -> {name: bytes} of every file that is read; one that is not named here does not exist
    contents   annotation files and tables -> hash of their content
    missing    files that the dataset names and that were not there
    evaluation  the same of a second dataset, which is measured on; taken: split -> its name in its own dataset
    rows, classes, columns, class_names, left_out   what was counted, and what is not used and why

All paths are relative to the dataset's root, which lies `above` levels above the dataset's path. Nothing in it depends
on when or where it was written. Of a dataset on the Hub, whose revision says all, there are no sizes and no hashes;
where only the viewer knows it, there is no layout, and what was counted is compared.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .content import sha256_of
from .tree import Listing

VERSION = 1
FILE = "dataset.json"  # in the project's harness/
HASH_LENGTH = 40  # characters: there may be a hundred thousand hashes
MAX_SHOWN = 3
CHANGED = "[dataset-changed] the dataset changed since probe_dataset read it: probe it again"


def of_listing(listing: Listing, path: Path) -> dict[str, Any]:
    """The part of a manifest that says what is read. path: the dataset's, which is the root or lies in it."""
    files: dict[str, dict[str, int]] = {}
    missing = []
    for name in dict.fromkeys(listing.files):
        size = _size(f"{listing.root}/{name}")
        if size is None:
            missing.append(name)
            continue
        folder, _, file = name.rpartition("/")
        files.setdefault(folder, {})[file] = size
    contents = {name: content_hash(listing.root / name) for name in listing.contents if name not in missing}
    return {
        "version": VERSION,
        "above": len(path.parts) - len(listing.root.parts),
        "layout": listing.layout,
        "files": files,
        "contents": contents,
        "missing": missing,
    }


def root_of(manifest: dict[str, Any], path: Path) -> Path:
    """The root that the manifest's paths are relative to, where the dataset lies at `path` now."""
    return path.parents[manifest["above"] - 1] if manifest["above"] else path


def named(manifest: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """(path relative to the root, bytes) of each file."""
    for folder, inside in manifest["files"].items():
        start = f"{folder}/" if folder else ""
        for name, size in inside.items():
            yield start + name, size


def changes(manifest: dict[str, Any], root: Path, hashed: Callable[[Path], str | None] | None = None) -> list[str]:
    """How the files below root differ from those that the manifest names, the first few. hashed: see content_hash;
    None: sizes alone are compared."""
    found = (*_changed_sizes(manifest, root), *(_changed_contents(manifest, root, hashed) if hashed else ()))
    return (
        list(found)[:MAX_SHOWN]
        if len(found) <= MAX_SHOWN
        else [*found[:MAX_SHOWN], f"and {len(found) - MAX_SHOWN} more"]
    )


def _changed_sizes(manifest: dict[str, Any], root: Path) -> list[str]:
    found, start = [], f"{root}/"
    for name, size in named(manifest):
        now = _size(start + name)
        if now != size:
            found.append(
                f"{name} is missing (it had {size:,} bytes)"
                if now is None
                else f"{name} has {now:,} bytes, and had {size:,}"
            )
    found += [
        f"{name} was missing, and is there now" for name in manifest["missing"] if _size(start + name) is not None
    ]
    return found


def _changed_contents(manifest: dict[str, Any], root: Path, hashed: Callable[[Path], str | None]) -> list[str]:
    found = []
    for name, known in manifest["contents"].items():
        now = hashed(root / name)
        if now not in (known, None):  # one that is missing is said already
            found.append(f"{name} has another content (its hash is {now}, and was {known})")
    return found


def _size(path: str) -> int | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def content_hash(path: Path) -> str | None:
    """The beginning of a file's hash (readers/content.py); None: it is not there."""
    try:
        with path.open("rb") as file:
            return sha256_of(file, os.fstat(file.fileno()).st_size)[:HASH_LENGTH]
    except (OSError, ValueError):
        return None


def text_of(manifest: dict[str, Any]) -> str:
    """As JSON, a line for each part."""
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in manifest.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"
