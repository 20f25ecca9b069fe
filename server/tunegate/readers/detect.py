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
"""Which format a path holds, from names (and the ends of JSON files) alone."""

from __future__ import annotations

from pathlib import Path

from . import captions, coco, voc, yolo, yolo_layout
from .image_folder import METADATA
from .impostors import refuse_pointer
from .pairs import IMAGE_FOLDERS, TARGET_FOLDERS
from .refusal import Refusal
from .tables import SUFFIXES, is_saved, rows_of
from .tree import EXTENSIONS, Survey, entries, has_image, survey

ENDINGS = {**SUFFIXES, ".tar": "webdataset"}  # of files whose name alone tells the format
_TARGETS = {name for names in TARGET_FOLDERS.values() for name in names}


def detect(path: Path, wanted: str = "a dataset") -> str:
    """The format: imagefolder, captions, segfolder, coco, voc, yolo, csv, jsonl, parquet,
    arrow or webdataset.

    wanted: what a Refusal says to give instead.
    """
    if path.is_file():
        return _detect_file(path)
    listed = list(entries(path, path))
    children = [Path(entry.path) for entry in listed if entry.is_dir()]
    here = {folder: survey(folder) for folder in (path, *children)}
    _refuse_pointers(here)
    if is_saved(path):
        return "arrow"
    if voc.looks_like(here):
        return "voc"
    if yolo_layout.settings(path, here)[1]:
        return "yolo"
    if any(coco.is_coco(file) for seen in here.values() for file in seen.files(".json")):
        return "coco"
    if yolo.looks_like(path, here):
        return "yolo"
    if any((folder / name).is_file() for folder in here for name in METADATA) and has_image(path, depth=3):
        return "imagefolder"
    if captions.looks_like(path, here):
        return "captions"
    if any(seen.folders & set(IMAGE_FOLDERS) and seen.folders & _TARGETS for seen in here.values()):
        return _paired_by_table(here) or "segfolder"
    for suffix, found in ENDINGS.items():
        if any(seen.files(suffix) for seen in here.values()):
            return found
    if has_image(path, depth=3):
        return "imagefolder"
    raise Refusal(
        "rejected",
        f"local_dataset_path = {str(path)!r} holds no dataset that is known"
        + (" (it is empty)" if not listed else "")
        + f": give {wanted}, or parquet, arrow, csv or jsonl",
    )


def _refuse_pointers(here: dict[Path, Survey]) -> None:
    """Pointers in the place of what describes the data: without it, images would seem to be all that there is."""
    for seen in here.values():
        for file in seen.files(".json", ".xml", *SUFFIXES):
            refuse_pointer(file)


def _paired_by_table(here: dict[Path, Survey]) -> str | None:
    """The format of a table whose first row names both a picture and its mask or map: it says more than their folders,
    which split they belong to above all."""
    for suffix in (".jsonl", ".csv"):
        for file in (file for seen in here.values() for file in seen.files(suffix)):
            try:
                row = next(rows_of(file), {})
            except Refusal:
                continue
            if sum(isinstance(cell, str) and cell.lower().endswith(EXTENSIONS) for cell in row.values()) > 1:
                return SUFFIXES[suffix]
    return None


def _detect_file(path: Path) -> str:
    refuse_pointer(path)
    if found := ENDINGS.get(path.suffix.lower()):
        return found
    if path.suffix.lower() == ".json":
        if coco.is_coco(path):
            return "coco"
        raise Refusal(
            "rejected",
            f"local_dataset_path = {str(path)!r} is a .json file and not COCO: write it as JSON Lines (one object a "
            "line, .jsonl)",
        )
    if path.suffix.lower() in (".yaml", ".yml", ".data"):
        message = f"local_dataset_path = {str(path)!r} describes a dataset: give its folder, {str(path.parent)!r}"
        raise Refusal("rejected", message)
    raise Refusal(
        "rejected",
        f"local_dataset_path = {str(path)!r} is a {path.suffix or 'plain'} file: give a folder, or a "
        ".parquet, .csv, .jsonl or .tar file; unpack other archives first",
    )
