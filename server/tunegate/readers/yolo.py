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
"""YOLO: a text file for each image, a line for each object: `class cx cy w h`, or `class x y x y x y ...`, an outline.

The numbers are shares of the sides of the upright image: ultralytics measures it with exif_size and opens it with
cv2.imread, which turns it as its EXIF data say. Also from there: what is no share (beyond 0 to 1 by 1 %) is damage, a
line that is there twice counts once, an image without a file of labels has no object.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import yolo_layout
from .refusal import Refusal
from .tree import EXTENSIONS, Listing, Survey, entries, folders, inside, relative, survey, walk

SLACK = 0.01  # of the image's side, past its edge
MAX_LABELS = 16 << 20  # bytes of one image's labels
# Why a line is left out
NO_NUMBERS = "not a class id and numbers"
WRONG_COUNT = "neither the 4 numbers of a box nor the 3 points or more of an outline"
NO_SHARE = "with numbers that are no shares of the image (beyond 0 to 1)"
UNKNOWN_CLASS = "of a class id that has no name"
REPEATED = "the same as another line of the file"
TOO_LARGE = f"in a file of more than {MAX_LABELS >> 20} MB"


@dataclass(frozen=True)
class Item:
    """An image and its file of labels; None: nothing is to be seen on it."""

    image: Path
    labels: Path | None


@dataclass
class Yolo:
    """names: class id -> name, by id; a row's category is the place of its id.

    classes, left_out: of each split, objects by name and lines by why they are left out. outlines: how many objects
    have one ("polygons") and how many have a box alone ("boxes").
    """

    root: Path
    names: dict[int, str]
    splits: dict[str, list[Item]]
    keypoints: int = 0
    classes: dict[str, Counter[str]] = field(default_factory=dict)
    left_out: dict[str, Counter[str]] = field(default_factory=dict)
    outlines: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self):
        self._index = {number: i for i, number in enumerate(self.names)}

    def listing(self) -> Listing:
        splits = {
            split: [[relative(one.image, self.root), one.labels and relative(one.labels, self.root)] for one in group]
            for split, group in self.splits.items()
        }
        every = [pair for pairs in splits.values() for pair in pairs]
        labels = [path for _, path in every if path]
        layout = {"kind": "yolo", "names": self.names, "keypoints": self.keypoints, "splits": splits}
        return Listing(self.root, layout, [*(path for path, _ in every), *labels], labels)

    @classmethod
    def listed(cls, layout: dict[str, Any], root: Path) -> Yolo:
        """As `listing` wrote it down; the labels are read again."""
        splits = {
            split: [Item(root / image, labels and root / labels) for image, labels in pairs]
            for split, pairs in layout["splits"].items()
        }
        return cls(root, {int(key): name for key, name in layout["names"].items()}, splits, layout["keypoints"])

    def row(self, item: Item) -> dict[str, Any]:
        """image, objects {bbox [cx, cy, w, h], category, segmentation [x, y, ...] or None}, in shares."""
        found, _ = self._objects(item)
        objects = {name: [one[name] for one in found] for name in ("bbox", "category", "segmentation")}
        return {"image": item.image, "objects": objects}

    def rows(self, split: str) -> Iterator[dict[str, Any]]:
        return map(self.row, self.splits[split])

    def _objects(self, item: Item) -> tuple[list[dict[str, Any]], Counter[tuple[str, int | None]]]:
        """(the objects, how many lines are left out by (reason, class id))"""
        left_out: Counter[tuple[str, int | None]] = Counter()
        found: list[dict[str, Any]] = []
        if item.labels is None:
            return found, left_out
        if item.labels.stat().st_size > MAX_LABELS:
            return found, Counter({(TOO_LARGE, None): 1})
        seen = set()
        for line in item.labels.read_text("utf-8-sig", "replace").splitlines():
            if not (words := line.split()):
                continue
            number, values, why = parsed(words, self.keypoints)
            if not why and number not in self._index:
                why = UNKNOWN_CLASS
            if not why and (number, *values) in seen:
                why = REPEATED
            if why:
                left_out[why, number] += 1
                continue
            seen.add((number, *values))
            box, outline = (values, None) if len(values) == 4 else (around(values), values)
            found.append({"bbox": box, "category": self._index[number], "segmentation": outline})
        return found, left_out


def parsed(words: list[str], keypoints: int = 0) -> tuple[int | None, list[float], str]:
    """(class id, the four numbers of a box or those of an outline, why the line cannot be used: "" where it can)"""
    try:
        number, *values = map(float, words)
    except ValueError:
        return None, [], NO_NUMBERS
    if number != number or number < 0 or number % 1 or number > 1e6:
        return None, [], NO_NUMBERS
    if keypoints and len(values) == 4 + keypoints:
        values = values[:4]
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        return int(number), [], WRONG_COUNT
    if not all(-SLACK <= value <= 1 + SLACK for value in values):
        return int(number), [], NO_SHARE
    return int(number), values, ""


def around(outline: list[float]) -> list[float]:
    """The box [cx, cy, w, h] around the points of an outline."""
    (left, right), (top, bottom) = ((min(side), max(side)) for side in (outline[::2], outline[1::2]))
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]


def read(root: Path) -> Yolo:
    """The dataset in the folder root; every label is looked at. Raises Refusal."""
    if root.is_file():
        raise Refusal(
            "invalid_input", f"local_dataset_path = {str(root)!r} is a file: give the folder of a YOLO dataset"
        )
    layout = yolo_layout.read(root)
    labels = _label_files(root)
    items = {
        split: [Item(image, labels.get(_key(image, root))) for image in images]
        for split, images in layout.splits.items()
    }
    warnings = [*layout.warnings, *_unused(root, layout, labels)]
    found = Yolo(root, layout.names, _labeled(items, root, warnings), layout.keypoints, warnings=warnings)
    _count(found)
    return found


# --- which file holds the labels of which image


def _key(path: Path, root: Path) -> str:
    """Alike for an image and its labels: the path without its ending, and `images` or `labels` in it struck out."""
    *parts, name = str(path)[len(str(root)) + 1 :].split("/")
    at = max((i for i, part in enumerate(parts) if part.lower() in ("images", "labels")), default=None)
    return "/".join(("*" if i == at else part) for i, part in enumerate([*parts, name.rpartition(".")[0]]))


def _label_files(root: Path) -> dict[str, Path]:
    """Key -> file of labels: of several the one in a folder called labels."""
    found: dict[str, Path] = {}
    for path in walk(root, root, (".txt",)):
        key = _key(path, root)
        if key not in found or _in_labels(path, root):
            found[key] = path
    return found


def _in_labels(path: Path, root: Path) -> bool:
    return "labels" in relative(path.parent, root).lower().split("/")


def _labeled(items: dict[str, list[Item]], root: Path, warnings: list[str]) -> dict[str, list[Item]]:
    """The splits that are used: without those of which no image has labels, or which are the training images anew."""
    splits, train = {}, items.get("train")
    for split, group in items.items():
        without = sum(item.labels is None for item in group)
        if without == len(group) and split != "train":
            warnings.append(f"none of the {without} images of split {split!r} has a label file: it is not used")
        elif split != "train" and train and {item.image for item in group} == {item.image for item in train}:
            warnings.append(f"split {split!r} is the images of 'train' over again: it is not used")
        else:
            splits[split] = group
            if without and without < len(group):
                warnings.append(
                    f"split {split!r}: {without} of {len(group)} images have no label file: no object on them"
                )
    if train is not None and all(item.labels is None for item in train):
        raise Refusal(
            "rejected",
            f"none of the {len(train)} training images of {root} has a label file: the labels of images/x.jpg are "
            "labels/x.txt",
        )
    return splits


def _unused(root: Path, layout: yolo_layout.YoloLayout, labels: dict[str, Path]) -> list[str]:
    used = {image for group in layout.splits.values() for image in group}
    every = yolo_layout.pictures(root, root) if layout.said_in else sorted(used)
    keys, beside = {_key(image, root) for image in every}, {image.parent for image in every}
    alone = [
        relative(path, root)
        for key, path in labels.items()
        if key not in keys and (_in_labels(path, root) or path.parent in beside) and not _is_no_label(path)
    ]
    found = [f"{len(alone)} label files have no image and are not used: {', '.join(alone[:3])}"] if alone else []
    if rest := [image for image in every if image not in used]:
        found.append(
            f"{len(rest)} images are in no split of {layout.said_in or root} and are not used: "
            f"{', '.join(relative(image, root) for image in rest[:3])}"
        )
    return found


def _is_no_label(path: Path) -> bool:
    """Names of classes, lists and notes, by their names."""
    name = path.name.lower()
    return name in yolo_layout.CLASS_FILES or name.startswith("readme") or path.stem.lower() in yolo_layout.SPLITS


# --- the labels themselves


def _count(found: Yolo) -> None:
    """Classes, outlines and lines left out, of every split. Raises Refusal where they fit nothing."""
    ids: Counter[int] = Counter()
    numbers = list(found.names)
    for split, group in found.splits.items():
        classes, lost = Counter(), Counter()
        for item in group:
            objects, left_out = found._objects(item)
            for one in objects:
                classes[found.names[numbers[one["category"]]]] += 1
                ids[numbers[one["category"]]] += 1
                found.outlines["boxes" if one["segmentation"] is None else "polygons"] += 1
            for (why, number), count in left_out.items():
                lost[why] += count
                ids.update({number: count} if why == UNKNOWN_CLASS else {})
        found.classes[split], found.left_out[split] = classes, lost
        found.warnings += [f"split {split!r}: {count:,} lines left out, {why}" for why, count in lost.most_common()]
    _check(found, ids)


def _check(found: Yolo, ids: Counter[int]) -> None:
    used, lost = found.outlines.total(), sum(found.left_out.values(), Counter())
    if not used and lost:
        shown = "; ".join(f"{count:,} {why}" for why, count in lost.most_common(3))
        raise Refusal(
            "rejected",
            f"no line of the labels of {found.root} can be used ({shown}): each is `class cx cy w h`, or `class x y x "
            "y ...`, in shares of the image, and the class an id that has a name. Fix them, or give COCO JSON or VOC "
            "XML",
        )
    if lost[UNKNOWN_CLASS] and min(ids) == 1 and max(ids) == len(found.names) and list(found.names)[0] == 0:
        raise Refusal(
            "ambiguous",
            f"the class ids of {found.root} are 1 to {max(ids)}, and its {len(found.names)} classes are numbered from "
            "0: ask the user whether one must be taken from each id, or a class is missing at the front of the names",
        )
    if found.outlines["polygons"] and found.outlines["boxes"]:
        found.warnings.append(
            f"{found.outlines['boxes']:,} of {used:,} objects have a box and no outline: they have no mask"
        )


# --- whether it is one


def looks_like(root: Path, here: dict[Path, Survey]) -> bool:
    """Texts of labels beside the images, or in labels/ beside images/; `here`: root and the folders in it.

    Raises Refusal for texts in labels/ that are in no format of YOLO's.
    """
    named = [entry for one, seen in here.items() if "labels" in seen.folders for entry in entries(one, root)]
    for one in (Path(entry.path) for entry in named if entry.is_dir() and entry.name.lower() == "labels"):
        for seen in map(survey, folders(one, root, 1)):
            if seen.files(".txt") and not seen.files(*EXTENSIONS):
                return _refuse_others(root, seen.files(".txt"))
    for seen in here.values():
        texts = [path for path in seen.files(".txt") if not _is_no_label(path)]
        labels = [path for path in texts if _has_labels(path)]
        if seen.files(*EXTENSIONS) and len(labels) * 2 > len(texts) and any(map(_first_line, labels)):
            return True
    return False


def _refuse_others(root: Path, texts: list[Path]) -> bool:
    strange = [path for path in texts if not _is_no_label(path) and not _has_labels(path)]
    if strange and len(strange) == len([path for path in texts if not _is_no_label(path)]):
        raise Refusal(
            "rejected",
            f"local_dataset_path = {str(root)!r}: {relative(strange[0], root)} begins "
            f"{_first_line(strange[0])[:60]!r}, which is not YOLO's `class cx cy w h`: convert the labels to COCO "
            "JSON, or to VOC XML",
        )
    return True


def _first_line(path: Path) -> str:
    with inside(path, path.parent.resolve()).open("rb") as file:
        return file.readline(65_536).decode("utf-8-sig", "replace").strip()


def _has_labels(path: Path) -> bool:
    """Whether the file is empty or begins with a class id and numbers."""
    words = _first_line(path).split()
    return not words or len(words) > 4 and parsed(words)[2] != NO_NUMBERS
