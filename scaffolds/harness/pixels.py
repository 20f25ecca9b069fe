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
"""Images between disk and model. Workers decode and crop with PIL; pixels travel as bytes, a quarter of the size of
floats, and become the floats that the model wants on its own device. Only PIL, no torchvision."""

import functools
import inspect
import math
import random
import re
import sys

import accelerate.utils
import numpy as np
import torch
from PIL import Image

from harness.fast_trainer import FastTrainer
from harness.tiles import picture_of


class PixelTrainer(FastTrainer):
    """A Trainer whose batches hold `pixel_values` as bytes (batch, 3, height, width) until they are on the device."""

    def __init__(self, **parts):
        super().__init__(**parts)
        self.scaling = Scaling(self.processing_class)
        # Each loss is a mean over its batch, whatever the Trainer concludes from a **kwargs in the model's signature:
        # with it, the loss and the gradient would be as many times too large as gradients are accumulated, or
        # processes train together.
        self.model_accepts_loss_kwargs = False
        count_objects_once(self.model)

    def training_step(self, model, inputs, *rest, **more):
        return super().training_step(model, self.converted(inputs), *rest, **more)

    def converted(self, inputs):
        """A batch as it travels -> as the model takes it, on the device where it is."""
        inputs = dict(inputs)
        if inputs["pixel_values"].dtype == torch.uint8:
            inputs["pixel_values"] = self.scaling(inputs["pixel_values"])
        if torch.is_tensor(labels := inputs.get("labels")) and labels.dtype == torch.uint8:
            inputs["labels"] = labels.long()  # a mask travels as bytes too
        if "mask_labels" in inputs:
            inputs["mask_labels"] = [masks.float() for masks in inputs["mask_labels"]]
        if "pixel_mask" in inputs:  # travels as bytes; what was padded is zero for the model, whatever black is
            inputs["pixel_values"] = inputs["pixel_values"] * inputs["pixel_mask"][:, None]
            inputs["pixel_mask"] = inputs["pixel_mask"].long()
        return inputs


def count_objects_once(model):
    """Where several processes train, the loss of boxes and masks is divided by the mean number of objects of a
    process.

    Losses of transformers (seen in 5.23) take the mean with accelerate's `reduce` and divide by the number of
    processes once more: that part of the loss is as many times too large as there are processes. With the sum in place
    of the mean it is right.
    """
    for name in (type(model).__module__, "transformers.loss.loss_for_object_detection"):
        module = sys.modules.get(name)
        if getattr(module, "reduce", None) is not accelerate.utils.reduce:
            continue
        source = inspect.getsource(module)
        if re.search(r"(num_boxes|num_masks) = reduce\(\1\)", source) and re.search(
            r"(num_boxes|num_masks) / world_size", source
        ):
            module.reduce = functools.partial(accelerate.utils.reduce, reduction="sum")


class Scaling:
    """The processor's rescaling and normalization: bytes (batch, 3, height, width) -> floats of the same shape.

    Processors say it in several ways (rescale_offset, mean and standard deviation, or neither), but each channel is a
    straight line of the byte's value: two plain images tell it, a third one makes sure.
    """

    def __init__(self, processor):
        black, gray, white = (uniform(processor, (value,) * 3) for value in (0, 128, 255))
        self.offset, self.scale = black.view(1, 3, 1, 1), ((white - black) / 255).view(1, 3, 1, 1)
        answering = [
            int((uniform(processor, color) - black).abs().argmax())
            for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255))
        ]
        self.order = [answering.index(channel) for channel in range(3)]  # MobileViT wants blue first
        if not torch.allclose(black + 128 * (white - black) / 255, gray, atol=1e-4):
            raise SystemExit(
                f"{type(processor).__name__} does more to a pixel than scaling it: this project cannot train with it"
            )

    def __call__(self, pixels):
        pixels = pixels if self.order == [0, 1, 2] else pixels[:, self.order]
        self.offset, self.scale = self.offset.to(pixels.device), self.scale.to(pixels.device)
        return torch.addcmul(self.offset, pixels.float(), self.scale)

    def picture(self, pixels):
        """One image as the model takes it, or as bytes before that, (3, height, width): a PIL image to look at."""
        if pixels.dtype != torch.uint8:
            known = torch.where(self.scale[0] == 0, 1, self.scale[0])
            pixels = ((pixels.float() - self.offset[0]) / known)[[self.order.index(channel) for channel in range(3)]]
        return picture_of(pixels.float())


def uniform(processor, color):
    """What the processor makes of a one-colored image: (3). From its middle, which no padding reaches."""
    pixels = processor(Image.new("RGB", (64, 64), color), return_tensors="pt")["pixel_values"]
    return pixels[0, :, pixels.shape[-2] // 2, pixels.shape[-1] // 2].float()


def to_bytes(image):
    """A PIL image -> uint8 (3, height, width)."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def input_size(processor, size=(320, 240)):
    """(width, height) that the processor makes of an image of this size. Processors say it in several ways;
    one image tells."""
    height, width = processor(Image.new("RGB", size), return_tensors="pt")["pixel_values"].shape[-2:]
    return width, height


def random_box(width, height, scale_min):
    """(left, top, right, bottom) of a random part, between 3:4 and 4:3 as seen against the whole image."""
    share, ratio = random.uniform(scale_min, 1), math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
    w, h = min(1, math.sqrt(share * ratio)) * width, min(1, math.sqrt(share / ratio)) * height
    left, top = random.uniform(0, width - w), random.uniform(0, height - h)
    return left, top, left + w, top + h
