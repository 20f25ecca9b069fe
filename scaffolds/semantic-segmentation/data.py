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
"""Images and masks to tensors: augmentation for training, the processor's own steps for evaluation.

A row of data/ is an image and its mask: class ids, with IGNORED for pixels that have no class; a mask is only ever
resized without interpolation.
"""

import random

import numpy as np
import torch
from PIL import Image

from harness.pixels import input_size, random_box, to_bytes

IGNORED = 255


def train_view(dataset, cfg, processor):
    """The dataset, augmented anew each time that a row is read: pixel_values (3, height, width) and labels (height,
    width), both uint8."""
    size = input_size(processor)
    resample = Image.Resampling.BILINEAR if processor.resample is None else Image.Resampling(int(processor.resample))

    def transform(rows):
        images, labels = [], []
        for image, mask in zip(rows["image"], rows["mask"], strict=False):
            image, ids = random_crop(image.convert("RGB"), mask, size, cfg["crop_scale_min"], resample)
            if cfg["horizontal_flip"] and random.random() < 0.5:
                image, ids = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), ids[:, ::-1]
            images.append(to_bytes(image))
            labels.append(torch.from_numpy(ids.copy()))
        return {"pixel_values": images, "labels": labels}

    return dataset.with_transform(transform)


def eval_view(dataset, processor):
    """The dataset as the model will see images in use, by the processor's own steps; labels in the mask's own size."""

    def transform(rows):
        pixels = processor([image.convert("RGB") for image in rows["image"]], return_tensors="pt")["pixel_values"]
        return {"pixel_values": list(pixels), "labels": [torch.from_numpy(np.array(mask)) for mask in rows["mask"]]}

    return dataset.with_transform(transform)


def collate(examples):
    """Rows -> one batch: pixel_values (batch, 3, height, width) and labels (batch, height, width),
    or a list where sizes differ."""
    labels = [example["labels"] for example in examples]
    same = all(one.shape == labels[0].shape for one in labels)
    return {
        "pixel_values": torch.stack([example["pixel_values"] for example in examples]),
        "labels": torch.stack(labels) if same else labels,
    }


def random_crop(image, mask, size, scale_min, resample):
    """The same random part of both, with at least `scale_min` of their area, resized to `size` (width, height):
    (image, class ids).

    A part without one labeled pixel is drawn again: a batch of these would have no loss.
    """
    for _ in range(10):
        box = random_box(*image.size, scale_min)
        ids = np.array(mask.resize(size, Image.Resampling.NEAREST, box=box))
        if (ids != IGNORED).any():
            return image.resize(size, resample, box=box), ids
    return image.resize(size, resample), np.array(mask.resize(size, Image.Resampling.NEAREST))
