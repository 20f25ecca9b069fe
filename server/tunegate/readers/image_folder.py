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
"""Folders of images: a class for each folder, or rows that a metadata file describes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import tables
from .refusal import Refusal
from .splits import KEYWORDS, doubts, of_images
from .tree import EXTENSIONS, MAX_ENTRIES, Listing, below, entries, folders, has_image, inside, relative, walk
from .types import of_rows

METADATA = ("metadata.jsonl", "metadata.csv")


@dataclass
class Classes:
    """Split -> (class, image) of every image. names: the classes of all splits, sorted, as `datasets` numbers them."""

    root: Path
    splits: dict[str, list[tuple[str, Path]]]
    names: tuple[str, ...]
    warnings: list[str] = field(default_factory=list)

    def listing(self) -> Listing:
        splits: dict[str, dict[str, list[str]]] = {}
        for split, images in self.splits.items():
            listed = splits.setdefault(split, {})
            for name, image in images:
                listed.setdefault(name, []).append(relative(image, self.root))
        files = [path for listed in splits.values() for paths in listed.values() for path in paths]
        return Listing(self.root, {"kind": "classes", "names": list(self.names), "splits": splits}, files)

    @classmethod
    def listed(cls, layout: dict[str, Any], root: Path) -> Classes:
        """As `listing` wrote it down."""
        splits = {
            split: [(name, root / path) for name, paths in listed.items() for path in paths]
            for split, listed in layout["splits"].items()
        }
        return cls(root, splits, tuple(layout["names"]))


@dataclass
class Described:
    """Split -> rows of the metadata files. images: their column -> the image column that it becomes.

    types: of the columns (readers/types.py).   metadata: the files.
    numbers: split -> the numbers of its rows among those of all metadata files, in their order.
    """

    root: Path
    splits: dict[str, list[dict[str, Any]]]
    columns: list[str]
    images: dict[str, str]
    warnings: list[str] = field(default_factory=list)
    metadata: list[Path] = field(default_factory=list)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    types: dict[str, Any] = field(default_factory=dict)

    def listing(self) -> Listing:
        metadata = [relative(path, self.root) for path in self.metadata]
        images = [
            relative(below(row[""], row[name], self.root), self.root)
            for rows in self.splits.values()
            for row in rows
            for name in self.images
            if row.get(name)
        ]
        layout = {"kind": "described", "metadata": metadata, "columns": self.columns, "images": self.images}
        layout |= {"types": self.types, "splits": self.numbers}
        return Listing(self.root, layout, [*metadata, *images], metadata)

    @classmethod
    def listed(cls, layout: dict[str, Any], root: Path) -> Described:
        """As `listing` wrote it down; the rows are read again."""
        metadata = [root / path for path in layout["metadata"]]
        every = _metadata_rows(metadata, root)
        splits = {split: [every[number] for number in numbers] for split, numbers in layout["splits"].items()}
        given = (layout["columns"], layout["images"], [], metadata, layout["splits"], layout["types"])
        return cls(root, splits, *given)

    def rows(self, split: str) -> Iterator[dict[str, Any]]:
        """The split's rows with a path in each image column."""
        return map(self.row, self.splits[split])

    def row(self, stored: dict[str, Any]) -> dict[str, Any]:
        return {self.images.get(name, name): self._cell(stored, name) for name in self.columns}

    def _cell(self, stored: dict[str, Any], name: str) -> Any:
        if name not in self.images:
            return stored.get(name)
        return inside(below(stored[""], stored.get(name), self.root), self.root)


def read(root: Path) -> Classes | Described:
    """What the folder holds. Raises Refusal."""
    if root.is_file():
        raise Refusal(
            "invalid_input",
            f"local_dataset_path = {str(root)!r} is a file, and imagefolder needs a folder of class folders",
        )
    metadata = [folder / name for folder in folders(root, root, 1) for name in METADATA if (folder / name).is_file()]
    return _described(root, metadata) if metadata else _classes(root)


# --- classes by folder: [split/]class/image


def _classes(root: Path) -> Classes:
    warnings: list[str] = []
    splits: dict[str, list[tuple[str, Path]]] = {}
    for split, folder in _split_folders(root, warnings):
        found = _class_folders(folder, root, warnings, must=split == "train")
        splits.setdefault(split, []).extend((name, image) for name in sorted(found) for image in found[name])
    splits = {
        split: sorted(found, key=lambda one: one[0]) for split, found in splits.items() if found or split == "train"
    }
    names = tuple(sorted({name for found in splits.values() for name, _ in found}))
    taught = {name for name, _ in splits.get("train", [])}
    if (new := [name for name in names if name not in taught]) and "train" in splits:
        warnings.append(f"{len(new)} classes are never trained on, being in no train folder: {', '.join(new[:5])}")
    return Classes(root, splits, names, warnings)


def _split_folders(root: Path, warnings: list[str]) -> list[tuple[str, Path]]:
    """(split, folder); all of it is `train` unless a folder of that name is there."""
    inner = [entry for entry in entries(root, root) if entry.is_dir()]
    splits = [entry for entry in inner if entry.name.lower() in KEYWORDS]
    if not any(KEYWORDS[entry.name.lower()] == "train" for entry in splits):
        return [("train", root)]
    if ignored := sorted(entry.name for entry in inner if entry not in splits):
        warnings.append(f"folders beside the splits are not used: {', '.join(ignored[:5])}")
    return [(KEYWORDS[entry.name.lower()], Path(entry.path)) for entry in splits]


def _class_folders(folder: Path, root: Path, warnings: list[str], must: bool) -> dict[str, list[Path]]:
    """Class name -> images in folder/class. Classes without images are left out, and said so, and so is a split of
    unlabeled images, unless it `must` have classes."""
    classes, loose, total = {}, 0, 0
    for entry in entries(folder, root):
        if not entry.is_dir():
            loose += entry.name.lower().endswith(EXTENSIONS)
            continue
        images = []
        for child in entries(Path(entry.path), root):
            if child.is_dir() and has_image(Path(child.path), depth=2):
                raise Refusal(
                    "rejected",
                    f"{child.path} holds images one folder too deep: the layout is [split/]class/image, so move "
                    "them up, or give the folder that holds the classes as local_dataset_path",
                )
            if child.name.lower().endswith(EXTENSIONS):
                images.append(Path(child.path))
            total += 1
        if total > MAX_ENTRIES:
            raise Refusal("rejected", f"{folder} has more than {MAX_ENTRIES:,} files: turn it into parquet first")
        if images:
            classes[entry.name] = sorted(images)
        else:
            warnings.append(f"folder {entry.name!r} holds no images and is no class")
    if loose and not classes and must:
        raise Refusal(
            "rejected",
            f"{folder} holds {loose} images and no class folders: put the images of each class into a folder of its "
            "own, or describe them in a metadata.jsonl beside them",
        )
    if loose and not classes:
        warnings.append(
            f"{loose} images of {folder.name!r} are in no class folder: they have no label, the split is not used"
        )
    elif loose:
        warnings.append(f"{loose} images beside the class folders of {folder.name!r} have no label and are not used")
    return classes


# --- images described by metadata.jsonl or metadata.csv


def _described(root: Path, metadata: list[Path]) -> Described:
    """`file_name` is the image, `<x>_file_name` the image column x; both relative to the metadata file."""
    every = _metadata_rows(metadata, root)
    if not any("file_name" in row for row in every[:400]):
        raise Refusal(
            "rejected", f"{metadata[0]} has no row with a file_name: each line names its image, relative to that file"
        )
    columns = list(dict.fromkeys(name for row in every for name in row if name))
    images = {name: name.removesuffix("_file_name") for name in columns if name.endswith("_file_name")}
    images["file_name"] = "image"
    named = [relative(below(row[""], row.get("file_name"), root), root) for row in every]
    split_by_path = of_images(named)
    numbers: dict[str, list[int]] = {}
    for number, name in enumerate(named):
        numbers.setdefault(split_by_path[name], []).append(number)
    splits = {split: [every[number] for number in group] for split, group in numbers.items()}
    described = {relative(below(row[""], row.get(name), root), root) for row in every for name in images}
    loose = sum(relative(path, root) not in described for path in walk(root, root, EXTENSIONS))
    warnings = [f"{loose} images are named in no metadata file and are not used"] if loose else []
    warnings += doubts(split_by_path, "images")
    types = of_rows({name: row.get(name) for name in columns} for row in every)
    return Described(root, splits, columns, images, warnings, metadata, numbers, types)


def _metadata_rows(metadata: list[Path], root: Path) -> list[dict[str, Any]]:
    """The rows of all files, with the folder of each one's file under an empty name."""
    return [{**row, "": file.parent} for file in metadata for row in tables.rows_of(inside(file, root))]
