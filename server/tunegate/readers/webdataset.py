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
"""WebDataset: tars in which the files of one sample have one name and an ending each, as `datasets` reads them.

`a/001.jpg`, `a/001.cls` and `a/001.json` are the image, the class and more of the sample `a/001`. Nothing is unpacked:
a tar's headers say where its files lie, and they are read there. Columns are called like the endings, with these
changes: `image` where a sample has one plain image (jpg in one sample, png in another), `seg` for `seg.png`, and
`json.label` for the field of an object.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import tables
from .refusal import Refusal
from .tree import EXTENSIONS, MAX_ENTRIES, Listing, is_leftover, relative
from .types import widen

IMAGE_ENDINGS = tuple(end.removeprefix(".") for end in EXTENSIONS)
TEXT_ENDINGS, NUMBER_ENDINGS, OBJECT_ENDINGS = (
    ("txt", "text", "transcript", "caption"),
    ("cls", "cls2", "index", "inx", "id"),
    ("json", "jsn"),
)
MAX_MEMBER = 512 << 20  # bytes of one file in a tar
MAX_HEADER = 1 << 20  # bytes of a header: of a long name, of notes
_NAME = re.compile(r"((?:.*/|)[^./]+)[.]([^/]*)")  # as in `datasets` and webdataset
Place = tuple[int, int]  # where a file lies in its tar: offset, bytes
TarSample = tuple[str, dict[str, Place]]  # its name; ending -> place


@dataclass
class Tars:
    """Split -> tars. columns: ending -> column. types: column -> its type (readers/types.py, or "image").

    samples: of each tar, in its order.
    """

    root: Path
    splits: dict[str, list[Path]]
    samples: dict[Path, list[TarSample]]
    columns: dict[str, str] = field(default_factory=dict)
    types: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def count(self, split: str) -> int:
        return sum(len(self.samples[tar]) for tar in self.splits[split])

    def listing(self) -> Listing:
        splits = {split: [relative(tar, self.root) for tar in tars] for split, tars in self.splits.items()}
        every = [tar for tars in splits.values() for tar in tars]
        layout = {"kind": "webdataset", "splits": splits, "columns": self.columns, "types": self.types}
        return Listing(self.root, layout, every, every)

    @classmethod
    def listed(cls, layout: dict[str, Any], root: Path, wanted: Iterable[str]) -> Tars:
        """As `listing` wrote it down; of the wanted splits, the headers are read again."""
        splits = {split: [root / tar for tar in tars] for split, tars in layout["splits"].items()}
        samples = {tar: list(samples_of(tar)) for split in wanted for tar in splits.get(split, [])}
        return cls(root, splits, samples, layout["columns"], layout["types"])

    def rows(self, split: str, columns: Iterable[str] | None = None) -> Iterator[dict[str, Any]]:
        """The split's rows, in these columns; None: in all. An image is {bytes, path}."""
        every = [(tar, sample) for tar in self.splits[split] for sample in self.samples[tar]]
        return self.read(every, columns)

    def read(
        self, samples: list[tuple[Path, TarSample]], columns: Iterable[str] | None = None
    ) -> Iterator[dict[str, Any]]:
        wanted = [name for name in self.types if columns is None or name in columns]
        endings = {
            ending: one for ending, one in self.columns.items() if any(one == n.partition(".")[0] for n in wanted)
        }
        opened, file = None, None
        try:
            for tar, sample in samples:
                if tar != opened:
                    if file is not None:
                        file.close()
                    opened, file = tar, tar.open("rb")
                yield self._row(tar, file, sample, dict.fromkeys(wanted), endings)
        finally:
            if file is not None:
                file.close()

    def _row(
        self, tar: Path, file: Any, sample: TarSample, row: dict[str, Any], endings: dict[str, str]
    ) -> dict[str, Any]:
        name, places = sample
        for ending, place in places.items():
            if (column := endings.get(ending)) is None:
                continue
            value = _value(tar, file, f"{name}.{ending}", ending, place)
            if column in row:
                row[column] = value
            else:  # an object, whose fields are columns
                row.update({f"{column}.{key}": one for key, one in value.items() if f"{column}.{key}" in row})
        return row


def read(path: Path) -> Tars:
    """The tars at `path`, one of them or a folder. Raises Refusal."""
    files = tables.files(path, "tar")
    samples = {tar: list(samples_of(tar)) for tars in files.splits.values() for tar in tars}
    every = [places for found in samples.values() for _, places in found]
    if not any(len(places) > 1 for places in every):
        raise Refusal(
            "rejected",
            f"local_dataset_path = {str(path)!r}: in none of the {len(every)} samples have two files one name, as the "
            "image and the class of a WebDataset's sample have: unpack the tars, and give the folder",
        )
    found = Tars(files.root, files.splits, samples, _columns(every), warnings=files.warnings)
    _find_types(found)
    endings = {ending for places in every for ending in places}
    if unread := sorted(endings - found.columns.keys()):
        found.warnings.append(f"files with these endings are not read: {', '.join(unread[:8])}")
    return found


# --- the headers


class Bounded:
    """A file that is read in bounded pieces: a header that asks for more than MAX_HEADER is no header."""

    def __init__(self, file: Any, path: Path):
        self.file, self.path, self.seek, self.tell = file, path, file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER:
            raise Refusal("rejected", f"{self.path} has a header of {size:,} bytes: it is damaged; write it again")
        return self.file.read(size)


def samples_of(tar: Path) -> Iterator[TarSample]:
    """The samples of a tar, in its order. Raises Refusal: damage, links and devices, paths out of the tar, files that
    are too large or there twice."""
    found: dict[str, dict[str, Place]] = {}
    try:
        with tar.open("rb") as file, tarfile.open(fileobj=Bounded(file, tar), mode="r:") as opened:
            size, end = tar.stat().st_size, 0
            for number, member in enumerate(opened):
                if number > MAX_ENTRIES:
                    raise Refusal("rejected", f"{tar} has more than {MAX_ENTRIES:,} files: write it as several tars")
                opened.members = []  # it keeps every header otherwise
                end = member.offset_data + -(-member.size // 512) * 512
                if member.isdir():
                    continue
                _check(tar, member, size)
                match = _NAME.fullmatch(member.name.removeprefix("./"))
                if match and not any(map(is_leftover, member.name.removeprefix("./").split("/"))):
                    places = found.setdefault(match[1], {})
                    ending = match[2].lower()
                    if ending in places:
                        raise Refusal(
                            "rejected", f"{tar} has two files {member.name[:100]!r}: write it again with one"
                        )
                    places[ending] = (member.offset_data, member.size)
            file.seek(end)
            if file.read(512).strip(b"\0"):  # tarfile takes what is no header for the end
                raise Refusal("rejected", f"{tar} is damaged after {end:,} bytes: copy or write it again")
    except (tarfile.TarError, ValueError, OverflowError) as error:
        why = f"{type(error).__name__}: {error}"[:120]
        raise Refusal("rejected", f"{tar} is not readable as a plain tar ({why}): write it again") from None
    yield from found.items()


def _check(tar: Path, member: tarfile.TarInfo, size: int) -> None:
    """Raises Refusal for what no dataset needs, and a hostile tar has."""
    name = member.name[:100]
    if not member.isreg() or member.issparse():
        kind = "link" if member.issym() or member.islnk() else "device or another special file"
        raise Refusal(
            "rejected",
            f"{tar} holds {name!r}, which is a {kind}: pack the files themselves (tar --dereference "
            "--hard-dereference)",
        )
    if member.name.startswith("/") or ".." in member.name.split("/") or "\0" in member.name:
        raise Refusal("rejected", f"{tar} holds {name!r}, which leads out of it: pack the files with plain names")
    if member.size > MAX_MEMBER:
        raise Refusal(
            "rejected", f"{tar}: {name!r} has {member.size:,} bytes, more than any image or text: leave it out"
        )
    if member.offset_data + member.size > size:
        raise Refusal("rejected", f"{tar} ends within {name!r}: it was cut off; copy or write it again")


# --- columns


def _columns(samples: list[dict[str, Place]]) -> dict[str, str]:
    """Ending -> column, for the endings that are read."""
    endings = list(dict.fromkeys(ending for places in samples for ending in places))
    plain = [ending for ending in endings if ending in IMAGE_ENDINGS]
    single = all(sum(ending in places for ending in plain) <= 1 for places in samples)
    found = {}
    for ending in endings:
        first, _, last = ending.rpartition(".")
        if ending in plain:
            found[ending] = "image" if single else ending
        elif last in IMAGE_ENDINGS:
            found[ending] = first.replace(".", "_")
        elif last in (*TEXT_ENDINGS, *NUMBER_ENDINGS, *OBJECT_ENDINGS):
            found[ending] = ending.replace(".", "_")
    doubled = [name for name in found.values() if list(found.values()).count(name) > 1 and name != "image"]
    return {ending: ending.replace(".", "_") if name in doubled else name for ending, name in found.items()}


def _find_types(found: Tars) -> None:
    """The types of all columns, from every text, number and object. An object's fields become columns of their own."""
    images = {
        column: "image" for ending, column in found.columns.items() if ending.rpartition(".")[2] in IMAGE_ENDINGS
    }
    found.types = {column: "null" for column in found.columns.values() if column not in images}
    objects = {column for ending, column in found.columns.items() if ending.rpartition(".")[2] in OBJECT_ENDINGS}
    types: dict[str, Any] = {}
    whole: dict[str, bool] = dict.fromkeys(objects, True)
    for split in found.splits:
        for row in found.rows(split):
            for column in objects:
                value = row[column]
                whole[column] &= value is None or isinstance(value, dict)
                row.update({f"{column}.{key}": one for key, one in value.items()} if isinstance(value, dict) else {})
            widen(types, row)
    flat = {column for column, is_whole in whole.items() if is_whole}
    kept = {
        name: kind
        for name, kind in types.items()
        if name not in flat and (name in found.types or name.partition(".")[0] in flat)
    }
    found.types = {**images, **kept}


def _value(tar: Path, file: Any, name: str, ending: str, place: Place) -> Any:
    """What one file of a tar says, by its ending."""
    offset, size = place
    last = ending.rpartition(".")[2]
    if last not in IMAGE_ENDINGS and size > tables.MAX_LINE:
        raise Refusal("rejected", f"{tar}: {name!r} has {size:,} bytes, more than any text: leave it out")
    file.seek(offset)
    data = file.read(size)
    if last in IMAGE_ENDINGS:
        return {"bytes": data, "path": name}
    try:
        text = data.decode("utf-8-sig")
        if last in OBJECT_ENDINGS:
            return json.loads(text)
        return int(text) if last in NUMBER_ENDINGS and re.fullmatch(r"\s*-?\d{1,18}\s*", text) else text.strip()
    except (ValueError, RecursionError) as error:
        why = "is not text in UTF-8" if isinstance(error, UnicodeError) else "is no JSON"
        raise Refusal("rejected", f"{tar}: {name!r} {why}: write it again") from None
