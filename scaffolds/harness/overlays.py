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
"""Pictures of what a model found that people can read: classes in colors, objects with outlines or boxes,
a legend."""

import colorsys

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def palette(count):
    """`count` colors that differ from their neighbors: (count, 3) uint8."""
    hues = [(i * 0.618034) % 1 for i in range(count)]  # by the golden ratio, so that no two near ones are alike
    colors = [colorsys.hsv_to_rgb(hue, (0.9, 0.6)[i // 7 % 2], (1, 0.75)[i // 14 % 2]) for i, hue in enumerate(hues)]
    return (np.array(colors).reshape(-1, 3) * 255).astype(np.uint8)


def colored(image, classes, colors):
    """The image under the colors of its classes (height, width); ids without a color leave it as it is."""
    pixels, known = np.asarray(image.convert("RGB")).copy(), classes < len(colors)
    pixels[known] = tinted(pixels[known], colors[classes[known]])
    return Image.fromarray(pixels)


def tinted(pixels, color):
    """Pixels as shades of a color: their own hue would make another class of it. (n, 3)"""
    shade = pixels @ np.array((0.299, 0.587, 0.114)) / 255
    return (0.45 + 0.55 * shade)[..., None] * color


def outlined(image, objects):
    """The image with each object tinted, framed by its outline and named. objects: [(mask (height, width) bool,
    name, color)]"""
    pixels, line = np.asarray(image.convert("RGB")).copy(), max(1, max(image.size) // 300)
    for mask, _, color in objects:
        pixels[mask] = tinted(pixels[mask], np.array(color))
        pixels[mask & ~shrunk(mask, line)] = color
    shown = Image.fromarray(pixels)
    for mask, name, color in objects:
        rows, columns = np.nonzero(mask)
        if len(rows):
            named(shown, (columns.min(), rows.min()), name, color)
    return shown


def boxed(image, objects):
    """The image with a frame and a name for each object. objects: [([x, y, width, height] in its pixels, name,
    color)], the surest last."""
    shown, line = image.convert("RGB"), max(2, image.width // 160)
    draw = ImageDraw.Draw(shown)
    for (x, y, width, height), _, color in objects:
        draw.rectangle((x, y, max(x + 1, x + width), max(y + 1, y + height)), outline=color, width=line)
    for (x, y, *_), name, color in objects:  # after all frames, so that none crosses a name
        named(shown, (x, y), name, color)
    return shown


def named(image, corner, name, color):
    """A name on its object's color at its upper left corner: above it where there is room,
    and never beyond the image."""
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(max(12, image.width // 28))
    left, top, right, bottom = draw.textbbox((0, 0), name, font=font)
    width, height = right + 6, bottom + 4
    x, y = (
        max(0, min(corner[0], image.width - width)),
        corner[1] - height if corner[1] >= height else min(corner[1], image.height - height),
    )
    draw.rectangle((x, y, x + width, y + height), fill=color)
    dark = np.dot(color, (0.299, 0.587, 0.114)) < 140
    draw.text((x + 3, y + 2), name, fill="white" if dark else "black", font=font)


def shrunk(mask, by):
    """The mask without its outer `by` pixels."""
    inner = np.pad(mask, by)
    for _ in range(by):
        middle = inner.copy()
        for axis in (0, 1):
            middle &= np.roll(inner, 1, axis) & np.roll(inner, -1, axis)
        inner = middle
    return inner[by:-by, by:-by]


def beside(left, right):
    """Two images of one size, side by side."""
    gap = max(4, left.width // 100)
    canvas = Image.new("RGB", (left.width + gap + right.width, max(left.height, right.height)), "white")
    canvas.paste(left)
    canvas.paste(right, (left.width + gap, 0))
    return canvas


def legend(image, entries):
    """The image above its [(name, color)], in as many lines as they need."""
    size = max(12, image.width // 30)
    font, places, x, y = ImageFont.load_default(size), [], size // 2, image.height + size // 2
    for name, color in entries:
        width = round(2.2 * size + font.getlength(name))
        if x + width > image.width and x > size:
            x, y = size // 2, y + round(1.5 * size)
        places.append((x, y, name, tuple(int(value) for value in color)))
        x += width
    canvas = Image.new("RGB", (image.width, y + 2 * size), "white")
    canvas.paste(image)
    draw = ImageDraw.Draw(canvas)
    for x, y, name, color in places:
        draw.rectangle((x, y, x + size, y + size), fill=color, outline="black")
        draw.text((x + 1.4 * size, y - size // 8), name, fill="black", font=font)
    return canvas
