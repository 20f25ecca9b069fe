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

from data import IGNORED, collate, eval_view, train_view
from harness import overlays
from harness.pixels import Scaling
from harness.tiles import Tile, at_size, resized

LISTED = 8  # classes in a legend, the largest ones


def reader(split, dataset, cfg, processor):
    """index -> the row as a batch of one, by the transform and the collator of training, or of evaluation."""
    view = train_view(dataset, cfg, processor) if split == "train" else eval_view(dataset, processor)
    scaling = Scaling(processor)
    return lambda index: {**collate([view[index]]), "scaling": scaling}


def tile(batch, row, meta):
    """The picture beside its classes; what has none is white."""
    names = meta["class_names"]
    image, _ = at_size(batch["scaling"].picture(batch["pixel_values"][0]))
    ids = resized(batch["labels"][0].numpy(), image.size)
    colors = overlays.palette(len(names))
    colors[[i for i, name in enumerate(names) if name.lower() == "background"]] = 128  # gray: the others stand out
    drawn = np.asarray(overlays.colored(image, ids, colors)).copy()
    drawn[ids == IGNORED] = 255
    areas = np.bincount(ids[ids != IGNORED], minlength=len(names)) / ids.size
    largest = [i for i in np.argsort(-areas, kind="stable") if areas[i]]
    both = overlays.beside(image, overlays.Image.fromarray(drawn))
    shares = [f"{names[i]} {areas[i]:.0%}" for i in largest]
    shares += [f"no class {(ids == IGNORED).mean():.0%}"] if (ids == IGNORED).any() else []
    return Tile(", ".join(shares), [overlays.legend(both, [(names[i], colors[i]) for i in largest[:LISTED]])])


def classes(dataset):
    """The classes of each row; None where they are not known without drawing it."""
    return None


def lengths(dataset, processor):
    """{what: numbers}, one for each row: what is counted beside images and objects."""
    return {}
