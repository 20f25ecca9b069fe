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
"""The arrays of a large JSON object, one element at a time: annotation files run to gigabytes, and memory does not.

`json` parses each element at C speed; only the frame around them is read here. One element may take MAX_ELEMENT.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHUNK = 1 << 20
MAX_ELEMENT = 32 << 20  # characters of one element, or of one value that is no array
_SPACE = " \t\n\r"
_AFTER = _SPACE + ",:]}"


class _Reader:
    def __init__(self, file: Any):
        self.file, self.text, self.at, self.ended = file, "", 0, False
        self.decoder = json.JSONDecoder()

    def more(self) -> bool:
        """Read on; False at the end of the file."""
        new = "" if self.ended else self.file.read(CHUNK)
        self.ended = not new
        self.text, self.at = self.text[self.at :] + new, 0
        if len(self.text) > MAX_ELEMENT:
            raise ValueError("one value in it is too large")
        return bool(new)

    def peek(self) -> str:
        """The next character that is no white space. ValueError at the end of the file."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in _SPACE:
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                raise ValueError("it ends in the middle")

    def take(self, *expected: str) -> str:
        found = self.peek()
        if found not in expected:
            raise ValueError(f"{found!r} where {' or '.join(expected)} should be")
        self.at += 1
        return found

    def value(self) -> Any:
        """One whole value. What ends where the chunk ends may go on: it is read again with more of the file."""
        self.peek()
        while True:
            try:
                found, end = self.decoder.raw_decode(self.text, self.at)
            except RecursionError:
                raise ValueError("it is nested too deep") from None
            except ValueError:
                if not self.more():
                    raise ValueError("it is cut off, or no JSON") from None
                continue
            # 1 may go on as 1.5, so a value counts only when what follows it cannot be a part of it.
            if self.ended or (end < len(self.text) and self.text[end] in _AFTER):
                self.at = end
                return found
            self.more()


def elements(path: Path) -> Iterator[tuple[str, Any]]:
    """(key, element) for each element of each array of the top-level object, (key, value) for its other values.

    Raises ValueError, with the reason, for what is not a JSON object; OSError.
    """
    with path.open(encoding="utf-8-sig", errors="strict") as file:
        reader = _Reader(file)
        reader.take("{")
        if reader.peek() == "}":
            return
        while True:
            if not isinstance(key := reader.value(), str):
                raise ValueError(f"{str(key)[:20]} where a key should be")
            reader.take(":")
            if reader.peek() == "[":
                reader.take("[")
                if reader.peek() == "]":
                    reader.take("]")
                else:
                    yield key, reader.value()
                    while reader.take(",", "]") == ",":
                        yield key, reader.value()
            else:
                yield key, reader.value()
            if reader.take(",", "}") == "}":
                return
