"""Parquet files on the Hub, read by range: the footer tells types and row counts, a few pages tell the values."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from tunegate.errors import ToolFailure
from tunegate.probe.columns import schema_features
from tunegate.probe.local_files import group_rows, pyarrow_or_fail

FOOTER = 131_072  # a footer is some kB; statistics and the types of `datasets` make it larger
MAX_FOOTER = 16 << 20
BUDGET = 12 << 20  # bytes of one split that are read for its rows
N_ROWS = 64  # rows of one row group
Fetch = Callable[[int, int | None], bytes]  # (start, length); start below 0: that many from the end


class _RangeFile(io.RawIOBase):
    """A file whose bytes are fetched when they are read."""

    def __init__(self, fetch: Fetch, size: int):
        self._fetch, self._size, self._at = fetch, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        size = self._size - self._at if size is None or size < 0 else size
        data = self._fetch(self._at, size) if size else b""
        self._at += len(data)
        return data

    def size(self) -> int:
        return self._size


def footer(fetch: Fetch, name: str) -> Any:
    """A file's metadata. Raises rejected for what is no parquet."""
    pa = pyarrow_or_fail()
    end = fetch(-FOOTER, None)
    needed = int.from_bytes(end[-8:-4], "little") + 8 if end.endswith(b"PAR1") else 0
    if len(end) < needed <= MAX_FOOTER:
        end = fetch(-needed, None)
    try:
        return pa.parquet.read_metadata(pa.BufferReader(b"PAR1" + end))
    except (pa.ArrowException, OSError):
        raise ToolFailure(
            "rejected", f"{name} is not readable as parquet: choose another dataset or revision"
        ) from None


def features_of(metadata: Any) -> dict[str, Any]:
    return schema_features(metadata.schema.to_arrow_schema())


def some_rows(fetch: Fetch, metadata: Any, groups: list[int], columns: list[str] | None = None) -> list[dict[str, Any]]:
    """The first rows of some row groups, as many as BUDGET allows by their mean size; the columns named, or all."""
    pa = pyarrow_or_fail()
    ends = [0]
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            ends.append(chunk.data_page_offset + chunk.total_compressed_size)
    source = pa.PythonFile(_RangeFile(fetch, max(ends) + FOOTER), mode="r")
    rows: list[dict[str, Any]] = []
    try:
        file = pa.parquet.ParquetFile(source, metadata=metadata, pre_buffer=False, buffer_size=1 << 18)
        for group in groups:
            number = _affordable(metadata.row_group(group), columns, len(groups))
            rows += group_rows(file, group, number, columns) if number else []
    except (pa.ArrowException, OSError):
        return rows
    return rows


def _affordable(group: Any, columns: list[str] | None, groups: int) -> int:
    """Rows of this group that fit the budget's share, none where a single one would not."""
    chunks = [group.column(at) for at in range(group.num_columns)]
    size = sum(c.total_compressed_size for c in chunks if columns is None or c.path_in_schema.split(".")[0] in columns)
    mean = size / max(1, group.num_rows)
    return min(N_ROWS, group.num_rows, int(BUDGET / groups / mean) if mean else N_ROWS)
