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
"""In which encoding a file of text is: what its first bytes say, UTF-8 where it is that, else what Windows writes."""

from __future__ import annotations

import codecs
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_CHUNK = 1 << 20
WINDOWS = "cp1252"  # what latin-1 files are, but for a few signs
LATIN = "latin-1"  # holds any byte


def encoding_of(path: Path) -> str:
    """The encoding of the whole file, which is read for it once."""
    about = path.stat()
    return _encoding(path, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=4096)
def _encoding(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        head = file.read(_CHUNK)
        for mark, name in _MARKS:
            if head.startswith(mark):
                return name
        if wide := _wide(head[:4096]):
            return wide
        file.seek(0)
        if (fault := _fault(file, "utf-8")) is None or _mostly_utf8(fault):
            return "utf-8"
        file.seek(0)
        return WINDOWS if _fault(file, WINDOWS) is None else LATIN


def _wide(head: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of plain text is 0."""
    for start, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(head) >= 8 and head[start::2].count(0) > 0.4 * len(head) and not head[1 - start :: 2].count(0):
            return name
    return None


def _fault(file: BinaryIO, name: str) -> bytes | None:
    """The part of the file that this encoding cannot read; None where it can read all of it."""
    decoder, last = codecs.getincrementaldecoder(name)(), b""
    while chunk := file.read(_CHUNK):
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError:
            return chunk
        last = chunk
    return last if decoder.getstate()[0] else None  # the file ends within a sign


def _mostly_utf8(chunk: bytes) -> bool:
    """Whether a part that is no UTF-8 is damaged UTF-8: other encodings' letters hardly ever make a letter of it."""
    text = chunk.decode("utf-8", "replace")
    broken = text.count("\N{REPLACEMENT CHARACTER}")
    return sum(not sign.isascii() for sign in text) - broken > broken


def remark(path: Path) -> str | None:
    """What to say of a file that is not in UTF-8 or UTF-16: a piece of it shows whether it reads well."""
    if (name := encoding_of(path)) not in (WINDOWS, LATIN):
        return None
    with path.open(encoding=name, newline="") as file:
        line = next((line.strip() for line in file if not line.isascii()), "")
    at = next((i for i, sign in enumerate(line) if not sign.isascii()), 0)
    piece = line[max(0, at - 20) : at + 20]
    return f"{path.name} is not in UTF-8 and is read as {name}: {piece!r}; if that looks wrong, save it as UTF-8"
