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
"""Five evaluation rows with the tuned model's answer: reports/inference_samples/<i>_{input,pred,meta}."""

import shutil

from harness.project import REPORTS, write_json

N_SAMPLES = 5
FOLDER = REPORTS / "inference_samples"


def write(dataset, answer):
    """answer(row) -> (input, its prediction to look at, meta), for rows spread over the whole evaluation set.

    The first two are texts or pictures (PIL).
    """
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    count = min(N_SAMPLES, len(dataset))
    for i in range(count):
        index = i * len(dataset) // count
        before, after, meta = answer(dataset[index])
        save(before, f"{i}_input")
        save(after, f"{i}_pred")
        write_json(FOLDER / f"{i}_meta.json", {"index": index, **meta})
    print(f"{count} samples in {FOLDER.relative_to(REPORTS.parent)}")


def save(sample, name):
    if isinstance(sample, str):
        (FOLDER / f"{name}.txt").write_text(sample, encoding="utf-8")
    else:
        sample.convert("RGB").save(FOLDER / f"{name}.jpg", quality=95)
