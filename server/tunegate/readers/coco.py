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
"""COCO annotation files, read as a stream: boxes, crowds, outlines as polygons or RLE, and the panoptic variant."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .coco_images import Lookup, Places
from .json_stream import elements
from .numbers import as_number, whole
from .refusal import Refusal
from .splits import split_of
from .tree import Listing, relative, spread, walk

MAX_KEPT = (
    100_000  # annotations of a sample that are kept where they come before the images; the others are only counted
)
MAX_IMAGES = 2_000_000
MAX_BYTES = 4 << 30
OF_OTHER_TASKS = ("panoptic", "keypoint", "caption", "stuff")  # annotation files of other tasks, by their names
_KEYS = (b'"images"', b'"annotations"', b'"categories"')
_INSIDE = (b'"file_name"', b'"image_id"', b'"supercategory"')  # of an element of each


@dataclass
class AnnotationFile:
    """One annotation file. sample: of how many images the annotations are kept, None: of all.

    images: id -> (file name, width, height). kept: image id -> its annotations. classes: category id -> objects.
    masks: image id -> the file name of its mask, of a panoptic file.
    """

    path: Path
    sample: int | None = None
    images: dict[int | str, tuple[str, int | None, int | None]] = field(default_factory=dict)
    names: dict[int | str, str] = field(default_factory=dict)
    things: dict[int | str, Any] = field(default_factory=dict)
    kept: dict[int | str, list[dict[str, Any]]] = field(default_factory=dict)
    masks: dict[int | str, str] = field(default_factory=dict)
    classes: Counter[int | str] = field(default_factory=Counter)
    wanted: set[int | str] | None = None
    annotated: set[int | str] = field(default_factory=set)
    outlines: Counter[str] = field(default_factory=Counter)
    crowds: int = 0
    stray: int = 0
    repeated: list[str] = field(default_factory=list)  # file names of images whose id another image has
    total: int = 0

    def sampled(self) -> list[int | str]:
        """The ids of the images of the sample, in the file's order."""
        if self.sample is None:
            return list(self.images)
        if self.wanted is not None:
            return [number for number in self.images if number in self.wanted]
        every = [number for number in self.images if self.total <= MAX_KEPT or number in self.kept]
        return spread(every, self.sample)


@dataclass
class Coco:
    """The annotation files by split, where their images lie, and the categories (id -> name) by id.

    lookups: split -> where its images lie, by file name; or, of a dataset that was listed, Places.
    """

    root: Path
    panoptic: bool
    files: dict[str, AnnotationFile]
    names: dict[int | str, str]
    lookups: dict[str, Lookup | Places]
    warnings: list[str] = field(default_factory=list)

    def listing(self) -> Listing:
        splits = {}
        for split, one in self.files.items():
            images = self.lookups[split].find_all([name for name, *_ in one.images.values()])
            splits[split] = {"annotations": relative(one.path, self.root), "images": images}
            if self.panoptic:
                splits[split]["masks"] = self.lookups[split].find_masks([one.masks.get(key) for key in one.images])
        annotations = [found["annotations"] for found in splits.values()]
        pictures = (path for one in splits.values() for key in ("images", "masks") for path in one.get(key, []))
        files = [*annotations, *pictures]
        layout = {"kind": "coco", "panoptic": self.panoptic, "splits": splits}
        layout |= {"stuff": self.stuff()} if self.panoptic else {}
        return Listing(self.root, layout, files, annotations)

    @classmethod
    def listed(cls, layout: dict[str, Any], root: Path, only: tuple[str, ...] | None = None) -> Coco:
        """As `listing` wrote it down; the annotation files, of the splits in `only` alone, are read again."""
        chosen = {split: found for split, found in layout["splits"].items() if only is None or split in only}
        files = {split: _read(root / found["annotations"], None) for split, found in chosen.items()}
        places = {split: Places(list(files[split].images), root, found) for split, found in chosen.items()}
        return cls(root, layout["panoptic"], files, _categories(files), places)

    def image(self, split: str, number: int | str) -> Path:
        """Where an image lies; a path at which nothing lies, where it is missing."""
        return self.lookups[split].image(number, self.files[split].images[number][0])

    def row(self, split: str, number: int | str) -> dict[str, Any]:
        """image, width, height, objects {bbox, category, area, iscrowd, segmentation}.

        Of a panoptic file: image, mask, segments_info. A category is its number in `names`, None where the file does
        not list it.
        """
        one = self.files[split]
        if self.panoptic:
            return self._panoptic_row(split, number)
        _, width, height = one.images[number]
        items = one.kept.get(number, [])
        objects = {
            "bbox": [_numbers(item.get("bbox")) for item in items],
            "category": [self._index(one, item) for item in items],
            "area": [as_number(item.get("area")) for item in items],
            "iscrowd": [_flag(item.get("iscrowd")) for item in items],
            "segmentation": [item.get("segmentation") for item in items],
        }
        return {"image": self.image(split, number), "width": width, "height": height, "objects": objects}

    def _panoptic_row(self, split: str, number: int | str) -> dict[str, Any]:
        one = self.files[split]
        item = next(iter(one.kept.get(number, [])), {})
        segments = [
            {"id": part.get("id"), "category_id": self._index(one, part), "iscrowd": _flag(part.get("iscrowd"))}
            for part in item.get("segments_info") or []
            if isinstance(part, dict)
        ]
        mask = self.lookups[split].mask(number, one.masks.get(number))
        return {"image": self.image(split, number), "mask": mask, "segments_info": segments}

    def _index(self, one: AnnotationFile, item: dict[str, Any]) -> int | None:
        """By name: the files of two splits may number the same categories differently."""
        return self._numbers.get(one.names.get(as_id(item.get("category_id"))))

    def __post_init__(self):
        self._numbers = {name: i for i, name in enumerate(self.names.values())}

    def stuff(self) -> list[str] | None:
        """The categories that the file says are no things; None where it does not say it of every one."""
        things = next(iter(self.files.values())).things
        if any(value is None for value in things.values()):
            return None
        return [self.names[key] for key in self.names if not things[key]]


def is_coco(path: Path) -> bool:
    """A JSON object with keys of COCO near its ends, whatever its size: of a large file, keys lie far inside, and only
    what their elements hold is near an end."""
    try:
        with path.open("rb") as file:
            head = file.read(65_536)
            file.seek(max(0, path.stat().st_size - 65_536))
            both = head + file.read(65_536)
    except OSError:
        return False
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") or not any(key in both for key in _KEYS):
        return False
    return sum(key in both or inside in both for key, inside in zip(_KEYS, _INSIDE, strict=True)) >= 2


def read(path: Path, *, panoptic: bool = False, sample: int | None = None) -> Coco:
    """The dataset at `path`, a folder or an annotation file. sample: see AnnotationFile. Raises Refusal."""
    root, files = annotation_files(path, "panoptic" if panoptic else "instances")
    found = {split: _read(file, sample) for split, file in files.items()}
    lookups = {
        split: Lookup(one.path, [name for name, *_ in one.images.values()], root, split, panoptic)
        for split, one in found.items()
    }
    warnings = [remark for split, one in found.items() for remark in _remarks(one, split)] + _renumbered(found)
    return Coco(root, panoptic, found, _categories(found), lookups, warnings)


def annotation_files(path: Path, wanted: str) -> tuple[Path, dict[str, Path]]:
    """(folder, split -> annotation file). Several files of one split: the one whose name says what is wanted."""
    if path.is_file():
        return (path.parent.parent if path.parent.name.lower() == "annotations" else path.parent), {"train": path}
    groups: dict[str, list[Path]] = {}
    for file in (file for file in walk(path, path, (".json",), depth=2) if is_coco(file)):
        groups.setdefault(split_of(relative(file, path)) or "train", []).append(file)
    files = {}
    for split, group in groups.items():
        named = [file for file in group if wanted in file.name.lower()]
        plain = [file for file in group if not any(word in file.name.lower() for word in OF_OTHER_TASKS)]
        chosen = named or (plain if wanted == "instances" else group)
        if len(chosen) > 1:
            raise Refusal(
                "ambiguous",
                f"split {split!r} of {path} has {len(chosen)} annotation files "
                f"({', '.join(p.name for p in chosen[:4])}): ask the user which, and keep only that one, or "
                "pass the file itself as local_dataset_path",
            )
        if chosen:
            files[split] = chosen[0]
    if not files:
        raise Refusal(
            "rejected", f"local_dataset_path = {str(path)!r} has no COCO file for {wanted}: its annotations lack them"
        )
    return path, files


def _read(path: Path, sample: int | None) -> AnnotationFile:
    found = AnnotationFile(path, sample)
    if path.stat().st_size > MAX_BYTES:
        raise Refusal(
            "rejected", f"{path} is larger than {MAX_BYTES >> 30} GB: split it, or turn the dataset into parquet"
        )
    try:
        for key, item in elements(path):
            if isinstance(item, dict) and key in _TAKE:
                _TAKE[key](found, item)
    except (ValueError, OSError) as error:
        raise Refusal(
            "rejected", f"{path} is not readable as COCO JSON ({str(error)[:100]}): write it again"
        ) from None
    found.stray += sum(number not in found.images for number in found.annotated)
    if not found.images or not found.names:
        raise Refusal(
            "rejected", f"{path} lists {len(found.images)} images and {len(found.names)} categories: both are needed"
        )
    return found


def as_id(value: Any) -> int | str | None:
    """An id as the whole number that it is or spells (17, 17.0, "17", "0017"), else as its text; None for no id."""
    if isinstance(value, str):
        return int(value) if value.isdecimal() else value
    return whole(value)


def _take_image(found: AnnotationFile, item: dict[str, Any]) -> None:
    number, name = as_id(item.get("id")), item.get("file_name")
    if number is not None and isinstance(name, str) and len(found.images) < MAX_IMAGES:
        if number in found.images:
            found.repeated.append(name)
        found.images[number] = (name, whole(item.get("width")), whole(item.get("height")))


def _take_category(found: AnnotationFile, item: dict[str, Any]) -> None:
    number = as_id(item.get("id"))
    if number is not None and isinstance(item.get("name"), str):
        found.names[number] = item["name"][:100]
        found.things[number] = item.get("isthing")


def _take_annotation(found: AnnotationFile, item: dict[str, Any]) -> None:
    number = as_id(item.get("image_id"))
    if number is None:
        found.stray += 1
        return
    found.annotated.add(number)
    found.total += 1
    if isinstance(item.get("segments_info"), list) and "file_name" in item:
        found.masks.setdefault(number, str(item["file_name"]))
    if found.images and number not in found.images:  # of no image that is listed: nothing reads it
        return
    for segment in item["segments_info"] if isinstance(item.get("segments_info"), list) else [item]:
        if isinstance(segment, dict) and (category := as_id(segment.get("category_id"))) is not None:
            found.classes[category] += 1
            found.crowds += _flag(segment.get("iscrowd"))
    outline = item.get("segmentation")
    kind = "RLE" if isinstance(outline, dict) else "polygons" if isinstance(outline, list) and outline else "none"
    found.outlines[kind] += 1
    if _is_kept(found, number):
        found.kept.setdefault(number, []).append(item)


def _is_kept(found: AnnotationFile, number: int | str) -> bool:
    if found.sample is None:
        return True
    if found.wanted is None and found.images:  # as COCO orders them: the images that are looked at can be chosen now
        found.wanted = set(spread(list(found.images), found.sample))
    return number in found.wanted if found.wanted is not None else found.total <= MAX_KEPT


_TAKE = {"images": _take_image, "categories": _take_category, "annotations": _take_annotation}


def _categories(found: dict[str, AnnotationFile]) -> dict[int | str, str]:
    """Id -> name of the first file, in the order of the ids. Splits that name other classes are `rejected`."""
    first, *others = found.values()
    for one in others:
        if sorted(one.names.values()) != sorted(first.names.values()):
            only = sorted(set(one.names.values()) ^ set(first.names.values()))
            raise Refusal(
                "rejected",
                f"{first.path.name} and {one.path.name} do not list the same categories ({', '.join(only[:5])} in one "
                "of them only): make them agree",
            )
    ordered = sorted(first.names, key=lambda key: (isinstance(key, str), key))
    if len(set(first.names.values())) != len(ordered):
        raise Refusal("rejected", f"{first.path.name} has two categories of one name: rename or merge them")
    return {key: first.names[key] for key in ordered}


def _renumbered(found: dict[str, AnnotationFile]) -> list[str]:
    first, *others = found.values()
    return [
        f"{one.path.name} numbers its categories otherwise than {first.path.name}: they are read by name"
        for one in others
        if one.names != first.names
    ]


def _remarks(one: AnnotationFile, split: str) -> list[str]:
    found = []
    if empty := len(one.images.keys() - one.annotated):
        found.append(f"split {split!r}: {empty} of {len(one.images)} images have no annotation")
    if one.repeated:
        found.append(
            f"split {split!r}: {len(one.repeated)} images have the id of another one, and the last of them is used: "
            f"{', '.join(one.repeated[:3])}"
        )
    names = Counter(name for name, *_ in one.images.values())
    if twice := [name for name, count in names.items() if count > 1]:
        found.append(
            f"split {split!r}: {len(twice)} images are listed under several ids, each with the objects of its own id "
            f"alone: {', '.join(twice[:3])}"
        )
    if one.stray:
        found.append(f"split {split!r}: annotations of {one.stray} images that the file does not list are not used")
    if unknown := sum(count for key, count in one.classes.items() if key not in one.names):
        found.append(f"split {split!r}: {unknown} annotations have a category that is not listed, and are not used")
    if one.crowds:
        found.append(
            f"split {split!r}: {one.crowds} of {one.classes.total()} objects are crowds (iscrowd = 1): not trained "
            "on as single objects"
        )
    if one.outlines["RLE"] and one.outlines["polygons"]:
        found.append(
            f"split {split!r}: outlines are {one.outlines['polygons']} polygons and {one.outlines['RLE']} RLE"
        )
    return found


def _numbers(values: Any) -> list[float | None]:
    """A box as it is stored, [] for what is no list; None for what is no number in it."""
    return [as_number(value) for value in values] if isinstance(values, list) else []


def _flag(value: Any) -> int:
    return int(value in (1, "1"))  # True is 1
