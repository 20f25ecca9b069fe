"""Columns of a dataset: their types, nested ones too, whichever of the four ways of writing them down they came from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from tunegate.readers.tree import EXTENSIONS

FeatureKind = Literal["image", "class", "int", "float", "string", "bool", "list", "struct", "array", "audio", "other"]
AS_TEXT = "a list as text"  # what a column of JSON text is called
_BRACKETS = re.compile(r"\s*(\[.*\]|\{.*\})\s*", re.S)
MAX_DEPTH = 8  # of nested types; what lies deeper is `other`
MAX_FIELDS = 100
_KINDS: dict[str, FeatureKind] = {"Image": "image", "Audio": "audio"}
_DTYPES: tuple[tuple[str, FeatureKind], ...] = (
    ("int", "int"),
    ("uint", "int"),
    ("float", "float"),
    ("double", "float"),
    ("halffloat", "float"),
    ("decimal", "float"),
    ("string", "string"),
    ("large_string", "string"),
    ("bool", "bool"),
)


@dataclass(frozen=True)
class Feature:
    """One column: its kind, its type in words, class names where declared; `item` of a list, `fields` of a struct."""

    kind: FeatureKind
    shown: str
    names: tuple[str, ...] = ()
    item: Feature | None = None
    fields: dict[str, Feature] = field(default_factory=dict, hash=False)


def list_of(item: Feature) -> Feature:
    return Feature("list", f"list<{item.shown}>"[:60], item=item)


def struct_of(fields: dict[str, Feature]) -> Feature:
    return Feature("struct", f"struct<{', '.join(fields)}>"[:60], fields=fields)


def feature(raw: Any, depth: int = 0) -> Feature:
    """A column's type, as `datasets` writes it in JSON, -> Feature."""
    if depth > MAX_DEPTH:
        return Feature("other", "nested too deep")
    if isinstance(raw, list):
        return list_of(feature(raw[0], depth + 1)) if raw else Feature("list", "list")
    if not isinstance(raw, dict):
        return Feature("other", str(raw)[:40])
    kind = raw["_type"] if isinstance(raw.get("_type"), str) else None
    if kind == "ClassLabel":
        names = raw.get("names")
        names = list(names.values()) if isinstance(names, dict) else names if isinstance(names, list) else []
        return Feature("class", f"ClassLabel({len(names)})", tuple(str(name) for name in names))
    if kind == "Value":
        dtype = str(raw.get("dtype"))[:40]
        return Feature(_value_kind(dtype), dtype)
    if kind in ("Sequence", "List", "LargeList"):
        return _listed(kind, raw.get("feature"), depth)
    if kind and kind.startswith("Array"):
        return Feature("array", f"{kind}({raw.get('shape')})"[:40])
    if kind:
        return Feature(_KINDS.get(kind, "other"), kind[:40])
    if {"bytes", "path"} <= set(raw):
        return Feature("image", "struct<bytes, path>")
    return struct_of({str(name)[:100]: feature(value, depth + 1) for name, value in list(raw.items())[:MAX_FIELDS]})


def _listed(kind: str, inner: Any, depth: int) -> Feature:
    found = feature(inner, depth + 1)
    if kind == "Sequence" and found.kind == "struct":
        # Until datasets 4, a Sequence of a dict was stored as a dict of lists.
        return struct_of({name: list_of(inner) for name, inner in found.fields.items()})
    return list_of(found)


def arrow_feature(dtype: Any, depth: int = 0) -> Feature:
    """A pyarrow type -> Feature, where the file does not carry the types of `datasets`."""
    from pyarrow import types

    if depth > MAX_DEPTH:
        return Feature("other", "nested too deep")
    if types.is_struct(dtype):
        fields = {column.name: column.type for column in dtype}
        if {"bytes", "path"} <= set(fields):
            return Feature("image", "struct<bytes, path>")
        return struct_of({name: arrow_feature(inner, depth + 1) for name, inner in list(fields.items())[:MAX_FIELDS]})
    if types.is_list(dtype) or types.is_large_list(dtype) or types.is_fixed_size_list(dtype):
        return list_of(arrow_feature(dtype.value_type, depth + 1))
    if types.is_dictionary(dtype):  # what pandas calls a category: its values are what counts
        return arrow_feature(dtype.value_type, depth + 1)
    return Feature(_value_kind(str(dtype)), str(dtype)[:40])


def schema_features(schema: Any, beside: dict[str, Any] | None = None) -> dict[str, Feature]:
    """An arrow schema -> columns; the types that `datasets` stored in it, or `beside` it, win."""
    try:
        declared = beside or json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        declared = None
    declared = declared if isinstance(declared, dict) else {}
    return {
        name: feature(declared[name]) if name in declared else arrow_feature(schema.field(name).type)
        for name in schema.names
    }


def value_feature(values: list[Any], depth: int = 0) -> Feature:
    """A column's type from its first values (CSV and JSON declare none); text that names image files is an image."""
    present = [value for value in values if value not in (None, "")]
    if not present or depth > MAX_DEPTH:
        return Feature("other", "empty" if not present else "nested too deep")
    if all(isinstance(value, list) for value in present):
        inner = [item for value in present for item in value[:50]]
        return list_of(value_feature(inner[:2000], depth + 1))
    if all(isinstance(value, dict) for value in present):
        names = list(dict.fromkeys(str(name)[:100] for value in present for name in value))[:MAX_FIELDS]
        return struct_of({name: value_feature([value.get(name) for value in present], depth + 1) for name in names})
    if all(isinstance(value, str) and value.lower().endswith(EXTENSIONS) for value in present):
        return Feature("image", "path of an image")
    if all(isinstance(value, str) and _BRACKETS.fullmatch(value) for value in present):
        return Feature("string", AS_TEXT)
    if all(isinstance(value, bool) for value in present):
        return Feature("bool", "bool")
    return _scalar(present)


def _scalar(present: list[Any]) -> Feature:
    for kind, convert in (("int", int), ("float", float)):
        try:
            if all(_reads_as(value, convert) for value in present):
                return Feature(kind, kind)
        except (ValueError, OverflowError):
            continue
    if all(isinstance(value, (str, int, float)) for value in present):
        return Feature("string", "string")
    return Feature("other", f"mixed {' and '.join(sorted({type(value).__name__ for value in present})[:3])}")


def _reads_as(value: Any, convert: type) -> bool:
    if convert is float and type(value) in (int, float):
        return True
    return isinstance(value, (str, int, float)) and str(convert(value)) == str(value).strip()


def _value_kind(dtype: str) -> FeatureKind:
    return next((kind for start, kind in _DTYPES if dtype.startswith(start)), "other")


def paths(features: dict[str, Feature]) -> Iterator[tuple[str, Feature]]:
    """Every column, and the fields of structs and of lists of structs as `column.field`: a field of a list is a list."""
    yield from features.items()
    for name, found in features.items():
        inner = found if found.kind == "struct" else found.item
        if inner is not None and inner.kind == "struct":
            for part, kind in inner.fields.items():
                yield f"{name}.{part}", (list_of(kind) if found.kind == "list" else kind)


def class_names_of(found: Feature | None) -> list[tuple[str, ...]]:
    """The names of each class column in it, in the order of their ids."""
    if found is None:
        return []
    inner = [*found.fields.values(), *([found.item] if found.item else [])]
    return [*([found.names] if found.names else []), *(names for part in inner for names in class_names_of(part))]


def at_path(features: dict[str, Feature], path: str) -> Feature | None:
    return features.get(path) or dict(paths(features)).get(path)


def dig(row: dict[str, Any], path: str) -> Any:
    """A row's value at a column or at `column.field`, whether the column is a dict of lists or a list of dicts."""
    if path in row:
        return row[path]
    name, _, part = path.partition(".")
    value = row.get(name)
    if isinstance(value, list):
        return [item.get(part) if isinstance(item, dict) else None for item in value]
    return value.get(part) if isinstance(value, dict) else None


def describe(features: dict[str, Feature]) -> str:
    shown = [f"{name[:60]} ({found.shown})" for name, found in list(features.items())[:20]]
    rest = f" and {len(features) - 20} more" if len(features) > 20 else ""
    return ", ".join(shown) + rest if shown else "no columns"
