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

Masks are kept as class ids, one byte a pixel, with IGNORED where there is no class. What their stored values mean,
config.yaml says: mask_values (ids; ids_from_1: 0 is no class and class 0 is stored as 1; codes: mask_codes has the
value of each class; binary_255: 255 is class 1) and ignore_index. The rows are chosen with `seed`. Without an
eval_split, the evaluation rows are held out of train_split first.
"""

import io

import numpy as np
from datasets import Features, Image, List, Value
from PIL import Image as Pillow

from data import IGNORED
from harness import pictures, rows
from harness.project import cpu_count, load_config

MANY = 2000  # rows from which on several processes are worth their start


def main():
    cfg = load_config()
    train, evaluation = rows.load(cfg, as_task)
    seen = {"train": examine(train, cfg), "eval": examine(evaluation, cfg) if evaluation else []}
    names = class_names(cfg, seen)
    train_rows, eval_rows, read = rows.choose(
        cfg, train, evaluation, lambda dataset: tally(seen["train" if dataset is train else "eval"], names)
    )
    chosen, train_pixels = as_ids(train.select(train_rows), names, cfg)
    held_out, eval_pixels = as_ids((evaluation or train).select(eval_rows), names, cfg)
    if sum(pixels > 0 for pixels in train_pixels.values()) < 2:
        raise SystemExit(
            f"all labeled pixels of the {len(train_rows)} training rows are one class: nothing to tell apart; choose "
            "other data or a larger n_train"
        )
    rows.write(
        cfg,
        (chosen, train_rows),
        (held_out, eval_rows),
        class_names=names,
        read=read,
        train_histogram=train_pixels,
        eval_histogram=eval_pixels,
    )


def as_task(dataset, cfg):
    """Only the columns image and mask, under these names, both still encoded."""
    dataset = rows.renamed(dataset, cfg, ("image", "mask"))
    return dataset.cast_column("image", Image(decode=False)).cast_column("mask", Image(decode=False))


def examine(dataset, cfg):
    """For each row: why it cannot be used ("" where it can), and which classes its mask holds,
    unknown ones included."""
    features = Features({"problem": Value("string"), "classes": List(Value("int64"))})
    return dataset.map(
        inspect_mask,
        input_columns=["image", "mask"],
        remove_columns=dataset.column_names,
        features=features,
        fn_kwargs={"coding": coding(cfg)},
        num_proc=processes(dataset),
    )


def coding(cfg):
    """What the stored values of the masks mean."""
    return {"kind": cfg["mask_values"], "ignored": cfg["ignore_index"], "codes": cfg.get("mask_codes") or []}


def inspect_mask(image, mask, coding):
    try:
        size = pictures.opened(image).size
        if not pictures.is_readable(image):
            raise OSError
    except Exception:  # Pillow raises a dozen types on damaged files
        return {"problem": "image cannot be read", "classes": []}
    try:
        ids = class_ids(image, mask, coding)
    except Exception as error:
        return {"problem": str(error) if isinstance(error, NoIds) else "mask cannot be read", "classes": []}
    found = np.unique(ids[ids >= 0]).tolist()
    problem = (
        "mask of another size than its image" if ids.shape[::-1] != size else "" if found else "no pixel with a class"
    )
    return {"problem": problem, "classes": found[:1000]}


class NoIds(Exception):
    """A mask that is no mask of ids."""


def class_ids(image, mask, coding):
    """An encoded mask -> class ids (height, width) on the upright image, -1 for pixels without a class.
    A palette image's values are its indices."""
    picture = pictures.beside(image, pictures.opened(mask))
    if picture.mode in ("1", "LA"):
        picture = picture.convert("L")
    values = np.asarray(picture)
    if values.ndim == 3:
        if not (values[..., :3] == values[..., :1]).all():
            raise NoIds("mask is a color picture, not class ids")
        values = values[..., 0]
    if values.dtype.kind == "f" and (values % 1).any():
        raise NoIds("mask holds fractions, not class ids")
    values, ignored = values.astype(np.int64), coding["ignored"]
    ids = {
        "ids_from_1": lambda: values - 1,
        "codes": lambda: by_code(values, coding["codes"], ignored),
        "binary_255": lambda: (values > 127).astype(np.int64),
    }.get(coding["kind"], lambda: values)()
    return ids if ignored is None else np.where(values == ignored, -1, ids)


def by_code(values, codes, ignored):
    """Stored values -> the places of theirs in `codes`. A value that is not one of them has no class to be learned."""
    order = np.argsort(codes)
    places = np.searchsorted(codes, values, sorter=order).clip(max=len(codes) - 1)
    ids = order[places]
    strange = (np.asarray(codes)[ids] != values) & (values != ignored) & (values >= 0)
    if strange.any():
        raise NoIds(f"mask holds the value {int(values[strange].min())}, which is not one of mask_codes")
    return np.where(values < 0, -1, ids)


def class_names(cfg, seen):
    """config.yaml's class names, else numbers up to the largest that occurs in a mask."""
    if cfg["class_names"]:
        names = cfg["class_names"]
    elif cfg["mask_values"] == "binary_255":
        names = ["background", "object"]
    elif cfg["mask_values"] == "codes":
        names = [str(code) for code in cfg["mask_codes"]]
    else:
        names = [
            str(i)
            for i in range(1 + max((i for part in seen.values() for row in part for i in row["classes"]), default=0))
        ]
    if len(names) > IGNORED:
        raise SystemExit(
            f"{len(names)} classes: masks are kept as bytes, which is enough for {IGNORED}; if the masks have 65535 "
            "or so for "
            "pixels without a class, set ignore_index"
        )
    return names


def tally(seen, names):
    """Which rows can be used, and why the others cannot. An unknown class is an error: it would be trained wrongly."""
    tally = rows.Tally()
    for found in seen:
        if not found["problem"] and max(found["classes"]) >= len(names):
            raise SystemExit(
                f"the mask of row {tally.rows} holds class {max(found['classes'])}, and class_names in config.yaml "
                f"has 0 to {len(names) - 1}: "
                "fix the names, or set ignore_index to the value of pixels without a class"
            )
        tally.add(found["problem"], [names[i] for i in found["classes"] if i < len(names)])
    return tally


def as_ids(dataset, names, cfg):
    """(the rows with masks of class ids, {class name: pixels})"""
    features = Features(
        {"image": dataset.features["image"], "mask": Image(decode=False), "pixels": List(Value("int64"))}
    )
    dataset = dataset.map(
        recoded,
        input_columns=["image", "mask"],
        features=features,
        num_proc=processes(dataset),
        fn_kwargs={"coding": coding(cfg), "classes": len(names)},
    )
    counts = np.array(dataset["pixels"][:]).sum(0)
    dataset = (
        pictures.all_visible(dataset.remove_columns("pixels"))
        .cast_column("image", Image())
        .cast_column("mask", Image())
    )
    return dataset, dict(zip(names, counts.tolist(), strict=False))


def recoded(image, mask, coding, classes):
    ids, file = class_ids(image, mask, coding), io.BytesIO()
    Pillow.fromarray(np.where(ids < 0, IGNORED, ids).astype(np.uint8)).save(file, "PNG")
    return {"mask": {"bytes": file.getvalue(), "path": None}, "pixels": np.bincount(ids[ids >= 0], minlength=classes)}


def processes(dataset):
    return cpu_count() if len(dataset) > MANY else None


if __name__ == "__main__":
    main()
