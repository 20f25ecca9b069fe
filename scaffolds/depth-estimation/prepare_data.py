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
no row is ever in both. Stored depth becomes meters by `depth_scale`; zero, negative, infinite or no number is not
known.
"""

import io

import numpy as np
from datasets import Image
from PIL import Image as Pillow

from harness import pictures, rows
from harness.project import cpu_count, load_config

FEWEST = 0.01  # the share of an image whose depth must be known


def main():
    cfg = load_config()
    train, evaluation = rows.load(cfg, as_task)
    train_rows, eval_rows, read = rows.choose(cfg, train, evaluation, rows.problems_of)
    chosen, held_out = finished(train, train_rows), finished(evaluation or train, eval_rows)
    medians = [float(np.median(depth[depth > 0])) for depth in (np.load(io.BytesIO(cell)) for cell in chosen["depth"])]
    rows.write(
        cfg,
        (chosen, train_rows),
        (held_out, eval_rows),
        class_names=[],
        read=read,
        median_depth=float(np.median(medians)),
    )


def as_task(dataset, cfg):
    """Columns image (still encoded) and depth (a NumPy file of meters); `problem` says why a row cannot be used."""
    dataset = rows.renamed(dataset, cfg, ("image", "depth_map")).cast_column("image", Image(decode=False))
    feature = dataset.features["depth_map"]
    if isinstance(feature, Image) or getattr(feature, "dtype", None) in ("string", "large_string"):
        dataset = dataset.cast_column("depth_map", Image(decode=False))
    return dataset.map(
        tidy,
        fn_kwargs={"scale": cfg["depth_scale"] or 1.0},
        remove_columns=["depth_map"],
        num_proc=cpu_count() if len(dataset) > 2000 else None,
    )


def tidy(row, scale):
    try:
        width, height = pictures.opened(row["image"]).size
        depth = turned_with(row["image"], row["depth_map"]) * scale
        if not pictures.is_readable(row["image"]):
            raise OSError
    except Exception:  # Pillow raises a dozen types on damaged files
        return {"depth": b"", "problem": "image or depth map cannot be read"}
    if depth.ndim != 2:
        return {"depth": b"", "problem": "depth map is a color picture"}
    depth = np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)
    file = io.BytesIO()
    np.save(file, depth)
    apart = abs(depth.shape[1] / depth.shape[0] - width / height) > 0.02 * width / height
    problem = (
        "depth map of another shape than its image"
        if apart
        else "no known depth"
        if (depth > 0).mean() < FEWEST
        else None
    )
    return {"depth": file.getvalue(), "problem": problem}


def turned_with(image, cell):
    """The stored depth (height, width), as it is stored, on the upright image: a picture or a .npy file,
    or an array that lies as the image is stored."""
    if isinstance(cell, dict):
        picture = from_npy(cell) if (cell["path"] or "").lower().endswith(".npy") else pictures.opened(cell)
        return np.squeeze(np.asarray(pictures.beside(image, picture), np.float64))
    depth, (width, height, turn) = np.squeeze(np.asarray(cell, np.float64)), pictures.turn_of(image)
    if (
        turn is None
        or depth.ndim != 2
        or not pictures.same_shape(depth.shape[::-1], (width, height))
        or pictures.same_shape(depth.shape[::-1], (height, width))
    ):
        return depth
    return np.asarray(Pillow.fromarray(depth.astype(np.float32)).transpose(turn), np.float64)


def from_npy(cell):
    """A .npy file of numbers as a picture."""
    file = io.BytesIO(cell["bytes"]) if cell["bytes"] else cell["path"]
    return Pillow.fromarray(np.squeeze(np.load(file, allow_pickle=False)).astype(np.float32))


def finished(dataset, chosen):
    return pictures.all_visible(dataset.select(chosen)).remove_columns("problem").cast_column("image", Image())


if __name__ == "__main__":
    main()
