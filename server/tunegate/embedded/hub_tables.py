"""Parquet and CSV for the dataset viewer: features, row counts, rows as JSON.

pyarrow is imported only when a table is read: a Hub that holds only models runs without it.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunegate.embedded.hub_store import HubRefusal

VALUE_NAMES = {"double": "float64", "float": "float32", "halffloat": "float16"}  # arrow's name -> the name in features
MAGIC = {
    b"\x89PNG": ("png", "image/png"),
    b"\xff\xd8\xff": ("jpg", "image/jpeg"),
    b"GIF8": ("gif", "image/gif"),
    b"RIFF": ("webp", "image/webp"),
}


@dataclass(frozen=True)
class File:
    path: Path
    kind: str  # parquet | csv


def _open(file: File) -> Any:
    """A ParquetFile, or a CSV's Table. Refused(500) when it is neither."""
    import pyarrow
    from pyarrow import csv, parquet

    try:
        return parquet.ParquetFile(file.path) if file.kind == "parquet" else csv.read_csv(file.path)
    except (pyarrow.ArrowException, OSError):
        raise HubRefusal(500, f"A {file.kind} file of this dataset cannot be read", "DatasetGenerationError") from None


def features(file: File) -> dict[str, Any]:
    """Column -> feature, as `datasets` wrote it into the file, else from the arrow types."""
    opened = _open(file)
    schema = opened.schema_arrow if file.kind == "parquet" else opened.schema
    try:
        return json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {column.name: _feature(column.type) for column in schema}


def _feature(kind: Any) -> Any:
    from pyarrow import types

    if types.is_struct(kind):
        return {column.name: _feature(column.type) for column in kind}
    if types.is_list(kind) or types.is_large_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    return {"dtype": VALUE_NAMES.get(str(kind), str(kind)), "_type": "Value"}


def measure(file: File) -> tuple[int, int]:
    """(rows, bytes in memory), for Parquet from its footer alone."""
    opened = _open(file)
    if file.kind == "csv":
        return opened.num_rows, opened.nbytes
    footer = opened.metadata
    return footer.num_rows, sum(footer.row_group(index).total_byte_size for index in range(footer.num_row_groups))


def read_rows(files: list[File], offset: int, length: int) -> tuple[list[dict[str, Any]], int]:
    """(at most `length` rows from `offset` over all files, number of all rows). Other row groups are not read."""
    rows: list[dict[str, Any]] = []
    start = 0
    for file in files:
        opened = _open(file)
        groups = (
            [opened]
            if file.kind == "csv"
            else [opened.metadata.row_group(index) for index in range(opened.metadata.num_row_groups)]
        )
        for index, group in enumerate(groups):
            first, last = max(offset - start, 0), min(offset + length - start, group.num_rows)
            if first < last:
                table = group if file.kind == "csv" else opened.read_row_group(index)
                rows += table.slice(first, last - first).to_pylist()
            start += group.num_rows
    return rows, start


def as_json(value: Any) -> Any:
    """As JSON: bytes in base64, dates and decimals as text, no NaN."""
    if isinstance(value, dict):
        return {key: as_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_json(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def is_image(feature: Any) -> bool:
    return isinstance(feature, dict) and feature.get("_type") == "Image"


def list_item(feature: Any) -> Any:
    """The feature of a list's items, in any of the ways in which `datasets` has written lists; None for no list."""
    if isinstance(feature, list):
        return feature[0] if feature else None
    kinds = ("List", "Sequence", "LargeList")
    return feature.get("feature") if isinstance(feature, dict) and feature.get("_type") in kinds else None


def image_at(row: dict[str, Any], path: list[str]) -> bytes | None:
    """The image in a row's column, or in a list in it: ["images", "1"]."""
    value = row.get(path[0]) if path else None
    if len(path) == 2 and isinstance(value, list) and path[1].isdecimal() and int(path[1]) < len(value):
        value = value[int(path[1])]
    return image_bytes(value)


def image_bytes(cell: Any) -> bytes | None:
    """The file in an image cell, None where there is none (a null, or a path only)."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    return content if isinstance(content, bytes) else None


def image_kind(content: bytes) -> tuple[str, str]:
    """(suffix, media type) by the first bytes."""
    return next(
        (kind for magic, kind in MAGIC.items() if content.startswith(magic)), ("bin", "application/octet-stream")
    )


def image_size(content: bytes) -> tuple[int | None, int | None]:
    """(width, height) from the header of a PNG or JPEG; None for others."""
    if content.startswith(b"\x89PNG") and len(content) >= 24:
        return struct.unpack(">II", content[16:24])
    at = 2
    while content.startswith(b"\xff\xd8") and at + 9 <= len(content) and content[at] == 0xFF:
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # the start of frame
            return int.from_bytes(content[at + 7 : at + 9], "big"), int.from_bytes(content[at + 5 : at + 7], "big")
        at += 2 + length
    return None, None
