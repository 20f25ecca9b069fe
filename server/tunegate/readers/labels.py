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
"""Classes as their names: what a cell says, and which cells say nothing."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any


def class_of(value: Any, names: Sequence[str] | None = None) -> str | None:
    """A class's name; None where there is none: null, an empty cell, and -1 or any other number that `names` has not.

    names: where the dataset declares them (ClassLabel). Without, every value is a name: None, NA, -1 and 0101 in a
    text too. Whole numbers are written as such, whatever type the column has: 1.0 of a column with gaps is 1.
    """
    if isinstance(value, str):
        return (value if names is not None else value.strip()) or None
    if value is None or value != value:  # a gap in a column of numbers is no number
        return None
    if isinstance(value, (float, Decimal)) and value % 1 == 0:
        value = int(value)
    if names is not None and type(value) is int:
        return names[value] if 0 <= value < len(names) else None
    return str(value)


def alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that differ only in case, in spaces or in how their accents are stored."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(" ".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    return [group for group in groups.values() if len(group) > 1]
