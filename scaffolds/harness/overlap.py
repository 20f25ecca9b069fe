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
"""Evaluation rows that the training rows hold as well: the same images and the same text before the answer. A check:
leave this file as it is.

The same does not mean the same bytes. An image counts as the same where its file is, or where its pixels are, seen
upright: written anew in another format, or at another size, it has the same lightness in 16 x 16 cells and the same
color in 8 x 8 (of 500 MNIST digits none is taken for one of 5,000 others).
A text is compared without case, spaces, the forms that Unicode has for one letter, and the punctuation of sentences.
Frames of a video that hardly differ are the same by this measure, and are said to be.
"""

import hashlib
import unicodedata

import numpy as np
from PIL import Image

from harness.pictures import DEEP, in_8_bits, opened, stored
from harness.project import DATA, cpu_count

LIGHT, COLOR = 16, 8  # cells of a side
CELLS = LIGHT**2  # of lightness, which come first; behind them those of the two colors
DECODED = 64  # pixels of a side that a JPEG is decoded to at least: its cells need no more
# Values of 255. Measured on drawn shapes and digits of 28 to 300 pixels, as JPEG and WebP of quality 85 and up, and at
# three quarters to twice their size: the same picture stays within these.
PLAIN = 5.0  # spread of the lightness below which a picture has nothing to be known by but its very pixels
APART = 0.1  # of its spread: root of the mean square of the differences
LEAST_APART = 0.8
ONE_CELL, OF_EDGE = 6.0, 0.5  # how far one cell may lie apart, and more at an edge: that part of the range around it
COLOR_APART = 14.0
NEAREST = 20  # candidates for a row that are looked at
CHUNK = 4096  # rows that are compared at once
PUNCTUATION = set(".,!?;:'\"()[]{}«»„“”‘’‚`…¿¡。，！？；：、")
DASHES = dict.fromkeys(map(ord, "‐‑‒–—−"), "-")


def found():
    """{"rows": evaluation rows that are training rows too, "anew": those of them in other bytes or other writing}."""
    train, evaluation = (prints(split) for split in ("train", "eval"))
    exact = np.isin(evaluation["exact"], train["exact"])
    alike = (
        np.isin(evaluation["text"], train["text"])
        if evaluation["cells"] is None
        else alike_pictures(train, evaluation)
    )
    return {"rows": int((exact | alike).sum()), "anew": int((alike & ~exact).sum())}


def prints(split):
    """Of each row: exact, a hash of its bytes and text; text, a hash of its text as it is compared; pixels, a hash of
    what is seen, where it is plain; cells, lightness and colors of its pictures (rows, cells), or None."""
    from datasets import Image as Pictures
    from datasets import List, load_from_disk

    dataset = load_from_disk(str(DATA / split))
    columns = [name for name in ("image", "images", "prompt") if name in dataset.column_names] or dataset.column_names
    dataset = dataset.select_columns(columns)
    shown = next((name for name in ("image", "images") if name in columns), None)
    if shown == "image" and isinstance(dataset.features["image"], Pictures):
        dataset = dataset.cast_column("image", Pictures(decode=False))
    elif shown and isinstance(dataset.features[shown], List):
        dataset = dataset.cast_column(shown, List(Pictures(decode=False)))
    made = dataset.map(
        prints_of,
        batched=True,
        batch_size=100,
        remove_columns=columns,
        fn_kwargs={"shown": shown},
        num_proc=cpu_count() if len(dataset) > 5000 and shown else None,
        keep_in_memory=True,  # else its cache would lie in data/
    )
    cells = np.frombuffer(b"".join(made["cells"][:]), np.uint8).reshape(len(made), -1) if shown else None
    return {name: np.array(made[name][:]) for name in ("exact", "text", "pixels")} | {"cells": cells}


def prints_of(batch, shown):
    """prints() of a batch: {column: a list of cells}."""
    rows = [dict(zip(batch, cells, strict=True)) for cells in zip(*batch.values(), strict=True)]
    pictures = [listed(row.pop(shown)) if shown else [] for row in rows]
    seen = [[look(cell) for cell in cells] for cells in pictures]
    return {
        "exact": [number((files_of(cells), row)) for cells, row in zip(pictures, rows, strict=True)],
        "text": [number((len(cells), compared(row))) for cells, row in zip(pictures, rows, strict=True)],
        "pixels": [number([pixels for pixels, _ in each]) for each in seen],
        # of several pictures of a row the mean of each cell: they are compared as one
        "cells": [
            np.mean([cells for _, cells in each] or [BLANK], 0).round().astype(np.uint8).tobytes() for each in seen
        ],
    }


BLANK = np.zeros(CELLS + 2 * COLOR**2, np.float32)


def listed(cell):
    return cell if isinstance(cell, list) else [] if cell is None else [cell]


def files_of(cells):
    return [hashlib.sha256(cell["bytes"] or str(cell["path"]).encode()).digest() for cell in cells]


def look(cell):
    """(hash of its pixels where it is plain, else 0; its lightness and colors) of a picture, seen upright."""
    try:
        picture = in_colors(opened(shrunk(cell)))
        parts = zip(picture.convert("YCbCr").split(), (LIGHT, COLOR, COLOR), strict=True)
        cells = np.concatenate(
            [np.asarray(part.resize((n, n), Image.Resampling.BILINEAR)).ravel() for part, n in parts]
        )
        return number((picture.size, picture.tobytes())) if cells[:CELLS].std() < PLAIN else 0, cells
    except Exception:  # not an image that Pillow reads: its bytes are all that there is to compare
        return number(files_of([cell])), BLANK


def in_colors(picture):
    if picture.mode.startswith(DEEP):
        picture = Image.fromarray(in_8_bits(np.asarray(picture, np.float64)))
    return picture.convert("RGB")


def shrunk(cell):
    """The picture, a JPEG decoded to fewer pixels where it has many: several times faster, and the same cells."""
    picture = stored(cell)
    if picture.format == "JPEG" and min(picture.size) >= 2 * DECODED:
        picture.draft("RGB", (DECODED, DECODED))
    return picture


def alike_pictures(train, evaluation):
    """Of each evaluation row: is there a training row with its text whose pictures are the same? (rows)"""
    alike = np.zeros(len(evaluation["exact"]), bool)
    own, theirs = (part["cells"][:, :CELLS].astype(np.float32).std(1) for part in (evaluation, train))
    plain = {number(pair) for pair in zip(train["text"][theirs < PLAIN], train["pixels"][theirs < PLAIN], strict=True)}
    for row in np.flatnonzero(own < PLAIN):
        alike[row] = number((evaluation["text"][row], evaluation["pixels"][row])) in plain
    structured = np.flatnonzero(own >= PLAIN)
    for first in range(0, len(theirs) if len(structured) else 0, CHUNK):
        chunk = {name: values[first : first + CHUNK] for name, values in train.items()}
        chunk["cells"] = chunk["cells"].astype(np.float32)
        for start in range(0, len(structured), CHUNK // 8):
            some = structured[start : start + CHUNK // 8]
            some = some[~alike[some]]
            alike[some] |= close({name: values[some] for name, values in evaluation.items()}, own[some], chunk)
    return alike


def close(evaluation, spreads, train):
    """The same of structured pictures, compared by their cells."""
    cells, others = evaluation["cells"].astype(np.float32), train["cells"]
    light, theirs = cells[:, :CELLS], others[:, :CELLS]
    apart = ((light**2).sum(1)[:, None] + (theirs**2).sum(1) - 2 * light @ theirs.T) / CELLS  # mean squares
    apart[evaluation["text"][:, None] != train["text"]] = np.inf
    limits = np.maximum(APART * spreads, LEAST_APART) ** 2
    found = np.zeros(len(cells), bool)
    for row in np.flatnonzero(apart.min(1) <= limits):
        nearest = np.argsort(apart[row])[:NEAREST]
        nearest = nearest[apart[row][nearest] <= limits[row]]
        found[row] = any(same(cells[row], others[other]) for other in nearest)
    return found


def same(one, other):
    """Whether no cell lies apart further than writing a picture anew moves it."""
    light = one[:CELLS].reshape(LIGHT, LIGHT)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(light, 1, mode="edge"), (3, 3))
    allowed = ONE_CELL + OF_EDGE * (around.max((2, 3)) - around.min((2, 3)))
    apart = np.abs(one - other)
    return (apart[:CELLS] <= allowed.ravel()).all() and apart[CELLS:].max() <= COLOR_APART


def compared(value):
    """A cell with its texts as they are compared."""
    if isinstance(value, str):
        return normalized(value)
    if isinstance(value, dict):
        return {name: compared(one) for name, one in value.items()}
    return [compared(one) for one in value] if isinstance(value, list) else value


def normalized(text):
    """Without case, spaces and the punctuation of sentences: what stands between two letters or digits is kept."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().translate(DASHES).split())
    kept = [
        letter
        for i, letter in enumerate(plain)
        if letter not in PUNCTUATION or (plain[i - 1 : i].isalnum() and plain[i + 1 : i + 2].isalnum())
    ]
    return " ".join("".join(kept).split()) or plain


def number(value):
    """63 bits of the hash of any value."""
    return int.from_bytes(hashlib.sha256(repr(value).encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1
