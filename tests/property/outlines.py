"""Objects with outlines: COCO polygons and run lengths for instances, COCO's panoptic pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from tests.property.boxes import OF_BOXES, Drawn, drawn_rows
from tests.property.folders import PICTURES
from tests.property.pictures import store
from tests.property.world import SPLIT_WORDS, Example, layout, leftovers

COMMON = (
    *PICTURES,
    "no box",
    "crowd",
    "odd names",
    "splits",
    "leftovers",
    "drawn as stored",
    "gaps in ids",
    "text ids",
    "missing file",
    "no sizes",
)


@layout(
    "coco/outlines",
    "instance-segmentation",
    *COMMON,
    "run lengths",
    "mixed outlines",
    "without an outline",
    "unlisted category",
)
def instances(example: Example) -> None:
    names, drawn = drawn_rows(example)
    ids = {name: (7 * i + 3 if example.odd("gaps in ids") else i + 1) for i, name in enumerate(names)}
    parts: dict[str, dict[str, list]] = {}
    for one in drawn:
        part, number = _image(example, parts, one)
        crowds = one.row.gone.pop("box of a crowd", 0)
        one.row.gone = {}
        one.row.value = [(name, left, top, right, bottom, 0) for name, left, top, right, bottom in one.row.value]
        for name, box, crowd in one.boxes:
            item: dict[str, Any] = {
                "id": len(part["annotations"]),
                "image_id": number,
                "category_id": _id(example, ids[name]),
                "iscrowd": crowd,
            }
            coded = crowd or example.odd("run lengths") or example.odd("mixed outlines") and example.rng.random() < 0.5
            item["segmentation"] = _run_lengths(one, box) if coded else [_polygon(box)]
            item |= {
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "area": (box[2] - box[0]) * (box[3] - box[1]),
            }
            part["annotations"].append(item)
            if crowd:
                one.row.value.append((name, *_seen(one, box), 1))
        assert crowds == sum(crowd for *_, crowd in one.boxes)
        if example.odd("without an outline") and example.rng.random() < 0.4:
            item = {
                "id": len(part["annotations"]),
                "image_id": number,
                "category_id": _id(example, ids[names[0]]),
                "iscrowd": 0,
            }
            part["annotations"].append({**item, "bbox": [4, 20, 10, 10], "segmentation": []})
            one.row.gone["object without an outline"] = 1
        if example.odd("unlisted category") and example.rng.random() < 0.4:
            item = {"id": len(part["annotations"]), "image_id": number, "category_id": _id(example, 999), "iscrowd": 0}
            part["annotations"].append({**item, "bbox": [4, 20, 10, 10], "segmentation": [_polygon([4, 20, 14, 30])]})
            one.row.gone["object without a known class"] = 1
    _save(example, parts, [{"id": _id(example, number), "name": name} for name, number in ids.items()], "instances")
    leftovers(example, example.data)


def _seen(one: Drawn, box: list[int]) -> tuple[int, ...]:
    """The crowd's box on the upright picture: it is drawn on that one before it is turned."""
    return (2, 12, one.size[0] - 2, one.size[1] - 2)


def _id(example: Example, number: int) -> int | str:
    return str(number) if example.odd("text ids") else number


def _image(example: Example, parts: dict[str, dict[str, list]], one: Drawn) -> tuple[dict[str, list], int | str]:
    split = one.row.split
    folder = example.data / "images" / (split if example.odd("splits") else "")
    path = store(example, one.image, one.row.key, folder / f"{one.row.key}", one.style)
    part = parts.setdefault(split, {"images": [], "annotations": [], "categories": []})
    number = _id(example, 100 + one.row.key)
    size = {} if example.odd("no sizes") else {"width": one.frame[0], "height": one.frame[1]}
    part["images"].append({"id": number, "file_name": path.name, **size})
    if example.odd("missing file") and one.row.key == 3:
        path.unlink()
        one.row.problem = "image cannot be read"
    return part, number


def _polygon(box: list[int]) -> list[float]:
    left, top, right, bottom = box
    return [left, top, right, top, right, bottom, left, bottom]


def _run_lengths(one: Drawn, box: list[int]) -> dict[str, Any]:
    """Uncompressed, as COCO writes crowds: column by column, beginning with what is outside."""
    mask = Image.new("L", one.frame)
    mask.paste(1, tuple(box))
    counts, last, run = [], 0, 0
    for value in mask.transpose(Image.Transpose.TRANSPOSE).tobytes():
        if value != last:
            counts.append(run)
            last, run = value, 0
        run += 1
    return {"counts": [*counts, run], "size": [one.frame[1], one.frame[0]]}


def _save(example: Example, parts: dict[str, Any], categories: list[dict[str, Any]], kind: str) -> dict[str, Path]:
    """Split -> its annotation file."""
    files = {}
    for split, part in parts.items():
        word = example.rng.choice(SPLIT_WORDS[split]) if len(parts) > 1 else "train"
        files[split] = example.data / "annotations" / f"{kind}_{word}.json"
        files[split].parent.mkdir(exist_ok=True)
        files[split].write_text(json.dumps({**part, "categories": categories}))
    example.path = example.data
    return files


@layout(
    "coco/panoptic",
    "panoptic-segmentation",
    *(name for name in COMMON if name not in OF_BOXES),
    "unlisted category",
    "things",
)
def panoptic(example: Example) -> None:
    """Every pixel belongs to a segment: the ground is one, of the class sky, and each rectangle another."""
    names, drawn = drawn_rows(example)
    names = ["sky", *names]
    ids = {name: (7 * i + 3 if example.odd("gaps in ids") else i + 1) for i, name in enumerate(names)}
    parts: dict[str, dict[str, list]] = {}
    for one in drawn:
        part, number = _image(example, parts, one)
        split, row = one.row.split, one.row
        picture, segments = (
            Image.new("RGB", one.frame, (44, 1, 0)),
            [{"id": 300, "category_id": _id(example, ids["sky"]), "iscrowd": 0}],
        )
        for at, (name, box, _) in enumerate(one.boxes, 301):
            picture.paste((at % 256, at // 256, 0), tuple(box))
            segments.append({"id": at, "category_id": _id(example, ids[name]), "iscrowd": 0})
        row.value = [(name, *sides, 0) for name, *sides in row.value] + [("sky", 0, 0, *one.size, 0)]
        if example.odd("unlisted category") and example.rng.random() < 0.4:
            picture.paste((9, 9, 9), (0, 0, 4, 4))
            segments.append({"id": 9 * (1 + 256 + 65536), "category_id": _id(example, 999), "iscrowd": 0})
            row.gone["object without a known class"] = 1
        mask = example.folder / "masks" / split / f"{row.key}.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        picture.save(mask)
        part["annotations"].append({"image_id": number, "file_name": mask.name, "segments_info": segments})
    things = {name: {"isthing": int(name != "sky")} if example.odd("things") else {} for name in names}
    categories = [{"id": _id(example, ids[name]), "name": name, **things[name]} for name in names]
    for split, file in _save(example, parts, categories, "panoptic").items():
        (example.folder / "masks" / split).rename(file.with_suffix(""))
    leftovers(example, example.data)
