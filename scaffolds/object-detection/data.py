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
"""Images and boxes to tensors: augmentation for training, the processor's own steps for evaluation.

A row of data/train is an image, `boxes` as [x, y, width, height] in pixels, and `categories`, a class id for each.
"""

import random

import numpy as np
import torch
from PIL import Image

from harness.pixels import to_bytes
from model import takes_mask


def train_view(dataset, cfg, processor, model):
    """The dataset, augmented anew each time that a row is read: pixel_values uint8 (3, height, width),
    labels {class_labels, boxes}."""
    padded = takes_mask(model)

    def transform(rows):
        found = [
            augmented(image.convert("RGB"), np.array(boxes, float).reshape(-1, 4), np.array(categories, int), cfg)
            for image, boxes, categories in zip(rows["image"], rows["boxes"], rows["categories"], strict=False)
        ]
        images = [image.resize(size_for(image, processor, padded), Image.Resampling.BILINEAR) for image, _, _ in found]
        labels = [targets(boxes, categories, image.size) for image, boxes, categories in found]
        return {"pixel_values": [to_bytes(image) for image in images], "labels": labels}

    return dataset.with_transform(transform)


def augmented(image, boxes, categories, cfg):
    """Mirrored or not, cropped or not; boxes (n, 4) move along, and those whose center is cut off leave."""
    if cfg["horizontal_flip"] and random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        boxes = np.column_stack([image.width - boxes[:, 0] - boxes[:, 2], boxes[:, 1:]]) if len(boxes) else boxes
    if random.random() < 0.5:
        return image, boxes, categories
    width, height = (max(1, round(side * random.uniform(cfg["crop_scale_min"], 1))) for side in image.size)
    left, top = random.randint(0, image.width - width), random.randint(0, image.height - height)
    centers = boxes[:, :2] + boxes[:, 2:] / 2 - (left, top)
    kept = ((centers > 0) & (centers < (width, height))).all(1)
    if not kept.any():  # nothing to learn from there
        return image, boxes, categories
    low = np.clip(boxes[kept, :2] - (left, top), 0, (width, height))
    high = np.clip(boxes[kept, :2] + boxes[kept, 2:] - (left, top), 0, (width, height))
    return image.crop((left, top, left + width, top + height)), np.column_stack([low, high - low]), categories[kept]


def size_for(image, processor, padded):
    """(width, height) that the processor would make of the image;
    one for all where the model takes no mask of padding."""
    size = processor.size
    if "height" in size:
        return size["width"], size["height"]
    shortest, longest = size["shortest_edge"], size.get("longest_edge") or size["shortest_edge"] * 5 // 3
    if not padded:
        return longest, shortest
    scale = min(shortest / min(image.size), longest / max(image.size))
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))


def targets(boxes, categories, size):
    """What the losses of transformers' detectors read: boxes as shares of the image, by their centers."""
    width, height = size
    centered = np.column_stack([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]]) / (width, height, width, height)
    return {
        "class_labels": torch.as_tensor(categories, dtype=torch.long),
        "boxes": torch.as_tensor(centered, dtype=torch.float32),
    }


class Collate:
    """Rows -> one batch. Images are padded below and on the right, and pixel_mask (batch, height, width) says so.

    To one of a few sizes: for each new one, cuDNN looks for the best way to compute every convolution, which takes
    longer than the step itself.
    """

    def __init__(self, model, processor):
        self.padded = takes_mask(model)
        longest = processor.size.get("longest_edge") or 0
        # pixels: sides are counted in about eighths of the longest
        self.unit = max(32, longest // 256 * 32) if self.padded else 1

    def __call__(self, examples):
        images = [example["pixel_values"] for example in examples]
        height, width = (-(-max(image.shape[side] for image in images) // self.unit) * self.unit for side in (1, 2))
        pixels, mask = (
            torch.zeros(len(images), 3, height, width, dtype=torch.uint8),
            torch.zeros(len(images), height, width, dtype=torch.uint8),
        )
        for i, image in enumerate(images):
            pixels[i, :, : image.shape[1], : image.shape[2]] = image
            mask[i, : image.shape[1], : image.shape[2]] = 1
        batch = {"pixel_values": pixels, "labels": [example["labels"] for example in examples]}
        return batch | {"pixel_mask": mask} if self.padded else batch


def model_inputs(images, processor, model):
    """PIL images as the model will see them in use: the processor's own resize, normalization and padding."""
    images = [image.convert("RGB") for image in images]
    if "height" not in processor.size and not takes_mask(model):
        images = [image.resize(size_for(image, processor, False), Image.Resampling.BILINEAR) for image in images]
    batch = processor(images, return_tensors="pt")
    return {
        name: batch[name]
        for name in ("pixel_values", "pixel_mask")
        if name in batch and (name == "pixel_values" or takes_mask(model))
    }
