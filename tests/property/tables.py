"""Tables: csv and jsonl as text, parquet and arrow as `datasets` and as other tools write them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.property.world import SPLIT_WORDS, Example

IMAGE = {"_type": "Image"}


def write_text(example: Example, path: Path, rows: list[dict[str, Any]]) -> None:
    """csv or jsonl, by the ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        lines = (json.dumps(row, ensure_ascii=example.rng.random() < 0.5) for row in rows)
        gap = "\n\n" if example.odd("blank lines") else "\n"
        text = gap.join(lines) + ("\n" if example.rng.random() < 0.7 else "")
    else:
        file = io.StringIO()
        writer = csv.DictWriter(
            file, list(rows[0]), delimiter=example.rng.choice(";\t|") if example.odd("separator") else ",",
            lineterminator=example.rng.choice(("\n", "\r\n")), quoting=csv.QUOTE_ALL if example.odd("quoted") else csv.QUOTE_MINIMAL,
        )  # fmt: skip
        writer.writeheader()
        writer.writerows(rows)
        text = file.getvalue()
    encoding = "utf-8-sig" if example.odd("byte order mark") else "utf-8"
    if example.odd("utf-16") and path.suffix == ".csv":
        encoding = "utf-16"
    path.write_bytes(text.encode(encoding))


def by_split(example: Example, rows: list[tuple[str, dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for split, row in rows:
        found.setdefault(split, []).append(row)
    return found


def write(
    example: Example, kind: str, rows: list[tuple[str, dict[str, Any]]], features: dict[str, Any] | None = None
) -> Path:
    """The table of (split, row). features: as `datasets` declares columns; None: nothing is declared. Returns its path."""
    root, parts = example.data, by_split(example, rows)
    words = {split: example.rng.choice(options) for split, options in SPLIT_WORDS.items()}
    if kind == "arrow":
        return _saved(example, root, parts, features)
    whole = arrow([row for _, row in rows], features).schema if kind == "parquet" else None  # one for all files
    for split, some in parts.items():
        name = (
            f"{words[split]}-00000-of-00001"
            if len(parts) > 1
            else example.rng.choice(("data", words["train"], "rows 1"))
        )
        if kind == "parquet":
            pq.write_table(
                _categorical(example, arrow(some, features, whole)),
                root / f"{name}.parquet",
                row_group_size=example.rng.choice((4, 1000)),
            )
        else:
            write_text(example, root / f"{name}.{kind}", some)
    if len(parts) == 1 and example.odd("the file itself"):
        return root / f"{name}.{kind}"
    return root


def _categorical(example: Example, table: pa.Table) -> pa.Table:
    """The labels as pandas writes a categorical column."""
    if not example.odd("categorical"):
        return table
    at = table.schema.get_field_index("label")
    return table.set_column(at, "label", table.column("label").dictionary_encode()).replace_schema_metadata(None)


def arrow(rows: list[dict[str, Any]], features: dict[str, Any] | None, schema: pa.Schema | None = None) -> pa.Table:
    columns = schema.names if schema else list(dict.fromkeys(name for row in rows for name in row))
    table = pa.Table.from_pylist([{name: row.get(name) for name in columns} for row in rows], schema=schema)
    if features:
        described = {name: features.get(name) or _value(table.schema.field(name).type) for name in columns}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": described}})})
    return table


def _value(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        return {"_type": "List", "feature": _value(kind.value_type)}
    if pa.types.is_struct(kind):
        return {field.name: _value(field.type) for field in kind}
    return {"_type": "Value", "dtype": str(kind) if str(kind) != "double" else "float64"}


def _saved(example: Example, root: Path, parts: dict[str, list], features: dict[str, Any] | None) -> Path:
    """As save_to_disk writes it."""
    whole = arrow([row for some in parts.values() for row in some], features)  # one type for all splits
    for split, some in parts.items():
        folder = root / split if len(parts) > 1 else root
        folder.mkdir(exist_ok=True)
        table = pa.Table.from_pylist(
            [{name: row.get(name) for name in whole.schema.names} for row in some],
            schema=whole.schema.remove_metadata(),
        ).replace_schema_metadata(whole.schema.metadata)
        described = json.loads((whole.schema.metadata or {}).get(b"huggingface", b"{}"))
        described = described.get("info", {}).get("features") or {
            name: _value(whole.schema.field(name).type) for name in whole.schema.names
        }
        with (folder / "data-00000-of-00001.arrow").open("wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
        state = {
            "_data_files": [{"filename": "data-00000-of-00001.arrow"}],
            "_fingerprint": f"{example.seed:x}{split}",
            "_format_columns": None,
        }
        state |= {"_format_kwargs": {}, "_format_type": None, "_output_all_columns": False, "_split": None}
        (folder / "state.json").write_text(json.dumps(state))
        (folder / "dataset_info.json").write_text(
            json.dumps({"features": described, "citation": "", "description": ""})
        )
    if len(parts) > 1:
        (root / "dataset_dict.json").write_text(json.dumps({"splits": list(parts)}))
    return root
