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
"""Images and depth maps to tensors: augmentation for training, the processor's own steps for evaluation.

A row of data/ is an image and its depth in meters as a NumPy file, 0 where it is not known.
"""

import io
import math
import random

import numpy as np
import torch
from PIL import Image

from harness.pixels import input_size, to_bytes

MASKED = -100.0  # a label where no depth is known


def meters(cell):
    """A cell of the column depth -> (height, width) float32, 0 where it is not known."""
    return np.load(io.BytesIO(cell)).astype(np.float32)


def train_view(dataset, cfg, processor):
    """The dataset, augmented anew each time that a row is read: pixel_values uint8 (3, height, width),
    labels (height, width) in meters."""
    size = input_size(processor, dataset[0]["image"].size)  # one for all, so that batches can be stacked

    def transform(rows):
        pixels, labels = [], []
        for image, cell in zip(rows["image"], rows["depth"], strict=False):
            image, depth = random_crop(image.convert("RGB"), meters(cell), size, cfg["crop_scale_min"])
            if cfg["horizontal_flip"] and random.random() < 0.5:
                image, depth = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), depth[:, ::-1]
            pixels.append(to_bytes(image))
            labels.append(torch.from_numpy(np.where(depth > 0, depth, MASKED)))
        return {"pixel_values": pixels, "labels": labels}

    return dataset.with_transform(transform)


def random_crop(image, depth, size, scale_min):
    """The same part of both, resized to `size` (width, height). Depth is never interpolated:
    between near and far there is nothing."""
    share = math.sqrt(random.uniform(scale_min, 1))
    left, top = random.uniform(0, 1 - share), random.uniform(0, 1 - share)
    box = (left * image.width, top * image.height, (left + share) * image.width, (top + share) * image.height)
    rows = ((top + (np.arange(size[1]) + 0.5) / size[1] * share) * depth.shape[0]).astype(int)
    columns = ((left + (np.arange(size[0]) + 0.5) / size[0] * share) * depth.shape[1]).astype(int)
    return image.resize(size, Image.Resampling.BILINEAR, box=box), depth[rows[:, None], columns]


def collate(examples):
    """Rows -> one batch: pixel_values (batch, 3, height, width) and labels (batch, height, width)."""
    return {name: torch.stack([example[name] for example in examples]) for name in ("pixel_values", "labels")}
