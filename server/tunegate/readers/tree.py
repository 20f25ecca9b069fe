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
"""The files of a local dataset: walked within bounds, and never out of its folder."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .refusal import Refusal

EXTENSIONS = (".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")  # of images
MAX_ENTRIES = 2_000_000
# What other programs leave beside the data
LEFTOVERS = frozenset(("__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin"))


def is_leftover(name: str) -> bool:
    """Whether a name is hidden (.DS_Store, ._x.jpg, .ipynb_checkpoints) or another program's: no reader sees it."""
    return name.startswith(".") or name.lower() in LEFTOVERS


def entries(folder: Path, root: Path) -> Iterator[os.DirEntry]:
    """What is in the folder, leftovers apart. A link that leaves the dataset, or leads to a folder, is `rejected`."""
    with os.scandir(folder) as found:
        for entry in sorted(found, key=lambda e: e.name):
            if is_leftover(entry.name):
                continue
            if entry.is_symlink():
                check_link(Path(entry.path), root)
            yield entry


def check_link(path: Path, root: Path) -> None:
    target = path.resolve()
    if not target.is_relative_to(root):
        raise Refusal(
            "rejected", f"{path} is a link that leaves the dataset's folder {root}: replace it by the file itself"
        )
    if target.is_dir():
        raise Refusal("rejected", f"{path} is a link to a folder: replace it by the folder itself")


def inside(path: Path, root: Path) -> Path:
    """The path, or `rejected` if it leads out of the dataset's folder."""
    try:
        stays = path.resolve().is_relative_to(root)
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, a loop of links
        stays = False
    if not stays:
        raise Refusal("rejected", f"{path} leads out of the dataset's folder {root}: only files in it are read")
    return path


def below(base: Path, name: Any, root: Path) -> Path:
    """base/name as a path below root, without a look at the disk; `rejected` if it leads out.

    Backslashes separate folders, too.
    """
    path = Path(os.path.normpath(base / str(name).replace("\\", "/")))
    if "\0" in str(name) or not path.is_relative_to(root):
        raise Refusal(
            "rejected", f"{str(name)[:200]!r} leads out of the dataset's folder {root}: only files in it are read"
        )
    return path


def walk(folder: Path, root: Path, suffixes: tuple[str, ...], depth: int = 6) -> Iterator[Path]:
    """Files with one of these endings in the folder and below it, sorted. More than MAX_ENTRIES is `rejected`."""
    seen, waiting = 0, [(folder, depth)]
    while waiting:
        here, left = waiting.pop(0)
        for entry in entries(here, root):
            seen += 1
            if seen > MAX_ENTRIES:
                raise Refusal("rejected", f"{folder} has more than {MAX_ENTRIES:,} files: turn it into parquet first")
            if entry.is_dir():
                if left:
                    waiting.append((Path(entry.path), left - 1))
            elif entry.name.lower().endswith(suffixes) and entry.is_file():
                yield Path(entry.path)


@dataclass
class Survey:
    """What is in one folder, itself only: some files of each ending, the names of its folders in lower case."""

    by_suffix: dict[str, list[Path]] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)

    def files(self, *suffixes: str) -> list[Path]:
        return [path for suffix in suffixes for path in self.by_suffix.get(suffix, [])]


def survey(folder: Path) -> Survey:
    """One pass, unsorted: folders of a million images are common."""
    found = Survey()
    with os.scandir(folder) as listed:
        for entry in listed:
            if is_leftover(entry.name):
                continue
            suffix = os.path.splitext(entry.name)[1].lower()
            some = found.by_suffix.setdefault(suffix, [])
            if entry.is_dir():
                found.folders.add(entry.name.lower())
            elif len(some) < 10 and entry.is_file():  # a pipe called a.xml would be waited for
                some.append(Path(entry.path))
    return found


def folders(folder: Path, root: Path, depth: int) -> list[Path]:
    """The folder and those below it."""
    found = [folder]
    if depth:
        for entry in entries(folder, root):
            if entry.is_dir() and len(found) < 500:
                found += folders(Path(entry.path), root, depth - 1)
    return found


def has_image(folder: Path, depth: int) -> bool:
    children = list(entries(folder, folder.resolve())) if depth == 3 else _own_entries(folder)
    if any(entry.name.lower().endswith(EXTENSIONS) for entry in children):
        return True
    return depth > 1 and any(has_image(Path(entry.path), depth - 1) for entry in children if entry.is_dir())


def _own_entries(folder: Path) -> list[os.DirEntry]:
    with os.scandir(folder) as found:
        return [entry for entry in found if not is_leftover(entry.name) and not entry.is_symlink()]


def spread(items: list[Any], number: int) -> list[Any]:
    """At most `number` of the items, in order, chosen at random but always the same."""
    if len(items) <= number:
        return list(items)
    return [items[i] for i in sorted(random.Random(0).sample(range(len(items)), number))]


def relative(path: Path, root: Path) -> str:
    """The path below root as text, with forward slashes."""
    text, start = str(path), f"{root}{os.sep}"
    if os.sep == "/" and text.startswith(start):  # a tenth of the time: of a hundred thousand images, a second
        return text[len(start) :]
    return path.relative_to(root).as_posix()


@dataclass
class Listing:
    """What a reader found, as plain data (readers/manifest.py).

    layout: what it is made from again without a look at any folder.   files: that it names, relative to root.
    contents: those of them that are read as text or as tables, and so are known by their content.
    """

    root: Path
    layout: dict[str, Any]
    files: list[str]
    contents: list[str] = field(default_factory=list)
