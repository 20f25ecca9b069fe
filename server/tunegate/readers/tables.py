# Copyright (c) 2026, NVIDIA CORPORATION.  All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Files of rows (csv, jsonl, parquet, arrow): which belong to which split, and the rows of csv and jsonl."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .encodings import encoding_of, remark
from .impostors import refuse_pointer
from .refusal import Refusal
from .splits import doubts, of_tables
from .tree import Listing, below, entries, inside, relative, walk

SUFFIXES = {".parquet": "parquet", ".jsonl": "jsonl", ".csv": "csv", ".tsv": "csv", ".arrow": "arrow"}
# Columns of a row's images, in their order; each holds one image or a list of them
IMAGE_COLUMNS = ("image", *(f"image_{number}" for number in range(2, 9)))
MAX_LINE = 8_000_000  # bytes of one row of JSON, characters of one cell of CSV: long conversations are megabytes
TABLES_OF_TEXT = (".csv", ".tsv", ".jsonl")  # endings of files of text
SEPARATORS = ",;\t|"


@dataclass
class Files:
    """Split -> the files of its rows, below root. saved: save_to_disk wrote them.

    indices: split -> files with the numbers of its rows, where they are not all rows of its files, in their order.
    declared: column -> its type as `datasets` wrote it down beside the files.
    """

    root: Path
    splits: dict[str, list[Path]]
    warnings: list[str] = field(default_factory=list)
    saved: bool = False
    indices: dict[str, list[Path]] = field(default_factory=dict)
    declared: dict[str, Any] = field(default_factory=dict)

    def listing(self, types: dict[str, Any] | None = None, images: Iterable[Path] = ()) -> Listing:
        """types: of the columns of text (readers/types.py). images: that the rows name."""
        splits, indices = (
            {split: [relative(path, self.root) for path in files] for split, files in found.items()}
            for found in (self.splits, self.indices)
        )
        tables = [path for found in (splits, indices) for files in found.values() for path in files]
        layout = {"kind": "rows", "saved": self.saved, "types": types, "splits": splits}
        if self.saved:
            layout |= {"indices": indices, "declared": self.declared}
        return Listing(self.root, layout, [*tables, *(relative(image, self.root) for image in images)], tables)

    @classmethod
    def listed(cls, layout: dict[str, Any], root: Path) -> Files:
        """As `listing` wrote it down."""
        splits, indices = (
            {split: [root / path for path in files] for split, files in layout.get(key, {}).items()}
            for key in ("splits", "indices")
        )
        return cls(root, splits, saved=layout["saved"], indices=indices, declared=layout.get("declared", {}))


def files(path: Path, kind: str) -> Files:
    """The files at `path` (a file or a folder). What their names leave open is a warning. Raises Refusal."""
    found = _files(path, kind)
    for file in (file for group in found.splits.values() for file in group):
        refuse_pointer(file)
        if file.suffix.lower() in TABLES_OF_TEXT and (said := remark(file)):
            found.warnings.append(said)
    return found


def _files(path: Path, kind: str) -> Files:
    if kind == "arrow" and is_saved(path):
        return _saved(path)
    if path.is_file():
        return Files(path.parent, {"train": [path]})
    endings = tuple(end for end in SUFFIXES if SUFFIXES[end] == kind) or (f".{kind}",)
    names = sorted(relative(found, path) for found in walk(path, path, endings))
    if not names:
        message = f"local_dataset_path = {str(path)!r} has no .{kind} file: check local_dataset_format"
        raise Refusal("rejected", message)
    assigned = of_tables(names)
    splits: dict[str, list[Path]] = {}
    for name, split in assigned.items():
        if split:
            splits.setdefault(split, []).append(inside(path / name, path))
    return Files(path, splits, doubts(assigned))


# --- csv and jsonl


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of one .csv or .jsonl file. Raises Refusal, naming the place."""
    return _csv_rows(path) if SUFFIXES.get(path.suffix.lower()) == "csv" else _jsonl_rows(path)


def header(path: Path) -> list[str]:
    """The columns of a .csv file."""
    try:
        with path.open(encoding=encoding_of(path), newline="") as file:
            return next(csv.reader(file, delimiter=_separator(path)), [])
    except (csv.Error, UnicodeError) as error:
        raise _unreadable(path, error) from None


def image_path(value: Any, file: Path, root: Path) -> Path:
    """Where the image lies that a cell of the file names: relative to the file, and never out of root."""
    return inside(below(file.parent, value, root), root)


def _csv_rows(path: Path) -> Iterator[dict[str, str]]:
    csv.field_size_limit(MAX_LINE)
    try:
        with path.open(encoding=encoding_of(path), newline="") as file:
            for row in csv.DictReader(file, delimiter=_separator(path)):
                if None in row or None in row.values():
                    raise Refusal(
                        "rejected",
                        f"{path} does not have the same number of fields in every row (see the one that begins "
                        f"{str(next(iter(row.values())))[:40]!r}): fix it",
                    )
                yield row
    except (csv.Error, UnicodeError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> Refusal:
    why = "is not text in UTF-8" if isinstance(error, UnicodeError) else f"is not readable as CSV ({error})"
    return Refusal("rejected", f"{path} {why}: fix it, or write it again as CSV in UTF-8")


def _separator(path: Path) -> str:
    """The comma where the first line has one, else the first of ; tab | that it has. Of a .tsv file the tab."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    try:
        with path.open(encoding=encoding_of(path), newline="") as file:
            line = re.sub(r'"[^"]*"', "", file.readline(MAX_LINE))
    except UnicodeError:
        return ","
    return next((found for found in SEPARATORS if found in line), ",")


def _jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        with path.open(encoding=encoding_of(path), newline="\n") as file:
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if line.strip():
                    yield _row(line, path, number)
    except UnicodeError:
        message = f"{path}, after line {number}, is not text in UTF-8: fix it, or write it again in UTF-8"
        raise Refusal("rejected", message) from None


def _row(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line) if len(line) <= MAX_LINE else None
    except (ValueError, RecursionError):
        row = None
    if isinstance(row, dict):
        return row
    remedy = "write each of its rows on a line of its own" if line.lstrip()[:1] == "[" else "fix that line"
    raise Refusal("rejected", f"{path}:{number} is not a JSON object of at most {MAX_LINE:,} characters: {remedy}")


# --- arrow


def is_saved(path: Path) -> bool:
    """Whether Dataset.save_to_disk or DatasetDict.save_to_disk wrote the folder, or each of the folders in it."""
    return any((path / name).is_file() for name in ("dataset_dict.json", "state.json")) or bool(_each_saved(path))


def _each_saved(path: Path) -> dict[str, Path]:
    """Folders that were saved one by one, by their names."""
    if not path.is_dir():
        return {}
    folders = [Path(entry.path) for entry in entries(path, path) if entry.is_dir()]
    return {
        one.name: one for one in folders if (one / "state.json").is_file() and (one / "dataset_info.json").is_file()
    }


def _saved(path: Path) -> Files:
    """The files that save_to_disk lists; splits keep their names.

    Older versions (datasets 1.8 does) save a selection, of train_test_split too, as the whole table and the numbers of
    its rows, and write the names of classes into dataset_info.json alone.
    """
    found = Files(path, {}, saved=True)
    for split, folder in _saved_splits(path).items():
        state = _json(folder / "state.json", path)
        found.splits[split] = _named(state.get("_data_files"), folder, path)
        if indices := _named(state.get("_indices_data_files") or state.get("_indices_files"), folder, path):
            found.indices[split] = indices
        if not found.declared and (folder / "dataset_info.json").is_file():
            features = _json(folder / "dataset_info.json", path).get("features")
            found.declared = features if isinstance(features, dict) else {}
    return found


def _named(listed: Any, folder: Path, root: Path) -> list[Path]:
    listed = listed if isinstance(listed, list) else []
    return [inside(folder / str(entry.get("filename")), root) for entry in listed if isinstance(entry, dict)]


def _saved_splits(path: Path) -> dict[str, Path]:
    if (path / "dataset_dict.json").is_file():
        names = _json(path / "dataset_dict.json", path).get("splits")
        names = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
        return {name: inside(path / name, path) for name in names}
    return {"train": path} if (path / "state.json").is_file() else _each_saved(path)


def row_numbers(files: list[Path], rows: int) -> list[int]:
    """The numbers in files of indices, of a table with so many rows. Raises Refusal."""
    import pyarrow

    numbers: list[int] = []
    for file in files:
        try:
            with pyarrow.memory_map(str(file)) as mapped:
                numbers += pyarrow.ipc.open_stream(mapped).read_all().column(0).to_pylist()
        except (pyarrow.ArrowException, OSError, IndexError):
            raise Refusal("rejected", f"{file} is not readable: write the dataset again with save_to_disk") from None
    if wrong := [number for number in numbers if type(number) is not int or not 0 <= number < rows]:
        raise Refusal(
            "rejected",
            f"{files[0]} names row {wrong[0]!r} of a table of {rows:,} rows: write the dataset again with "
            "save_to_disk",
        )
    return numbers


def _json(path: Path, root: Path) -> dict[str, Any]:
    try:
        value = json.loads(inside(path, root).read_bytes()[:MAX_LINE])
    except (OSError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Refusal("rejected", f"{path} is missing or no JSON object: write the dataset again with save_to_disk")
    return value
