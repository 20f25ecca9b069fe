"""Files of rows as Tables: csv, jsonl (images by path), parquet, and arrow."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from tunegate.errors import ToolFailure
from tunegate.probe.dataset.columns import Feature, class_names_of, schema_features, value_feature
from tunegate.probe.dataset.labels import Labels, count_some
from tunegate.probe.dataset.pictures import from_bytes, from_path
from tunegate.probe.dataset.table import N_ROWS, Rows, Table
from tunegate.readers import tables
from tunegate.readers.tree import Listing
from tunegate.readers.types import widen

N_TYPED = 500  # rows from which the types of csv and jsonl columns are inferred
N_TABLE_ROWS = 200  # rows of parquet and arrow, which hold the images themselves
MAX_BATCH = 512 * 1024 * 1024  # uncompressed bytes of a row group that is looked into
BATCH = 64
PYARROW = "reading parquet and arrow files needs pyarrow, which tunegate depends on: install it again in the server's environment (`pip install pyarrow`)"


def table(path: Path, kind: str) -> Table:
    """The rows at `path` (a file or a folder) as a Table. Raises Refusal, and ToolFailure unavailable without pyarrow."""
    return {"csv": _text_table, "jsonl": _text_table, "parquet": _parquet, "arrow": _arrow}[kind](path, kind)


# --- csv and jsonl


def _text_table(path: Path, kind: str) -> Table:
    files = tables.files(path, kind)
    counts, heads, samples, types = {}, {}, {}, {}
    for split in files.splits:
        counts[split], heads[split], samples[split] = _sampled(_located(files, split), types)
    first = next((head for head in heads.values() if head), [])
    names = dict.fromkeys(name for row in first for name in row)
    features = {name: value_feature([row.get(name) for row in first]) for name in names}

    def read(split: str) -> Rows:
        found = [_cells(row, features, file, files.root) for file, row in samples[split]]
        return Rows(found, complete=counts[split] <= N_ROWS, spread=True)

    def count(split: str, column: str) -> Labels | None:
        if column not in features or features[column].kind == "list":
            return None
        return count_some((row.get(column) for _, row in _located(files, split)), features[column])

    def every(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        wanted = {name: features[name] for name in columns if name in features}
        return (_cells(row, wanted, file, files.root) for file, row in _located(files, split))

    def listing() -> Listing:
        pictures = [name for name, found in features.items() if _is_picture(found) or _is_picture(found.item)]
        return files.listing(types, _named_images(files, pictures) if pictures else ())

    for split in files.splits:  # a path that leads out is found before anything rests on the rows
        read(split)
    return Table(kind, counts, features, read, count, every, listing=listing, warnings=files.warnings)


def _is_picture(found: Feature | None) -> bool:
    return found is not None and found.kind == "image"


def _named_images(files: tables.Files, columns: list[str]) -> Iterator[Path]:
    """The images that the rows name, whether they are there or not."""
    for split in files.splits:
        for file, row in _located(files, split):
            for cell in (row.get(name) for name in columns):
                for one in cell if isinstance(cell, list) else [cell]:
                    if one:
                        yield tables.image_path(one, file, files.root)


Located = tuple[Path, dict[str, Any]]  # a row and the file that it stands in, to which its paths are relative


def _located(files: tables.Files, split: str) -> Iterator[Located]:
    return ((file, row) for file in files.splits[split] for row in tables.rows_of(file))


def _sampled(rows: Iterator[Located], types: dict[str, Any]) -> tuple[int, list[dict], list[Located]]:
    """(number of rows, the first ones, a random sample of all, in order). types: of the columns, which it widens."""
    rng, count, head, kept = random.Random(0), 0, [], []
    for row in rows:
        widen(types, row[1])
        if count < N_TYPED:
            head.append(row[1])
        if len(kept) < N_ROWS:
            kept.append((count, row))
        elif (at := rng.randrange(count + 1)) < N_ROWS:
            kept[at] = (count, row)
        count += 1
    return count, head, [row for _, row in sorted(kept, key=lambda item: item[0])]


def _cells(row: dict[str, Any], features: dict[str, Feature], file: Path, root: Path) -> dict[str, Any]:
    """The row with its image paths as Pictures."""
    return {name: _cell(row.get(name), found, file, root) for name, found in features.items()}


def _cell(value: Any, found: Feature, file: Path, root: Path) -> Any:
    if value is None:
        return None
    if found.kind == "image":
        return from_path(tables.image_path(value, file, root), str(value)[:100])
    if found.kind == "list" and found.item is not None and found.item.kind == "image" and isinstance(value, list):
        return [_cell(item, found.item, file, root) for item in value[:20]]
    return value


# --- parquet and arrow


def pyarrow_or_fail() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise ToolFailure("unavailable", PYARROW) from None
    return pyarrow


def with_pictures(rows: list[dict[str, Any]], features: dict[str, Feature], where: str) -> list[dict[str, Any]]:
    """Rows of a table with the bytes in its image columns as Pictures."""
    return [
        {name: _stored(value, features.get(name), f"{where} row {number}, {name}") for name, value in row.items()}
        for number, row in enumerate(rows)
    ]


def _stored(value: Any, found: Feature | None, name: str) -> Any:
    if found is None or value is None:
        return value
    if found.kind == "image":
        return from_bytes(value, name)
    if found.kind == "list" and found.item is not None and found.item.kind == "image" and isinstance(value, list):
        return [_stored(item, found.item, name) for item in value[:20]]
    return value


def _images_among(columns: list[str], rows: list[dict[str, Any]]) -> dict[str, Feature]:
    """The columns of plain bytes that hold image files."""
    held = {name: [row[name] for row in rows if row[name]][:10] for name in columns}
    return {
        name: Feature("image", "bytes of an image")
        for name, cells in held.items()
        if cells and not any(from_bytes(cell, name).problem for cell in cells)
    }


def _parquet(path: Path, kind: str) -> Table:
    pa = pyarrow_or_fail()
    found = tables.files(path, kind)
    files = found.splits

    def each(split: str, columns: list[str], size: int) -> Iterator[dict[str, Any]]:
        for file in files[split]:
            for batch in pa.parquet.ParquetFile(file).iter_batches(batch_size=size, columns=columns):
                yield from batch.to_pylist()

    def some(split: str) -> list[dict[str, Any]]:
        opened = [pa.parquet.ParquetFile(file) for file in files[split]]
        groups = [(file, at) for file in opened for at in range(file.metadata.num_row_groups)]
        return [
            row
            for file, at in spread_groups(groups, 4)
            for row in group_rows(file, at, N_TABLE_ROWS // min(4, len(groups)))
        ]

    def scan() -> tuple[dict[str, int], Any]:
        opened = {split: [pa.parquet.ParquetFile(file) for file in group] for split, group in files.items()}
        schemas = {file.schema_arrow.remove_metadata() for group in opened.values() for file in group}
        if len(schemas) > 1:
            raise ToolFailure(
                "rejected", f"the parquet files of {path} do not have the same columns: write them again from one table"
            )
        counts = {split: sum(file.metadata.num_rows for file in group) for split, group in opened.items()}
        return counts, {split: [file.schema_arrow for file in group] for split, group in opened.items()}

    return _columnar(pa, path, kind, scan, some, each, found)


def spread_groups(groups: list[Any], number: int) -> list[Any]:
    """First, last and some between."""
    if len(groups) <= number:
        return groups
    return [groups[round(at * (len(groups) - 1) / (number - 1))] for at in range(number)]


def group_rows(file: Any, group: int, number: int, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """The first rows of a row group of a ParquetFile; none of one that says it unpacks to more than MAX_BATCH."""
    if file.metadata.row_group(group).total_byte_size > MAX_BATCH and columns is None:  # as it says, before compression
        return []
    rows: list[dict[str, Any]] = []
    taken, size = 0, min(BATCH, number, _rows_at_once(file.metadata.row_group(group), columns))
    for batch in file.iter_batches(batch_size=size, row_groups=[group], columns=columns):
        taken += sum(_unpacked(column) for column in batch.columns)
        if taken > MAX_BATCH:
            break
        rows += batch.to_pylist()
        if len(rows) >= number:
            break
    return rows[:number]


def _unpacked(column: Any) -> int:
    """Bytes of a column's values, each as often as it occurs."""
    return (column.dictionary_decode() if hasattr(column, "dictionary") else column).nbytes


def _rows_at_once(group: Any, columns: list[str] | None) -> int:
    """How many rows cannot unpack to more than MAX_BATCH: one value of a dictionary, repeated, may be as large as all of it."""
    chunks = [group.column(at) for at in range(group.num_columns)]
    wanted = [chunk for chunk in chunks if columns is None or chunk.path_in_schema.split(".")[0] in columns]
    return max(
        1, MAX_BATCH // max(1, sum(chunk.total_uncompressed_size for chunk in wanted if chunk.has_dictionary_page))
    )


def _arrow(path: Path, kind: str) -> Table:
    """A folder written by Dataset.save_to_disk or DatasetDict.save_to_disk (splits keep their names), or .arrow files."""
    pa = pyarrow_or_fail()
    found = tables.files(path, kind)
    files = found.splits

    def batches(split: str) -> Iterator[Any]:
        return _selected(pa, stored(split), found.indices[split]) if split in found.indices else stored(split)

    def stored(split: str) -> Iterator[Any]:
        for file in files[split]:
            with pa.memory_map(str(file)) as mapped:
                yield from _batches(pa, mapped)

    def each(split: str, columns: list[str], size: int) -> Iterator[dict[str, Any]]:
        for batch in batches(split):
            for start in range(0, batch.num_rows, size):
                yield from batch.slice(start, size).select(columns).to_pylist()

    def some(split: str) -> list[dict[str, Any]]:
        found = [batch for batch in batches(split) if batch.num_rows]
        each = max(1, N_TABLE_ROWS // max(1, min(len(found), 8)))
        return [row for batch in spread_groups(found, 8) for row in batch.slice(0, each).to_pylist()]

    def scan() -> tuple[dict[str, int], Any]:
        counts = {split: sum(batch.num_rows for batch in batches(split)) for split in files}
        if not any(files.values()):
            raise ToolFailure("rejected", f"local_dataset_path = {str(path)!r} has no rows: choose another dataset")
        return counts, {split: [schema_of(file) for file in group] for split, group in files.items() if group}

    def schema_of(file: Path) -> Any:
        with pa.memory_map(str(file)) as mapped:
            return _reader(pa, mapped).schema

    return _columnar(pa, path, kind, scan, some, each, found)


def _selected(pa: Any, stored: Iterator[Any], indices: list[Path]) -> Iterator[Any]:
    """The rows whose numbers stand in files of indices, BATCH at a time."""
    whole = list(stored)  # mapped, not read
    ends = list(accumulate(batch.num_rows for batch in whole))
    numbers = tables.row_numbers(indices, ends[-1] if ends else 0)
    for start in range(0, len(numbers), BATCH):
        rows = []
        for number in numbers[start : start + BATCH]:
            at = bisect_right(ends, number)
            rows.append(whole[at].slice(number - (ends[at - 1] if at else 0), 1))
        yield from pa.Table.from_batches(rows).combine_chunks().to_batches()


def _reader(pa: Any, mapped: Any) -> Any:
    """`datasets` writes the stream format, other tools the file format."""
    try:
        return pa.ipc.open_stream(mapped)
    except pa.ArrowInvalid:
        mapped.seek(0)
        return pa.ipc.open_file(mapped)


def _batches(pa: Any, mapped: Any) -> Iterator[Any]:
    reader = _reader(pa, mapped)
    if hasattr(reader, "get_batch"):
        yield from (reader.get_batch(at) for at in range(reader.num_record_batches))
    else:
        yield from reader


def _columnar(
    pa: Any, path: Path, kind: str, scan: Callable, some: Callable, each: Callable, found: tables.Files
) -> Table:
    """What parquet and arrow have in common: a schema, and rows to look into. Damage is `rejected`."""
    damaged = (pa.ArrowException, OSError)

    def refused(error: Exception) -> ToolFailure:
        if isinstance(error, MemoryError):  # pyarrow's is one
            raise error
        return ToolFailure(
            "rejected",
            f"local_dataset_path = {str(path)!r} is not readable as {kind} ({type(error).__name__}): write it again",
        )

    try:
        counts, schemas = scan()
    except damaged as error:
        raise refused(error) from None
    own = {split: _of_one_split(group, found.declared, path, split) for split, group in schemas.items()}
    features = dict(next(iter(own.values())))
    if raw := [name for name, found in features.items() if found.shown in ("binary", "large_binary")]:
        features |= _images_among(raw, some(next(iter(counts))))

    def read(split: str) -> Rows:
        try:
            rows = some(split)
        except damaged as error:
            raise refused(error) from None
        return Rows(with_pictures(rows, features, split), complete=len(rows) == counts[split], spread=True)

    def count(split: str, name: str) -> Labels | None:
        if name not in features or features[name].kind == "list":
            return None
        try:
            return count_some((row[name] for row in each(split, [name], 10_000)), own.get(split, features)[name])
        except damaged as error:
            raise refused(error) from None

    def every(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        wanted = [name for name in features if name in columns]
        try:
            for row in each(split, wanted, BATCH):
                yield with_pictures([row], features, split)[0]
        except damaged as error:
            raise refused(error) from None

    return Table(
        kind,
        counts,
        features,
        read,
        count,
        every,
        listing=found.listing,
        warnings=found.warnings,
        declared=lambda split: own.get(split, features),
    )


def _of_one_split(schemas: list[Any], beside: dict[str, Any] | None, path: Path, split: str) -> dict[str, Feature]:
    """Its columns. Raises rejected where two of its files give their numbers to classes in different orders."""
    each = [schema_features(schema, beside) for schema in schemas]
    for name, kind in each[0].items():
        if any(class_names_of(other.get(name)) != class_names_of(kind) for other in each[1:]):
            raise ToolFailure(
                "rejected",
                f"the files of split {split!r} of {path} declare different classes, or in another order, in column {name!r}: write "
                "them again from one table",
            )
    return each[0]
