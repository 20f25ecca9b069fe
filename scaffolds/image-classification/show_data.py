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

from data import collate, eval_view, train_view
from harness.pixels import Scaling
from harness.tiles import Tile, at_size


def reader(split, dataset, cfg, processor):
    """index -> the row as a batch of one, by the transform and the collator of training, or of evaluation."""
    view = train_view(dataset, cfg, processor) if split == "train" else eval_view(dataset, processor)
    scaling = Scaling(processor)
    return lambda index: {**collate([view[index]]), "scaling": scaling}


def tile(batch, row, meta):
    image, _ = at_size(batch["scaling"].picture(batch["pixel_values"][0]))
    return Tile(meta["class_names"][batch["labels"][0]], [image])


def classes(dataset):
    """The classes of each row; None where they are not known without drawing it."""
    return [[label] for label in dataset["label"]]


def lengths(dataset, processor):
    """{what: numbers}, one for each row: what is counted beside images and objects."""
    return {}
