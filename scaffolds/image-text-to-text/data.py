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
"""Images and conversations to tensors: the same for training and for evaluation, so that what is measured is what was
learned.

A row of data/ has images, prompt and answers. Nothing is ever cut off: an image's tokens and its pixels must stay as
many as each other.
"""

import torch

from harness.project import load_split

MASKED = -100  # a label that no loss looks at
PLACEHOLDER = (
    "<image>"  # where an image stands in the text of a turn; without any, all stand before the first question
)
BY_TOKEN = ("attention_mask", "token_type_ids", "mm_token_type_ids")  # one value a token, padded with 0


def train_view(dataset, processor, dtype=torch.float32):
    """Rows as tensors; every token but those of the answer and its end is masked in `labels`. dtype:
    of the pictures."""

    def transform(rows):
        found = [
            lighter(example(images, prompt, answers[0], processor), dtype)
            for images, prompt, answers in zip(rows["images"], rows["prompt"], rows["answers"], strict=False)
        ]
        return {name: [row[name] for row in found] for name in found[0]}

    return dataset.with_transform(transform)


def example(images, prompt, answer, processor):
    """One row: what the model reads, with the answer behind the prompt."""
    inputs, ended = encode(images, prompt, answer, processor)
    answer_ids = torch.tensor(processor.tokenizer(ended, add_special_tokens=False)["input_ids"])
    given = inputs["input_ids"]
    row = {
        **inputs,
        "input_ids": torch.cat([given, answer_ids]),
        "labels": torch.cat([torch.full_like(given, MASKED), answer_ids]),
    }
    for name in BY_TOKEN:
        if name in inputs:
            row[name] = torch.cat([inputs[name], torch.full_like(answer_ids, int(name == "attention_mask"))])
    return row


def lighter(row, dtype):
    """Pictures in the precision that is computed with, and their masks as truth values:
    a third of the bytes on the way to the GPU."""
    masks = [name for name, value in row.items() if name.endswith("mask") and value.dim() > 2]
    return {
        name: value.to(dtype) if value.is_floating_point() else value.bool() if name in masks else value
        for name, value in row.items()
    }


def encode(images, prompt, answer, processor):
    """(the prompt as the model reads it, without a batch dimension for tokens; the answer's text with what ends it)"""
    turns = with_images(prompt, len(images))
    before = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    ended = ""
    if answer is not None:
        whole = processor.apply_chat_template(
            [*turns, {"role": "assistant", "content": [{"type": "text", "text": answer}]}], tokenize=False
        )
        if not whole.startswith(before.rstrip()):
            raise SystemExit(
                "the chat template writes a conversation with an answer otherwise than one that waits for it: "
                f"{whole[:200]!r}"
            )
        before = before if whole.startswith(before) else before.rstrip()
        # the line break after the end token belongs to a turn that never comes
        ended = whole[len(before) :].rstrip("\n")
        if not ended.endswith(
            tuple(token.content for token in processor.tokenizer.added_tokens_decoder.values())
        ):  # a template that ends no answer: nothing would be learned to end
            ended += processor.tokenizer.eos_token
    inputs = dict(processor(text=[before], images=[[image.convert("RGB") for image in images]], return_tensors="pt"))
    return {name: value[0] if name in ("input_ids", *BY_TOKEN) else value for name, value in inputs.items()}, ended


def with_images(prompt, images):
    """The turns as lists of parts: each image where its mark stands; where there are no marks,
    all before the first question."""
    # a system turn says how to answer: it shows nothing
    asking = [i for i, turn in enumerate(prompt) if turn["role"] != "system"]
    marked = sum(prompt[i]["content"].count(PLACEHOLDER) for i in asking) == images
    turns = []
    for i, turn in enumerate(prompt):
        before, *others = turn["content"].split(PLACEHOLDER) if marked and i in asking else [turn["content"]]
        parts = [{"type": "image"} for _ in range(images if not marked and i == asking[0] else 0)]
        parts += (
            [{"type": "text", "text": before.strip() if others else before}] if before.strip() or not others else []
        )
        for piece in others:
            parts += [{"type": "image"}, *([{"type": "text", "text": piece.strip()}] if piece.strip() else [])]
        turns.append({"role": turn["role"], "content": parts})
    return turns


class Collate:
    """Rows -> one batch. Tokens are padded on one side; of pictures, the missing tiles are zeros,
    which the models leave out."""

    def __init__(self, processor, side="right"):
        self.side = side
        self.padding = {
            "input_ids": processor.tokenizer.pad_token_id or 0,
            "labels": MASKED,
            **dict.fromkeys(BY_TOKEN, 0),
        }

    def __call__(self, examples):
        width = max(len(row["input_ids"]) for row in examples)
        batch = {}
        for name in examples[0]:
            values = [row[name] for row in examples]
            batch[name] = (
                torch.stack([self.widened(value, width, self.padding[name]) for value in values])
                if name in self.padding
                else joined(values)
            )
        return batch

    def widened(self, tokens, width, value):
        missing = torch.full((width - len(tokens),), value, dtype=tokens.dtype)
        return torch.cat([tokens, missing] if self.side == "right" else [missing, tokens])


def joined(values):
    """Pictures of several rows along their first dimension; where the second one counts tiles, to as many."""
    most = [max(value.shape[axis] for value in values) for axis in range(1, values[0].dim())]
    padded = []
    for value in values:
        whole = value.new_zeros(value.shape[0], *most)
        whole[tuple(slice(0, size) for size in value.shape)] = value
        padded.append(whole)
    return torch.cat(padded)


def some_inputs(processor, count=2):
    """A few evaluation rows one by one, as the model takes them: for comparing two copies of it."""
    dataset = load_split("eval")
    for row in dataset.select(range(min(count, len(dataset)))):
        inputs = Collate(processor)([example(row["images"], row["prompt"], row["answers"][0], processor)])
        yield {name: value for name, value in inputs.items() if name != "labels"}


def questions(processor):
    """A collate for rows (images, prompt) that wait for an answer."""
    batch = Collate(processor, side="left")
    return lambda rows: batch([encode(images, prompt, None, processor)[0] for images, prompt in rows])
