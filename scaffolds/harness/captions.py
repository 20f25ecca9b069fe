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
"""Pictures with lines of text below them, for the inference samples."""

import textwrap

from PIL import Image, ImageDraw, ImageFont

MIN_WIDTH = 320  # pixels: small images are enlarged until a caption fits below them


def enlarged(image, panels=1):
    """At least MIN_WIDTH wide for each of its panels, each pixel a square."""
    scale = max(1, -(-MIN_WIDTH * panels // image.width))
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def captioned(image, lines, color="black"):
    """The image above its lines of text, each wrapped where the image ends."""
    size = max(14, image.width // 20)
    font = ImageFont.load_default(size)
    lines = [part for line in lines for part in wrap_caption(line, font, image.width - size)]
    height = image.height + round(size * (0.6 + 1.25 * len(lines)))
    canvas = Image.new("RGB", (image.width, height), "white")
    canvas.paste(image)
    place, text = (size // 2, image.height + size * 0.3), "\n".join(lines)
    ImageDraw.Draw(canvas).multiline_text(place, text, fill=color, font=font, spacing=size * 0.25)
    return canvas


def wrap_caption(line, font, width):
    """The line as lines of at most `width` pixels, four of them; what is more ends in "..."."""
    letters = max(8, int(len(line) * width / max(1, font.getlength(line))) - 2)  # of average width
    return textwrap.wrap(line, letters, max_lines=4, placeholder=" ...") or [""]
