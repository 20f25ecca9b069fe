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
"""Folders of images with a text each: x.jpg beside x.txt or x.caption, as trainers of text-to-image models read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .pairs import IMAGE_FOLDERS
from .pairs import listed as listed_pairs
from .pairs import listing as listing_of_pairs
from .refusal import Refusal
from .splits import KEYWORDS, of_images
from .tree import EXTENSIONS, Listing, Survey, inside, relative, walk

CAPTION_ENDINGS = (".txt", ".caption")
MAX_CAPTION = 1 << 16  # bytes of one text


@dataclass
class Captions:
    """Split -> (image, the file of its text)."""

    root: Path
    splits: dict[str, list[tuple[Path, Path]]]
    warnings: list[str] = field(default_factory=list)

    def listing(self) -> Listing:
        found = listing_of_pairs(self.splits, self.root)
        texts = [relative(file, self.root) for group in self.splits.values() for _, file in group]
        return Listing(self.root, {**found.layout, "kind": "captions"}, found.files, texts)

    @classmethod
    def listed(cls, layout: dict[str, Any], root: Path) -> Captions:
        """As `listing` wrote it down; the texts are read again."""
        return cls(root, listed_pairs(layout, root))

    def rows(self, split: str) -> Iterator[dict[str, Any]]:
        """image, text: "" for a file that says nothing. Raises Refusal."""
        return ({"image": image, "text": text_of(file)} for image, file in self.splits[split])


def looks_like(root: Path, here: dict[Path, Survey]) -> bool:
    """Whether most texts of a folder have images of the same name: of root, of its splits, of images/."""
    places = [one for one in here if one == root or one.name.lower() in {*KEYWORDS, *IMAGE_FOLDERS}]
    for one in places:
        texts = [
            path
            for path in here[one].files(*CAPTION_ENDINGS)
            if path.stem.lower() not in ("classes", "readme", "license")
        ]
        pictured = [path for path in texts if any(path.with_suffix(end).is_file() for end in _ENDINGS)]
        if len(pictured) * 2 > len(texts):
            return True
    return False


_ENDINGS = (*EXTENSIONS, *(end.upper() for end in EXTENSIONS))


def read(root: Path) -> Captions:
    """The pairs below root, in splits by the words in their folders. Raises Refusal."""
    if root.is_file():
        raise Refusal("invalid_input", f"local_dataset_path = {str(root)!r} is a file: give the folder of the images")
    texts = {path.with_suffix(""): path for path in walk(root, root, CAPTION_ENDINGS)}
    images = list(walk(root, root, EXTENSIONS))
    pairs = [(image, texts[image.with_suffix("")]) for image in images if image.with_suffix("") in texts]
    if not pairs:
        raise Refusal(
            "rejected", f"no image of {root} has a text of the same name beside it: each needs one (x.jpg and x.txt)"
        )
    large = [file for _, file in pairs if file.stat().st_size > MAX_CAPTION]
    pairs = [(image, file) for image, file in pairs if file not in set(large)]
    splits: dict[str, list[tuple[Path, Path]]] = {}
    by_path = of_images([relative(image, root) for image, _ in pairs])
    for image, file in pairs:
        splits.setdefault(by_path[relative(image, root)], []).append((image, file))
    return Captions(root, splits, _remarks(root, images, texts, large))


def _remarks(root: Path, images: list[Path], texts: dict[Path, Path], large: list[Path]) -> list[str]:
    pictured = {image.with_suffix("") for image in images}
    without = [image for image in images if image.with_suffix("") not in texts]
    alone = [file for key, file in texts.items() if key not in pictured]
    found = []
    for paths, what in (
        (without, "images have no text beside them and are not used"),
        (alone, "texts have no image beside them and are not used"),
        (large, f"texts are larger than {MAX_CAPTION >> 10} kB, which is no caption, and are not used"),
    ):
        if paths:
            found.append(f"{len(paths)} {what}: {', '.join(relative(path, root) for path in paths[:3])}")
    return found


def text_of(file: Path) -> str:
    """The whole text, its lines as they are. Raises Refusal for other encodings than UTF-8."""
    try:
        return inside(file, file.parent.resolve()).read_text("utf-8-sig").strip()
    except UnicodeError:
        raise Refusal("rejected", f"{file} is not text in UTF-8: write it again in UTF-8") from None
