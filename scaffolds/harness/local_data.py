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
"""A local dataset as `datasets` knows it: split -> Dataset. Which files and rows these are, the readers say.

The readers are those of the probe: what it counted is what is read here. Images are paths, which are opened later.
"""

from functools import partial
from pathlib import Path

from datasets import ClassLabel, Dataset, Features, List, Value, concatenate_datasets, load_dataset, load_from_disk
from datasets.exceptions import DatasetGenerationError

from harness import pictures
from harness.outlines import as_rle
from harness.readers import captions, coco, image_folder, pairs, tables, voc, yolo
from harness.readers.conversations import IMAGE_COLUMNS
from harness.readers.detect import detect
from harness.readers.refusal import Refusal

# Format -> the builder of `datasets` that reads it: files that say their own types
BUILDERS = {"parquet": "parquet", "arrow": "arrow", "jsonl": "json"}
PICTURES = (*IMAGE_COLUMNS, "mask", "depth_map")  # columns of a table that may hold paths


def load(cfg, wanted):
    """{split: dataset} of local_dataset_path; None for a split that is not in `wanted`."""
    path = Path(cfg["local_dataset_path"]).expanduser()
    if not path.exists():
        raise SystemExit(f"local_dataset_path = {str(path)!r} does not exist here")
    path = path.resolve()
    try:
        kind = detect(path) if cfg["local_dataset_format"] == "auto" else cfg["local_dataset_format"]
        splits, warnings = READERS[kind](path, kind, cfg)
        for warning in warnings:
            print(warning)
        return {split: make() if split in wanted else None for split, make in splits.items()}
    except Refusal as refusal:
        raise SystemExit(str(refusal)) from None
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, Refusal):
            raise SystemExit(str(error.__cause__)) from None
        raise


# --- Each reader: (path, format, config) -> ({split: function that makes its Dataset}, warnings)


def read_image_folder(path, kind, cfg):
    found = image_folder.read(path)
    if isinstance(found, image_folder.Classes):
        features = Features({"image": Value("string"), "label": ClassLabel(names=list(found.names))})
        return {split: partial(labeled, images, features) for split, images in found.splits.items()}, found.warnings
    return {split: partial(described, found, split) for split in found.splits}, found.warnings


def labeled(images, features):
    columns = {"image": [str(image) for _, image in images], "label": [name for name, _ in images]}
    return Dataset.from_dict(columns, features=features)


def described(found, split):
    return Dataset.from_list([{name: as_text(cell) for name, cell in row.items()} for row in found.rows(split)])


def as_text(cell):
    return str(cell) if isinstance(cell, Path) else cell


def read_pairs(path, kind, cfg):
    column = "depth_map" if cfg["task"] == "depth-estimation" else "mask"
    splits, warnings = pairs.read(path, column) if kind == "segfolder" else voc.masks(path)
    return {split: partial(paired, found, column) for split, found in splits.items()}, warnings


def paired(found, column):
    return Dataset.from_dict(
        {"image": [str(image) for image, _ in found], column: [str(target) for _, target in found]}
    )


def read_captions(path, kind, cfg):
    found = captions.read(path)
    return {split: partial(captioned, found, split) for split in found.splits}, found.warnings


def captioned(found, split):
    return Dataset.from_list([{"image": str(row["image"]), "text": row["text"]} for row in found.rows(split)])


def read_voc(path, kind, cfg):
    if cfg["task"] == "semantic-segmentation":
        return read_pairs(path, kind, cfg)
    found = voc.read(path)
    features = object_features(found.names)
    return {split: partial(of_voc, group, features) for split, group in found.splits.items()}, found.warnings


def of_voc(annotations, features):
    rows = [
        {
            "image": str(one.image),
            "width": one.width,
            "height": one.height,
            "objects": {"bbox": one.boxes, "category": one.names, "iscrowd": [0] * len(one.boxes)},
        }
        for one in annotations
    ]
    return Dataset.from_list(rows, features=features)


def read_coco(path, kind, cfg):
    found = coco.read(path, panoptic=cfg["task"] == "panoptic-segmentation")
    names, outlined = list(found.names.values()), cfg["task"] == "instance-segmentation"
    features = panoptic_features(names) if found.panoptic else object_features(names, outlined)
    return {split: partial(of_coco, found, split, features) for split in found.files}, found.warnings


def of_coco(found, split, features):
    make = panoptic_row if found.panoptic else object_row
    rows = (found.row(split, number) for number in found.files[split].images)
    return Dataset.from_list([make(row, features) for row in rows], features=features)


def object_row(row, features):
    """What has no outline or no category that is listed has None there: it is left out, and counted, later."""
    objects = {name: row["objects"][name] for name in features["objects"]}
    if "segmentation" in objects:
        frame = row["image"], row["width"], row["height"]
        objects["segmentation"] = [as_rle(outline, *frame) for outline in objects["segmentation"]]
    return {"image": str(row["image"]), "width": row["width"], "height": row["height"], "objects": objects}


def read_yolo(path, kind, cfg):
    found, outlined = yolo.read(path), cfg["task"] == "instance-segmentation"
    features = object_features(list(found.names.values()), outlined)
    return {split: partial(of_yolo, found, split, features) for split in found.splits}, found.warnings


def of_yolo(found, split, features):
    return Dataset.from_list([in_frame(row, features) for row in found.rows(split)], features=features)


def in_frame(row, features):
    """A row whose outlines are shares of the upright image, with them in its pixels. Boxes stay shares."""
    objects = {**row["objects"], "iscrowd": [0] * len(row["objects"]["bbox"])}
    if "segmentation" not in features["objects"]:
        return object_row({**row, "width": None, "height": None, "objects": objects}, features)
    try:
        width, height = pictures.opened({"bytes": None, "path": str(row["image"])}).size
    except Exception:  # a damaged picture: its row is left out later, and counted
        width = height = None
    scaled = [
        [[value * (height if i % 2 else width) for i, value in enumerate(outline)]] if outline and width else None
        for outline in objects["segmentation"]
    ]
    objects["segmentation"] = scaled
    return object_row({**row, "width": width, "height": height, "objects": objects}, features)


def stuff(cfg):
    """The categories that a local COCO file says are no things; None where it does not say."""
    if cfg["dataset_id"] or cfg["local_dataset_format"] != "coco":
        return None
    return coco.read(Path(cfg["local_dataset_path"]).expanduser().resolve(), panoptic=True, sample=0).stuff()


def panoptic_row(row, features):
    return {**row, "image": str(row["image"]), "mask": str(row["mask"])}


def object_features(names, outlined=False):
    objects = {
        "bbox": List(List(Value("float64"))),
        "category": List(ClassLabel(names=list(names))),
        "iscrowd": List(Value("int64")),
    }
    if outlined:
        objects["segmentation"] = List({"counts": Value("string"), "size": List(Value("int64"))})
    return Features({"image": Value("string"), "width": Value("int64"), "height": Value("int64"), "objects": objects})


def panoptic_features(names):
    segment = {"id": Value("int64"), "category_id": ClassLabel(names=names), "iscrowd": Value("int64")}
    return Features({"image": Value("string"), "mask": Value("string"), "segments_info": List(segment)})


def read_table(path, kind, cfg):
    if kind == "arrow" and tables.is_saved(path):
        loaded = load_from_disk(str(path))
        splits = loaded if isinstance(loaded, dict) else {"train": loaded}
        return {split: partial(splits.get, split) for split in splits}, []
    found = tables.files(path, kind)
    images = [cfg["column_map"].get(name, name) for name in PICTURES]
    make = of_csv if kind == "csv" else partial(of_files, BUILDERS[kind])
    return {split: partial(make, files, found.root, images) for split, files in found.splits.items()}, found.warnings


def of_csv(files, root, images):
    """Every column as text: a class `None`, `NA` or 007 is a name, and only an empty cell is none."""
    columns = tuple(dict.fromkeys(name for file in files for name in tables.header(file)))
    given = {"files": tuple(map(str, files)), "root": str(root), "columns": columns, "images": tuple(images)}
    stamps = tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in files)  # of the cache: a file may change
    features = Features({name: Value("string") for name in columns})
    return Dataset.from_generator(csv_rows, features, gen_kwargs={**given, "stamps": stamps})


def csv_rows(files, root, columns, images, stamps):
    for file in map(Path, files):
        for row in tables.rows_of(file):
            yield {name: located(row.get(name), file, root) if name in images else row.get(name) for name in columns}


def of_files(builder, files, root, images):
    """Files that `datasets` reads. Text, or a list of texts, as images or masks is paths, relative to the file."""
    table = load_dataset(builder, data_files=[str(file) for file in files], split="train")
    paths = [name for name in images if name in table.features and is_text(table.features[name])]
    if not paths:
        return table
    folders, parts = list(dict.fromkeys(file.parent for file in files)), []
    for folder in folders:
        here = [str(file) for file in files if file.parent == folder]
        part = table
        if len(folders) > 1:
            part = load_dataset(builder, data_files=here, split="train", features=table.features)
        for column in paths:
            given = {"column": column, "file": here[0], "root": str(root)}
            part = part.map(with_paths, input_columns=[column], fn_kwargs=given)
        parts.append(part)
    return concatenate_datasets(parts)


def is_text(feature):
    return getattr(getattr(feature, "feature", feature), "dtype", None) in ("string", "large_string")


def with_paths(cell, column, file, root):
    file = Path(file)
    if isinstance(cell, list):
        return {column: [located(one, file, root) for one in cell]}
    return {column: located(cell, file, root)}


def located(cell, file, root):
    return str(tables.image_path(cell, file, Path(root))) if cell else cell


READERS = {
    "imagefolder": read_image_folder,
    "segfolder": read_pairs,
    "captions": read_captions,
    "coco": read_coco,
    "voc": read_voc,
    "yolo": read_yolo,
    **dict.fromkeys(("csv", "jsonl", "parquet", "arrow"), read_table),
}
