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
"""From a dataset to the rows that are trained on and held out: read it, take the task's columns, choose with `seed`,
keep as Arrow."""

import random
import shutil
from collections import Counter

from datasets import ClassLabel

from harness import data_page, local_data, overlap
from harness.project import DATA, digest, write_json  # first: it sets up the environment
from harness.readers.labels import class_of


def load(cfg, as_task):
    """(training rows' dataset, evaluation rows' dataset or None: hold rows out), each through `as_task(dataset,
    cfg)`."""
    wanted = (cfg["train_split"] or "train", cfg["eval_split"])
    splits = local_data.load(cfg, wanted)
    train, evaluation = (as_task(pick(splits, name), cfg) if name else None for name in wanted)
    return train, evaluation


def pick(splits, name):
    if name not in splits:
        raise SystemExit(
            f"the dataset has no split {name!r}, only {', '.join(splits)}: set train_split and eval_split"
        )
    return splits[name]


def renamed(dataset, cfg, names, optional=()):
    """Only these columns, under the task's names; config.yaml's column_map tells which of the dataset's they are."""
    columns = {name: cfg["column_map"].get(name, name) for name in (*names, *optional)}
    columns = {name: theirs for name, theirs in columns.items() if name in names or theirs in dataset.column_names}
    missing = [theirs for theirs in columns.values() if theirs not in dataset.column_names]
    if missing:
        raise SystemExit(
            f"the dataset has no column {missing[0]!r}, only {', '.join(dataset.column_names)}: set column_map"
        )
    dataset = dataset.select_columns(list(dict.fromkeys(columns.values())))
    for name, theirs in columns.items():
        if theirs != name:
            dataset = dataset.rename_column(theirs, name)
    return dataset


def label_names(dataset):
    """Each row's label as its name; None where there is none."""
    feature = dataset.features["label"]
    names = feature.names if isinstance(feature, ClassLabel) else None
    return [class_of(value, names) for value in dataset["label"][:]]


class Tally:
    """What a split holds and what of it can be used: rows, the classes of its rows or objects,
    and the reasons for what is left out."""

    def __init__(self):
        self.rows, self.usable = 0, []  # how many were read; the numbers of those that can be used
        # reason -> rows; reason -> objects of rows that are used
        self.left_out, self.objects_left_out = (
            Counter(),
            Counter(),
        )
        # class -> as often as it was read; class -> reason -> how often
        self.classes, self.classes_left_out = (
            Counter(),
            {},
        )
        self.lengths = []  # tokens of rows, where too long ones are left out

    def add(self, problem, classes=(), left_out=()):
        """One row. problem: why it is left out, "" or None where it is used. classes: of the row, or of its objects
        that are used. left_out: (class or None, reason) of each of its other objects."""
        for name in classes:
            self.classes[name] += 1
            if problem:
                self.classes_left_out.setdefault(name, Counter())[problem] += 1
        for name, reason in left_out:
            if not problem:
                self.objects_left_out[reason] += 1
            if name is not None:
                self.classes[name] += 1
                self.classes_left_out.setdefault(name, Counter())[problem or reason] += 1
        if problem:
            self.left_out[problem] += 1
        else:
            self.usable.append(self.rows)
        self.rows += 1

    def counted(self, split):
        """For data/meta.json, which the verdict on this stage compares with what the probe counted."""
        return {
            "split": split,
            "rows": self.rows,
            "usable": len(self.usable),
            "left_out": dict(self.left_out),
            "objects_left_out": dict(self.objects_left_out),
            "classes": dict(self.classes),
            "classes_left_out": {name: dict(why) for name, why in self.classes_left_out.items()},
        }


def problems_of(dataset):
    """A Tally of rows whose column `problem` says why they are left out."""
    tally = Tally()
    for problem in dataset["problem"]:
        tally.add(problem)
    return tally


def choose(cfg, train, evaluation, tally_of):
    """(training rows, evaluation rows, what was read of each split), at most n_train and n_eval, by `seed`, in file
    order.

    tally_of(dataset) -> Tally. Without an evaluation dataset, rows are held out of the training dataset first, so that
    no row is ever in both.
    """
    tally = tally_of(train)
    refuse_none(tally)
    read = {"train": tally.counted(cfg["train_split"] or "train"), "eval": None}
    rng = random.Random(cfg["seed"])
    chosen = rng.sample(tally.usable, len(tally.usable))
    if evaluation is None:
        count = min(cfg["n_eval"], max(1, len(chosen) // 5))  # a small dataset keeps four fifths to learn from
        held_out, chosen = chosen[:count], chosen[count:]
    else:
        other = tally_of(evaluation)
        refuse_none(other)
        read["eval"] = other.counted(cfg["eval_split"])
        held_out = rng.sample(other.usable, min(cfg["n_eval"], len(other.usable)))
    if not chosen or not held_out:
        raise SystemExit(
            f"{len(tally.usable)} usable rows are too few to train on and to evaluate on (left out: "
            f"{dict(tally.left_out)})"
        )
    if lengths := sorted(tally.lengths):
        # tokens of the longest of 95 % of the rows
        read["train"]["fits_95"] = lengths[min(len(lengths) - 1, int(0.95 * len(lengths)))]
    return sorted(chosen[: cfg["n_train"]]), sorted(held_out), read


def refuse_none(tally):
    if not tally.usable:
        raise SystemExit(f"none of the {tally.rows} rows can be used: {dict(tally.left_out)}")


def write(cfg, train, evaluation, **more):
    """data/train, data/eval and data/meta.json. train, evaluation: (dataset of the chosen rows, their row numbers)."""
    shutil.rmtree(DATA, ignore_errors=True)
    for split, (dataset, _) in (("train", train), ("eval", evaluation)):
        dataset.save_to_disk(str(DATA / split))
    # of the row numbers chosen
    meta = {
        "n_train": len(train[1]),
        "n_eval": len(evaluation[1]),
        "train_split": cfg["train_split"] or "train",
        "eval_split": cfg["eval_split"],
        "train_sha256": digest(train[1]),
        "eval_sha256": digest(evaluation[1]),
        **more,
    }
    for name, key in (("dropped", "left_out"), ("objects_dropped", "objects_left_out")):  # of both splits together
        meta[name] = dict(sum((Counter(part[key]) for part in meta["read"].values() if part), Counter()))
    seen = overlap.found()  # evaluation rows that the training rows hold as well
    meta |= {"seen_in_training": seen["rows"], "seen_anew": seen["anew"]}
    data_page.write(cfg, meta)  # first: a row that no batch can be made of leaves data/ unfinished
    write_json(DATA / "meta.json", meta)
    print(
        f"{meta['n_train']} training and {meta['n_eval']} evaluation rows"
        + (f", {len(meta['class_names'])} classes" if meta["class_names"] else "")
        + (f"; {meta['seen_in_training']} evaluation rows are training rows too" if meta["seen_in_training"] else "")
        + "".join(f", {count} rows left out ({why})" for why, count in meta["dropped"].items())
        + "".join(f", {count} objects left out ({why})" for why, count in meta["objects_dropped"].items())
    )
