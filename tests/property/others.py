"""YOLO's folders of labels, captions beside pictures, WebDataset's tars."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from tests.property.boxes import Drawn, drawn_rows
from tests.property.folders import PICTURES, labeled
from tests.property.pictures import COLORS, UNREADABLE, scene, size_of, store, style_of
from tests.property.texts import answer_of
from tests.property.world import SPLIT_WORDS, Example, Row, layout, leftovers, split_of_rows


@layout(
    "yolo/boxes", "object-detection", *PICTURES, "no box", "no area", "splits", "leftovers", "odd names", "list of names", "outlines",
    "repeated lines", "unlisted category", "not a share", "no label file", "images listed",
)  # fmt: skip
def in_yolo(example: Example) -> None:
    """Its numbers are shares of the upright picture."""
    rng, root = example.rng, example.data
    names, drawn = drawn_rows(example)
    folders = {"train": "train", "validation": rng.choice(("val", "valid")), "test": "test"}
    dropped = 0
    for one in drawn:
        place = folders[one.row.split] if example.odd("splits") else ""
        path = store(example, one.image, one.row.key, root / "images" / place / f"{one.row.key:04}", one.style)
        lines = [_line(example, one, names.index(name), box) for name, box, _ in one.boxes]
        extra = [
            ("repeated lines", lines[:1]), ("unlisted category", ["77 0.5 0.5 0.2 0.2"]), ("not a share", ["0 1.5 0.5 0.2 0.2"]),
        ]  # fmt: skip
        for oddity, more in extra:
            if example.odd(oddity) and rng.random() < 0.4:
                lines += more
                dropped += len(more)
        labels = root / "labels" / place / f"{path.stem}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        if lines or not example.odd("no label file"):
            labels.write_text("".join(f"{line}\n" for line in lines))
    if dropped:
        example.said.append(dropped) if not example.odd("splits") and _one_kind(example) else None
    used = {row.split for row in example.rows}
    said = {
        "path": rng.choice((".", str(root))),
        "names": names if example.odd("list of names") else dict(enumerate(names)),
    }
    for split, key in (("train", "train"), ("validation", "val"), ("test", "test")):
        if split in used:
            said[key] = f"images/{folders[split]}" if example.odd("splits") else "images"
    if "val" not in said:
        said.pop("val", None)
    (root / "data.yaml").write_text(json.dumps(said), encoding="utf-8")  # JSON is YAML
    leftovers(example, root)
    example.path = root


def _one_kind(example: Example) -> bool:
    return sum(example.odd(name) for name in ("repeated lines", "unlisted category", "not a share", "no area")) == 1


def _line(example: Example, one: Drawn, number: int, box: list[int]) -> str:
    (width, height), (left, top, right, bottom) = one.size, box
    if example.odd("outlines") and right > left:
        points = ((left, top), (right, top), (right, bottom), (left, bottom))
        return " ".join([str(number), *(f"{x / width:.6f} {y / height:.6f}" for x, y in points)])
    numbers = ((left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height)
    return " ".join([str(number), *(f"{value:.6f}" for value in numbers)])


@layout(
    "captions/vlm",
    "image-text-to-text",
    *PICTURES,
    "splits",
    "leftovers",
    "odd answers",
    "no text",
    "line breaks",
    method="lora",
)
def captions(example: Example) -> None:
    rng, root = example.rng, example.data
    words = {split: rng.choice(options) for split, options in SPLIT_WORDS.items()}
    for key, split in enumerate(split_of_rows(example, 10)):
        size, style, row = size_of(example), style_of(example), Row(key, split)
        folder = root / words[split] if example.odd("splits") else root
        image = scene(key, size, [((4, 12, size[0] - 4, size[1] - 4), COLORS[key % 4])])
        path = store(example, image, key, folder / f"{key}", style)
        text = answer_of(example, key)
        if style in UNREADABLE:
            row.problem = "no image that can be read"
        elif example.odd("no text") and key % 5 == 3:
            text, row.problem = "", "no answer"
        row.value = {"images": [key], "question": "", "answer": text.strip()}
        path.with_suffix(".txt").write_text(text, encoding="utf-8")
        example.rows.append(row)
    leftovers(example, root)
    example.path = root


@layout(
    "webdataset/labels",
    "image-classification",
    *PICTURES,
    "odd names",
    "splits",
    "no label",
    "numbers for classes",
    "two tars",
    "in json",
)
def tars(example: Example) -> None:
    names, example.rows, drawn = labeled(example, 16)
    words = {split: example.rng.choice(options) for split, options in SPLIT_WORDS.items()}
    numbers = example.odd("numbers for classes")
    samples: dict[Path, list[tuple[str, bytes]]] = {}
    for row, (image, style) in zip(example.rows, drawn, strict=True):
        path = store(example, image, row.key, example.folder / "raw" / f"{row.key:04}", style)
        if numbers:
            row.value = str(names.index(row.value))
        value: str | int | None = int(row.value) if numbers else row.value
        if example.odd("no label") and row.key % 5 == 4:
            value, row.problem = None, "no label"
        part = row.key % 2 if example.odd("two tars") else 0
        tar = example.data / f"{words[row.split] if example.odd('splits') else 'data'}-{part:06}.tar"
        found = samples.setdefault(tar, [])
        found.append((f"s/{row.key:04}{path.suffix.lower()}", path.read_bytes()))
        if numbers and not example.odd("in json"):
            if value is not None:
                found.append((f"s/{row.key:04}.cls", str(value).encode()))
        else:
            found.append((f"s/{row.key:04}.json", json.dumps({"label": value}).encode()))
    for tar, members in samples.items():
        with tarfile.open(tar, "w") as file:
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
    example.path = example.data
