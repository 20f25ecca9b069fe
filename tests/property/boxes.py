"""Boxes: COCO, VOC, and tables of objects. A rectangle's color is its class, its place is its box."""

from __future__ import annotations

import json
import xml.sax.saxutils
from typing import Any

from tests.property import tables
from tests.property.folders import PICTURES, class_names
from tests.property.pictures import COLORS, UNREADABLE, rectangles, scene, size_of, store, style_of
from tests.property.world import SPLIT_WORDS, Example, Row, layout, leftovers, split_of_rows

OF_BOXES = ("no box", "past the edge", "no area", "missing box", "crowd")
COMMON = (*PICTURES, *OF_BOXES, "odd names", "splits", "leftovers", "drawn as stored", "backslashes")


class Drawn:
    """A picture with its boxes as they are annotated: (class, [left, top, right, bottom] or None, crowd)."""

    def __init__(self, example: Example, row: Row, names: list[str]):
        self.row, self.size, self.style = row, size_of(example), style_of(example)
        places = (
            rectangles(example, self.size)
            if not (example.odd("no box") and example.rng.random() < 0.25 and row.key)
            else []
        )
        classes = [(row.key + i) % len(names) for i in range(len(places))]
        self.image = scene(row.key, self.size, [(place, COLORS[c]) for place, c in zip(places, classes, strict=True)])
        self.boxes = [(names[c], list(place), 0) for place, c in zip(places, classes, strict=True)]
        row.value = [(name, *box) for name, box, _ in self.boxes]
        if self.style in UNREADABLE:
            row.problem = "image cannot be read"
        self.frame, self.turn = self.size, int(self.style[4:]) if self.style.startswith("exif") else None
        self._odd(example, names)
        if self.turn and self.turn >= 5 and example.odd("drawn as stored") and not example.odd("no sizes"):
            self.boxes = [(name, box and _turned(box, self.size, self.turn), crowd) for name, box, crowd in self.boxes]
            self.frame = self.size[::-1]

    def _odd(self, example: Example, names: list[str]) -> None:
        rng, (width, height) = example.rng, self.size
        for oddity, box, crowd in (
            ("no area", [5, 20, 5, 30], 0), ("missing box", None, 0), ("crowd", [2, 12, width - 2, height - 2], 1),
        ):  # fmt: skip
            if example.odd(oddity) and rng.random() < 0.3:
                self.boxes.append((rng.choice(names), box, crowd))
                why = {"crowd": "box of a crowd"}.get(oddity, "box without area")
                self.row.gone[why] = self.row.gone.get(why, 0) + 1
        if example.odd("past the edge") and rng.random() < 0.3 and self.boxes:
            name = rng.choice(names)
            self.boxes.append((name, [width - 9, height - 9, width + 6, height + 4], 0))
            self.row.value.append((name, width - 9, height - 9, width, height))


def _turned(box: list[int], size: tuple[int, int], turn: int) -> list[int]:
    """The box on the picture as it is stored."""
    (w, h), points = size, [box[:2], box[2:]]
    rule = {
        5: lambda x, y: (y, x),
        6: lambda x, y: (y, w - x),
        7: lambda x, y: (h - y, w - x),
        8: lambda x, y: (h - y, x),
    }[turn]
    (a, b), (c, d) = (rule(*point) for point in points)
    return [min(a, c), min(b, d), max(a, c), max(b, d)]


def drawn_rows(example: Example, count: int = 12) -> tuple[list[str], list[Drawn]]:
    names = class_names(example)
    example.rows = [Row(key, split) for key, split in enumerate(split_of_rows(example, count))]
    found = [Drawn(example, row, names) for row in example.rows]
    return names, found


def stem_of(example: Example, row: Row) -> str:
    """The name of a picture's file: in each split's folder the numbers may begin anew."""
    if not example.odd("same names"):
        return str(row.key)
    return str(row.key - min(other.key for other in example.rows if other.split == row.split))


def as_xywh(box: list[int] | None) -> list[float] | None:
    return box and [box[0], box[1], box[2] - box[0], box[3] - box[1]]


@layout(
    "coco/boxes", "object-detection", *COMMON, "gaps in ids", "text ids", "unlisted category", "missing file", "stray annotation",
    "byte order mark", "no sizes", "json in the middle", "empty class", "roboflow", "other scale", "same names", "unlisted picture",
)  # fmt: skip
def in_coco(example: Example) -> None:
    rng, root = example.rng, example.data
    names, drawn = drawn_rows(example)
    ids = {name: (7 * i + 3 if example.odd("gaps in ids") else i + 1) for i, name in enumerate(names)}
    text = str if example.odd("text ids") else int
    words = {split: rng.choice(options) for split, options in SPLIT_WORDS.items()}
    parts: dict[str, dict[str, list]] = {}
    for one in drawn:
        split = one.row.split
        folder = root / words[split] if example.odd("splits") and example.odd("roboflow") else root / "images"
        folder = folder / split if example.odd("splits") and not example.odd("roboflow") else folder
        path = store(example, one.image, one.row.key, folder / stem_of(example, one.row), one.style)
        base = folder if example.odd("roboflow", "same names") or example.seed % 3 else root
        name = str(path.relative_to(base))
        part = parts.setdefault(split, {"images": [], "annotations": [], "categories": []})
        factor = 2 if example.odd("other scale") and not example.odd("no sizes") and one.row.key % 4 == 1 else 1
        if factor == 2:
            one.row.either = True
        entry = {
            "id": text(100 + one.row.key),
            "file_name": name.replace("/", "\\") if example.odd("backslashes") else name,
        }
        if not example.odd("no sizes"):
            entry |= {"width": one.frame[0] * factor, "height": one.frame[1] * factor}
        part["images"].append(entry)
        if example.odd("missing file") and one.row.key == 3:
            path.unlink()
            one.row.problem = "image cannot be read"
        objects = [(ids[name], box and [factor * side for side in box], crowd) for name, box, crowd in one.boxes]
        if example.odd("unlisted category") and rng.random() < 0.4:
            objects.append((999, [4, 20, 14, 30], 0))
            one.row.gone["box without a known class"] = 1
        for category, box, crowd in objects:
            item = {
                "id": len(part["annotations"]),
                "image_id": text(100 + one.row.key),
                "category_id": text(category),
                "iscrowd": crowd,
            }
            item |= {"bbox": as_xywh(box)} if box or rng.random() < 0.5 else {}
            part["annotations"].append(item)
    if example.odd("unlisted picture"):
        scene(60, (70, 44), []).save(root / "loose.png")
    if example.odd("stray annotation"):
        part = parts["train"]
        part["annotations"].append(
            {
                "id": 9999,
                "image_id": text(77777),
                "category_id": text(ids[names[0]]),
                "bbox": [1, 1, 9, 9],
                "iscrowd": 0,
            }
        )
    listed = [*ids.items(), *([("never drawn", 500)] if example.odd("empty class") else [])]
    rng.shuffle(listed)
    for split, part in parts.items():
        part["categories"] = [{"id": text(number), "name": name, "supercategory": "none"} for name, number in listed]
        keys = ["info", *part] if rng.random() < 0.5 else [*reversed(part), "info"]
        content = json.dumps({**part, "info": {"year": 2024}} | {}, indent=rng.choice((None, 2)))
        content = (
            json.dumps({key: {**part, "info": {"year": 2024}}[key] for key in keys})
            if example.odd("json in the middle")
            else content
        )
        where = (
            root / words[split]
            if example.odd("splits") and example.odd("roboflow")
            else root
            if example.odd("roboflow")
            else root / "annotations"
        )
        where.mkdir(exist_ok=True, parents=True)
        name = "_annotations.coco.json" if example.odd("roboflow") else f"instances_{words[split]}2017.json"
        (where / name).write_text(content, encoding="utf-8-sig" if example.odd("byte order mark") else "utf-8")
    leftovers(example, root)
    example.path = root


@layout(
    "voc/boxes", "object-detection", *COMMON, "image sets", "no sizes", "missing file", "annotation missing", "unreadable xml", "words in names", "same names",
)  # fmt: skip
def in_voc(example: Example) -> None:
    rng, root = example.rng, example.data
    _, drawn = drawn_rows(example)
    sets: dict[str, list[str]] = {}
    folders = {"train": "train", "validation": "valid", "test": "test"} if not example.odd("image sets") else {}
    for one in drawn:
        row, stem = (
            one.row,
            f"{int(stem_of(example, one.row)):04}" if not example.odd("image sets") else f"{one.row.key:04}",
        )
        if example.odd("words in names"):
            stem = rng.choice(("", "val ", "test-")) + stem
        folder = root / folders.get(row.split, "") if example.odd("splits") else root
        path = store(example, one.image, row.key, folder / "JPEGImages" / stem, one.style)
        one.boxes = [box for box in one.boxes if not box[2]]  # VOC knows no crowds
        row.gone.pop("box of a crowd", None)
        xml = folder / "Annotations" / f"{stem}.xml"
        xml.parent.mkdir(parents=True, exist_ok=True)
        xml.write_text(_xml(example, path.name, one), encoding="utf-8")
        sets.setdefault(row.split, []).append(stem)
        if example.odd("missing file") and row.key == 3:  # an XML file without its picture is said, and no row
            path.unlink()
            example.rows.remove(row)
            sets[row.split].remove(stem)
        if example.odd("annotation missing") and row.key == 4:
            xml.unlink()
            example.rows.remove(row)
            sets[row.split].remove(stem)
    if example.odd("unreadable xml"):
        next(path for path in root.rglob("Annotations")).joinpath("zzz.xml").write_text("<annotation><object>")
    if example.odd("image sets"):
        folder = root / "ImageSets/Main"
        folder.mkdir(parents=True)
        for split, stems in sets.items():
            (folder / f"{ {'validation': 'val'}.get(split, split) }.txt").write_text("\n".join(stems) + "\n")
    leftovers(example, root)
    example.path = root


def _xml(example: Example, name: str, one: Drawn) -> str:
    size = (
        ""
        if example.odd("no sizes")
        else f"<size><width>{one.frame[0]}</width><height>{one.frame[1]}</height><depth>3</depth></size>"
    )
    objects = ""
    for label, box, _ in one.boxes:
        sides = "".join(
            f"<{side}>{value}</{side}>"
            for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box or [], strict=False)
        )
        objects += f"<object><name>{xml.sax.saxutils.escape(label)}</name><difficult>0</difficult>{f'<bndbox>{sides}</bndbox>' if box else ''}</object>"
    name = f"C:\\data\\{name}" if example.odd("backslashes") else name
    return f"<annotation><folder>x</folder><filename>{name}</filename>{size}{objects}</annotation>"


IN_TABLES = tuple(name for name in COMMON if name != "backslashes")


def table(example: Example, kind: str) -> None:
    """objects: a struct of lists or a list of structs; categories as text or numbers with names."""
    names, drawn = drawn_rows(example)
    declared, shape = example.odd("class labels"), "xyxy" if example.odd("xyxy") else "xywh"
    shares = example.odd("shares")
    found: list[tuple[str, dict[str, Any]]] = []
    for one in drawn:
        folder = example.data / "pictures" if kind == "jsonl" else example.folder / "raw"
        path = store(example, one.image, one.row.key, folder / f"{one.row.key}", one.style)
        width, height = one.frame
        boxes = [box and (box if shape == "xyxy" else as_xywh(box)) for _, box, _ in one.boxes]
        if shares:
            boxes = [box and [box[0] / width, box[1] / height, box[2] / width, box[3] / height] for box in boxes]
        boxes = [box and [float(side) for side in box] for box in boxes]
        categories = [names.index(name) if declared else name for name, *_ in one.boxes]
        objects: Any = {"bbox": boxes, "category": categories}
        if example.odd("crowd"):
            objects["iscrowd"] = [crowd for *_, crowd in one.boxes]
        if example.odd("list of objects"):
            objects = [dict(zip(objects, values, strict=True)) for values in zip(*objects.values(), strict=True)]
        cell = {"bytes": path.read_bytes(), "path": None} if kind != "jsonl" else str(path.relative_to(example.data))
        row = {"image": cell, "objects": objects}
        if not example.odd("no sizes"):
            row |= {"width": width, "height": height}
        found.append((one.row.split, row))
    example.refusals |= {"ambiguous"}  # few boxes of one format may fit another: the probe asks
    example.request["box_format"] = shape
    features = {"image": tables.IMAGE} if kind != "jsonl" else None
    if features and declared:
        label = {"_type": "ClassLabel", "names": names}
        value = {"_type": "Value", "dtype": "float64"}
        box = {"_type": "List", "feature": {"_type": "List", "feature": value}}
        fields = {"bbox": box, "category": {"_type": "List", "feature": label}}
        if example.odd("crowd"):
            fields["iscrowd"] = {"_type": "List", "feature": {"_type": "Value", "dtype": "int64"}}
        if example.odd("list of objects"):
            fields = {"_type": "List", "feature": {name: field["feature"] for name, field in fields.items()}}
        features["objects"] = fields
    example.path = tables.write(example, kind, found, features)


MORE = ("xyxy", "shares", "list of objects", "class labels", "no sizes")


@layout("jsonl/boxes", "object-detection", *IN_TABLES, *(name for name in MORE if name != "class labels"))
def in_jsonl(example: Example) -> None:
    table(example, "jsonl")


@layout("parquet/boxes", "object-detection", *(name for name in IN_TABLES if name != "leftovers"), *MORE)
def in_parquet(example: Example) -> None:
    table(example, "parquet")
