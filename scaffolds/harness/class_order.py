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
"""The names of classes as each split's own files declare them. A check: leave this file as it is.

`datasets` declares all splits as the first file, or the card, does. Where the files of another split number the same
classes in another order, its ids would silently mean other names.
"""

from pathlib import Path

from datasets import ClassLabel, Features, load_dataset_builder
from huggingface_hub import hf_hub_download

from harness.features import class_names
from harness.local_tables import declared

OF_HUB = "hf://datasets/"


def by_own_names(cfg, splits):
    """{split: dataset}, each with the class names that its files declare. Where all files agree and the card names
    other classes, the card has renamed them, and its names stay."""
    if not any(class_names(dataset.features) for dataset in splits.values()):
        return splits
    own = declared_by_files(cfg, splits)
    lists = [class_names(features) for features in own.values()]
    shown = class_names(next(iter(splits.values())).features)
    if (
        not lists
        or all(one == lists[0] for one in lists)
        and sorted(map(sorted, lists[0])) != sorted(map(sorted, shown))
    ):
        return splits
    return {split: redeclared(dataset, own.get(split)) for split, dataset in splits.items()}


def declared_by_files(cfg, splits):
    """split -> the features that its parquet files declare. Refuses files of one split that do not agree."""
    builder = load_dataset_builder(cfg["dataset_id"], cfg["dataset_config"], revision=cfg["dataset_revision"])
    files, found = builder.config.data_files, {}
    for split in splits:
        paths = [path for path in map(str, (files or {}).get(split, ())) if path.endswith(".parquet")]
        each = [declared(downloaded(path)) for path in paths]
        if any(class_names(one) != class_names(each[0]) for one in each):
            raise SystemExit(
                f"the files of split {split!r} declare different classes, or in another order: write them again from "
                "one table"
            )
        if each:
            found[split] = each[0]
    return found


def downloaded(path):
    """hf://datasets/<owner>/<name>@<revision>/<file> -> where the file lies, downloaded already."""
    if not path.startswith(OF_HUB):
        return Path(path)
    repo, _, rest = path.removeprefix(OF_HUB).partition("@")
    revision, _, name = rest.partition("/")
    return Path(hf_hub_download(repo, name, repo_type="dataset", revision=revision))


def redeclared(dataset, own):
    """The dataset with the names of `own` for the same ids."""
    if own is None or class_names(own) == class_names(dataset.features):
        return dataset
    return dataset.cast(Features({name: renamed(kind, own.get(name)) for name, kind in dataset.features.items()}))


def renamed(kind, own):
    """A feature with the class names of another of the same shape."""
    if isinstance(kind, ClassLabel) and isinstance(own, ClassLabel):
        return own
    if isinstance(kind, dict) and isinstance(own, dict):
        return {name: renamed(inner, own.get(name)) for name, inner in kind.items()}
    if hasattr(kind, "feature") and hasattr(own, "feature"):
        length = {"length": kind.length} if hasattr(kind, "length") else {}
        return type(kind)(renamed(kind.feature, own.feature), **length)
    return kind
