"""Tables of pictures and labels."""

from __future__ import annotations

from typing import Any

from tests.property import tables
from tests.property.folders import PICTURES, labeled
from tests.property.pictures import store
from tests.property.world import Example, layout, leftovers, one_of

ODDITIES = (
    *PICTURES,
    "odd names",
    "splits",
    "splits and test",
    "leftovers",
    "unused columns",
    "no label",
    "the file itself",
)
TEXT = (*ODDITIES, "byte order mark", "quoted line breaks", "backslashes", "numbers for classes", "missing file")


def table(example: Example, kind: str) -> None:
    rng = example.rng
    for exclusive in (
        ("class labels", "float labels", "numbers for classes", "categorical"),
        ("class labels", "undeclared"),
    ):
        example.oddities = one_of(example.oddities, exclusive)
    if example.odd("float labels"):
        example.refusals.add("rejected")  # a label is a whole number or text
    names, example.rows, drawn = labeled(example, 16)
    if example.odd("numbers for classes"):
        numbers = rng.choice((["0", "1", "2", "3"], ["10", "9", "100", "7"]))
        for row in example.rows:
            row.value = numbers[names.index(row.value)]
    declared = example.odd("class labels")
    if example.odd("float labels"):
        for row in example.rows:
            row.value = str(names.index(row.value) + 1)
    found: list[tuple[str, dict[str, Any]]] = []
    for row, (image, style) in zip(example.rows, drawn, strict=True):
        path = store(
            example,
            image,
            row.key,
            (example.data if kind in ("csv", "jsonl") else example.folder / "raw") / "pictures" / f"{row.key}",
            style,
        )
        label = names.index(row.value) if declared else float(row.value) if example.odd("float labels") else row.value
        line = {"image": _cell(example, kind, path), "label": label}
        if example.odd("unused columns"):
            line |= {"id": row.key, "remark": rng.choice(("", "blurred, at night", "ü"))}
        if example.odd("quoted line breaks"):
            line["text"] = 'first line\nsecond, "quoted" line'
        if example.odd("no label") and row.key % 5 == 4:
            line["label"] = "" if kind == "csv" else -1 if declared else None
            row.problem = "no label"
        if example.odd("missing file") and row.key == 3:
            path.unlink()
            row.problem = row.problem if row.problem == "no label" else "image cannot be read"
        found.append((row.split, line))
    features = {"image": tables.IMAGE} | ({"label": {"_type": "ClassLabel", "names": names}} if declared else {})
    example.path = tables.write(
        example, kind, found, None if kind == "parquet" and example.odd("undeclared") else features
    )
    if kind in ("csv", "jsonl"):
        leftovers(example, example.data)


def _cell(example: Example, kind: str, path: Any) -> Any:
    if kind in ("parquet", "arrow"):
        return {"bytes": path.read_bytes(), "path": example.rng.choice((None, path.name))}
    name = str(path.relative_to(example.data))
    return name.replace("/", "\\") if example.odd("backslashes") else name


@layout("csv/labels", "image-classification", *TEXT, "separator", "utf-16", "quoted")
def in_csv(example: Example) -> None:
    table(example, "csv")


@layout("jsonl/labels", "image-classification", *TEXT, "blank lines")
def in_jsonl(example: Example) -> None:
    table(example, "jsonl")


@layout(
    "parquet/labels",
    "image-classification",
    *ODDITIES,
    "class labels",
    "undeclared",
    "numbers for classes",
    "float labels",
    "categorical",
)
def in_parquet(example: Example) -> None:
    table(example, "parquet")


@layout(
    "arrow/labels", "image-classification", *(name for name in ODDITIES if name != "the file itself"), "class labels"
)
def in_arrow(example: Example) -> None:
    table(example, "arrow")
