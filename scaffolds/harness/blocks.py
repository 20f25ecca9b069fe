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
"""Texts that are learned from end to end, in blocks of at most max_length tokens: nothing of a long one is lost."""

import random


def in_blocks(dataset, texts, tokenizer, cfg, most):
    """(the blocks of these texts, at most `most` of them, by `seed`; [text, block] of each; how many there are)"""
    room = cfg["max_length"] - len(tokenizer("")["input_ids"]) - 1  # the text's end is a token, too
    blocks, numbers = [], []
    for text, row in zip(texts, dataset.select(texts), strict=True):
        pieces = cut(row["completion"][0]["content"], tokenizer, room)
        for number, piece in enumerate(pieces):
            turn = {"role": "assistant", "content": piece}
            blocks.append({"prompt": [], "completion": [turn | ({} if piece is pieces[-1] else {"continues": True})]})
            numbers.append([text, number])
    chosen = sorted(random.Random(cfg["seed"]).sample(range(len(blocks)), min(most, len(blocks))))
    rows = {name: [blocks[i][name] for i in chosen] for name in ("prompt", "completion")}
    made = type(dataset).from_dict(rows, features=dataset.features)
    return made, [numbers[i] for i in chosen], len(blocks)


def cut(text, tokenizer, room):
    """The text in pieces of at most `room` tokens, which joined are the text again."""
    starts = [
        start for start, _ in tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    ]
    pieces, first = [], 0
    while first < len(starts):
        last = min(first + room, len(starts))
        while True:
            begin = starts[first] if first else 0
            piece = text[begin : starts[last] if last < len(starts) else len(text)]
            over = len(tokenizer(piece, add_special_tokens=False)["input_ids"]) - room
            if over <= 0 or last - first <= 1:
                break
            last = max(first + 1, last - over)  # a word that is cut may take more tokens than it did whole
        pieces += [piece] if piece else []  # the tokens of one letter begin in one place
        first = last
    return pieces
