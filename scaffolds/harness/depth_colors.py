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
"""Depth as colors that a person can read: near is red, and a bar below says what the colors mean in meters."""

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

COLORS = colormaps["turbo_r"]  # near is red


def colored(depth, near, far):
    """Meters (height, width) -> (height, width, 3) uint8; black where nothing is known."""
    shares = np.clip((depth - near) / max(far - near, 1e-6), 0, 1)
    return np.where(depth[..., None] > 0, (COLORS(shares)[..., :3] * 255).astype(np.uint8), 0).astype(np.uint8)


def scaled(picture, near, far):
    """The picture above a bar of the colors, with the meters of its ends and of its middle."""
    size = max(12, picture.width // 40)
    canvas = Image.new("RGB", (picture.width, picture.height + 3 * size), "white")
    canvas.paste(picture)
    bar = colored(np.linspace(max(near, 1e-6), far, picture.width)[None].repeat(size, 0), near, far)
    canvas.paste(Image.fromarray(bar), (0, picture.height + size // 3))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size)
    for share, anchor in ((0, "la"), (0.5, "ma"), (1, "ra")):
        draw.text(
            (share * (picture.width - 1), picture.height + 1.5 * size),
            f"{near + share * (far - near):.2f} m",
            fill="black",
            font=font,
            anchor=anchor,
        )
    return canvas
