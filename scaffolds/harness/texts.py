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
"""Texts: how a model without a chat template is asked, and when two answers are the same."""

# The texts of the turns, a line each, and the end token after an answer.
PLAIN_CHAT = (
    "{{ bos_token or '' }}{% for turn in messages %}{{ turn['content'] }}"
    "{{ eos_token if turn['role'] == 'assistant' else '\n' }}{% endfor %}"
)


def normalize_answer(text):
    """Without case, outer space, final punctuation and articles: "A red car." -> "red car"."""
    words = " ".join(text.lower().split()).strip(" .,!?;:\"'").split()
    return " ".join(word for word in words if word not in ("a", "an", "the"))


def words(text):
    """Only the words, with a space on each side of each: " a red car "."""
    return f" {' '.join(''.join(letter if letter.isalnum() else ' ' for letter in text.lower()).split())} "
