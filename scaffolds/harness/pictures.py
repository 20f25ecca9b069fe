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
"""The one way in which this project opens a picture: upright as people see it, in colors that a model can read."""

import io

import numpy as np
from PIL import Image, ImageOps

ORIENTATION = 0x0112  # EXIF: how a stored picture is turned to be seen upright
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# turned by these, width and height change places
ON_ITS_SIDE = [TURNS[number] for number in (5, 6, 7, 8)]
DEEP = ("I", "F")  # modes of more than 8 bits begin so: convert("RGB") would cut their values off at 255


def opened(cell):
    """The picture of an encoded cell {bytes, path}, turned as its EXIF data say.
    Its values are those that are stored."""
    return ImageOps.exif_transpose(stored(cell))


def stored(cell):
    """The picture as it lies in its file, not turned. A picture that is open already stays as it is."""
    if hasattr(cell, "convert"):
        return cell
    return Image.open(io.BytesIO(cell["bytes"]) if cell["bytes"] else cell["path"])


def is_readable(cell):
    try:
        picture = opened(cell)
        picture.load() if picture.mode.startswith(DEEP) else picture.convert("RGB")
        return True
    except Exception:  # Pillow raises a dozen types on damaged files
        return False


def turn_of(cell):
    """(width, height as stored, the turn that makes the picture upright; None where it lies upright)."""
    picture = stored(cell)
    return *picture.size, TURNS.get(picture.getexif().get(ORIENTATION))


def turned_point(x, y, width, height, turn):
    """Where a point of a picture of this size lies once the picture is turned."""
    return {
        Image.Transpose.FLIP_LEFT_RIGHT: (width - x, y),
        Image.Transpose.ROTATE_180: (width - x, height - y),
        Image.Transpose.FLIP_TOP_BOTTOM: (x, height - y),
        Image.Transpose.TRANSPOSE: (y, x),
        Image.Transpose.ROTATE_270: (height - y, x),
        Image.Transpose.TRANSVERSE: (height - y, width - x),
        Image.Transpose.ROTATE_90: (y, width - x),
    }[turn]


def beside(cell, picture):
    """A mask or depth map (a picture), turned with the image of the encoded `cell` where it was drawn on that image as
    it is stored.

    Its size tells. Where both frames have one shape, it is taken for drawn on the upright image.
    """
    width, height, turn = turn_of(cell)
    if turn is None or same_shape(picture.size, opened(cell).size) or not same_shape(picture.size, (width, height)):
        return picture
    return picture.transpose(turn)


def same_shape(one, other):
    """Whether two sizes have the same ratio of their sides, to 2 %."""
    return abs(one[0] * other[1] - other[0] * one[1]) <= 0.02 * one[1] * other[0]


def visible(cell):
    """The encoded cell, anew as 8 bits where its values have more:
    stretched from the picture's darkest value to its brightest."""
    picture = stored(cell)
    if not picture.mode.startswith(DEEP):
        return cell
    picture, file = opened(cell), io.BytesIO()
    Image.fromarray(in_8_bits(np.asarray(picture, np.float64))).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def in_8_bits(values):
    """Values (height, width) of any range as bytes. Whole numbers from 0 to 255 are bytes already;
    all other values are stretched."""
    known = np.isfinite(values)
    low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 0.0)
    values = np.where(known, values, low)
    if low < 0 or high > 255 or (values % 1).any():
        values = (values - low) / max(high - low, 1e-12) * 255
    return np.round(values).astype(np.uint8)


def all_visible(dataset, column="image"):
    """The dataset, every picture of the column in 8 bits; what has 8 already keeps its own bytes."""

    def deep(cell):
        cells = cell if isinstance(cell, list) else [cell]
        return {"deep": any(stored(one).mode.startswith(DEEP) for one in cells)}

    def redrawn(cell):
        return {column: [visible(one) for one in cell] if isinstance(cell, list) else visible(cell)}

    if not any(dataset.map(deep, input_columns=[column], remove_columns=dataset.column_names)["deep"]):
        return dataset
    return dataset.map(redrawn, input_columns=[column], features=dataset.features)
