"""Local folders of images: classes by folder or by a metadata file (imagefolder), pairs of image and mask (segfolder)."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunegate.errors import ToolFailure
from tunegate.probe.dataset.columns import Feature, value_feature
from tunegate.probe.dataset.images import EXTENSIONS
from tunegate.probe.dataset.labels import Labels, count_some
from tunegate.probe.dataset.local import files as local_files
from tunegate.probe.dataset.local.tree import (
    MAX_ENTRIES,
    N_ROWS,
    below,
    entries,
    folders,
    has_image,
    inside,
    spread,
    walk,
)
from tunegate.probe.dataset.pictures import Picture, from_path
from tunegate.probe.dataset.splits import KEYWORDS, split_of
from tunegate.probe.dataset.table import Rows, Table

METADATA = ("metadata.jsonl", "metadata.csv")
IMAGE_FOLDERS = ("images", "image", "img", "imgs", "jpegimages", "rgb", "leftimg8bit")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "segmentationclass", "gt", "segmentations")
DEPTH_FOLDERS = ("depth", "depths", "depth_maps", "depth_map", "disparity")
NAME_FILES = ("id2label.json", "classes.txt", "labels.txt", "label_map.txt")
MAX_NAMES = 1 << 20  # bytes of a file of class names
IMAGE = Feature("image", "Image")


def _picture(path: Path, root: Path) -> Picture:
    return from_path(path, str(path.relative_to(root)))


# --- classes by folder


def imagefolder(root: Path) -> Table:
    """[split/]class/image, or images beside a metadata file. Class ids follow the sorted names, as in `datasets`."""
    if root.is_file():
        raise ToolFailure(
            "invalid_input",
            f"local_dataset_path = {str(root)!r} is a file, and imagefolder needs a folder of class folders",
        )
    if metadata := [
        folder / name for folder in folders(root, root, 1) for name in METADATA if (folder / name).is_file()
    ]:
        return _with_metadata(root, metadata)
    warnings: list[str] = []
    files: dict[str, dict[str, list[Path]]] = {}
    for split, folder in _split_folders(root, warnings):
        for name, images in _classes(folder, root, warnings).items():
            files.setdefault(split, {}).setdefault(name, []).extend(images)
        files.setdefault(split, {})
    names = tuple(sorted({name for classes in files.values() for name in classes}))
    new = sorted({name for split in files for name in files[split] if split != "train"} - set(files.get("train", {})))
    if new and "train" in files:
        warnings.append(f"{len(new)} classes are never trained on, being in no train folder: {', '.join(new[:5])}")
    flat = {split: [(name, image) for name in sorted(found) for image in found[name]] for split, found in files.items()}

    def count(split: str, column: str) -> Labels | None:
        if column != "label":
            return None
        counts = Counter({name: len(images) for name, images in files[split].items()})
        return Labels(counts=counts, seen=counts.total(), complete=True)

    def read(split: str) -> Rows:
        rows = [{"image": _picture(image, root), "label": name} for name, image in spread(flat[split])]
        return Rows(rows, complete=len(flat[split]) <= N_ROWS, spread=True)

    def each(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        return ({"image": _picture(image, root), "label": name} for name, image in flat[split])

    features = {"image": IMAGE, "label": Feature("class", f"ClassLabel({len(names)})", names)}
    counts = {split: len(found) for split, found in flat.items()}
    return Table("imagefolder", counts, features, read, count, each, warnings=warnings)


def _split_folders(root: Path, warnings: list[str]) -> list[tuple[str, Path]]:
    """(split, folder); all of it is `train` unless a folder of that name is there."""
    below = [entry for entry in entries(root, root) if entry.is_dir()]
    splits = [entry for entry in below if entry.name.lower() in KEYWORDS]
    if not any(KEYWORDS[entry.name.lower()] == "train" for entry in splits):
        return [("train", root)]
    if ignored := sorted(entry.name for entry in below if entry not in splits):
        warnings.append(f"folders beside the splits are not used: {', '.join(ignored[:5])}")
    return [(KEYWORDS[entry.name.lower()], Path(entry.path)) for entry in splits]


def _classes(folder: Path, root: Path, warnings: list[str]) -> dict[str, list[Path]]:
    """Class name -> images in folder/class. Classes without images are left out, and said so."""
    classes, loose, total = {}, 0, 0
    for entry in entries(folder, root):
        if not entry.is_dir():
            loose += entry.name.lower().endswith(EXTENSIONS)
            continue
        images = []
        for child in entries(Path(entry.path), root):
            if child.is_dir() and has_image(Path(child.path), depth=2):
                raise ToolFailure(
                    "rejected",
                    f"{child.path} holds images one folder too deep: the layout is [split/]class/image, so move "
                    "them up, or give the folder that holds the classes as local_dataset_path",
                )
            if child.name.lower().endswith(EXTENSIONS):
                images.append(Path(child.path))
            total += 1
        if total > MAX_ENTRIES:
            raise ToolFailure("rejected", f"{folder} has more than {MAX_ENTRIES:,} files: turn it into parquet first")
        if images:
            classes[entry.name] = sorted(images)
        else:
            warnings.append(f"folder {entry.name!r} holds no images and is no class")
    if loose and not classes:
        raise ToolFailure(
            "rejected",
            f"{folder} holds {loose} images and no class folders: put the images of each class into a folder of its own, "
            "or describe them in a metadata.jsonl beside them",
        )
    if loose:
        warnings.append(f"{loose} images beside the class folders of {folder.name!r} have no label and are not used")
    return classes


# --- images described by metadata.jsonl or metadata.csv


def _with_metadata(root: Path, metadata: list[Path]) -> Table:
    """`file_name` is the image, `<x>_file_name` the image column x; both relative to the metadata file."""
    splits = _metadata_rows(root, metadata)
    every = [row for rows in splits.values() for row in rows]
    columns = [name for name in dict.fromkeys(name for row in every[:N_ROWS] for name in row if name)]
    images = {name: name.removesuffix("_file_name") for name in columns if name.endswith("_file_name")}
    images["file_name"] = "image"
    warnings: list[str] = []
    features = {
        images.get(name, name): IMAGE if name in images else value_feature([row.get(name) for row in every[:500]])
        for name in columns
    }
    described = {str(below(row[""], row.get(name), root).relative_to(root)) for row in every for name in images}
    _count_undescribed(root, described, warnings)

    def cells(row: dict[str, Any]) -> dict[str, Any]:
        base = row[""]
        return {
            images.get(name, name): _picture(inside(below(base, row.get(name), root), root), root)
            if name in images
            else row.get(name)
            for name in columns
        }

    def read(split: str) -> Rows:
        rows = splits[split]
        return Rows([cells(row) for row in spread(rows)], complete=len(rows) <= N_ROWS, spread=True)

    def count(split: str, column: str) -> Labels | None:
        if column not in columns:
            return None
        return count_some((row.get(column) for row in splits[split]), features[column])

    def each(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        return map(cells, splits[split])

    counts = {split: len(rows) for split, rows in splits.items()}
    return Table("imagefolder", counts, features, read, count, each, warnings=warnings, names=class_names(root))


def _metadata_rows(root: Path, metadata: list[Path]) -> dict[str, list[dict[str, Any]]]:
    """Split -> rows, each with the folder that its paths are relative to under the key ""."""
    found = [{**row, "": file.parent} for file in metadata for row in local_files.rows_of(inside(file, root))]
    if not any("file_name" in row for row in found[:N_ROWS]):
        raise ToolFailure(
            "rejected", f"{metadata[0]} has no row with a file_name: each line names its image, relative to that file"
        )
    named = [split_of(str(below(row[""], row.get("file_name"), root).relative_to(root))) for row in found]
    splits: dict[str, list[dict[str, Any]]] = {}
    for row, split in zip(found, named, strict=True):
        splits.setdefault(split or "train", []).append(row)
    return splits


def _count_undescribed(root: Path, described: set[str], warnings: list[str]) -> None:
    if loose := sum(str(path.relative_to(root)) not in described for path in walk(root, root, EXTENSIONS)):
        warnings.append(f"{loose} images are named in no metadata file and are not used")


# --- pairs


def segfolder(root: Path, kind: str, task: str) -> Table:
    """images/ and masks/ (or depth/) with the same stems, split by folders above or below them."""
    column, wanted = ("depth_map", DEPTH_FOLDERS) if task == "depth-estimation" else ("mask", MASK_FOLDERS)
    found = [folder for folder in folders(root, root, 2) if folder != root]
    images = [folder for folder in found if folder.name.lower() in IMAGE_FOLDERS]
    targets = [folder for folder in found if folder.name.lower() in wanted]
    if not images or not targets:
        raise ToolFailure(
            "rejected",
            f"local_dataset_path = {str(root)!r} needs a folder {' or '.join(IMAGE_FOLDERS[:2])} and one called "
            f"{' or '.join(wanted[:3])}, with the same file names in both",
        )
    warnings: list[str] = []
    pairs = _pairs(images, targets, root, warnings)
    if not pairs:
        raise ToolFailure(
            "rejected",
            f"no image of {images[0]} has a file of the same name in {targets[0]}: each needs one (the ending may differ)",
        )

    def read(split: str) -> Rows:
        chosen = spread(pairs[split])
        rows = [{"image": _picture(image, root), column: _picture(target, root)} for image, target in chosen]
        return Rows(rows, complete=len(pairs[split]) <= N_ROWS, spread=True)

    def each(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        return ({"image": _picture(image, root)} for image, _ in pairs[split])

    counts, features = {split: len(group) for split, group in pairs.items()}, {"image": IMAGE, column: IMAGE}
    return Table("segfolder", counts, features, read, every=each, warnings=warnings, names=class_names(root))


def _pairs(
    images: list[Path], targets: list[Path], root: Path, warnings: list[str]
) -> dict[str, list[tuple[Path, Path]]]:
    """Split -> (image, target), by path without the folder's own name and without endings such as _mask."""
    known = {
        _pair_key(path, folder, root): path for folder in targets for path in walk(folder, root, (*EXTENSIONS, ".npy"))
    }
    pairs: dict[str, list[tuple[Path, Path]]] = {}
    alone: list[str] = []
    for folder in images:
        for path in walk(folder, root, EXTENSIONS):
            target = known.pop(_pair_key(path, folder, root), None)
            if target is None:
                alone.append(str(path.relative_to(root)))
                continue
            pairs.setdefault(split_of(str(path.relative_to(root))) or "train", []).append((path, target))
    if alone:
        warnings.append(f"{len(alone)} images have no partner and are not used: {', '.join(alone[:3])}")
    if known:
        warnings.append(
            f"{len(known)} masks or maps have no image: {', '.join(str(p.relative_to(root)) for p in list(known.values())[:3])}"
        )
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
