"""Pascal VOC: one XML file of boxes for each image, ImageSets, and SegmentationClass masks."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunegate.errors import ToolFailure
from tunegate.probe.dataset.columns import Feature, list_of, struct_of
from tunegate.probe.dataset.images import EXTENSIONS
from tunegate.probe.dataset.labels import Labels
from tunegate.probe.dataset.local.tree import N_ROWS, Survey, folders, inside, spread, walk
from tunegate.probe.dataset.pictures import from_path
from tunegate.probe.dataset.splits import split_of
from tunegate.probe.dataset.table import Rows, Table

MAX_XML = 1 << 20
MAX_FILES = 20_000  # XML files whose boxes are read
IMAGE, NUMBER, WHOLE = Feature("image", "Image"), Feature("float", "float"), Feature("int", "int")


@dataclass
class _Annotation:
    path: Path
    image: Path | None
    width: int | None
    height: int | None
    boxes: list[list[float | None]]
    names: list[str]
    difficult: list[int]


def looks_like(here: dict[Path, Survey]) -> bool:
    """Annotations beside JPEGImages, or XML files that begin as VOC's do; `here` is the folder and those in it."""
    return any({"annotations", "jpegimages"} <= seen.folders for seen in here.values()) or any(
        b"<annotation" in _head(path) for seen in here.values() for path in seen.files(".xml")[:1]
    )


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1024)


def voc(root: Path, kind: str, task: str) -> Table:
    if root.is_file():
        raise ToolFailure(
            "invalid_input", f"local_dataset_path = {str(root)!r} is a file, and VOC is a folder of XML files"
        )
    return _masks(root) if task == "semantic-segmentation" else _boxes(root)


def _boxes(root: Path) -> Table:
    warnings: list[str] = []
    parsed, complete = _parsed(root, warnings)
    found = {split: [one for one in group if one.image] for split, group in _in_splits(parsed, root, warnings).items()}
    names = tuple(sorted({name for group in found.values() for one in group for name in one.names}))
    index = {name: i for i, name in enumerate(names)}

    def read(split: str) -> Rows:
        return Rows(
            [_row(one, root, index) for one in spread(found[split])], complete=len(found[split]) <= N_ROWS, spread=True
        )

    def count(split: str, column: str) -> Labels | None:
        counts = Counter(name for one in found[split] for name in one.names)
        return Labels(counts, seen=counts.total(), complete=complete) if column == "objects.category" else None

    def each(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        return (_row(one, root, index) for one in found[split])

    objects = {
        "bbox": list_of(list_of(NUMBER)),
        "category": list_of(Feature("class", f"ClassLabel({len(names)})", names)),
        "difficult": list_of(WHOLE),
    }
    features = {"image": IMAGE, "objects": struct_of(objects)}
    counts = {split: len(group) for split, group in found.items()}
    return Table("voc", counts, features, read, count, each, warnings=warnings, facts={"box_format": "xyxy"})


def _parsed(root: Path, warnings: list[str]) -> tuple[list[_Annotation], bool]:
    """(annotations, whether these are all)"""
    every = list(walk(root, root, (".xml",), depth=3))
    images = _images(root)
    read_files = [_annotation(path, images, warnings) for path in every[:MAX_FILES]]
    parsed = [one for one in read_files if one is not None]
    if not parsed:
        raise ToolFailure(
            "rejected", f"none of the {len(every)} XML files of {root} is a VOC annotation: {'; '.join(warnings[:2])}"
        )
    if len(every) > MAX_FILES:
        warnings.append(f"boxes of the first {MAX_FILES:,} of {len(every):,} XML files were read")
    lost = [one.path.stem for one in parsed if one.image is None]
    if len(lost) == len(parsed):
        raise ToolFailure(
            "rejected", f"no image was found for any of the {len(parsed)} XML files of {root}: put them into JPEGImages"
        )
    if lost:
        warnings.append(
            f"{len(lost)} XML files name an image that is not there, and are not used: {', '.join(lost[:3])}"
        )
    return parsed, len(every) <= MAX_FILES


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
    return max(candidates, key=lambda image: len(os.path.commonpath((image.parent, path.parent))), default=None)


def _in_splits(parsed: list[_Annotation], root: Path, warnings: list[str]) -> dict[str, list[_Annotation]]:
    sets, why = _sets(root, "Main", [one.path.stem for one in parsed])
    if why:
        warnings.append(why)
    if sets:
        by_stem = {one.path.stem: one for one in parsed}
        return {split: [by_stem[stem] for stem in stems] for split, stems in sets.items()}
    found: dict[str, list[_Annotation]] = {}
    for one in parsed:
        found.setdefault(split_of(str(one.path.parent.relative_to(root))) or "", []).append(one)
    rest = found.pop("", [])
    return found or {"train": rest}


def _row(one: _Annotation, root: Path, index: dict[str, int]) -> dict[str, Any]:
    return {
        "image": from_path(inside(one.image, root), str(one.image.relative_to(root))),
        "width": one.width,
        "height": one.height,
        "objects": {"bbox": one.boxes, "category": [index[name] for name in one.names], "difficult": one.difficult},
    }


def _annotation(path: Path, images: dict[str, list[Path]], warnings: list[str]) -> _Annotation | None:
    """One XML file; None, with a warning, for what is none. Entities are refused: they are how XML bombs are built."""
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
    name = Path(tree.findtext("filename") or "").name
    objects = [item for item in tree.findall("object") if (item.findtext("name") or "").strip()]
    return _Annotation(
        path,
        _nearest(images.get(name) or images.get(path.stem) or [], path),
        _whole(tree.findtext("size/width")),
        _whole(tree.findtext("size/height")),
        [[_number(item.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")] for item in objects],
        [item.findtext("name").strip()[:100] for item in objects],
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
    """(split -> stems, a remark) from ImageSets/<kind>/{train,val,test,trainval}.txt; empty where there is no such folder."""
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
            lines = [
                line.split()[0]
                for line in inside(file, root).read_text("utf-8", "replace").splitlines()
                if line.strip()
            ]
            listed[split] = [Path(line).stem if line.lower().endswith(EXTENSIONS) else line for line in lines]
            lost += sum(stem not in known for stem in listed[split])
            listed[split] = [stem for stem in listed[split] if stem in known]
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


def _masks(root: Path) -> Table:
    """SegmentationClass: palette PNGs, 0 the background, 255 the outlines between objects."""
    folder = next((f for f in folders(root, root, 3) if f.name.lower() == "segmentationclass"), None)
    if folder is None:
        raise ToolFailure(
            "rejected", f"local_dataset_path = {str(root)!r} is VOC without SegmentationClass: it has boxes, no masks"
        )
    masks = {path.stem: path for path in walk(folder, root, (".png",), depth=1)}
    images = {
        path.stem: path
        for path in walk(root, root, EXTENSIONS, depth=4)
        if "segmentation" not in path.parent.name.lower()
    }
    stems = sorted(masks.keys() & images.keys())
    if not stems:
        raise ToolFailure("rejected", f"no mask of {folder} has an image of the same name")
    sets, why = _sets(root, "Segmentation", stems)
    found = sets or {"train": stems}

    def read(split: str) -> Rows:
        rows = [
            {
                key: from_path(inside(paths[stem], root), str(paths[stem].relative_to(root)))
                for key, paths in (("image", images), ("mask", masks))
            }
            for stem in spread(found[split])
        ]
        return Rows(rows, complete=len(found[split]) <= N_ROWS, spread=True)

    counts = {split: len(group) for split, group in found.items()}
    return Table("voc", counts, {"image": IMAGE, "mask": IMAGE}, read, warnings=[why] if why else [])
