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
"""The types of columns of text (jsonl, csv, metadata), widened until every row fits: nothing of a row is lost or bent.

A type is plain data: "null", "bool", "int", "float", "string", {"list": type}, {"struct": {name: type}}, or "json",
which holds any value as it is: where rows have nothing in common, or where a table would add an empty field to a tool
call because another row has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

MAX_DEPTH = 20
_SCALARS = {bool: "bool", float: "float", str: "string", type(None): "null"}
_WHOLE = range(-(1 << 63), 1 << 63)  # what a column of whole numbers holds


def of_rows(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Column -> its type, in the order in which the columns first occur."""
    found: dict[str, Any] = {}
    for row in rows:
        widen(found, row)
    return found


def widen(found: dict[str, Any], row: dict[str, Any]) -> None:
    """Makes room in the types of the columns for one more row."""
    for name, value in row.items():
        known = found.get(name, "null")
        if known != "json" and (value is not None or name not in found):
            found[name] = _merged(known, _of(value, 0), 0)


def _of(value: Any, depth: int) -> Any:
    if (kind := _SCALARS.get(type(value))) is not None:
        return kind
    if type(value) is int:
        return "int" if value in _WHOLE else "json"
    if depth > MAX_DEPTH:
        return "json"
    if isinstance(value, list):
        found: Any = "null"
        for item in value:
            if (found := _merged(found, _of(item, depth + 1), depth + 1)) == "json":
                return "json"
        return {"list": found}
    fields = {name: _of(item, depth + 1) for name, item in value.items()}
    return "json" if not fields or "json" in fields.values() else {"struct": fields}


def _merged(one: Any, other: Any, depth: int) -> Any:
    """A type for the values of both. depth: 0 for a column's own, 1 for that of its items or fields."""
    if one == other or other == "null":
        return one
    if one == "null":
        return other
    if isinstance(one, str) and isinstance(other, str):
        if {one, other} == {"int", "float"}:
            return "float"
        # a class may be 1 here and "a" there: text holds both
        return "string" if depth == 0 and "json" not in (one, other) else "json"
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        if "list" in one:
            inner = _merged(one["list"], other["list"], depth + 1)
            return "json" if inner == "json" else {"list": inner}
        return _merged_structs(one["struct"], other["struct"], depth)
    return "json"


def _merged_structs(one: dict[str, Any], other: dict[str, Any], depth: int) -> Any:
    """Fields that only some have are empty in the others, at the top; deeper, and where they hold more than one value
    (a call's arguments), that would change what is learned."""
    fields = {}
    for name in dict.fromkeys((*one, *other)):
        fields[name] = _merged(one.get(name, "null"), other.get(name, "null"), depth + 1)
    differ = one.keys() != other.keys()
    deep = depth > 1 or any(isinstance(kind, dict) and "struct" in json.dumps(kind) for kind in fields.values())
    return "json" if "json" in fields.values() or (differ and deep) else {"struct": fields}


def fitted(value: Any, kind: Any) -> Any:
    """A cell for its column: what is no text, in a column of text, as JSON writes it."""
    if kind == "string" and value is not None and not isinstance(value, str):
        return json.dumps(value)
    return value
