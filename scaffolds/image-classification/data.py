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
"""Images to tensors: augmentation for training, the processor's own steps for evaluation.

A row of data/ is an image and its label, a class id.
"""

import math
import random

import torch
from PIL import Image

from harness.pixels import input_size, to_bytes


def train_view(dataset, cfg, processor):
    """The dataset, augmented anew each time that a row is read: pixel_values uint8 (3, height, width), labels."""
    size = input_size(processor)
    resample = Image.Resampling.BILINEAR if processor.resample is None else Image.Resampling(int(processor.resample))

    def transform(rows):
        images = [random_crop(image.convert("RGB"), size, cfg["crop_scale_min"], resample) for image in rows["image"]]
        if cfg["horizontal_flip"]:
            images = [
                image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else image
                for image in images
            ]
        return {"pixel_values": [to_bytes(image) for image in images], "labels": rows["label"]}

    return dataset.with_transform(transform)


def eval_view(dataset, processor):
    """The dataset as the model will see images in use: the processor's own resize, crop and normalization."""

    def transform(rows):
        pixels = processor([image.convert("RGB") for image in rows["image"]], return_tensors="pt")["pixel_values"]
        return {"pixel_values": list(pixels), "labels": rows["label"]}

    return dataset.with_transform(transform)


def collate(examples):
    """Rows -> one batch: pixel_values (batch, 3, height, width) and labels (batch)."""
    return {
        "pixel_values": torch.stack([example["pixel_values"] for example in examples]),
        "labels": torch.tensor([example["labels"] for example in examples]),
    }


def random_crop(image, size, scale_min, resample):
    """A random part of the image, keeping at least `scale_min` of its area, resized to `size` (width, height)."""
    width, height = image.size
    for _ in range(10):
        area = width * height * random.uniform(scale_min, 1)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            return image.resize(size, resample, box=(left, top, left + w, top + h))
    return image.resize(size, resample)
