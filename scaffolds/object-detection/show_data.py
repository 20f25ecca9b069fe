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

from collections import Counter

from transformers import MODEL_FOR_OBJECT_DETECTION_MAPPING, AutoConfig

from data import Collate, model_inputs, train_view
from harness import overlays
from harness.pixels import Scaling
from harness.tiles import Tile, with_boxes


def reader(split, dataset, cfg, processor):
    """index -> the row as a batch of one, by the transform and the collator of training, or of evaluation."""
    config = AutoConfig.from_pretrained(cfg["model_id"], revision=cfg["model_revision"])
    model = MODEL_FOR_OBJECT_DETECTION_MAPPING[type(config)]  # the class tells what it takes; no weights are needed
    scaling = Scaling(processor)
    if split == "train":
        view, collate = train_view(dataset, cfg, processor, model), Collate(model, processor)
        return lambda index: {**collate([view[index]]), "scaling": scaling}
    return lambda index: {**model_inputs([dataset[index]["image"]], processor, model), "scaling": scaling}


def tile(batch, row, meta):
    """The picture without its padding, and each box as the loss reads it; of evaluation, as it is stored."""
    pixels = batch["pixel_values"][0]
    if "pixel_mask" in batch:
        mask = batch["pixel_mask"][0] > 0
        pixels = pixels[:, : int(mask.any(1).sum()), : int(mask.any(0).sum())]
    image = batch["scaling"].picture(pixels)
    if "labels" in batch:
        labels = batch["labels"][0]
        categories = labels["class_labels"].tolist()
        centers = [
            [x * image.width, y * image.height, w * image.width, h * image.height]
            for x, y, w, h in labels["boxes"].tolist()
        ]
        boxes = [[x - w / 2, y - h / 2, w, h] for x, y, w, h in centers]
    else:
        categories = row["categories"]
        across, down = image.width / row["image"].width, image.height / row["image"].height
        boxes = [[x * across, y * down, w * across, h * down] for x, y, w, h in row["boxes"]]
    names, colors = meta["class_names"], overlays.palette(len(meta["class_names"])).tolist()
    objects = [
        (box, names[category], tuple(colors[category])) for box, category in zip(boxes, categories, strict=True)
    ]
    counts = Counter(name for _, name, _ in objects)
    caption = ", ".join(f"{count} {name}" if count > 1 else name for name, count in counts.items()) or "no object"
    return Tile(caption, [with_boxes(image, objects)])


def classes(dataset):
    """The classes of each row; None where they are not known without drawing it."""
    return dataset["categories"][:]


def lengths(dataset, processor):
    """{what: numbers}, one for each row: what is counted beside images and objects."""
    return {}
