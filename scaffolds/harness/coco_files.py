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
"""COCO annotation files of a local dataset: instances with outlines, or panoptic ones with their PNGs.
Split name -> rows."""

import json
from pathlib import Path

from datasets import ClassLabel, Dataset, Features, List, Value
from pycocotools import mask as coco_mask

from harness.rows import split_of  # before datasets: it sets up the environment

OTHERS = ("panoptic", "keypoint", "caption", "stuff")  # annotation files of other tasks, by their names


def read(root, panoptic=False):
    """{split: dataset}: image and objects {segmentation, category, iscrowd}; for panoptic image,
    mask and segments_info."""
    folder, files = annotation_files(root, "panoptic" if panoptic else "instances")
    parsed = {split: json.loads(path.read_text("utf-8-sig")) for split, path in files.items()}
    names = categories(parsed)
    make, features = (panoptic_row, panoptic_features) if panoptic else (row, object_features)
    index = {number: list(names).index(number) for number in names}
    return {
        split: Dataset.from_list(
            [
                make(one, found, files[split], folder, index)
                for one, found in annotated(content, split, files[split], folder)
            ],
            features=features(list(names.values())),
        )
        for split, content in parsed.items()
    }


def annotation_files(root, wanted):
    """(the dataset's folder, {split: annotation file}). Several files of one split:
    the one whose name says what is wanted."""
    if root.is_file():
        return (root.parent.parent if root.parent.name.lower() == "annotations" else root.parent), {"train": root}
    groups = {}
    for path in sorted([*root.glob("*.json"), *root.glob("*/*.json"), *root.glob("*/*/*.json")]):
        with path.open("rb") as file:
            content = file.read(65_536)
            file.seek(max(0, path.stat().st_size - 65_536))
            content += file.read()
        if sum(key in content for key in (b'"images"', b'"annotations"', b'"categories"')) >= 2:
            groups.setdefault(split_of(path.relative_to(root)) or "train", []).append(path)
    files = {}
    for split, group in groups.items():
        named = [path for path in group if wanted in path.name.lower()]
        rest = (
            group
            if wanted == "panoptic"
            else [path for path in group if not any(word in path.name.lower() for word in OTHERS)]
        )
        if len(named or rest) > 1:
            raise SystemExit(
                f"split {split!r} has {len(named or rest)} annotation files: keep one, or set local_dataset_path to "
                "the file itself"
            )
        if named or rest:
            files[split] = (named or rest)[0]
    if not files:
        raise SystemExit(f"{root} has no COCO file for {wanted}")
    return root, files


def categories(parsed):
    """{category id: name} in the order of the ids, the same in every split."""
    found = [
        {one["id"]: one["name"] for one in sorted(content["categories"], key=lambda one: one["id"])}
        for content in parsed.values()
    ]
    if any(names != found[0] for names in found):
        raise SystemExit(
            "the annotation files of the splits do not list the same categories with the same ids: make them agree"
        )
    return found[0]


def stuff_names(root):
    """The categories that the panoptic file says are no things; None where it does not say."""
    _, files = annotation_files(root, "panoptic")
    listed = json.loads(next(iter(files.values())).read_text("utf-8-sig"))["categories"]
    return [one["name"] for one in listed if not one["isthing"]] if all("isthing" in one for one in listed) else None


def annotated(content, split, path, folder):
    """(image with its path, its annotations) of one file, in its order."""
    objects = {}
    for one in content["annotations"]:
        objects.setdefault(one["image_id"], []).append(one)
    masks = path.stem if any("segments_info" in one for one in content["annotations"][:1]) else None
    base = image_folder([image["file_name"] for image in content["images"][:20]], split, path, folder, masks)
    return [
        ({**image, "path": str(base / image["file_name"])}, objects.get(image["id"], []))
        for image in content["images"]
    ]


def image_folder(names, split, path, root, masks):
    """The folder that the file names are relative to: the one where most of the first ones are; of several, one called
    like the file or split.

    masks: the name of the folder with pictures of segment ids, which may be called like their images; None where there
    is none.
    """
    folders = [path.parent, root, *sorted(one for one in [*root.glob("*"), *root.glob("*/*")] if one.is_dir())]
    folders = [one for one in folders if one.name != masks]
    like = [one for one in folders if one.name.lower() in path.stem.lower() or split_of(one.name) == split]
    best = max([*like, *folders], key=lambda one: sum((one / name).is_file() for name in names))
    if not any((best / name).is_file() for name in names):
        raise SystemExit(
            f"none of the first images that {path.name} names ({names[0]}) lies in {root} or its folders: put the "
            "images there"
        )
    return best


def row(image, annotations, path, root, index):
    """What has no outline or no category that is listed has None there: it is left out, and counted,
    when rows are prepared."""
    return {
        "image": image["path"],
        "objects": {
            "segmentation": [as_rle(one.get("segmentation"), image["height"], image["width"]) for one in annotations],
            "category": [index.get(one["category_id"]) for one in annotations],
            "iscrowd": [int(one.get("iscrowd", 0)) for one in annotations],
        },
    }


def as_rle(outline, height, width):
    """Polygons or run lengths -> compressed run lengths; None where nothing is outlined."""
    if isinstance(outline, list):
        polygons = [outline] if outline and not isinstance(outline[0], list) else outline
        outline = [one for one in polygons if len(one) >= 6 and len(one) % 2 == 0]
    if not outline:
        return None
    if isinstance(outline, dict) and isinstance(outline["counts"], str):
        return {"counts": outline["counts"], "size": outline["size"]}
    found = coco_mask.frPyObjects(outline, height, width)
    found = coco_mask.merge(found) if isinstance(found, list) else found
    return {"counts": found["counts"].decode() if found["counts"] else "", "size": [height, width]}


def panoptic_row(image, annotations, path, root, index):
    """The mask is the PNG that the annotation names, in the folder called like the annotation file."""
    one = annotations[0] if annotations else {"file_name": "no-such.png", "segments_info": []}
    folder = next((place for place in (path.with_suffix(""), root / path.stem) if place.is_dir()), path.parent)
    segments = [
        {"id": part["id"], "category_id": index.get(part["category_id"]), "iscrowd": int(part.get("iscrowd", 0))}
        for part in one["segments_info"]
    ]
    return {"image": image["path"], "mask": str(Path(folder, one["file_name"])), "segments_info": segments}


def object_features(names):
    outline = {"counts": Value("string"), "size": List(Value("int64"))}
    objects = {
        "segmentation": List(outline),
        "category": List(ClassLabel(names=names)),
        "iscrowd": List(Value("int64")),
    }
    return Features({"image": Value("string"), "objects": objects})


def panoptic_features(names):
    segment = {"id": Value("int64"), "category_id": ClassLabel(names=names), "iscrowd": Value("int64")}
    return Features({"image": Value("string"), "mask": Value("string"), "segments_info": List(segment)})
