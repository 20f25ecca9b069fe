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
"""What an answer earns. Edit it for another task; every stage behind `build` is then run again.

`reward` is called with lists, an entry an answer: prompts and completions (messages), and every column of the dataset,
by name. A column that it names must be there; prepare_data.py sees to that.
"""

from harness.texts import normalize_answer


def reward(completions, answer, **columns):
    """1.0 where the whole answer is the right one, but for case, outer space, final punctuation and articles;
    else 0.0."""
    return [
        float(normalize_answer(completion[0]["content"]) == normalize_answer(right))
        for completion, right in zip(completions, answer, strict=False)
    ]
