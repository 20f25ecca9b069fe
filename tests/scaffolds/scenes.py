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
    """(image, [(class name, mask in mode "L", 255 inside)]): one to `most` shapes on gray, none covering another."""
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


# A Mask2Former that is as small as its parts allow.
MAKE_MASK2FORMER = """
import sys
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessorPil, SwinConfig, set_seed
set_seed(0)
backbone = SwinConfig(image_size=64, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
                      out_features=["stage1", "stage2", "stage3", "stage4"])
config = Mask2FormerConfig(backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=64,
                           encoder_layers=1, decoder_layers=3, dim_feedforward=64, num_attention_heads=2, num_queries=10, train_num_points=512)
config.id2label = {i: f"thing {i}" for i in range(7)}
Mask2FormerForUniversalSegmentation(config).save_pretrained(sys.argv[1])
Mask2FormerImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 128}).save_pretrained(sys.argv[1])
"""


def class_and_instance(objects, size: int = 64):
    """R: class ids from 1 on, G: the object's number from 1 on."""
    from PIL import Image

    numbers = Image.new("L", (size, size))
    for number, (_, mask) in enumerate(objects, 1):
        numbers.paste(number, mask=mask)
    return Image.merge("RGB", [class_mask(objects, size), numbers, Image.new("L", (size, size))])


def segments(objects, size: int = 64):
    """(picture of segment ids R + 256 G, segments_info): the background is segment 300, the objects 301, 302, ..."""
    from PIL import Image

    low, high = Image.new("L", (size, size), 300 % 256), Image.new("L", (size, size), 300 // 256)
    info = [{"id": 300, "category_id": 0, "iscrowd": 0}]
    for number, (name, mask) in enumerate(objects, 301):
        low.paste(number % 256, mask=mask)
        info.append({"id": number, "category_id": 1 + list(SHAPES).index(name), "iscrowd": 0})
    return Image.merge("RGB", [low, high, Image.new("L", (size, size))]), info
