"""COCO, VOC and YOLO as Tables: rows are images with their objects, whose classes count from 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunegate.probe.dataset.columns import Feature, list_of, struct_of
from tunegate.probe.dataset.labels import Labels
from tunegate.probe.dataset.local.images import IMAGE, pairs_table, picture
from tunegate.probe.dataset.table import N_ROWS, Rows, Table
from tunegate.readers import coco, voc, yolo
from tunegate.readers.tree import spread

NUMBER, WHOLE = Feature("float", "float"), Feature("int", "int")
_CLASSES = ("objects.category", "segments_info.category_id")


def coco_table(path: Path, task: str) -> Table:
    found = coco.read(path, panoptic=task == "panoptic-segmentation", sample=N_ROWS)

    def read(split: str) -> Rows:
        one = found.files[split]
        rows = [_with_pictures(found.row(split, number), found.root) for number in one.sampled()]
        return Rows(rows, complete=len(one.images) <= N_ROWS, spread=True)

    def count(split: str, column: str) -> Labels | None:
        one = found.files[split]
        counts = Counter({one.names[key]: number for key, number in one.classes.items() if key in one.names})
        return Labels(counts, seen=one.classes.total(), complete=True) if column in _CLASSES else None

    def every(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        return ({"image": picture(found.image(split, number), found.root)} for number in found.files[split].images)

    facts = {} if found.panoptic else {"box_format": "xywh"}
    counts = {split: len(one.images) for split, one in found.files.items()}
    features = _coco_features(found)
    return Table(
        "coco", counts, features, read, count, every, listing=found.listing, warnings=found.warnings, facts=facts
    )


def _coco_features(found: coco.Coco) -> dict[str, Feature]:
    names = tuple(found.names.values())
    kind = Feature("class", f"ClassLabel({len(names)})", names)
    if found.panoptic:
        segment = struct_of({"id": WHOLE, "category_id": kind, "iscrowd": WHOLE})
        return {"image": IMAGE, "mask": IMAGE, "segments_info": list_of(segment)}
    objects = {"bbox": list_of(list_of(NUMBER)), "category": list_of(kind), "area": list_of(NUMBER), "iscrowd": list_of(WHOLE)}  # fmt: skip
    outlines = sum((one.outlines for one in found.files.values()), Counter())
    if outlines["polygons"] or outlines["RLE"]:
        objects["segmentation"] = list_of(Feature("struct" if not outlines["polygons"] else "list", "polygons or RLE"))
    return {"image": IMAGE, "objects": struct_of(objects)}


def _with_pictures(row: dict[str, Any], root: Path) -> dict[str, Any]:
    """The row with Pictures for its paths, without the objects of no class, which are counted elsewhere."""
    row = {name: picture(value, root) if isinstance(value, Path) else value for name, value in row.items()}
    if "segments_info" in row:
        row["segments_info"] = [one for one in row["segments_info"] if one["category_id"] is not None]
    else:
        known = [i for i, category in enumerate(row["objects"]["category"]) if category is not None]
        row["objects"] = {name: [values[i] for i in known] for name, values in row["objects"].items()}
    return row


def voc_table(path: Path, task: str) -> Table:
    if task == "semantic-segmentation":
        return pairs_table("voc", path, "mask", *voc.masks(path))
    found = voc.read(path)
    names = found.names
    index = {name: i for i, name in enumerate(names)}

    def row(one: voc.Annotation) -> dict[str, Any]:
        objects = {
            "bbox": one.boxes,
            "category": [index.get(name) for name in one.names],
            "difficult": one.difficult,
        }
        return _with_pictures({"image": one.image, "width": one.width, "height": one.height, "objects": objects}, path)

    def read(split: str) -> Rows:
        group = found.splits[split]
        return Rows([row(one) for one in spread(group, N_ROWS)], complete=len(group) <= N_ROWS, spread=True)

    def count(split: str, column: str) -> Labels | None:
        counts = Counter(name for one in found.splits[split] for name in one.names if name is not None)
        return Labels(counts, seen=counts.total(), complete=True) if column == "objects.category" else None

    def every(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        return map(row, found.splits[split])

    category = Feature("class", f"ClassLabel({len(names)})", names)
    objects = {"bbox": list_of(list_of(NUMBER)), "category": list_of(category), "difficult": list_of(WHOLE)}
    counts = {split: len(group) for split, group in found.splits.items()}
    facts = {"box_format": "xyxy"}
    features = {"image": IMAGE, "objects": struct_of(objects)}
    return Table(
        "voc", counts, features, read, count, every, listing=found.listing, warnings=found.warnings, facts=facts
    )


def yolo_table(path: Path, task: str) -> Table:
    found = yolo.read(path)
    names = tuple(found.names.values())

    def row(item: yolo.Item) -> dict[str, Any]:
        return _with_pictures(found.row(item), path)

    def read(split: str) -> Rows:
        group = found.splits[split]
        return Rows([row(item) for item in spread(group, N_ROWS)], complete=len(group) <= N_ROWS, spread=True)

    def count(split: str, column: str) -> Labels | None:
        counts = found.classes[split]
        return Labels(counts, seen=counts.total(), complete=True) if column == "objects.category" else None

    def every(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        return ({"image": picture(item.image, path)} for item in found.splits[split])

    category = Feature("class", f"ClassLabel({len(names)})", names)
    objects = {"bbox": list_of(list_of(NUMBER)), "category": list_of(category)}
    if found.outlines["polygons"]:
        objects["segmentation"] = list_of(Feature("list", "polygon"))
    counts = {split: len(group) for split, group in found.splits.items()}
    features = {"image": IMAGE, "objects": struct_of(objects)}
    facts = {"box_format": "cxcywh"}
    return Table(
        "yolo", counts, features, read, count, every, listing=found.listing, warnings=found.warnings, facts=facts
    )
