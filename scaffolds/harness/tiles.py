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
"""A row as the model will see it, made ready for reports/data.html: pictures of one size, and tokens in runs."""

import io
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from PIL import Image

from harness import overlays

SIDE = 320  # pixels: the longer side of a picture that is shown
REPEATED = 9  # so many equal tokens in a row are written as one, with their number
MOST = 1200  # characters of a run of tokens that are shown, from its two ends
RUNS = 12  # of a row that are shown, from its two ends


@dataclass
class Tile:
    """caption: the classes in words, or what else is to be learned. pictures: PIL. texts: [(what it is, [(text, is it
    learned)])]."""

    caption: str
    pictures: list = field(default_factory=list)
    texts: list = field(default_factory=list)
    number: int = 0  # of the row in data/


def picture_of(pixels):
    """Values from 0 to 255 (3, height, width), a tensor -> a PIL image."""
    return Image.fromarray(pixels.round().clamp(0, 255).permute(1, 2, 0).numpy().astype(np.uint8))


def at_size(image):
    """(the image with SIDE pixels on its longer side, how many times larger it is). Each pixel of a tiny one stays a
    square."""
    scale = SIDE / max(image.size)
    way = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.BILINEAR
    return image.resize(tuple(max(1, round(side * scale)) for side in image.size), way), scale


def with_boxes(image, objects):
    """objects: [([x, y, width, height] in the image's pixels, name, color)]"""
    shown, scale = at_size(image)
    return overlays.boxed(shown, [([value * scale for value in box], name, color) for box, name, color in objects])


def resized(values, size):
    """Values (height, width) at `size` (width, height), none of them mixed with another."""
    lines = (np.arange(size[1]) * values.shape[0] // size[1]).clip(0, values.shape[0] - 1)
    columns = (np.arange(size[0]) * values.shape[1] // size[0]).clip(0, values.shape[1] - 1)
    return values[lines[:, None], columns]


def jpeg(image, most):
    """The bytes of its file, at most `most` of them if that can be. Not subsampled, so that thin frames keep their
    colors."""
    for quality in (88, 75, 60, 40, 20):
        file = io.BytesIO()
        image.convert("RGB").save(file, "JPEG", quality=quality, subsampling=0)
        if file.tell() <= most or min(image.size) < 32:
            return file.getvalue()
    return jpeg(image.reduce(2), most)


def token_runs(tokens, learned, decode):
    """[(text, is it learned)] of a row's tokens, decoded in runs. learned: a truth value for each token."""
    found = []
    for known, group in groupby(zip(tokens, learned, strict=True), key=lambda pair: bool(pair[1])):
        found.append((shortened(written([token for token, _ in group], decode)), known))
    if len(found) <= RUNS:
        return found
    return [*found[: RUNS // 2], (f" ⟨{len(found) - RUNS} more parts⟩ ", False), *found[-RUNS // 2 :]]


def written(tokens, decode):
    """The tokens as text; one that stands many times in a row (the places of an image) is written once."""
    parts, plain = [], []
    for token, group in groupby(tokens):
        count = len(list(group))
        if count < REPEATED:
            plain += [token] * count
            continue
        parts += [decode(plain)] if plain else []
        parts, plain = [*parts, f"{decode([token])}⟨{count} times⟩"], []
    return "".join([*parts, decode(plain)] if plain else parts)


def shortened(words):
    return words if len(words) <= MOST else f"{words[: MOST // 2]} ⟨…⟩ {words[-MOST // 2 :]}"
