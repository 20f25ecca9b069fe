"""Drawn scenes with a mask for each object, and tiny segmentation models: what the segmentation scaffolds are tried on."""

from __future__ import annotations

import random

SHAPES = {"circle": (220, 60, 60), "square": (60, 200, 60), "triangle": (60, 60, 220)}
MAKE_SEGFORMER = """
import sys
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessorPil, set_seed
set_seed(0)
config = SegformerConfig(hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=32, num_labels=7)
SegformerForSemanticSegmentation(config).save_pretrained(sys.argv[1])
SegformerImageProcessorPil(size={"height": 64, "width": 64}, do_reduce_labels=True).save_pretrained(sys.argv[1])
"""


def draw_scene(rng: random.Random, size: int = 64, most: int = 3):
    """(image, [(class name, mask in mode "L", 255 inside)]): one to `most` shapes on grey, none covering another."""
    from PIL import Image, ImageChops, ImageDraw

    image = Image.new("RGB", (size, size), (rng.randrange(90, 130),) * 3)
    objects, covered = [], Image.new("L", (size, size))
    for _ in range(rng.randint(1, most)):
        name, mask = rng.choice(list(SHAPES)), Image.new("L", (size, size))
        r = rng.randrange(size // 8, size // 4)
        x, y = rng.randrange(r, size - r), rng.randrange(r, size - r)
        pen = ImageDraw.Draw(mask)
        if name == "circle":
            pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
        elif name == "square":
            pen.rectangle((x - r, y - r, x + r, y + r), fill=255)
        else:
            pen.polygon([(x - r, y + r), (x + r, y + r), (x, y - r)], fill=255)
        if ImageChops.multiply(mask, covered).getbbox():
            continue
        covered = ImageChops.lighter(covered, mask)
        image.paste(tuple(channel + rng.randrange(-30, 30) for channel in SHAPES[name]), mask=mask)
        objects.append((name, mask))
    return image, objects


def class_mask(objects, size: int = 64, first: int = 1):
    """Class ids from `first` on in the order of SHAPES; 0 elsewhere."""
    from PIL import Image

    ids = Image.new("L", (size, size))
    for name, mask in objects:
        ids.paste(first + list(SHAPES).index(name), mask=mask)
    return ids
