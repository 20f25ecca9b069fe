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

import torch

from data import MASKED, Collate, questions, train_view
from harness.tiles import Tile, at_size, picture_of, token_runs

PARTS = 4  # of an image's tiles that are shown


def reader(split, dataset, cfg, processor):
    """index -> the row as a batch of one, by the transform and the collator of training, or of evaluation."""
    if split == "train":
        view, collate = train_view(dataset, processor), Collate(processor)
        batch_of = lambda index: collate([view[index]])  # noqa: E731
    else:
        ask = questions(processor)
        batch_of = lambda index: ask([(dataset[index]["images"], dataset[index]["prompt"])])  # noqa: E731
    return lambda index: {**batch_of(index), "processor": processor}


def tile(batch, row, meta):
    processor, tokens = batch["processor"], batch["input_ids"][0].tolist()
    labels = batch["labels"][0].tolist() if "labels" in batch else [MASKED] * len(tokens)
    learned = [label != MASKED for label in labels]
    parts = parts_of(batch.get("pixel_values"), processor.image_processor)
    images = parts[:PARTS] or [image.convert("RGB") for image in row["images"][:PARTS]]
    said = f"{len(tokens)} tokens, {sum(learned)} learned" if "labels" in batch else "asked, not learned"
    accepted = "" if "labels" in batch else f"; accepted: {' | '.join(row['answers'][:5])[:300]}"
    seen = (
        f"{len(parts)} pictures of {parts[0].width} x {parts[0].height}" if parts else "the images as they are stored"
    )
    texts = [("", token_runs(tokens, learned, processor.tokenizer.decode))]
    return Tile(f"{said}; {seen}{accepted}", [at_size(image)[0] for image in images], texts)


def parts_of(pixels, processor):
    """The pictures that the model gets, without what only fills up; none where pixels are cut into patches already."""
    if pixels is None or pixels.dim() < 4 or pixels.shape[-3] != 3:
        return []
    found = [part.float() for part in pixels.reshape(-1, *pixels.shape[-3:]) if part.any()]
    if getattr(processor, "do_normalize", False):
        mean, deviation = (torch.tensor(value).view(3, 1, 1) for value in (processor.image_mean, processor.image_std))
        found = [part * deviation + mean for part in found]
    scale = 1 / processor.rescale_factor if getattr(processor, "do_rescale", True) else 1
    return [picture_of(part * scale) for part in found]


def classes(dataset):
    """The classes of each row; None where they are not known without drawing it."""
    return None


def lengths(dataset, processor):
    """{what: numbers}, one for each row: what is counted beside images and objects."""
    dataset, count = dataset.select_columns(["prompt", "answers"]), processor.tokenizer
    asked = ["\n".join(turn["content"] for turn in row["prompt"]) for row in dataset]
    return {
        "tokens of the question's text": [len(tokens) for tokens in count(asked)["input_ids"]],
        "tokens of the answer": [len(tokens) for tokens in count([row["answers"][0] for row in dataset])["input_ids"]],
    }
