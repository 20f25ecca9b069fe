"""COCO annotation files, read as a stream: boxes, crowds, outlines as polygons or RLE, and the panoptic variant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunegate.errors import ToolFailure
from tunegate.probe.dataset.columns import Feature, list_of, struct_of
from tunegate.probe.dataset.json_stream import elements
from tunegate.probe.dataset.labels import Labels
from tunegate.probe.dataset.local.tree import N_ROWS, below, folders, inside, spread, walk
from tunegate.probe.dataset.pictures import Picture, from_path
from tunegate.probe.dataset.splits import split_of
from tunegate.probe.dataset.table import Rows, Table

MAX_KEPT = 100_000  # annotations whose values are kept where they come before the images; the others are only counted
MAX_IMAGES = 2_000_000
MAX_BYTES = 4 << 30
_KEYS = (b'"images"', b'"annotations"', b'"categories"')
_CLASSES = ("objects.category", "segments_info.category_id")
IMAGE, NUMBER, WHOLE = Feature("image", "Image"), Feature("float", "float"), Feature("int", "int")


@dataclass
class _Coco:
    """One annotation file."""

    path: Path
    images: dict[int, tuple[str, int | None, int | None]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    kept: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    classes: Counter[int] = field(default_factory=Counter)
    wanted: set[int] | None = None
    annotated: set[int] = field(default_factory=set)
    outlines: Counter[str] = field(default_factory=Counter)
    crowds: int = 0
    stray: int = 0
    total: int = 0


def is_coco(path: Path) -> bool:
    """A JSON object with keys of COCO near its ends, whatever its size: of a large file one key lies far inside."""
    try:
        with path.open("rb") as file:
            head = file.read(65_536)
            file.seek(max(0, path.stat().st_size - 65_536))
            both = head + file.read(65_536)
    except OSError:
        return False
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and sum(key in both for key in _KEYS) >= 2


def coco(root: Path, kind: str, task: str) -> Table:
    """Splits from the files' names. Rows are images with their objects; categories count from 0 in the order of their ids."""
    panoptic = task == "panoptic-segmentation"
    root, files = _files(root, "panoptic" if panoptic else "instances")
    found = {split: _read(path, panoptic) for split, path in files.items()}
    names = _categories(found)
    index = {name: i for i, name in enumerate(names)}
    warnings: list[str] = []
    bases = {split: _image_base(one, root, split, panoptic) for split, one in found.items()}
    for split, one in found.items():
        warnings += _remarks(one, split)

    def read(split: str) -> Rows:
        one = found[split]
        every = list(one.images) if one.total <= MAX_KEPT else [i for i in one.images if i in one.kept]
        make = _panoptic_row if panoptic else _row
        rows = [make(one, number, bases[split], root, index) for number in sorted(one.wanted or spread(every))]
        return Rows(rows, complete=len(one.images) <= N_ROWS, spread=True)

    def count(split: str, column: str) -> Labels | None:
        one = found[split]
        counts = Counter({one.names[key]: number for key, number in one.classes.items() if key in one.names})
        return Labels(counts, seen=one.classes.total(), complete=True) if column in _CLASSES else None

    def each(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        return ({"image": _picture(bases[split], name, root)} for name, *_ in found[split].images.values())

    facts = {} if panoptic else {"box_format": "xywh"}
    counts = {split: len(one.images) for split, one in found.items()}
    features = _features(names, panoptic, found)
    return Table("coco", counts, features, read, count, each, warnings=warnings, facts=facts)


def _features(names: tuple[str, ...], panoptic: bool, found: dict[str, _Coco]) -> dict[str, Feature]:
    kind = Feature("class", f"ClassLabel({len(names)})", names)
    if panoptic:
        return {
            "image": IMAGE,
            "mask": IMAGE,
            "segments_info": list_of(struct_of({"id": WHOLE, "category_id": kind, "iscrowd": WHOLE})),
        }
    objects = {
        "bbox": list_of(list_of(NUMBER)),
        "category": list_of(kind),
        "area": list_of(NUMBER),
        "iscrowd": list_of(WHOLE),
    }
    outlines = sum((one.outlines for one in found.values()), Counter())
    if outlines["polygons"] or outlines["RLE"]:
        objects["segmentation"] = list_of(Feature("struct" if not outlines["polygons"] else "list", "polygons or RLE"))
    return {"image": IMAGE, "objects": struct_of(objects)}


def _files(root: Path, wanted: str) -> tuple[Path, dict[str, Path]]:
    """(folder, split -> annotation file). Several files of one split: the one whose name says what is wanted."""
    if root.is_file():
        return (root.parent.parent if root.parent.name.lower() == "annotations" else root.parent), {"train": root}
    every = [path for path in walk(root, root, (".json",), depth=2) if is_coco(path)]
    groups: dict[str, list[Path]] = {}
    for path in every:
        groups.setdefault(split_of(str(path.relative_to(root))) or "train", []).append(path)
    files = {}
    for split, group in groups.items():
        named = [path for path in group if wanted in path.name.lower()]
        plain = [
            path
            for path in group
            if not any(word in path.name.lower() for word in ("panoptic", "keypoint", "caption", "stuff"))
        ]
        chosen = named or (plain if wanted == "instances" else group)
        if len(chosen) > 1:
            raise ToolFailure(
                "ambiguous",
                f"split {split!r} of {root} has {len(chosen)} annotation files ({', '.join(p.name for p in chosen[:4])}): ask the "
                "user which, and keep only that one, or pass the file itself as local_dataset_path",
            )
        if chosen:
            files[split] = chosen[0]
    if not files:
        raise ToolFailure(
            "rejected", f"local_dataset_path = {str(root)!r} has no COCO file for {wanted}: its annotations lack them"
        )
    return root, files


def _read(path: Path, panoptic: bool) -> _Coco:
    found = _Coco(path)
    if path.stat().st_size > MAX_BYTES:
        raise ToolFailure(
            "rejected", f"{path} is larger than {MAX_BYTES >> 30} GB: split it, or turn the dataset into parquet"
        )
    try:
        for key, item in elements(path):
            if isinstance(item, dict) and key in _TAKE:
                _TAKE[key](found, item)
    except (ValueError, OSError) as error:
        raise ToolFailure(
            "rejected", f"{path} is not readable as COCO JSON ({str(error)[:100]}): write it again"
        ) from None
    found.stray = sum(number not in found.images for number in found.annotated)
    if not found.images or not found.names:
        raise ToolFailure(
            "rejected", f"{path} lists {len(found.images)} images and {len(found.names)} categories: both are needed"
        )
    return found


def _take_image(found: _Coco, item: dict[str, Any]) -> None:
    number, name = item.get("id"), item.get("file_name")
    if type(number) is int and isinstance(name, str) and len(found.images) < MAX_IMAGES:
        size = [value if type(value) is int else None for value in (item.get("width"), item.get("height"))]
        found.images[number] = (name, *size)


def _take_category(found: _Coco, item: dict[str, Any]) -> None:
    if type(item.get("id")) is int and isinstance(item.get("name"), str):
        found.names[item["id"]] = item["name"][:100]


def _take_annotation(found: _Coco, item: dict[str, Any]) -> None:
    number = item.get("image_id")
    if type(number) is not int:
        found.stray += 1
        return
    found.annotated.add(number)
    found.total += 1
    if found.images and number not in found.images:  # of no image that is listed: nothing reads it
        return
    for segment in item["segments_info"] if isinstance(item.get("segments_info"), list) else [item]:
        if isinstance(segment, dict) and type(segment.get("category_id")) is int:
            found.classes[segment["category_id"]] += 1
            found.crowds += segment.get("iscrowd") == 1
    outline = item.get("segmentation")
    kind = "RLE" if isinstance(outline, dict) else "polygons" if isinstance(outline, list) and outline else "none"
    found.outlines[kind] += 1
    if found.wanted is None and found.images:  # as COCO orders them: the images that are looked at can be chosen now
        found.wanted = set(spread(list(found.images)))
    if number in found.wanted if found.wanted is not None else found.total <= MAX_KEPT:
        found.kept.setdefault(number, []).append(item)


_TAKE = {"images": _take_image, "categories": _take_category, "annotations": _take_annotation}


def _categories(found: dict[str, _Coco]) -> tuple[str, ...]:
    """Names in the order of their ids. Splits that number their classes differently are `rejected`."""
    first, *others = found.values()
    for one in others:
        if one.names != first.names:
            raise ToolFailure(
                "rejected",
                f"{first.path.name} and {one.path.name} do not list the same categories with the same ids: make them agree",
            )
    names = [first.names[key] for key in sorted(first.names)]
    if len(set(names)) != len(names):
        raise ToolFailure("rejected", f"{first.path.name} has two categories of one name: rename or merge them")
    return tuple(names)


def _image_base(one: _Coco, root: Path, split: str, panoptic: bool) -> Path:
    """The folder that the file names are relative to: the one where most of the first ones are.

    Never a panoptic file's folder of segment ids, whose pictures may be called like the images.
    """
    names = [name for name, *_ in list(one.images.values())[:20]]
    candidates = [one.path.parent, *folders(root, root, 2)]
    candidates = [folder for folder in candidates if not (panoptic and folder.name == one.path.stem)]
    near = [
        folder
        for folder in candidates
        if folder.name.lower() in one.path.stem.lower() or split_of(folder.name) == split
    ]
    best, hits = root, 0
    for folder in [*near, *candidates]:
        here = sum(below(folder, name, root).is_file() for name in names)
        if here > hits:
            best, hits = folder, here
    if not hits:
        raise ToolFailure(
            "rejected",
            f"none of the first {len(names)} images that {one.path.name} names ({names[0][:80]!r}) lies in {root} or its folders: "
            "put the images there",
        )
    return best


def _remarks(one: _Coco, split: str) -> list[str]:
    found = []
    if empty := len(one.images.keys() - one.annotated):
        found.append(f"split {split!r}: {empty} of {len(one.images)} images have no annotation")
    if one.stray:
        found.append(f"split {split!r}: annotations of {one.stray} images that the file does not list are not used")
    if unknown := sum(count for key, count in one.classes.items() if key not in one.names):
        found.append(f"split {split!r}: {unknown} annotations have a category that is not listed, and are not used")
    if one.crowds:
        found.append(
            f"split {split!r}: {one.crowds} of {one.classes.total()} objects are crowds (iscrowd = 1): not trained on as single objects"
        )
    if one.outlines["RLE"] and one.outlines["polygons"]:
        found.append(f"split {split!r}: outlines are {one.outlines['polygons']} polygons and {one.outlines['RLE']} RLE")
    return found


def _picture(base: Path, name: str, root: Path) -> Picture:
    path = inside(below(base, name, root), root)
    return from_path(path, str(path.relative_to(root)))


def _row(one: _Coco, number: int, base: Path, root: Path, index: dict[str, int]) -> dict[str, Any]:
    name, width, height = one.images[number]
    objects = [item for item in one.kept.get(number, []) if item.get("category_id") in one.names]
    picture = _picture(base, name, root)
    return {
        "image": picture,
        "width": width,
        "height": height,
        "objects": {
            "bbox": [item.get("bbox") for item in objects],
            "category": [index[one.names[item["category_id"]]] for item in objects],
            "area": [item.get("area") for item in objects],
            "iscrowd": [item.get("iscrowd", 0) for item in objects],
            "segmentation": [item.get("segmentation") for item in objects],
        },
    }


def _panoptic_row(one: _Coco, number: int, base: Path, root: Path, index: dict[str, int]) -> dict[str, Any]:
    """The mask is the PNG that the annotation names, in the folder called like the annotation file."""
    item = next(iter(one.kept.get(number, [])), {})
    segments = [s for s in item.get("segments_info") or [] if isinstance(s, dict) and s.get("category_id") in one.names]
    folder = next((f for f in (one.path.with_suffix(""), root / one.path.stem) if f.is_dir()), one.path.parent)
    return {
        "image": _picture(base, one.images[number][0], root),
        "mask": _picture(folder, item.get("file_name", "no-such.png"), root),
        "segments_info": [{**segment, "category_id": index[one.names[segment["category_id"]]]} for segment in segments],
    }
