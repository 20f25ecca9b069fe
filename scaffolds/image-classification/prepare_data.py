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
"""Fetch the dataset, choose the rows, keep them as Arrow: data/train, data/eval and data/meta.json.

    python prepare_data.py

The rows are chosen with `seed`. Without an eval_split, the evaluation rows are held out of train_split first, so that
no row is ever in both.
"""

from collections import Counter

from datasets import ClassLabel, Image

from harness import pictures, rows
from harness.project import cpu_count, load_config


def main():
    cfg = load_config()
    train, evaluation = rows.load(cfg, as_task)
    names = class_names(cfg, train)
    train_rows, eval_rows, read = rows.choose(cfg, train, evaluation, lambda dataset: tally(dataset, names))
    chosen, held_out = numbered(train, train_rows, names), numbered(evaluation or train, eval_rows, names)
    labels = chosen["label"][:]
    if len(set(labels)) < 2:
        raise SystemExit(
            f"all {len(labels)} training rows have the label {names[labels[0]]!r}: nothing to tell apart; choose "
            "other data or a larger n_train"
        )
    rows.write(
        cfg,
        (chosen, train_rows),
        (held_out, eval_rows),
        class_names=names,
        read=read,
        train_histogram=histogram(chosen, names),
        eval_histogram=histogram(held_out, names),
    )


def as_task(dataset, cfg):
    """Only the columns image and label, under these names, with the image still encoded."""
    return rows.renamed(dataset, cfg, ("image", "label")).cast_column("image", Image(decode=False))


def class_names(cfg, train):
    """config.yaml's class names, else the dataset's, else the labels that occur in the training split, sorted."""
    if cfg["class_names"]:
        return cfg["class_names"]
    if isinstance(train.features["label"], ClassLabel):
        return train.features["label"].names
    found = {name for name in rows.label_names(train) if name is not None}
    return sorted(found, key=lambda name: (0, int(name), "") if name.isdecimal() else (1, 0, name))


def tally(dataset, names):
    """Which rows can be used, and why the others cannot. An unknown label is an error: it would be trained wrongly."""
    found, known = rows.Tally(), set(names)
    for readable, name in zip(map_readable(dataset), rows.label_names(dataset), strict=False):
        if name is not None and name not in known:
            raise SystemExit(
                f"row {found.rows} has the label {name!r}, which is not one of class_names in config.yaml: fix one of "
                "the two"
            )
        problem = "no label" if name is None else "" if readable else "image cannot be read"
        found.add(problem, [] if name is None else [name])
    return found


def map_readable(dataset):
    """Row -> can its image be opened? Better found here than after an hour of training."""
    checked = dataset.map(
        lambda image: {"readable": pictures.is_readable(image)},
        input_columns=["image"],
        remove_columns=dataset.column_names,
        num_proc=cpu_count() if len(dataset) > 5000 else None,
    )
    return checked["readable"][:]


def numbered(dataset, chosen, names):
    """The chosen rows with class ids for labels."""
    index = {name: i for i, name in enumerate(names)}
    chosen = pictures.all_visible(dataset.select(chosen))
    labels = [index[name] for name in rows.label_names(chosen)]
    chosen = chosen.remove_columns("label").add_column("label", labels)
    return chosen.cast_column("image", Image()).cast_column("label", ClassLabel(names=names))


def histogram(dataset, names):
    counts = Counter(dataset["label"][:])
    return {name: counts[i] for i, name in enumerate(names)}


if __name__ == "__main__":
    main()
