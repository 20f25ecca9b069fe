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
"""The numbers of reports/data.html: what is left out, how often each class occurs, how large and how long rows are."""

from collections import Counter

from datasets import Image, List

from harness import pictures
from harness.html_page import table, text

SAMPLED = 1000  # rows of a split whose sizes and objects are counted
MEASURED = 300  # rows of a split whose lengths are measured
LONGEST = 80  # characters of a name
NAMES = {"train": "training", "eval": "evaluation"}
CLASSES = 40  # of a histogram; of more, the most frequent and the rarest half
COUNTED = {
    "image-classification": "images",
    "object-detection": "boxes",
    "semantic-segmentation": "pixels",
    "instance-segmentation": "objects",
    "panoptic-segmentation": "segments",
}


def spread(length, count):
    """`count` indices at equal distances, all where there are fewer."""
    count = min(count, length)
    return [i * length // count for i in range(count)]


MISSING = "<span class=lost>none</span>"  # of a class


def left_out(meta):
    """A line for each reason of each split: what it cost, in rows or in objects."""
    lines = []
    for part in filter(None, meta["read"].values()):
        lines.append((part["split"], "rows read", f"{part['rows']:,}", ""))
        lines.append(
            (part["split"], "rows that can be used", f"{part['usable']:,}", share(part["usable"], part["rows"]))
        )
        lines += [
            (part["split"], f"left out: {why}", f"{count:,} rows", share(count, part["rows"]))
            for why, count in part["left_out"].items()
        ]
        objects = sum(part["classes"].values())
        lines += [
            (part["split"], f"left out: {why}", f"{count:,} objects", share(count, objects))
            for why, count in part["objects_left_out"].items()
        ]
    return table(("split", "rows", "count", "share"), lines)


def share(count, total):
    return f"{count / total:.1%}" if total else ""


def class_histogram(cfg, meta):
    """Bars of each class in both splits, as config.yaml orders the classes."""
    train, evaluation = meta.get("train_histogram") or {}, meta.get("eval_histogram") or {}
    names = list(train)
    if not names:
        return ""
    note = ""
    if len(names) > CLASSES:
        ordered = sorted(names, key=lambda name: -train[name])
        names = ordered[: CLASSES // 2] + ordered[-CLASSES // 2 :]
        note = f" The {CLASSES // 2} most frequent and the {CLASSES // 2} rarest of {len(ordered)} classes."
    what = COUNTED.get(cfg["task"], "rows")
    bars = "".join(
        f"<tr><td>{text(name[:LONGEST])}</td>{bar(train[name], max(train.values()), MISSING)}"
        f"{bar(evaluation.get(name, 0), max(evaluation.values(), default=0), MISSING)}</tr>"
        for name in names
    )
    return (
        f"<p class=small>How many {what} each class has among the rows that were chosen.{note}</p>"
        f"<table class=bars><tr><th>class</th><th>training</th><th>evaluation</th></tr>{bars}</table>"
    )


def bar(count, most, empty="–"):
    """A table's cell. empty: what stands in it where nothing was counted."""
    if not count:
        return f"<td>{empty}</td>"
    return f'<td><div class="bar w{max(1, round(100 * count / most))}"></div><span>{count:,}</span></td>'


def measures(seen, splits):
    """Histograms of what can be counted in a row: the sides of its images, its tokens, its objects."""
    found = {}  # what -> split -> numbers
    for split, dataset in splits.items():
        for what, numbers in {**image_sides(dataset), **seen.counts.get(split, {})}.items():
            found.setdefault(what, {})[split] = numbers
    return "".join(histogram(what, by_split) for what, by_split in found.items())


def image_sides(dataset):
    """{"width of an image": pixels, ...} of rows at equal distances, as a person sees the images: upright."""
    column = next((name for name in ("image", "images") if name in dataset.column_names), None)
    if column is None:
        return {}
    feature = Image(decode=False)
    dataset = dataset.select(spread(len(dataset), SAMPLED)).select_columns([column])
    sizes = []
    for cell in dataset.cast_column(column, feature if column == "image" else List(feature))[column]:
        for one in cell if isinstance(cell, list) else [cell]:
            width, height, turn = pictures.turn_of(one)
            sizes.append((height, width) if turn in pictures.ON_ITS_SIDE else (width, height))
    return {"width of an image": [width for width, _ in sizes], "height of an image": [height for _, height in sizes]}


def histogram(what, by_split):
    """A small table: the range of each bin, and a bar for each split."""
    numbers = [number for found in by_split.values() for number in found]
    if not numbers:
        return ""
    edges = bins(min(numbers), max(numbers))
    counts = {split: Counter(place(number, edges) for number in found) for split, found in by_split.items()}
    head = "".join(f"<th>{NAMES[split]}</th>" for split in counts)
    lines = "".join(
        f"<tr><td>{text(between(edges, i))}</td>"
        + "".join(bar(count[i], max(count.values())) for count in counts.values())
        + "</tr>"
        for i in range(len(edges) - 1)
    )
    measured = ", ".join(f"{len(found):,} {NAMES[split]}" for split, found in by_split.items())
    return f"<table class=bars><tr><th>{text(what)}</th>{head}</tr>{lines}</table><p class=small>of {measured}</p>"


def bins(low, high):
    """Edges of at most eight bins of whole numbers that hold all from low to high."""
    step = max(1, -(-(high - low + 1) // 8))
    return list(range(low, high + step + 1, step))


def place(number, edges):
    return min((number - edges[0]) // (edges[1] - edges[0]), len(edges) - 2)


def between(edges, i):
    low, high = edges[i], edges[i + 1] - 1
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
