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
"""Outlines of objects as COCO writes them, as compressed run lengths."""

from pycocotools import mask as coco_mask

from harness import pictures


def as_rle(outline, image, width, height):
    """Polygons or run lengths -> {counts, size}; None where nothing is outlined.

    width, height: of the picture that the outline was drawn on, as the file says; where it does not (None), those of
    the image as it is seen, or as it is stored where the outline only fits that. An image that cannot be read is left
    out later, whole.
    """
    if isinstance(outline, dict):
        return run_lengths(outline)
    polygons = [polygon for polygon in as_polygons(outline) if len(polygon) >= 6 and len(polygon) % 2 == 0]
    if not polygons:
        return None
    if width is None or height is None:
        cell = {"bytes": None, "path": str(image)}
        if not pictures.is_readable(cell):
            return None
        sizes = [pictures.opened(cell).size, pictures.stored(cell).size]
        width, height = next((size for size in sizes if all(fits(polygon, size) for polygon in polygons)), sizes[0])
    return text_of(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))


def fits(polygon, size):
    """Whether a polygon lies within a picture, but for two pixels."""
    return max(polygon[::2]) <= size[0] + 2 and max(polygon[1::2]) <= size[1] + 2


def as_polygons(outline):
    """A list of lists of numbers, of which there may be one without a list around it."""
    outline = outline if isinstance(outline, list) else []
    return [one for one in outline if isinstance(one, list)] or ([outline] if outline else [])


def run_lengths(outline):
    counts, size = outline.get("counts"), outline.get("size")
    if isinstance(counts, str):
        return {"counts": counts, "size": size}
    return text_of(coco_mask.frPyObjects(outline, *size)) if counts and size else None


def text_of(found):
    return {"counts": found["counts"].decode(), "size": [int(side) for side in found["size"]]}
