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
"""The dataset as `datasets` knows it: split -> Dataset. Which files and rows these are, harness/dataset.json says.

It is what probe_dataset found (harness/readers/manifest.py). Nothing is looked for here: a file that it does not name
does not exist, and one that is not as it was ends the stage. Images are paths, which are opened later.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from datasets import ClassLabel, Dataset, Features, Image, Value, load_dataset
from datasets.exceptions import DatasetGenerationError

from harness import pictures
from harness.class_order import by_own_names
from harness.features import as_feature, object_features, panoptic_features
from harness.local_tables import of_files, of_saved
from harness.outlines import as_rle
from harness.project import ROOT
from harness.readers import captions, coco, image_folder, manifest, pairs, tables, types, voc, webdataset, yolo
from harness.readers.refusal import Refusal
from harness.readers.tables import IMAGE_COLUMNS

MANIFEST = ROOT / "harness" / manifest.FILE
DOWNLOADS = ROOT / ".cache/dataset"
PICTURES = (*IMAGE_COLUMNS, "mask", "depth_map")  # columns of a table that may hold paths
THREADS = 8  # of downloads
OF_HUB = ("dataset_id", "revision", "config")  # of the manifest


def load(cfg, wanted):
    """{split: dataset} of the dataset that config.yaml names; None for a split that is not in `wanted`."""
    found = load_manifest(cfg)
    try:
        if found["source"] == "hub" and found["layout"] is None:
            splits = load_dataset(cfg["dataset_id"], cfg["dataset_config"], revision=cfg["dataset_revision"])
            return by_own_names(cfg, compared(found, splits))
        root = downloaded(cfg, found, wanted) if found["source"] == "hub" else unchanged(cfg, found)
        for sentence in found["left_out"]:
            print(sentence)
        if "evaluation" in found:
            return of_two(found, root, cfg)
        splits = READERS[found["layout"]["kind"]](found, root, wanted, cfg)
        return {split: splits[split]() if split in wanted else None for split in found["layout"]["splits"]}
    except Refusal as refusal:
        raise SystemExit(str(refusal)) from None
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, Refusal):
            raise SystemExit(str(error.__cause__)) from None
        raise


def of_two(found, root, cfg):
    """The split that is trained on, and that of a second dataset, which is measured on."""
    part, taken = found["evaluation"], found["taken"]
    parts = {"train": (found, root), "validation": (part, unchanged(cfg, part, "local_eval_path"))}
    read = {
        split: READERS[one["layout"]["kind"]](one, place, [taken[split]], cfg) for split, (one, place) in parts.items()
    }
    return {split: made[taken[split]]() for split, made in read.items()}


def load_manifest(cfg):
    """What probe_dataset found, if it is of the dataset that config.yaml names."""
    if not MANIFEST.is_file():
        raise SystemExit(f"harness/{manifest.FILE} is missing: render the project again")
    found = json.loads(MANIFEST.read_text(encoding="utf-8"))
    of_config = dict(zip(OF_HUB, (cfg["dataset_id"], cfg["dataset_revision"], cfg["dataset_config"]), strict=True))
    if not cfg["dataset_id"]:
        of_config, kind = dict.fromkeys(OF_HUB), cfg["local_dataset_format"]
        if kind not in ("auto", found["format"]):
            raise SystemExit(
                f"local_dataset_format = {kind!r}, and harness/{manifest.FILE} is of {found['format']!r}: "
                "probe it again"
            )
    if bool(cfg.get("local_eval_path")) != ("evaluation" in found):
        said = (
            "another dataset to measure on than"
            if cfg.get("local_eval_path")
            else "a local_eval_path, which is not in"
        )
        raise SystemExit(f"harness/{manifest.FILE} has {said} config.yaml: probe it again")
    for key, value in of_config.items():
        if found[key] != value:
            raise SystemExit(
                f"harness/{manifest.FILE} is of another dataset: its {key} is {found[key]!r}, and config.yaml says "
                f"{value!r}; probe it again"
            )
    return found


def unchanged(cfg, found, key="local_dataset_path"):
    """The folder that the manifest's paths start from, if every file in it is as probe_dataset read it."""
    path = Path(cfg[key]).expanduser()
    if not path.exists():
        raise SystemExit(f"{key} = {str(path)!r} does not exist here")
    root = manifest.root_of(found, path.resolve())
    if changes := manifest.changes(found, root, manifest.content_hash):
        raise SystemExit(f"{manifest.CHANGED} ({'; '.join(changes)}, in {root})")
    return root


def downloaded(cfg, found, wanted):
    """A folder with the files of the wanted splits, as the Hub has them at this revision."""
    from huggingface_hub import hf_hub_download  # here: a local dataset does not need it

    folder, splits = DOWNLOADS / cfg["dataset_revision"], found["layout"]["splits"]
    fetch = partial(
        hf_hub_download, cfg["dataset_id"], repo_type="dataset", revision=cfg["dataset_revision"], local_dir=folder
    )
    parts = [splits[split] for split in wanted if split in splits]
    groups = [group for part in parts for group in (part.values() if isinstance(part, dict) else [part])]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fetch, [name for group in groups for name in group]))
    return folder


def compared(found, splits):
    """The splits that `datasets` loaded by itself, if their names and columns are those that the viewer showed."""
    for split, dataset in splits.items():
        known = list(found["columns"])
        if split in found["rows"] and len(known) and sorted(known) != sorted(dataset.column_names):
            raise SystemExit(
                f"split {split!r} has the columns {', '.join(dataset.column_names)}, and probe_dataset saw "
                f"{', '.join(known)}: probe it again"
            )
    if missing := [split for split in found["rows"] if split not in splits]:
        raise SystemExit(f"the dataset has no split {missing[0]!r}, which probe_dataset saw: probe it again")
    return splits


# --- Each reader: (manifest, root, wanted splits, config) -> {split: function that makes its Dataset}


def read_classes(found, root, wanted, cfg):
    listed = image_folder.Classes.listed(found["layout"], root)
    features = Features({"image": Value("string"), "label": ClassLabel(names=list(listed.names))})
    return {split: partial(labeled, images, features) for split, images in listed.splits.items()}


def labeled(images, features):
    columns = {"image": [str(image) for _, image in images], "label": [name or None for name, _ in images]}
    return Dataset.from_dict(columns, features=features)


def read_described(found, root, wanted, cfg):
    listed = image_folder.Described.listed(found["layout"], root)
    features = Features(
        {
            listed.images.get(name, name): Value("string") if name in listed.images else as_feature(kind)
            for name, kind in listed.types.items()
        }
    )
    return {split: partial(described, listed, split, features) for split in listed.splits}


def described(listed, split, features):
    kinds = {listed.images.get(name, name): kind for name, kind in listed.types.items()}
    rows = [
        {name: str(cell) if isinstance(cell, Path) else types.fitted(cell, kinds[name]) for name, cell in row.items()}
        for row in listed.rows(split)
    ]
    return Dataset.from_list(rows, features=features)


def read_pairs(found, root, wanted, cfg):
    column = "depth_map" if cfg["task"] == "depth-estimation" else "mask"
    return {split: partial(paired, listed, column) for split, listed in pairs.listed(found["layout"], root).items()}


def paired(listed, column):
    return Dataset.from_dict(
        {"image": [str(image) for image, _ in listed], column: [str(target) for _, target in listed]}
    )


def read_captions(found, root, wanted, cfg):
    listed = captions.Captions.listed(found["layout"], root)
    return {split: partial(captioned, listed, split) for split in listed.splits}


def captioned(listed, split):
    return Dataset.from_list([{"image": str(row["image"]), "text": row["text"]} for row in listed.rows(split)])


def read_voc(found, root, wanted, cfg):
    listed = voc.Voc.listed(found["layout"], root)
    features = object_features(listed.names)
    return {split: partial(of_voc, group, features) for split, group in listed.splits.items()}


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


def read_coco(found, root, wanted, cfg):
    listed = coco.Coco.listed(found["layout"], root, wanted)
    names, outlined = list(listed.names.values()), cfg["task"] == "instance-segmentation"
    features = panoptic_features(names) if listed.panoptic else object_features(names, outlined)
    return {split: partial(of_coco, listed, split, features) for split in listed.files}


def of_coco(listed, split, features):
    make = panoptic_row if listed.panoptic else object_row
    rows = (listed.row(split, number) for number in listed.files[split].images)
    return Dataset.from_list([make(row, features) for row in rows], features=features)


def object_row(row, features):
    """What has no outline or no category that is listed has None there: it is left out, and counted, later."""
    objects = {name: row["objects"][name] for name in features["objects"]}
    if "segmentation" in objects:
        frame = row["image"], row["width"], row["height"]
        objects["segmentation"] = [as_rle(outline, *frame) for outline in objects["segmentation"]]
    return {"image": str(row["image"]), "width": row["width"], "height": row["height"], "objects": objects}


def read_yolo(found, root, wanted, cfg):
    listed = yolo.Yolo.listed(found["layout"], root)
    features = object_features(list(listed.names.values()), cfg["task"] == "instance-segmentation")
    return {split: partial(of_yolo, listed, split, features) for split in listed.splits}


def of_yolo(listed, split, features):
    return Dataset.from_list([in_frame(row, features) for row in listed.rows(split)], features=features)


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
    return (load_manifest(cfg)["layout"] or {}).get("stuff")


def panoptic_row(row, features):
    return {**row, "image": str(row["image"]), "mask": str(row["mask"])}


# --- Tables


def read_rows(found, root, wanted, cfg):
    listed = tables.Files.listed(found["layout"], root)
    if listed.saved:
        return {split: partial(of_saved, listed, split) for split in listed.splits}
    kinds = found["layout"]["types"]
    if kinds is None:  # of the Hub: the probe has read the first rows alone
        read = [file for split in wanted for file in listed.splits.get(split, [])]
        text = [file for file in read if file.suffix.lower() in tables.TABLES_OF_TEXT]
        kinds = types.of_rows(row for file in text for row in tables.rows_of(file))
    images = [cfg["column_map"].get(name, name) for name in PICTURES]
    given = {"root": root, "images": images, "kinds": kinds, "hashes": found.get("contents", {})}
    return {split: partial(of_files, files, **given) for split, files in listed.splits.items()}


# --- Tars


def read_tars(found, root, wanted, cfg):
    kinds = found["layout"]["types"]
    features = Features({name: Image() if kind == "image" else as_feature(kind) for name, kind in kinds.items()})
    given = {"layout": json.dumps(found["layout"]), "root": str(root)}
    stamps = tuple(found["contents"].items())  # of the cache: a file may change
    make = partial(Dataset.from_generator, tar_rows, features)
    return {
        split: partial(make, gen_kwargs={**given, "split": split, "stamps": stamps})
        for split in found["layout"]["splits"]
    }


def tar_rows(layout, root, split, stamps):
    listed = webdataset.Tars.listed(json.loads(layout), Path(root), [split])
    for row in listed.rows(split):
        yield {name: types.fitted(cell, listed.types[name]) for name, cell in row.items()}


READERS = {
    "classes": read_classes,
    "described": read_described,
    "pairs": read_pairs,
    "captions": read_captions,
    "coco": read_coco,
    "voc": read_voc,
    "yolo": read_yolo,
    "rows": read_rows,
    "webdataset": read_tars,
}
