"""Local datasets in files of rows: csv, jsonl (images by path), parquet and the arrow folders of `save_to_disk`."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tunegate.errors import ToolFailure
from tunegate.probe.columns import Feature, Labels, arrow_feature, count_labels, feature
from tunegate.probe.images import EXTENSIONS, inspect, measure
from tunegate.probe.table import MAX_LABELS, N_SAMPLE, Table, by_split

SUFFIXES = {".parquet": "parquet", ".jsonl": "jsonl", ".csv": "csv", ".arrow": "arrow"}
MAX_LINE = 1_000_000
N_TYPED = 500  # rows from which the types of csv and jsonl columns are told
N_INSPECTED = 50


def read(path: Path, kind: str) -> Table:
    """The rows at `path` (a file or a folder) as a Table. Raises rejected, and unavailable without pyarrow."""
    return {"csv": _text_table, "jsonl": _text_table, "parquet": _parquet, "arrow": _arrow}[kind](path, kind)


def _files(path: Path, kind: str) -> tuple[Path, dict[str, list[Path]]]:
    """(the dataset's folder, split -> files)."""
    if path.is_file():
        return path.parent, {"train": [path]}
    names = sorted(str(p.relative_to(path)) for p in path.rglob(f"*.{kind}") if not p.name.startswith("."))
    if not names:
        raise ToolFailure(
            "rejected", f"local_dataset_path = {str(path)!r} has no .{kind} file: check local_dataset_format"
        )
    for name in names:
        inside(path / name, path)
    return path, {split: [path / name for name in group] for split, group in by_split(names).items()}


def inside(path: Path, root: Path) -> Path:
    """The path, or `rejected` if it leads out of the dataset's folder."""
    if not path.resolve().is_relative_to(root):
        raise ToolFailure("rejected", f"{path} leads out of the dataset's folder {root}: only files in it are read")
    return path


# --- csv and jsonl


def _text_table(path: Path, kind: str) -> Table:
    root, files = _files(path, kind)
    rows = {"csv": _csv_rows, "jsonl": _jsonl_rows}[kind]
    heads: dict[str, list[dict]] = {split: [] for split in files}
    counts = dict.fromkeys(files, 0)
    for split, paths in files.items():
        for file in paths:
            for row in rows(file):
                counts[split] += 1
                if len(heads[split]) < N_TYPED:
                    heads[split].append(row)
    first = next((head for head in heads.values() if head), [])
    features = {name: _text_feature([row.get(name) for row in first]) for name in (first[0] if first else {})}
    warnings: list[str] = []
    bases = {split: paths[0].parent for split, paths in files.items()}
    _check_paths(heads, features, bases, root, warnings)

    def labels(split: str, column: str) -> Labels:
        every = (row.get(column) for file in files[split] for row in rows(file))
        return _counted(every, features[column])

    def sample(split: str) -> list[dict]:
        return [
            {
                name: _image_at(value, features[name], bases[split]) if name in features else value
                for name, value in row.items()
            }
            for row in heads[split][:N_SAMPLE]
        ]

    return Table(kind, counts, features, labels, sample, warnings)


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


def _text_feature(values: list[Any]) -> Feature:
    """The kind of a column from its first values; text that names image files is an image column."""
    present = [value for value in values if value not in (None, "")]
    if not present:
        return Feature("other", "empty")
    if all(isinstance(value, str) and value.lower().endswith(EXTENSIONS) for value in present):
        return Feature("image", "path of an image")
    if all(isinstance(value, bool) for value in present):
        return Feature("bool", "bool")
    for kind, convert in (("int", int), ("float", float)):
        try:
            if all(
                isinstance(value, (str, int, float)) and str(convert(value)) == str(value).strip() for value in present
            ):
                return Feature(kind, kind)
        except (ValueError, OverflowError):
            continue
    if all(isinstance(value, (str, int, float)) for value in present):
        return Feature("string", "string")
    return Feature("list" if isinstance(present[0], list) else "struct", type(present[0]).__name__)


def _check_paths(
    heads: dict, features: dict[str, Feature], bases: dict[str, Path], root: Path, warnings: list[str]
) -> None:
    """Image paths are relative to their file, stay in the dataset, and most of them exist."""
    for column in (name for name, found in features.items() if found.kind == "image"):
        bad, looked = [], 0
        for split, rows in heads.items():
            for value in [row.get(column) for row in rows[:N_INSPECTED]]:
                looked += 1
                try:
                    inspect(inside(bases[split] / str(value), root))
                except (ValueError, OSError) as error:
                    bad.append(f"{str(value)[:80]} {error if isinstance(error, ValueError) else 'does not exist'}")
        if looked and len(bad) == looked:
            raise ToolFailure(
                "rejected",
                f"column {column!r}: none of the {looked} images looked at can be read ({bad[0]}): paths are "
                "relative to the file that names them",
            )
        if bad:
            warnings.append(
                f"column {column!r}: {len(bad)} of {looked} images looked at cannot be read: {'; '.join(bad[:3])}"
            )


def _image_at(value: Any, found: Feature, base: Path) -> Any:
    if found.kind != "image":
        return value
    try:
        _, width, height = inspect(base / str(value))
    except (ValueError, OSError):
        return {}
    return {"width": width, "height": height}


# --- parquet and arrow


def pyarrow_or_fail():
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise ToolFailure(
            "unavailable",
            "reading parquet and arrow files needs pyarrow in the server's environment: "
            "`pip install 'tunegate[demo]'` and call again",
        ) from None
    return pyarrow


def _parquet(path: Path, kind: str) -> Table:
    pa = pyarrow_or_fail()
    _, files = _files(path, kind)

    def batches(split: str, columns: list[str] | None, size: int) -> Iterator[Any]:
        for file in files[split]:
            yield from pa.parquet.ParquetFile(file).iter_batches(batch_size=size, columns=columns)

    def scan() -> tuple[dict[str, int], Any]:
        opened = {split: [pa.parquet.ParquetFile(file) for file in group] for split, group in files.items()}
        counts = {split: sum(file.metadata.num_rows for file in group) for split, group in opened.items()}
        return counts, next(iter(opened.values()))[0].schema_arrow

    return _columnar(pa, path, kind, batches, scan)


def _arrow(path: Path, kind: str) -> Table:
    """A folder written by Dataset.save_to_disk or DatasetDict.save_to_disk (splits keep their names)."""
    pa = pyarrow_or_fail()
    if path.is_file() or not ((path / "dataset_dict.json").is_file() or (path / "state.json").is_file()):
        raise ToolFailure(
            "rejected",
            f"local_dataset_path = {str(path)!r} is no folder written by save_to_disk (state.json or "
            "dataset_dict.json): give that folder",
        )
    files = {}
    for split, folder in _arrow_splits(path).items():
        names = [
            entry.get("filename")
            for entry in _json(folder / "state.json", path).get("_data_files") or []
            if isinstance(entry, dict)
        ]
        files[split] = [inside(folder / str(name), path) for name in names]

    def batches(split: str, columns: list[str] | None, size: int) -> Iterator[Any]:
        for file in files[split]:
            with pa.memory_map(str(file)) as mapped:
                for batch in pa.ipc.open_stream(mapped):
                    for start in range(0, max(batch.num_rows, 1), size):
                        part = batch.slice(start, size)
                        yield part.select(columns) if columns else part

    def scan() -> tuple[dict[str, int], Any]:
        counts = {}
        for split in files:
            counts[split] = sum(batch.num_rows for batch in batches(split, None, 1 << 30))
        first = next((group[0] for group in files.values() if group), None)
        if first is None:
            raise ToolFailure("rejected", f"local_dataset_path = {str(path)!r} has no rows: choose another dataset")
        with pa.memory_map(str(first)) as mapped:
            return counts, pa.ipc.open_stream(mapped).schema

    return _columnar(pa, path, kind, batches, scan)


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


def _columnar(pa: Any, path: Path, kind: str, batches: Callable, scan: Callable) -> Table:
    """What parquet and arrow have in common: a schema, and batches to look into. Damage is `rejected`."""
    try:
        counts, schema = scan()
        features = schema_features(schema)
        warnings: list[str] = []
        heads = {split: _head(batches, split, features, warnings) for split in counts}
    except (pa.ArrowException, OSError) as error:
        raise ToolFailure(
            "rejected",
            f"local_dataset_path = {str(path)!r} is not readable as {kind} ({type(error).__name__}): write it again",
        ) from None

    def labels(split: str, column: str) -> Labels:
        values = (value for batch in batches(split, [column], 10_000) for value in batch.column(0).to_pylist())
        return _counted(values, features[column])

    return Table(kind, counts, features, labels, lambda split: heads[split][:N_SAMPLE], warnings)


def schema_features(schema: Any) -> dict[str, Feature]:
    """An arrow schema -> columns; the types that `datasets` stored in it win."""
    try:
        declared = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        declared = {}
    return {
        name: feature(declared[name]) if name in declared else arrow_feature(schema.field(name).type)
        for name in schema.names
    }


def _head(batches: Callable, split: str, features: dict[str, Feature], warnings: list[str]) -> list[dict[str, Any]]:
    """The first rows, images replaced by their size; those that are no image are noted."""
    first = next(iter(batches(split, None, N_INSPECTED)), None)
    rows = first.to_pylist() if first is not None else []
    for column in (name for name, found in features.items() if found.kind == "image"):
        bad = 0
        for row in rows:
            data = row[column].get("bytes") if isinstance(row[column], dict) else None
            try:
                _, width, height = measure(data or b"")
                row[column] = {"width": width, "height": height}
            except ValueError:
                bad += 1
                row[column] = {}
        if bad:
            warnings.append(
                f"column {column!r}: {bad} of the first {len(rows)} images of {split!r} are not stored as a readable image"
            )
    return rows


def _counted(values: Iterator[Any], found: Feature) -> Labels:
    """Labels of up to MAX_LABELS rows."""
    taken = []
    for value in values:
        if len(taken) == MAX_LABELS:
            return count_labels(taken, found, complete=False)
        taken.append(value)
    return count_labels(taken, found, complete=True)
