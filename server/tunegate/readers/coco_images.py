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
"""Where the images of a COCO annotation file lie, and the masks of a panoptic one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .pairs import likeliest
from .refusal import Refusal
from .splits import split_of
from .tree import EXTENSIONS, below, folders, inside, relative, walk


class Lookup:
    """Where the images of an annotation file lie: in one folder, or, by their names, anywhere below the root."""

    def __init__(self, path: Path, names: list[str], root: Path, split: str, panoptic: bool):
        self.path, self.root, self.split = path, root, split
        self.masks = path.stem if panoptic else None  # pictures of segment ids, which may be called like the images
        self._by_name: dict[str, list[Path]] | None = None
        self._inside: set[Path] = set()  # folders that do not lead out of the root
        self.base = self._base(names[:20])
        beside = (path.with_suffix(""), root / path.stem) if panoptic else ()
        self.base_of_masks = next((folder for folder in beside if folder.is_dir()), path.parent)

    def _base(self, names: list[str]) -> Path:
        """The folder that the file names are relative to: the one where most of the first ones are."""
        candidates = [
            f for f in dict.fromkeys([self.path.parent, *folders(self.root, self.root, 2)]) if f.name != self.masks
        ]
        hits = {folder: sum(below(folder, name, self.root).is_file() for name in names) for folder in candidates}
        if not (most := max(hits.values(), default=0)):
            if any(self._called(name) for name in names):
                return self.root
            raise Refusal(
                "rejected",
                f"none of the first {len(names)} images that {self.path.name} names ({names[0][:80]!r}) lies in "
                f"{self.root} or its folders: put the images there",
            )
        best = [folder for folder in candidates if hits[folder] == most]
        near = [f for f in best if f.name.lower() in self.path.stem.lower() or split_of(f.name) == self.split]
        first = [*near, *(f for f in (self.path.parent, self.root) if f in best)]
        if not first and len(first := likeliest(best)) > 1:
            raise Refusal(
                "ambiguous",
                f"{self.path.name} names the image {names[0][:80]!r}, and {len(first)} pictures below {self.root} are "
                f"called so ({', '.join(relative(folder, self.root) for folder in first[:4])}): write its folder into "
                "the file name",
            )
        return first[0]

    def image(self, number: int | str, name: str) -> Path:
        return self.find(name)

    def mask(self, number: int | str, name: str | None) -> Path:
        """The PNG that the annotation names, in the folder called like the annotation file."""
        return inside(below(self.base_of_masks, name or "no-such.png", self.root), self.root)

    def find_all(self, names: list[str]) -> list[str]:
        """Where the images called so lie, relative to the root."""
        return _all(names, self.base, self.root, self.find)

    def find_masks(self, names: list[str | None]) -> list[str]:
        return _all(names, self.base_of_masks, self.root, lambda name: self.mask("", name))

    def find(self, name: str) -> Path:
        """The image called so. Raises Refusal where it lies outside the root."""
        path = below(self.base, name, self.root)
        if not path.is_file():
            path = self._called(name) or path
        if path.is_symlink():
            return inside(path, self.root)
        if path.parent not in self._inside:  # once for each folder: it takes ten times as long as all else here
            self._inside.add(inside(path, self.root).parent)
        return path

    def _called(self, name: str) -> Path | None:
        """The only image below the root with this file name; of several, the only one whose path names the split."""
        if self._by_name is None:
            self._by_name = {}
            for path in walk(self.root, self.root, EXTENSIONS, depth=4):
                if self.masks is None or path.parent.name != self.masks:
                    self._by_name.setdefault(path.name, []).append(path)
        called = self._by_name.get(name.replace("\\", "/").rpartition("/")[2], [])
        if len(called) > 1:
            called = [path for path in called if split_of(relative(path, self.root)) == self.split]
        return called[0] if len(called) == 1 else None


def _all(names: list[Any], base: Path, root: Path, find: Callable[[Any], Path]) -> list[str]:
    """What `find` finds, relative to the root. Of a file where its name says, without asking: that takes long."""
    above, known = f"{base}/"[len(f"{root}/") :], {}
    found = []
    for name in names:
        folder, _, file = str(name).rpartition("/")
        if folder not in known:
            known[folder] = set() if folder.startswith("/") else _plain_files(base / folder)
        found.append(above + name if file in known[folder] else relative(find(name), root))
    return found


def _plain_files(folder: Path) -> set[str]:
    """The names of the files in a folder, links apart; none of one that is not there, or not where its name says."""
    try:
        if folder.resolve() != folder:
            return set()
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file(follow_symlinks=False)}
    except (OSError, ValueError, RuntimeError):
        return set()


class Places:
    """Where the images of an annotation file lie, and the masks of a panoptic one, as they were listed."""

    def __init__(self, numbers: list[int | str], root: Path, listed: dict[str, Any]):
        self.images, self.masks = (
            {number: root / path for number, path in zip(numbers, listed.get(key, []), strict=False)}
            for key in ("images", "masks")
        )

    def image(self, number: int | str, name: str) -> Path:
        return self.images[number]

    def mask(self, number: int | str, name: str | None) -> Path:
        return self.masks[number]
