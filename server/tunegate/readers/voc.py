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
"""Pascal VOC: one XML file of boxes for each image, ImageSets, and SegmentationClass masks."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .pairs import likeliest
from .refusal import Refusal
from .splits import doubts, of_images
from .tree import EXTENSIONS, Listing, Survey, folders, inside, relative, survey, walk

MAX_XML = 1 << 20


@dataclass
class Annotation:
    """One XML file. boxes: left, top, right, bottom, None for what is no number. names: None for an object without."""

    path: Path
    image: Path | None
    width: int | None
    height: int | None
    boxes: list[list[float | None]]
    names: list[str | None]
    difficult: list[int]


@dataclass
class Voc:
    """Split -> annotations with their images."""

    root: Path
    splits: dict[str, list[Annotation]]
    warnings: list[str] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, sorted."""
        return tuple(
            sorted({name for group in self.splits.values() for one in group for name in one.names if name is not None})
        )

    def listing(self) -> Listing:
        splits = {
            split: [[relative(one.path, self.root), relative(one.image, self.root)] for one in group]
            for split, group in self.splits.items()
        }
        every = [pair for pairs in splits.values() for pair in pairs]
        files = [path for pair in every for path in pair]
        return Listing(self.root, {"kind": "voc", "splits": splits}, files, [path for path, _ in every])

    @classmethod
    def listed(cls, layout: dict[str, Any], root: Path) -> Voc:
        """As `listing` wrote it down; the XML files are read again."""
        return cls(
            root,
            {
                split: [replace(_annotation(root / path, {}, []), image=root / image) for path, image in pairs]
                for split, pairs in layout["splits"].items()
            },
        )


def looks_like(here: dict[Path, Survey]) -> bool:
    """Annotations beside JPEGImages, or XML files that begin as VOC's do; `here` is the folder and those in it."""
    return any(_is_root(folder, seen) for folder, seen in here.items()) or any(
        b"<annotation" in _head(path) for seen in here.values() for path in seen.files(".xml")[:1]
    )


def _is_root(folder: Path, seen: Survey) -> bool:
    """JPEGImages beside Annotations that are no masks: other people call a folder of masks so."""
    if not {"annotations", "jpegimages"} <= seen.folders:
        return False
    places = [inner for inner in folder.iterdir() if inner.name.lower() == "annotations" and inner.is_dir()]
    found = [survey(place) for top in places for place in folders(top, folder, 1)]  # splits may be folders in it
    masks = any(one.files(*EXTENSIONS) for one in found) and not any(one.files(".xml") for one in found)
    return "segmentationclass" in seen.folders or not masks


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1024)


def read(root: Path) -> Voc:
    """The boxes below root. Raises Refusal."""
    if root.is_file():
        raise Refusal(
            "invalid_input", f"local_dataset_path = {str(root)!r} is a file, and VOC is a folder of XML files"
        )
    warnings: list[str] = []
    parsed = _parsed(root, warnings)
    return Voc(root, _in_splits(parsed, root, warnings), warnings)


def _parsed(root: Path, warnings: list[str]) -> list[Annotation]:
    """The annotations that have an image."""
    every = list(walk(root, root, (".xml",), depth=3))
    images = _images(root)
    parsed = [one for path in every if (one := _annotation(path, images, warnings)) is not None]
    if not parsed:
        raise Refusal(
            "rejected", f"none of the {len(every)} XML files of {root} is a VOC annotation: {'; '.join(warnings[:2])}"
        )
    lost = [one.path.stem for one in parsed if one.image is None]
    if len(lost) == len(parsed):
        raise Refusal(
            "rejected",
            f"no image was found for any of the {len(parsed)} XML files of {root}: put them into JPEGImages",
        )
    if lost:
        warnings.append(
            f"{len(lost)} XML files name an image that is not there, and are not used: {', '.join(lost[:3])}"
        )
    return [one for one in parsed if one.image is not None]


def _images(root: Path) -> dict[str, list[Path]]:
    """File name, and stem, -> the images called so."""
    found: dict[str, list[Path]] = {}
    for path in walk(root, root, EXTENSIONS, depth=4):
        if "segmentation" not in path.parent.name.lower():
            for key in (path.name, path.stem):
                found.setdefault(key, []).append(path)
    return found


def _nearest(candidates: list[Path], path: Path) -> Path | None:
    """The image whose folder has most in common with the XML file's: names repeat where the splits are folders."""
    shared = {image.parent: len(os.path.commonpath((image.parent, path.parent))) for image in candidates}
    if not shared:
        return None
    best = [folder for folder in shared if shared[folder] == max(shared.values())]
    if len(best) > 1 and len(best := likeliest(best)) > 1:
        raise Refusal(
            "ambiguous",
            f"{path} names an image, and {len(best)} pictures are called so ({', '.join(map(str, best[:4]))}): give "
            "each its own name, or put each XML file beside its image",
        )
    return next(image for image in candidates if image.parent == best[0])


def _in_splits(parsed: list[Annotation], root: Path, warnings: list[str]) -> dict[str, list[Annotation]]:
    sets, why = _sets(root, "Main", [one.path.stem for one in parsed])
    if why:
        warnings.append(why)
    if sets:
        by_stem = {one.path.stem: one for one in parsed}
        return {split: [by_stem[stem] for stem in stems] for split, stems in sets.items()}
    by_path = of_images([relative(one.path, root) for one in parsed])
    warnings += doubts(by_path, "XML files")
    found: dict[str, list[Annotation]] = {}
    for one in parsed:
        found.setdefault(by_path[relative(one.path, root)], []).append(one)
    return found


def _annotation(path: Path, images: dict[str, list[Path]], warnings: list[str]) -> Annotation | None:
    """One XML file; None, with a warning, for anything else. Entities are refused: XML bombs are made of them."""
    try:
        if path.stat().st_size > MAX_XML:
            raise ValueError(f"is larger than {MAX_XML:,} bytes")
        data = path.read_bytes()
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            raise ValueError("declares entities")
        tree = ElementTree.fromstring(data)
        if tree.tag != "annotation":
            return None
    except (ElementTree.ParseError, ValueError, OSError) as error:
        warnings.append(
            f"{path.name} is not used: it {error if isinstance(error, ValueError) else 'is no readable XML'}"
        )
        return None
    name = Path((tree.findtext("filename") or "").replace("\\", "/")).name
    objects = tree.findall("object")
    return Annotation(
        path,
        _nearest(images.get(name) or images.get(path.stem) or [], path),
        _whole(tree.findtext("size/width")),
        _whole(tree.findtext("size/height")),
        [[_number(item.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")] for item in objects],
        [(item.findtext("name") or "").strip()[:100] or None for item in objects],
        [int((item.findtext("difficult") or "0").strip() == "1") for item in objects],
    )


def _number(text: str | None) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _whole(text: str | None) -> int | None:
    number = _number(text)
    return int(number) if number and 0 < number < 1e6 else None


def _sets(root: Path, kind: str, stems: list[str]) -> tuple[dict[str, list[str]], str]:
    """(split -> stems, a remark) from ImageSets/<kind>/{train,val,test,trainval}.txt; empty without such a folder."""
    folder = next(
        (f for f in folders(root, root, 3) if f.name.lower() == kind.lower() and f.parent.name.lower() == "imagesets"),
        None,
    )
    if folder is None:
        return {}, ""
    known, listed, lost = set(stems), {}, 0
    for name, split in (("train", "train"), ("val", "validation"), ("test", "test"), ("trainval", "trainval")):
        file = folder / f"{name}.txt"
        if file.is_file() and file.stat().st_size < 64 * MAX_XML:
            lines = inside(file, root).read_text("utf-8", "replace").splitlines()
            named = list(dict.fromkeys(_stem(line.strip(), known) for line in lines if line.strip()))
            lost += sum(stem not in known for stem in named)
            listed[split] = [stem for stem in named if stem in known]
    if "train" in listed:
        listed.pop("trainval", None)
    elif "trainval" in listed:
        listed["train"] = listed.pop("trainval")
    if not any(listed.values()):
        return {}, "ImageSets names no annotated image: it is not used"
    unused = len(known - {stem for group in listed.values() for stem in group})
    remark = f"ImageSets lists {lost} names without an annotation" if lost else ""
    return {split: group for split, group in listed.items() if group}, remark or (
        f"{unused} annotated images are in no image set and are not used" if unused else ""
    )


def _stem(line: str, known: set[str]) -> str:
    """The stem that a line names: all of it, which may hold spaces, its first word (a flag may follow), or a path."""
    for name in (line, line.split()[0]):
        path = Path(name)
        for stem in (name, path.stem if path.suffix.lower() in EXTENSIONS else path.name):
            if stem in known:
                return stem
    return line.split()[0]


def masks(root: Path) -> tuple[dict[str, list[tuple[Path, Path]]], list[str]]:
    """(split -> (image, mask), warnings) of SegmentationClass. Raises Refusal.

    Its masks are palette PNGs: 0 is the background, 255 the outlines between objects.
    """
    if root.is_file():
        raise Refusal(
            "invalid_input", f"local_dataset_path = {str(root)!r} is a file, and VOC is a folder of XML files"
        )
    folder = next((f for f in folders(root, root, 3) if f.name.lower() == "segmentationclass"), None)
    if folder is None:
        raise Refusal(
            "rejected", f"local_dataset_path = {str(root)!r} is VOC without SegmentationClass: it has boxes, no masks"
        )
    targets = {path.stem: path for path in walk(folder, root, (".png",), depth=1)}
    images = {
        path.stem: path
        for path in walk(root, root, EXTENSIONS, depth=4)
        if "segmentation" not in path.parent.name.lower()
    }
    stems = sorted(targets.keys() & images.keys())
    if not stems:
        raise Refusal("rejected", f"no mask of {folder} has an image of the same name")
    sets, why = _sets(root, "Segmentation", stems)
    found = {
        split: [(images[stem], targets[stem]) for stem in group] for split, group in (sets or {"train": stems}).items()
    }
    return found, [why] if why else []
