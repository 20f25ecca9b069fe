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
"""Local folders with annotation files: COCO's JSON and Pascal VOC's XML, as datasets of image,
objects.bbox and objects.category."""

import json
from pathlib import Path
from xml.etree import ElementTree

from datasets import Dataset, Features, Image, List, Value

from harness import coco_files
from harness.rows import SPLITS, split_of  # before datasets: it sets up the environment

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def read_coco(path):
    """Split -> dataset. A file of annotations belongs to the split that its path names, else to train."""
    root, files = coco_files.annotation_files(path, "instances")
    parsed = {split: json.loads(file.read_text("utf-8-sig")) for split, file in files.items()}
    names, named, splits = coco_files.categories(parsed), by_name(root), {}
    for split, found in parsed.items():
        objects = {}
        for one in found[
            "annotations"
        ]:  # a category that is not listed, or no box, is left out and counted when rows are prepared
            objects.setdefault(one["image_id"], []).append(
                (one.get("bbox") or [], names.get(one["category_id"]), one.get("iscrowd", 0))
            )
        splits[split] = [
            row(
                picture(image["file_name"], files[split], root, named, split),
                (image.get("width"), image.get("height")),
                objects.get(image["id"], []),
            )
            for image in found["images"]
        ]
    return as_datasets(splits, path)


def read_voc(path):
    """Split -> dataset. ImageSets/Main names the splits; without it, all are train."""
    files = {file.stem: file for file in sorted(path.rglob("*.xml"))}
    lists = {
        file.stem: file.read_text().split()
        for file in sorted(path.rglob("ImageSets/Main/*.txt"))
        if file.stem in SPLITS
    }
    splits, named = {}, by_name(path)
    for split, stems in (lists or {"train": list(files)}).items():
        for stem in stems:
            root = ElementTree.parse(files[stem]).getroot()
            boxes = [
                (
                    [number(one.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")],
                    (one.findtext("name") or "").strip(),
                    0,
                )
                for one in root.iter("object")
            ]
            name, size = (
                root.findtext("filename") or f"{stem}.jpg",
                [number(root.findtext(f"size/{side}")) for side in ("width", "height")],
            )
            splits.setdefault(SPLITS.get(split, split), []).append(
                row(picture(name, files[stem], path, named, SPLITS.get(split, split), stem), size, boxes)
            )
    return as_datasets(splits, path)


def number(text):
    """The number that a text holds, None where it holds none."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def row(image, size, objects):
    """size: (width, height) of the picture that the boxes were drawn on, as the annotations say;
    None where they do not."""
    width, height = (int(side) if side else None for side in size)
    return {
        "image": str(image),
        "width": width,
        "height": height,
        "objects": {
            "bbox": [[float(value) if value is not None else None for value in box] for box, _, _ in objects],
            "category": [name for _, name, _ in objects],
            "iscrowd": [crowd for _, _, crowd in objects],
        },
    }


def by_name(root):
    """{file name: the pictures below the root that have it}"""
    named = {}
    for path in sorted(path for path in root.rglob("*") if path.suffix.lower() in PICTURES):
        named.setdefault(path.name, []).append(path)
    return named


def picture(name, file, root, named, split, stem=None):
    """Where an annotated image lies: as written, beside the annotations, below the root, or by its name anywhere
    there.

    train/1.jpg and val/1.jpg are two pictures: where several have the name, it is the one whose path names the split.
    """
    folders = (file.parent, root, root / "images", root / "JPEGImages")
    if found := next((folder / name for folder in folders if (folder / name).is_file()), None):
        return found
    called = named.get(Path(name).name) or next(
        (paths for other, paths in named.items() if Path(other).stem == (stem or Path(name).stem)), []
    )
    found = called if len(called) == 1 else [path for path in called if split_of(path.relative_to(root)) == split]
    if len(found) != 1:
        raise SystemExit(
            f"{file} names the image {name!r}, which is not below {root}"
            if not called
            else f"{file} names the image {name!r}, and {len(called)} pictures below {root} are called so: write its "
            "folder into the file name"
        )
    return found[0]


def as_datasets(splits, path):
    if not any(splits.values()):
        raise SystemExit(
            f"{path} holds no annotations of this format: set local_dataset_path and local_dataset_format"
        )
    objects = {
        "bbox": List(List(Value("float64"))),
        "category": List(Value("string")),
        "iscrowd": List(Value("int64")),
    }
    features = Features(
        {"image": Value("string"), "width": Value("int64"), "height": Value("int64"), "objects": objects}
    )
    return {
        split: Dataset.from_list(found, features=features).cast_column("image", Image(decode=False))
        for split, found in splits.items()
    }
