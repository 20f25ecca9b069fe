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
"""The head of a published model: loaded without the report of what did not fit,
and which of its outputs are our classes."""

from transformers.utils import logging


class suppress_warnings:
    """Without transformers' report of which weights fitted: a new head is reported as a mismatch,
    which is the point here."""

    def __enter__(self):
        self.verbosity = logging.get_verbosity()
        logging.set_verbosity_error()

    def __exit__(self, *_):
        logging.set_verbosity(self.verbosity)


def own_columns(model, class_names):
    """Which of the published model's outputs are our classes; None unless each class has one of its own.

    A label such as "tench, Tinca tinca" or "car;auto;automobile" answers to each of its names.
    """
    columns = {}
    for column, label in model.config.id2label.items():
        for name in [label, *label.replace(";", ",").split(",")]:
            columns.setdefault(normalize_name(name), int(column))
    found = [columns.get(normalize_name(name)) for name in class_names]
    return found if None not in found and len(set(found)) == len(found) else None


def normalize_name(name):
    return name.lower().replace("_", " ").strip()
