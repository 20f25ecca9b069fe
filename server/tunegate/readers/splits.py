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
"""Which split a file belongs to, by the words in its path."""

from __future__ import annotations

import re

# `datasets` names the splits of plain files by these words, between separators, anywhere in the path.
KEYWORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}


def split_of(path: str) -> str | None:
    """The split that a relative path names, as in `datasets`: train2017 and val-00000 count, trainer does not."""
    return next((KEYWORDS[word] for word in re.split(r"[-._ 0-9/]+", path.lower()) if word in KEYWORDS), None)


def of_tables(paths: list[str]) -> dict[str, str | None]:
    """Relative path of a table -> its split, None for a file that is not used.

    The words decide where every path has one, or none has. Where some have none, a word counts only as a folder or as
    the end of a name (data_test, not "test tubes"). The other files are then train, unless files are called train.
    """
    splits = {path: split_of(path) for path in paths}
    if all(splits.values()) or not any(splits.values()):
        return {path: split or "train" for path, split in splits.items()}
    splits = {path: _split_at_end(path) for path in paths}
    rest = None if "train" in splits.values() else "train"
    return {path: split or rest for path, split in splits.items()}


def _split_at_end(path: str) -> str | None:
    *folders, file = path.lower().split("/")
    return next(filter(None, map(_called, [*folders, file.rpartition(".")[0]])), None)


def _called(name: str) -> str | None:
    """The split that a folder or a file is called by: its last word, numbers apart."""
    words = [word for word in re.split(r"[-._ 0-9]+", name) if word not in ("", "of")]
    return KEYWORDS.get(words[-1]) if words else None


def of_images(paths: list[str]) -> dict[str, str]:
    """Relative path of an image -> its split.

    The words decide where every path has one. Else only folders that are called by a split count (val2017, not
    "test tubes"), and all other images are train.
    """
    splits = {path: split_of(path) for path in paths}
    if all(splits.values()):
        return splits
    folders = {folder: _called_by_folder(folder) for folder in {path.rpartition("/")[0] for path in paths}}
    return {path: folders[path.rpartition("/")[0]] or "train" for path in paths}


def _called_by_folder(folder: str) -> str | None:
    return next(filter(None, map(_called, folder.lower().split("/"))), None)


def doubts(assigned: dict[str, str | None], what: str = "files") -> list[str]:
    """What the names of these paths leave open, as sentences. assigned: as of_tables and of_images say it."""
    found = []
    if unused := [path for path, split in assigned.items() if split is None]:
        found.append(
            f"{len(unused)} {what} beside those called train are called like no split and are not used: "
            f"{', '.join(unused[:5])}"
        )
    doubtful = [path for path, split in assigned.items() if split == "train" and split_of(path) != "train"]
    if any(split not in (None, "train") for split in assigned.values()) and doubtful:
        found.append(f"{len(doubtful)} {what} whose names tell no split are trained on: {', '.join(doubtful[:5])}")
    elif ignored := [path for path in doubtful if split_of(path)]:
        found.append(f"not every name tells a split: all {what} are trained on, {', '.join(ignored[:5])} too")
    return found
