"""imagefolder: a class for each folder, or a metadata file."""

from __future__ import annotations

import re
from pathlib import Path

from tests.property.pictures import COLORS, STYLES, UNREADABLE, scene, size_of, store, style_of
from tests.property.tables import write_text
from tests.property.world import NAMES, SPLIT_WORDS, Example, Row, layout, leftovers, split_of_rows

PICTURES = tuple(STYLES)


def class_names(example: Example, most: int = 4) -> list[str]:
    plain = ["ant", "bee", "crow", "dog"][: example.rng.randint(2, most)]
    return example.rng.sample(NAMES, len(plain)) if example.odd("odd names") else plain


def labeled(example: Example, count: int = 14) -> tuple[list[str], list[Row], list]:
    """(class names, rows with a class each, their pictures with a style)"""
    names, rows, drawn = class_names(example), [], []
    for key, split in enumerate(split_of_rows(example, count)):
        number = key % len(names)
        size, style = size_of(example), style_of(example)
        image = scene(key, size, [((4, 12, size[0] - 4, size[1] - 4), COLORS[number])])
        problem = "image cannot be read" if style in UNREADABLE else None
        numbers_alone = all(re.fullmatch(r"-?\d+", name) for name in names)  # among numbers, -1 may stand for none
        rows.append(Row(key, split, names[number], problem, either=names[number] == "-1" and numbers_alone))
        drawn.append((image, style))
    return names, rows, drawn


@layout(
    "imagefolder/classes", "image-classification", *PICTURES, "odd names", "splits", "splits and test", "leftovers",
    "empty class", "loose images", "split word in a file name", "unlabeled test", "duplicates", "other files",
)  # fmt: skip
def classes(example: Example) -> None:
    rng, root = example.rng, example.data
    names, example.rows, drawn = labeled(example)
    words = {split: rng.choice(options) for split, options in SPLIT_WORDS.items()}
    split_folders = example.odd("splits", "splits and test", "unlabeled test")
    words["train"] = rng.choice(("train", "Train", "training"))
    for row, (image, style) in zip(example.rows, drawn, strict=True):
        folder = root / words[row.split] / row.value if split_folders else root / row.value
        word = (
            f"{rng.choice(('val', 'test', 'train'))}_"
            if example.odd("split word in a file name") and rng.random() < 0.4
            else ""
        )
        store(example, image, row.key, folder / f"{word}{row.key}", style)
    train = root / words["train"] if split_folders else root
    if example.odd("empty class"):
        (train / "empty").mkdir()
    if example.odd("loose images"):
        scene(63, (70, 44), []).save(train / "loose.png")
        example.said.append(1)
    if example.odd("unlabeled test"):
        (root / "test").mkdir(exist_ok=True)
        if (
            not any(path.is_dir() for path in (root / "test").iterdir())
            and words["test"] != "test"
            or not example.odd("splits and test")
        ):
            for i in range(3):
                scene(60 + i, (70, 44), []).save(root / "test" / f"{i}.png")
            example.said.append(3)
    if example.odd("other files"):
        (train / names[0] / "notes.txt").write_text("not an image")
        (root / "README.md").write_text("# data")
    if example.odd("duplicates"):
        first = example.rows[0]
        copy = (
            next(path for path in train.rglob("0.*") if path.name[0] != ".")
            if not example.odd("split word in a file name")
            else None
        )
        if copy:
            (copy.parent / f"copy{copy.suffix}").write_bytes(copy.read_bytes())
            example.rows.append(Row(first.key, first.split, first.value, first.problem))
    leftovers(example, root)
    example.path = root


@layout(
    "imagefolder/metadata", "image-classification", *PICTURES, "odd names", "splits", "leftovers", "loose images", "unused columns",
    "no label", "byte order mark", "separator", "backslashes", "missing file", "jsonl",
)  # fmt: skip
def metadata(example: Example) -> None:
    rng, root = example.rng, example.data
    _, example.rows, drawn = labeled(example)
    kind = "jsonl" if example.odd("jsonl") else "csv"
    words = {split: rng.choice(options) for split, options in SPLIT_WORDS.items()}
    lines: dict[Path, list[dict]] = {}
    for row, (image, style) in zip(example.rows, drawn, strict=True):
        folder = root / words[row.split] if example.odd("splits") else root
        inner = "" if rng.random() < 0.5 else "pictures/"
        path = store(example, image, row.key, folder / f"{inner}{row.key}", style)
        name = str(path.relative_to(folder))
        line = {"file_name": name.replace("/", "\\") if example.odd("backslashes") else name, "label": row.value}
        if example.odd("unused columns"):
            line |= {"photographer": rng.choice(("Ann", "", "Bö")), "seconds": rng.random()}
        if example.odd("no label") and row.key % 5 == 4:
            line["label"] = None if kind == "jsonl" else ""
            row.problem = "no label"
        if example.odd("missing file") and row.key == 3:
            path.unlink()
            row.problem = "no label" if row.problem == "no label" else "image cannot be read"
        lines.setdefault(folder, []).append(line)
    for folder, some in lines.items():
        write_text(example, folder / f"metadata.{kind}", some)
    if example.odd("loose images"):
        scene(63, (70, 44), []).save(root / ("train" if example.odd("splits") else "") / "loose.png") if (
            not example.odd("splits") or (root / "train").is_dir()
        ) else scene(63, (70, 44), []).save(root / "loose.png")
        example.said.append(1)
    leftovers(example, root)
    example.path = root
