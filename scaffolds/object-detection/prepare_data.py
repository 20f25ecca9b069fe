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
no row is ever in both. Boxes become [x, y, width, height] in pixels of the upright image, clipped to it; what has no
area or no known class is left out and counted, as are crowds, which stand for no single object.
"""

from collections import Counter
from itertools import zip_longest

from datasets import ClassLabel, Features, Image, List, Value

from harness import pictures, rows
from harness.project import cpu_count, load_config
from harness.readers.labels import class_of
from harness.readers.numbers import four

# A row's objects: those that are used, and of each other one its class (where it has one) and why it is left out
OBJECTS = {
    "boxes": List(List(Value("float64"))),
    "names": List(Value("string")),
    "problem": Value("string"),
    "left_out": List({"name": Value("string"), "why": Value("string")}),
}


def main():
    cfg = load_config()
    train, evaluation = rows.load(cfg, as_task)
    names = cfg["class_names"] or sorted({name for found in train["names"] for name in found})
    train_rows, eval_rows, read = rows.choose(cfg, train, evaluation, lambda dataset: tally(dataset, names))
    chosen, held_out = numbered(train, train_rows, names), numbered(evaluation or train, eval_rows, names)
    if not any(len(found) for found in chosen["categories"]):
        raise SystemExit(
            f"none of the {len(train_rows)} training rows has a box: set column_map and box_format, or choose other "
            "data"
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
    """Columns image (still encoded), boxes and names: a list for each row; `left_out` of the other boxes;
    `problem` of the row."""
    paths = {role: cfg["column_map"].get(role, f"objects.{role}") for role in ("bbox", "category", "iscrowd")}
    image = cfg["column_map"].get("image", "image")
    for path in (image, paths["bbox"], paths["category"]):
        if path.partition(".")[0] not in dataset.column_names:
            raise SystemExit(
                f"the dataset has no column {path!r}, only {', '.join(dataset.column_names)}: set column_map"
            )
    labels = class_label(dataset.features, paths["category"])
    dataset = dataset.cast_column(image, Image(decode=False))
    features = Features({"image": dataset.features[image], **OBJECTS})
    return dataset.map(
        in_pixels,
        fn_kwargs={"image": image, "paths": paths, "labels": labels, "cfg": cfg},
        features=features,
        num_proc=cpu_count() if len(dataset) > 2000 else None,
        remove_columns=dataset.column_names,
    )


def class_label(features, path):
    """The names behind numbered categories, where the dataset declares them."""
    parent, _, name = path.partition(".")
    found = features[parent]
    while isinstance(found, dict) or hasattr(found, "feature"):
        found = found[name] if isinstance(found, dict) else found.feature
    return found.names if isinstance(found, ClassLabel) else None


def in_pixels(row, image, paths, labels, cfg):
    """One row's boxes as [x, y, width, height] within its upright image, and the names of their classes."""
    cell, crowds = row[image], values(row, paths["iscrowd"])
    objects = list(zip_longest(values(row, paths["bbox"]), values(row, paths["category"])))
    found = {"image": cell, "boxes": [], "names": [], "left_out": [], "problem": ""}
    if not pictures.is_readable(cell):
        return found | {
            "problem": "image cannot be read",
            "left_out": [{"name": class_of(one, labels), "why": "image cannot be read"} for _, one in objects],
        }
    width, height = pictures.opened(cell).size
    frame = frame_of(row, cell, (width, height), [box for box, _ in objects], cfg)
    for i, (box, category) in enumerate(objects):
        name, crowd = class_of(category, labels), i < len(crowds) and crowds[i]
        box = corners(box, cfg, *frame[:2]) if frame else None
        box = clipped(scaled(on_upright(box, frame), frame, (width, height)), width, height) if box else None
        why = (
            "of a crowd"
            if crowd
            else "without a known class"
            if name is None
            else "drawn on a picture of another size"
            if frame is None
            else "without area"
            if box is None
            else None
        )
        if why:
            found["left_out"].append({"name": name, "why": f"box {why}"})
            continue
        found["boxes"].append(box)
        found["names"].append(name)
    return found


def frame_of(row, cell, upright, boxes, cfg):
    """(width, height, turn) of the picture that the boxes were drawn on: the upright one, or the one that is stored
    and how it is turned. It may have been larger or smaller than this one.

    The row's own width and height say which; without them, whether the boxes fit. None: they are of neither.
    """
    width, height, turn = pictures.turn_of(cell)
    frames = [(*upright, None), (width, height, turn)][: 1 if turn is None else 2]
    drawn = row.get("width"), row.get("height")
    if all(isinstance(side, int) and side > 0 for side in drawn):
        turns = [turn for *size, turn in frames if pictures.same_shape(drawn, size)]
        return (*drawn, turns[0]) if turns else None
    return next((frame for frame in frames if all(fits(box, frame, cfg) for box in boxes)), frames[0])


def fits(box, frame, cfg):
    """Whether a box lies within the frame, but for two pixels: a wrong edge is common,
    a wrong frame is not seen in shares."""
    ends = corners(box, cfg, *frame[:2])
    return ends is None or min(ends[:2]) >= -2 and ends[2] <= frame[0] + 2 and ends[3] <= frame[1] + 2


def scaled(box, frame, upright):
    """A box on the upright picture of the frame -> on this one, where they differ by more than a rounded side."""
    width, height = frame[:2] if pictures.same_shape(frame[:2], upright) else frame[1::-1]
    across, down = (ours / theirs for ours, theirs in zip(upright, (width, height), strict=False))
    if max(abs(across - 1), abs(down - 1)) <= 0.02:
        return box
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def values(row, path):
    """A list for each row: its own column, a field of a struct of lists, or a field of a list of structs."""
    parent, _, name = path.partition(".")
    found = row.get(parent)
    if found is None or not name:
        return found or []
    return (
        [one[name] for one in found]
        if isinstance(found, list) and name in (found[0] if found else {})
        else found.get(name) or []
        if isinstance(found, dict)
        else []
    )


def corners(box, cfg, width, height):
    """Any of the three box formats -> left, top, right, bottom in pixels;
    None where it has not four finite numbers."""
    if (box := four(box)) is None:
        return None
    a, b, c, d = box
    if cfg["boxes_normalised"]:
        a, b, c, d = a * width, b * height, c * width, d * height
    if cfg["box_format"] == "xyxy":
        return a, b, c, d
    if cfg["box_format"] == "cxcywh":
        return a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return a, b, a + c, b + d


def on_upright(box, frame):
    """A box (left, top, right, bottom) on the picture as it is stored -> on the upright picture."""
    width, height, turn = frame
    if turn is None:
        return box
    ends = [pictures.turned_point(x, y, width, height, turn) for x, y in (box[:2], box[2:])]
    (x, y), (u, v) = ends
    return min(x, u), min(y, v), max(x, u), max(y, v)


def clipped(box, width, height):
    """[x, y, width, height] within the image; None where nothing is left of it."""
    left, top, right, bottom = box
    left, top, right, bottom = max(0.0, left), max(0.0, top), min(float(width), right), min(float(height), bottom)
    return [left, top, right - left, bottom - top] if right - left >= 1 and bottom - top >= 1 else None


def tally(dataset, names):
    """Which rows can be used, and why the others cannot. Rows without a box stay: there is nothing to find in them."""
    found, known = rows.Tally(), set(names)
    for problem, used, others in zip(dataset["problem"], dataset["names"], dataset["left_out"], strict=False):
        if strange := set(used) - known:
            raise SystemExit(
                f"row {found.rows} has the class {sorted(strange)[0]!r}, which is not one of class_names in "
                "config.yaml: fix one of the two"
            )
        found.add(problem, used, [(one["name"], one["why"]) for one in others])
    return found


def numbered(dataset, chosen, names):
    """The chosen rows with a class id for each box."""
    index = {name: i for i, name in enumerate(names)}
    chosen = dataset.select(chosen)
    chosen = chosen.map(
        lambda row: {"categories": [index[name] for name in row["names"]]},
        remove_columns=["names", "left_out", "problem"],
    )
    return (
        pictures.all_visible(chosen)
        .cast_column("image", Image())
        .cast_column("boxes", List(List(Value("float32"))))
        .cast_column("categories", List(Value("int64")))
    )


def histogram(dataset, names):
    """Boxes of each class."""
    counts = Counter(category for found in dataset["categories"] for category in found)
    return {name: counts[i] for i, name in enumerate(names)}


if __name__ == "__main__":
    main()
