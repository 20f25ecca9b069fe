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
"""How rows of data/ look to the model, for reports/data.html."""

import numpy as np

from data import collate, meters, train_view
from harness import overlays
from harness.depth_colors import Image, colored, scaled
from harness.pixels import Scaling
from harness.tiles import Tile, at_size, resized


def reader(split, dataset, cfg, processor):
    """index -> the row as a batch of one, by the transform and the collator of training, or of evaluation."""
    scaling = Scaling(processor)
    if split == "train":
        view = train_view(dataset, cfg, processor)
        return lambda index: {**collate([view[index]]), "scaling": scaling}
    return lambda index: {
        "pixel_values": processor(dataset[index]["image"].convert("RGB"), return_tensors="pt")["pixel_values"],
        "scaling": scaling,
    }


def tile(batch, row, meta):
    """The picture beside its depth; black is not known."""
    depth = batch["labels"][0].numpy() if "labels" in batch else meters(row["depth"])
    image, _ = at_size(batch["scaling"].picture(batch["pixel_values"][0]))
    known = depth[depth > 0]
    near, far = np.percentile(known, (1, 99)) if known.size else (0, 1)
    drawn = overlays.beside(image, Image.fromarray(colored(resized(depth, image.size), near, far)))
    caption = f"{np.median(known):.2f} m in the median" if known.size else "no depth is known"
    missing = 1 - known.size / depth.size
    return Tile(caption + (f", {missing:.0%} not known (black)" if missing else ""), [scaled(drawn, near, far)])


def classes(dataset):
    """The classes of each row; None where they are not known without drawing it."""
    return None


def lengths(dataset, processor):
    """{what: numbers}, one for each row: what is counted beside images and objects."""
    medians = (meters(cell)[::4, ::4] for cell in dataset["depth"])
    return {
        "median depth, cm": [round(100 * float(np.median(depth[depth > 0]))) for depth in medians if (depth > 0).any()]
    }
