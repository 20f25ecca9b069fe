"""Local datasets in files of rows: csv, jsonl (images by path), parquet, and arrow (of `save_to_disk`, or plain files)."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tunegate.errors import ToolFailure
from tunegate.probe.dataset.columns import Feature, schema_features, value_feature
from tunegate.probe.dataset.labels import Labels, count_some
from tunegate.probe.dataset.local.tree import N_ROWS, below, inside, walk
from tunegate.probe.dataset.pictures import from_bytes, from_path
from tunegate.probe.dataset.splits import assigned, split_of
from tunegate.probe.dataset.table import Rows, Table

SUFFIXES = {".parquet": "parquet", ".jsonl": "jsonl", ".csv": "csv", ".arrow": "arrow"}
MAX_LINE = 8_000_000  # bytes of one row of JSON: long conversations are megabytes
N_TYPED = 500  # rows from which the types of csv and jsonl columns are told
N_TABLE_ROWS = 200  # rows of parquet and arrow, which hold the images themselves
MAX_BATCH = 512 * 1024 * 1024  # uncompressed bytes of a row group that is looked into
BATCH = 64
PYARROW = "reading parquet and arrow files needs pyarrow, which tunegate depends on: install it again in the server's environment (`pip install pyarrow`)"


def read(path: Path, kind: str) -> Table:
    """The rows at `path` (a file or a folder) as a Table. Raises rejected, and unavailable without pyarrow."""
    return {"csv": _text_table, "jsonl": _text_table, "parquet": _parquet, "arrow": _arrow}[kind](path, kind)


def _files(path: Path, kind: str, warnings: list[str]) -> tuple[Path, dict[str, list[Path]]]:
    """(the dataset's folder, split -> files). What the names leave open is a warning."""
    if path.is_file():
        return path.parent, {"train": [path]}
    names = sorted(str(p.relative_to(path)) for p in walk(path, path, (f".{kind}",)))
    if not names:
        raise ToolFailure(
            "rejected", f"local_dataset_path = {str(path)!r} has no .{kind} file: check local_dataset_format"
        )
    for name in names:
        inside(path / name, path)
    splits = assigned(names)
    if unused := [name for name, split in splits.items() if split is None]:
        warnings.append(
            f"{len(unused)} files beside those called train are called like no split and are not used: {', '.join(unused[:5])}"
        )
    doubtful = [name for name, split in splits.items() if split == "train" and split_of(name) != "train"]
    if any(split not in (None, "train") for split in splits.values()) and doubtful:
        warnings.append(f"{len(doubtful)} files whose names tell no split are trained on: {', '.join(doubtful[:5])}")
    elif ignored := [name for name in doubtful if split_of(name)]:
        warnings.append(f"not every file is called like a split: all are trained on, {', '.join(ignored[:5])} too")
    files: dict[str, list[Path]] = {}
    for name, split in splits.items():
        if split:
            files.setdefault(split, []).append(path / name)
    return path, files


# --- csv and jsonl


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of one .csv or .jsonl file. Raises rejected, naming the place."""
    return _csv_rows(path) if path.suffix.lower() == ".csv" else _jsonl_rows(path)


def _text_table(path: Path, kind: str) -> Table:
    warnings: list[str] = []
    root, files = _files(path, kind, warnings)
    rows = {"csv": _csv_rows, "jsonl": _jsonl_rows}[kind]
    counts, heads, samples = {}, {}, {}
    for split, paths in files.items():
        counts[split], heads[split], samples[split] = _sampled(row for file in paths for row in rows(file))
    first = next((head for head in heads.values() if head), [])
    names = dict.fromkeys(name for row in first for name in row)
    features = {name: value_feature([row.get(name) for row in first]) for name in names}
    bases = {split: paths[0].parent for split, paths in files.items()}

    def read(split: str) -> Rows:
        found = [_cells(row, features, bases[split], root) for row in samples[split]]
        return Rows(found, complete=counts[split] <= N_ROWS, spread=True)

    def count(split: str, column: str) -> Labels | None:
        if column not in features or features[column].kind == "list":
            return None
        return count_some((row.get(column) for file in files[split] for row in rows(file)), features[column])

    def every(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        wanted = {name: features[name] for name in columns if name in features}
        return (_cells(row, wanted, bases[split], root) for file in files[split] for row in rows(file))

    for split in files:  # a path that leads out is told before anything rests on the rows
        read(split)
    return Table(kind, counts, features, read, count, every, warnings=warnings)


def _sampled(rows: Iterator[dict[str, Any]]) -> tuple[int, list[dict], list[dict]]:
    """(number of rows, the first ones, a random sample of all, in order)"""
    rng, count, head, kept = random.Random(0), 0, [], []
    for row in rows:
        if count < N_TYPED:
            head.append(row)
        if len(kept) < N_ROWS:
            kept.append((count, row))
        elif (at := rng.randrange(count + 1)) < N_ROWS:
            kept[at] = (count, row)
        count += 1
    return count, head, [row for _, row in sorted(kept, key=lambda item: item[0])]


def _csv_rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                if None in row or None in row.values():
                    raise ToolFailure(
                        "rejected",
                        f"{path} does not have the same number of fields in every row (see the one that begins "
                        f"{str(next(iter(row.values())))[:40]!r}): mend it",
                    )
                yield row
    except (csv.Error, UnicodeDecodeError) as error:
        raise ToolFailure(
            "rejected", f"{path} is not readable as CSV in UTF-8 ({type(error).__name__}): mend it or convert it"
        ) from None


def _jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if not line.strip():
                continue
            try:
                row = json.loads(line) if len(line) <= MAX_LINE else None
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                raise ToolFailure(
                    "rejected", f"{path}:{number} is not a JSON object of at most {MAX_LINE:,} bytes: mend that line"
                )
            yield row


def _cells(row: dict[str, Any], features: dict[str, Feature], base: Path, root: Path) -> dict[str, Any]:
    """The row with its image paths as Pictures. Paths are relative to the file that names them, and stay in the dataset."""
    return {name: _cell(row.get(name), found, base, root) for name, found in features.items()}


def _cell(value: Any, found: Feature, base: Path, root: Path) -> Any:
    if value is None:
        return None
    if found.kind == "image":
        return from_path(inside(below(base, value, root), root), str(value)[:100])
    if found.kind == "list" and found.item is not None and found.item.kind == "image" and isinstance(value, list):
        return [_cell(item, found.item, base, root) for item in value[:20]]
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
        return from_bytes(value.get("bytes") if isinstance(value, dict) else value, name)
    if found.kind == "list" and found.item is not None and found.item.kind == "image" and isinstance(value, list):
        return [_stored(item, found.item, name) for item in value[:20]]
    return value


def _parquet(path: Path, kind: str) -> Table:
    pa = pyarrow_or_fail()
    warnings: list[str] = []
    _, files = _files(path, kind, warnings)

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
        return counts, next(iter(opened.values()))[0].schema_arrow

    return _columnar(pa, path, kind, scan, some, each, warnings)


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
    for batch in file.iter_batches(batch_size=min(BATCH, number), row_groups=[group], columns=columns):
        rows += batch.to_pylist()
        if len(rows) >= number:
            break
    return rows[:number]


def _arrow(path: Path, kind: str) -> Table:
    """A folder written by Dataset.save_to_disk or DatasetDict.save_to_disk (splits keep their names), or .arrow files."""
    pa = pyarrow_or_fail()
    warnings: list[str] = []
    files = _arrow_files(path, warnings)

    def batches(split: str) -> Iterator[Any]:
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
        first = next((group[0] for group in files.values() if group), None)
        if first is None:
            raise ToolFailure("rejected", f"local_dataset_path = {str(path)!r} has no rows: choose another dataset")
        with pa.memory_map(str(first)) as mapped:
            return counts, _reader(pa, mapped).schema

    return _columnar(pa, path, kind, scan, some, each, warnings)


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


def _arrow_files(path: Path, warnings: list[str]) -> dict[str, list[Path]]:
    if path.is_file() or not ((path / "dataset_dict.json").is_file() or (path / "state.json").is_file()):
        return _files(path, "arrow", warnings)[1]
    files = {}
    for split, folder in _arrow_splits(path).items():
        listed = _json(folder / "state.json", path).get("_data_files")
        names = (
            [entry.get("filename") for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        )
        files[split] = [inside(folder / str(name), path) for name in names]
    return files


def _arrow_splits(path: Path) -> dict[str, Path]:
    if not (path / "dataset_dict.json").is_file():
        return {"train": path}
    names = _json(path / "dataset_dict.json", path).get("splits")
    names = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return {name: inside(path / name, path) for name in names}


def _json(path: Path, root: Path) -> dict[str, Any]:
    try:
        value = json.loads(inside(path, root).read_bytes()[:MAX_LINE])
    except (OSError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ToolFailure("rejected", f"{path} is missing or no JSON object: write the dataset again with save_to_disk")
    return value


def _columnar(
    pa: Any, path: Path, kind: str, scan: Callable, some: Callable, each: Callable, warnings: list[str]
) -> Table:
    """What parquet and arrow have in common: a schema, and rows to look into. Damage is `rejected`."""
    damaged = (pa.ArrowException, OSError)

    def refused(error: Exception) -> ToolFailure:
        return ToolFailure(
            "rejected",
            f"local_dataset_path = {str(path)!r} is not readable as {kind} ({type(error).__name__}): write it again",
        )

    try:
        counts, schema = scan()
    except damaged as error:
        raise refused(error) from None
    features = schema_features(schema)

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
            return count_some((row[name] for row in each(split, [name], 10_000)), features[name])
        except damaged as error:
            raise refused(error) from None

    def every(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        wanted = [name for name in features if name in columns]
        try:
            for row in each(split, wanted, BATCH):
                yield with_pictures([row], features, split)[0]
        except damaged as error:
            raise refused(error) from None

    return Table(kind, counts, features, read, count, every, warnings=warnings)
