"""Parquet files on the Hub, read by range: the footer tells types and row counts, a few pages tell the values."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from tunegate.errors import ToolFailure
from tunegate.probe.dataset.columns import schema_features
from tunegate.probe.dataset.local.files import MAX_BATCH, group_rows, pyarrow_or_fail

FOOTER = 131_072  # a footer is some kB; statistics and the types of `datasets` make it larger
MAX_FOOTER = 16 << 20
BUDGET = 16 << 20  # bytes of one split that are read for its rows
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
    """The first rows of some row groups, in the columns named or in all: those that BUDGET allows, the cheap ones first.

    A row lacks the columns that were too large to read.
    """
    pa = pyarrow_or_fail()
    ends = [
        chunk.data_page_offset + chunk.total_compressed_size
        for g in range(metadata.num_row_groups)
        for chunk in _chunks(metadata.row_group(g))
    ]
    source = pa.PythonFile(_RangeFile(fetch, max(ends, default=0) + FOOTER), mode="r")
    rows: list[dict[str, Any]] = []
    left = BUDGET
    try:
        file = pa.parquet.ParquetFile(source, metadata=metadata, pre_buffer=False, buffer_size=1 << 18)
        for at, group in enumerate(groups):
            wanted, cost = _affordable(metadata.row_group(group), columns, left / (len(groups) - at))
            left -= cost
            rows += group_rows(file, group, N_ROWS, wanted) if wanted else []
    except (pa.ArrowException, OSError):
        return rows
    return rows


def _chunks(group: Any) -> list[Any]:
    return [group.column(at) for at in range(group.num_columns)]


def _affordable(group: Any, columns: list[str] | None, budget: float) -> tuple[list[str], float]:
    """(columns, bytes to expect). A page is read whole, and writers end one after 1,024 rows at the earliest."""
    costs: dict[str, float] = {}
    for chunk in _chunks(group):
        name, size = chunk.path_in_schema.split(".")[0], chunk.total_compressed_size
        page = min(size, max(1 << 20, 1024 * size / max(1, group.num_rows)))
        bomb = chunk.total_uncompressed_size > MAX_BATCH
        if columns is None or name in columns:
            costs[name] = costs.get(name, 0) + (float("inf") if bomb else page)
    wanted, spent = [], 0.0
    for name in sorted(costs, key=costs.get):
        if spent + costs[name] <= budget:
            wanted.append(name)
            spent += costs[name]
    return wanted, spent
