"""Masks and depth beside their pictures: folders of pairs, VOC's SegmentationClass, and tables."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from PIL import Image, ImageFilter

from tests.property import tables
from tests.property.folders import PICTURES
from tests.property.pictures import COLORS, INVERSE, UNREADABLE, rectangles, scene, size_of, store, style_of
from tests.property.world import Example, Row, layout, leftovers, split_of_rows

MASKS = (
    *PICTURES,
    "splits",
    "leftovers",
    "drawn as stored",
    "ignored",
    "binary",
    "soft edges",
    "sparse",
    "palette",
    "rgb",
    "named",
    "from 1",
    "other size",
)
IGNORED = 255


def _scene(example: Example, row: Row, classes: int) -> tuple[Image.Image, Image.Image, str]:
    """(picture, ids with IGNORED where nothing is known, style)"""
    size, style = size_of(example), style_of(example)
    places = rectangles(example, size)
    numbers = [1 + (row.key + i) % (classes - 1) for i in range(len(places))]
    image = scene(row.key, size, [(place, COLORS[n % len(COLORS)]) for place, n in zip(places, numbers, strict=True)])
    ids = Image.new("L", size, 0)
    for place, number in zip(places, numbers, strict=True):
        ids.paste(number, place)
    if example.odd("ignored") and not example.odd("binary", "soft edges"):
        ids.paste(IGNORED, (0, size[1] - 6, size[0] // 2, size[1]))
    row.problem = "image cannot be read" if style in UNREADABLE else None
    return image, ids, style


def _stored_mask(example: Example, ids: Image.Image, style: str, path: Path) -> Path:
    """Writes the mask as its annotator left it."""
    mask = ids
    if example.odd("binary", "soft edges"):
        mask = ids.point(lambda value: 255 * bool(value))
        if example.odd("soft edges"):
            mask = mask.filter(ImageFilter.GaussianBlur(0.7))
    elif example.odd("sparse"):
        mask = ids.point(lambda value: value if value == IGNORED else value * 60)
    elif example.odd("from 1"):
        mask = ids.point(lambda value: 0 if value == IGNORED else value + 1)
    if style.startswith("exif") and int(style[4:]) >= 5 and example.odd("drawn as stored"):
        mask = mask.transpose(Image.Transpose(INVERSE[int(style[4:])]))
    path.parent.mkdir(parents=True, exist_ok=True)
    if example.odd("rgb"):
        mask = mask.convert("RGB")
    elif example.odd("palette"):
        colors = [value for i in range(256) for value in ((i * 37) % 256, (i * 91) % 256, (i * 13) % 256)]
        mask = Image.frombytes("P", mask.size, mask.tobytes())
        mask.putpalette(colors)
    mask.save(path)
    return path


def segmented(example: Example, place) -> None:
    """place(row, picture's stem) -> (stem of the picture, path of the mask)"""
    # which classes there are, and what the masks say of them
    if example.odd("from 1", "named"):
        names = ["ground", "car", "Käse"] if not example.odd("from 1") else ["ground", "car", "None"]
        example.names = dict(enumerate(names))
        target = example.data / example.rng.choice(("id2label.json", "classes.txt"))
        target.write_text(
            json.dumps({str(i): name for i, name in enumerate(names)})
            if target.suffix == ".json"
            else "\n".join(names) + "\n"
        )
    example.oddities = _sensible(example.oddities)
    if not example.odd("named", "from 1"):
        example.names = None
        for name in ("id2label.json", "classes.txt"):
            (example.data / name).unlink(missing_ok=True)
    if example.odd("sparse"):
        example.refusals.add("ambiguous")
    for key, split in enumerate(split_of_rows(example, 12)):
        row = Row(key, split)
        image, ids, style = _scene(example, row, 2 if example.odd("binary", "soft edges") else 3)
        stem, path = place(row)
        store(example, image, key, stem, style)
        _stored_mask(example, ids, style, path)
        ids.save(example.truth / f"{key}_mask.png")
        if example.odd("other size") and key % 4 == 2:
            with Image.open(path) as mask:
                mask.load()
            mask.crop((0, 0, mask.width - 11, mask.height)).save(path)
            row.problem = row.problem or "mask of another size"
        example.rows.append(row)


def _sensible(oddities: tuple[str, ...]) -> tuple[str, ...]:
    """Without codings that exclude each other: the first one stays."""
    codings = [name for name in ("soft edges", "binary", "sparse", "from 1") if name in oddities]
    without = set(codings[1:])
    if codings and codings[0] in ("soft edges", "binary", "sparse"):
        without |= {"named", "ignored"} if codings[0] != "sparse" else {"named"}
    if codings and codings[0] == "from 1":
        without |= {"ignored"}
    if "soft edges" in oddities:
        without |= {"palette", "rgb"}
    if "rgb" in oddities:
        without |= {"palette"}
    return tuple(name for name in oddities if name not in without)


@layout(
    "segfolder/masks", "semantic-segmentation", *MASKS, "mask endings", "no partner", "same names", "capital folders"
)
def segfolder(example: Example) -> None:
    rng, root = example.rng, example.data
    words = {"train": "train", "validation": rng.choice(("val", "valid")), "test": "test"}
    images, masks = rng.choice((("images", "masks"), ("img", "labels"), ("JPEGImages", "annotations")))
    if example.odd("capital folders"):
        images, masks = images.capitalize(), masks.capitalize()
    end = "_mask" if example.odd("mask endings") else ""
    above = rng.random() < 0.5

    def place(row: Row):
        if not example.odd("splits"):
            return root / images / f"{row.key}", root / masks / f"{row.key}{end}.png"
        word = words[row.split]
        if above:
            stem = row.key if not example.odd("same names") else row.key % 9
            return root / word / images / f"{stem}", root / word / masks / f"{stem}{end}.png"
        return root / images / word / f"{row.key}", root / masks / word / f"{row.key}{end}.png"

    segmented(example, place)
    if example.odd("no partner"):
        folder = next(path for path in root.rglob(images) if path.is_dir())
        scene(60, (70, 44), []).save(folder / "alone.png")
        example.said.append(1)
    leftovers(example, root)
    example.path = root


@layout(
    "voc/masks",
    "semantic-segmentation",
    *(name for name in MASKS if name not in ("named", "from 1", "sparse")),
    "image sets",
)
def voc(example: Example) -> None:
    root = example.data
    example.oddities = tuple(name for name in example.oddities if name != "splits" or example.odd("image sets"))
    if example.odd("binary", "soft edges"):
        example.refusals.add("ambiguous")  # in VOC, 255 is no class
    segmented(
        example, lambda row: (root / "JPEGImages" / f"{row.key:03}", root / "SegmentationClass" / f"{row.key:03}.png")
    )
    (root / "Annotations").mkdir()
    for row in example.rows:
        (root / "Annotations" / f"{row.key:03}.xml").write_text(
            f"<annotation><filename>{row.key:03}.jpg</filename></annotation>"
        )
    if example.odd("image sets"):
        folder = root / "ImageSets/Segmentation"
        folder.mkdir(parents=True)
        for split, name in (("train", "train"), ("validation", "val")):
            if stems := [f"{row.key:03}" for row in example.rows if row.split == split]:
                (folder / f"{name}.txt").write_text("\n".join(stems))
    leftovers(example, root)
    example.path = root


def in_table(example: Example, kind: str) -> None:
    raw = example.data if kind == "jsonl" else example.folder / "raw"
    segmented(example, lambda row: (raw / "pictures" / f"{row.key}", raw / "masks" / f"{row.key}.png"))
    found = []
    for row in example.rows:
        image, mask = next((raw / "pictures").glob(f"{row.key}.*")), raw / "masks" / f"{row.key}.png"
        cells = [
            str(path.relative_to(raw)) if kind == "jsonl" else {"bytes": path.read_bytes(), "path": path.name}
            for path in (image, mask)
        ]
        found.append((row.split, {"image": cells[0], "mask": cells[1]}))
    example.path = tables.write(
        example, kind, found, {"image": tables.IMAGE, "mask": tables.IMAGE} if kind != "jsonl" else None
    )


IN_TABLES = tuple(name for name in MASKS if name not in ("leftovers", "named", "from 1"))


@layout("parquet/masks", "semantic-segmentation", *IN_TABLES)
def in_parquet(example: Example) -> None:
    in_table(example, "parquet")


@layout("jsonl/masks", "semantic-segmentation", *IN_TABLES)
def in_jsonl(example: Example) -> None:
    in_table(example, "jsonl")


DEPTHS = (
    *PICTURES,
    "splits",
    "leftovers",
    "drawn as stored",
    "floats",
    "npy",
    "unknown depth",
    "no depth",
    "other size",
)


def _depth(example: Example, kind: str) -> None:
    """Each rectangle has its own distance, in millimeters (16 bits) or meters (floats)."""
    root = example.data if kind != "parquet" else example.folder / "raw"
    words = {"train": "train", "validation": "val", "test": "test"}
    found = []
    for key, split in enumerate(split_of_rows(example, 10)):
        row = Row(key, split)
        image, ids, style = _scene(example, row, 4)
        meters = {0: 9.0, 1: 1.5, 2: 3.0, 3: 5.0, IGNORED: 0.0}
        if example.odd("unknown depth"):
            ids.paste(IGNORED, (ids.width // 2, 10, ids.width, 14))
        if example.odd("no depth") and key % 4 == 3:
            ids.paste(IGNORED, (0, 0, *ids.size))
            row.problem = row.problem or "no known depth"
        if row.problem:
            row.problem = {"image cannot be read": "image or depth map cannot be read"}.get(row.problem, row.problem)
        values = [meters[value] for value in ids.tobytes()]
        Image.frombytes("F", ids.size, struct.pack(f"<{len(values)}f", *values)).save(
            example.truth / f"{key}_depth.tif"
        )
        above = root / words[split] if example.odd("splits") and kind == "segfolder" else root
        path = store(example, image, key, above / "images" / f"{key}", style)
        target = above / "depth" / f"{key}.{'tif' if example.odd('floats') else 'png'}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if example.odd("floats"):
            depth = Image.frombytes("F", ids.size, struct.pack(f"<{len(values)}f", *values))
        else:
            depth = Image.frombytes(
                "I;16", ids.size, struct.pack(f"<{len(values)}H", *(round(value * 1000) for value in values))
            )
        if example.odd("other size") and key % 4 == 2:
            depth = depth.crop((0, 0, depth.width - 20, depth.height))
            row.problem = row.problem or "depth map of another shape"
        elif style.startswith("exif") and int(style[4:]) >= 5 and example.odd("drawn as stored"):
            depth = depth.transpose(Image.Transpose(INVERSE[int(style[4:])]))
        if example.odd("npy"):
            _npy(depth, target.with_suffix(".npy"))
        else:
            depth.save(target)
        example.rows.append(row)
        if kind == "segfolder":
            continue
        cells = [
            str(p.relative_to(root)) if kind == "jsonl" else {"bytes": p.read_bytes(), "path": p.name}
            for p in (path, target)
        ]
        found.append((split, {"image": cells[0], "depth_map": cells[1]}))
    example.config["depth_scale"] = 1.0 if example.odd("floats") else 0.001
    if kind == "segfolder":
        leftovers(example, root)
        example.path = root
    else:
        features = {"image": tables.IMAGE, "depth_map": tables.IMAGE} if kind == "parquet" else None
        example.path = tables.write(example, kind, found, features)


def _npy(depth: Image.Image, path: Path) -> None:
    """As numpy.save writes it: 16-bit integers or floats."""
    kind = "<f4" if depth.mode == "F" else "<u2"
    header = repr({"descr": kind, "fortran_order": False, "shape": (depth.height, depth.width)})
    header += " " * (117 - len(header)) + "\n"
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + depth.tobytes())


@layout("segfolder/depth", "depth-estimation", *DEPTHS)
def depth_folders(example: Example) -> None:
    _depth(example, "segfolder")


@layout("parquet/depth", "depth-estimation", *(name for name in DEPTHS if name not in ("leftovers", "npy")))
def depth_parquet(example: Example) -> None:
    _depth(example, "parquet")


@layout("jsonl/depth", "depth-estimation", *(name for name in DEPTHS if name not in ("leftovers", "npy")))
def depth_jsonl(example: Example) -> None:
    _depth(example, "jsonl")
