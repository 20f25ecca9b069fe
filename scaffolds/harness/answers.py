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
"""Asking the model."""

import torch


@torch.inference_mode()
def ask(model, tokenizer, rows, collate, max_new_tokens, batch_size):
    """The model's most likely answer to each row, as text.

    collate(rows) -> what `generate` is given, padded to the left, where no answer continues.
    """
    said = []
    for start in range(0, len(rows), batch_size):
        batch = {name: value.to(model.device) for name, value in collate(rows[start : start + batch_size]).items()}
        answers = model.generate(
            **batch,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=tokenizer.pad_token_id,
        )
        said += tokenizer.batch_decode(answers[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in said]


def padded_left(tokenizer):
    """A collate for rows of token ids."""

    def collate(rows):
        width = max(map(len, rows))
        ids = [[tokenizer.pad_token_id] * (width - len(row)) + row for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}

    return collate
