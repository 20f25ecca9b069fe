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
"""Local folders of pairs: images/ beside masks/ (segfolder), and Pascal VOC's SegmentationClass.
Split name -> rows of two paths."""

import re
from pathlib import Path

from datasets import Dataset

from harness.rows import split_of  # before datasets: it sets up the environment

IMAGES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
IMAGE_FOLDERS = ("images", "image", "img", "imgs", "jpegimages", "rgb", "leftimg8bit")
TARGET_FOLDERS = {
    "mask": ("masks", "mask", "labels", "label", "annotations", "segmentationclass", "gt", "segmentations"),
    "depth_map": ("depth", "depths", "depth_maps", "depth_map", "disparity"),
}


def read_segfolder(root, column="mask"):
    """images/ and masks/ (or depth/) with the same stems, endings such as _mask apart;
    splits from the folders' names."""
    folders = sorted(
        path for path in [*root.glob("*"), *root.glob("*/*")] if path.is_dir() and not path.name.startswith(".")
    )
    targets = {
        key(path, folder, root): path
        for folder in folders
        if folder.name.lower() in TARGET_FOLDERS[column]
        for path in files(folder, (*IMAGES, ".npy"))
    }
    pairs = {}
    for folder in folders:
        for path in files(folder, IMAGES) if folder.name.lower() in IMAGE_FOLDERS else []:
            if target := targets.pop(key(path, folder, root), None):
                pairs.setdefault(split_of(path.relative_to(root)) or "train", []).append((path, target))
    if not pairs:
        raise SystemExit(
            f"{root} has no image with a partner: it needs a folder {IMAGE_FOLDERS[0]} and one called "
            f"{TARGET_FOLDERS[column][0]}, "
            "with the same file names in both"
        )
    return {split: table(found, column) for split, found in pairs.items()}


def key(path, folder, root):
    """What an image and its target have in common: where they lie, and their name without what tells the two apart."""
    stem = re.sub(r"[_-](mask|masks|label|labels|gt|seg|segmentation|depth|rgb|image|img)$", "", path.stem.lower())
    return str(folder.parent.relative_to(root) / path.parent.relative_to(folder) / stem).lower()


def read_voc(root):
    """JPEGImages and SegmentationClass; splits from ImageSets/Segmentation where it is there."""
    folder = next(
        (path for path in sorted(root.rglob("*")) if path.is_dir() and path.name.lower() == "segmentationclass"), None
    )
    if folder is None:
        raise SystemExit(f"{root} is VOC without SegmentationClass: it has boxes, no masks")
    masks = {path.stem: path for path in files(folder, (".png",))}
    images = {path.stem: path for path in files(root, IMAGES) if "segmentation" not in path.parent.name.lower()}
    known = sorted(masks.keys() & images.keys())
    splits = {
        split: [stem for stem in stems if stem in masks and stem in images]
        for split, stems in image_sets(root).items()
    }
    splits = {split: stems for split, stems in splits.items() if stems} or {"train": known}
    return {split: table([(images[stem], masks[stem]) for stem in stems], "mask") for split, stems in splits.items()}


def image_sets(root):
    """{split: stems} of ImageSets/Segmentation/{train,val,test,trainval}.txt;
    trainval only where there is no train."""
    found = {}
    for file in sorted(root.rglob("*.txt")):
        if [part.lower() for part in file.parts[-3:-1]] == ["imagesets", "segmentation"]:
            words = [Path(line.split()[0]) for line in file.read_text("utf-8", "replace").splitlines() if line.strip()]
            found[file.stem] = [word.stem if word.suffix.lower() in IMAGES else str(word) for word in words]
    names = (
        {"train": "train", "val": "validation", "test": "test"}
        if "train" in found
        else {"trainval": "train", "val": "validation", "test": "test"}
    )
    return {split: found[name] for name, split in names.items() if name in found}


def files(folder, endings):
    """Files below the folder with one of these endings, sorted; hidden ones are none."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in endings
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def table(pairs, column):
    return Dataset.from_dict(
        {"image": [str(image) for image, _ in pairs], column: [str(target) for _, target in pairs]}
    )
