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
"""What a file is that is not what its name says: told from its first bytes, before a reader calls it damaged."""

from __future__ import annotations

from pathlib import Path

from .refusal import Refusal

LFS = b"version https://git-lfs.github.com/spec/"
PULL = "is a Git LFS pointer, not the file itself: run `git lfs pull` where it was cloned"
_OTHERS = (  # where the bytes begin, what they are, what is wrong
    (0, LFS, PULL),
    (4, b"ftyphei", "is HEIC, which is not read: convert it to JPEG or PNG"),
    (4, b"ftypmif1", "is HEIC, which is not read: convert it to JPEG or PNG"),
    (4, b"ftypavif", "is AVIF, which is not read: convert it to JPEG or PNG"),
    (0, b"%PDF", "is a PDF, not an image"),
    (0, b"<!doctype html", "is an HTML page: what was downloaded is an error page, not the file"),
    (0, b"<html", "is an HTML page: what was downloaded is an error page, not the file"),
    (0, b"<svg", "is SVG, which has no pixels: convert it to PNG"),
    (0, b"PK\x03\x04", "is a zip archive: unpack it"),
    (0, b"\x1f\x8b", "is compressed with gzip: unpack it"),
)


def instead(head: bytes) -> str | None:
    """What a file is whose bytes begin so, in words; None where nothing is recognized."""
    lower = head[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return next((said for at, begins, said in _OTHERS if lower[at:].startswith(begins.lower())), None)


def refuse_pointer(path: Path) -> None:
    """Raises Refusal for a Git LFS pointer."""
    with path.open("rb") as file:
        if file.read(len(LFS)) == LFS:
            raise Refusal("rejected", f"{path} {PULL}, then call again")
