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
"""Pairs of files: images/ beside masks/ (or depth/) with the same stems, and the names of the masks' classes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .refusal import Refusal
from .splits import doubts, of_images
from .tree import EXTENSIONS, Listing, folders, inside, relative, walk

IMAGE_FOLDERS = ("images", "image", "img", "imgs", "jpegimages", "rgb", "leftimg8bit")
TARGET_FOLDERS = {  # the column that the targets become -> what their folder may be called
    "mask": ("masks", "mask", "labels", "label", "annotations", "segmentationclass", "gt", "segmentations"),
    "depth_map": ("depth", "depths", "depth_maps", "depth_map", "disparity"),
}
NAME_FILES = ("id2label.json", "classes.txt", "labels.txt", "label_map.txt")
MAX_NAMES = 1 << 20  # bytes of a file of class names


def read(root: Path, column: str) -> tuple[dict[str, list[tuple[Path, Path]]], list[str]]:
    """(split -> (image, target), warnings). column: mask or depth_map. Raises Refusal.

    Splits are folders above or below the two.
    """
    wanted = TARGET_FOLDERS[column]
    found = [folder for folder in folders(root, root, 2) if folder != root]
    images = [folder for folder in found if folder.name.lower() in IMAGE_FOLDERS]
    targets = [folder for folder in found if folder.name.lower() in wanted]
    if not images or not targets:
        raise Refusal(
            "rejected",
            f"local_dataset_path = {str(root)!r} needs a folder {' or '.join(IMAGE_FOLDERS[:2])} and one called "
            f"{' or '.join(wanted[:3])}, with the same file names in both",
        )
    warnings: list[str] = []
    pairs = _pairs(images, targets, root, warnings)
    if not pairs:
        raise Refusal(
            "rejected",
            f"no image of {images[0]} has a file of the same name in {targets[0]}: each needs one (the ending may "
            "differ)",
        )
    by_path = of_images([relative(image, root) for image, _ in pairs])
    warnings += doubts(by_path, "images")
    splits: dict[str, list[tuple[Path, Path]]] = {}
    for image, target in pairs:
        splits.setdefault(by_path[relative(image, root)], []).append((image, target))
    return splits, warnings


def listing(splits: dict[str, list[tuple[Path, Path]]], root: Path) -> Listing:
    named = {
        split: [[relative(image, root), relative(target, root)] for image, target in pairs]
        for split, pairs in splits.items()
    }
    files = [path for pairs in named.values() for pair in pairs for path in pair]
    return Listing(root, {"kind": "pairs", "splits": named}, files)


def listed(layout: dict[str, Any], root: Path) -> dict[str, list[tuple[Path, Path]]]:
    """As `listing` wrote it down."""
    return {
        split: [(root / image, root / target) for image, target in pairs] for split, pairs in layout["splits"].items()
    }


def likeliest(folders: list[Path]) -> list[Path]:
    """Of folders with files of the same names: those called like folders of images, and of these the outermost."""
    called = [folder for folder in folders if folder.name.lower() in IMAGE_FOLDERS] or folders
    depth = min(len(folder.parts) for folder in called)
    return [folder for folder in called if len(folder.parts) == depth]


def _pairs(images: list[Path], targets: list[Path], root: Path, warnings: list[str]) -> list[tuple[Path, Path]]:
    """(image, target), by path without the folder's own name and without endings such as _mask."""
    known = {
        _pair_key(path, folder, root): path for folder in targets for path in walk(folder, root, (*EXTENSIONS, ".npy"))
    }
    pairs: list[tuple[Path, Path]] = []
    alone: list[str] = []
    for folder in images:
        for path in walk(folder, root, EXTENSIONS):
            if target := known.pop(_pair_key(path, folder, root), None):
                pairs.append((path, target))
            else:
                alone.append(relative(path, root))
    if alone:
        warnings.append(f"{len(alone)} images have no partner and are not used: {', '.join(alone[:3])}")
    if known:
        first = ", ".join(relative(path, root) for path in list(known.values())[:3])
        warnings.append(f"{len(known)} masks or maps have no image: {first}")
    return pairs


def _pair_key(path: Path, folder: Path, root: Path) -> str:
    above = folder.parent.relative_to(root)
    stem = re.sub(r"[_-](mask|masks|label|labels|gt|seg|segmentation|depth|rgb|image|img)$", "", path.stem.lower())
    return str(above / path.parent.relative_to(folder) / stem).lower()


def class_names(root: Path) -> dict[int, str]:
    """Value of a mask -> class, from a file of names beside the data; empty where there is none that can be read."""
    for name in NAME_FILES:
        path = root / name
        if not path.is_file() or path.stat().st_size > MAX_NAMES:
            continue
        text = inside(path, root).read_text("utf-8", "replace")
        if name.endswith(".json"):
            return names_from_json(text)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return dict(enumerate(lines[:1000]))
    return {}


def names_from_json(text: str) -> dict[int, str]:
    """id2label.json as the Hub's segmentation datasets write it: {"0": "background", ...}"""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    pairs = {
        int(k): v
        for k, v in found.items()
        if isinstance(k, str) and k.isdecimal() and len(k) < 5 and isinstance(v, str)
    }
    return pairs if len(pairs) == len(found) else {}
