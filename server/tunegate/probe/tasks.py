"""What is known about tasks, as tables: their metrics, columns and recommended datasets. architectures.py has their models."""

from __future__ import annotations

from dataclasses import dataclass

from tunegate.paths import data_dir
from tunegate.probe import architectures

PRIMARY_METRIC = {
    "image-classification": "accuracy",
    "object-detection": "map",
    "semantic-segmentation": "mean_iou",
    "instance-segmentation": "map",
    "panoptic-segmentation": "map",
    "depth-estimation": "abs_rel",
    "image-text-to-text": "exact_match",
    "text-generation": "eval_loss",
}
SUPPORTED = tuple(PRIMARY_METRIC)

# What this version can take further than step 1: the tasks that it has scripts for.
TRAINABLE = tuple(task for task in SUPPORTED if (data_dir("scaffolds") / task / "train.py.j2").is_file())
AUTO_CLASS = {task: autos[0] for task, autos in architectures.AUTO_CLASSES.items()}
VISION = tuple(task for task in SUPPORTED if task != "text-generation")  # these need an image processor


@dataclass(frozen=True)
class Column:
    """One column of a task: what may feed it. `kinds` are feature kinds as probe/columns.py names them."""

    kinds: tuple[str, ...]
    aliases: tuple[str, ...]
    needs: str


COLUMNS: dict[str, dict[str, Column]] = {
    "image-classification": {
        "image": Column(("image",), ("image", "img", "picture", "photo", "pixel_values"), "images"),
        "label": Column(
            ("class", "int", "string", "bool"),
            ("label", "labels", "class", "category", "target", "y", "fine_label", "class_name", "label_name"),
            "one class for each row",
        ),
    },
}
# What the other tasks will need, for messages.
SCHEMAS = {
    "image-classification": "image + label",
    "object-detection": "image + objects{bbox, category}",
    "semantic-segmentation": "image + mask",
    "instance-segmentation": "image + mask",
    "panoptic-segmentation": "image + mask",
    "depth-estimation": "image + depth_map",
    "image-text-to-text": "image + messages, or image + question + answer",
    "text-generation": "messages, or prompt + completion, or prompt + chosen + rejected",
}
# Formats of local datasets -> the tasks that they can feed.
LOCAL_FORMATS = {
    "imagefolder": ("image-classification",),
    "coco": ("object-detection", "instance-segmentation", "panoptic-segmentation"),
    "voc": ("object-detection",),
    "segfolder": ("semantic-segmentation",),
    "jsonl": SUPPORTED,
    "arrow": SUPPORTED,
    "parquet": SUPPORTED,
    "csv": SUPPORTED,
}
# task -> datasets to recommend when none is named: (id, why)
RECOMMENDED: dict[str, tuple[tuple[str, str], ...]] = {
    "image-classification": (
        ("uoft-cs/cifar10", "60,000 32-px photographs, 10 classes: the quickest first run"),
        ("AI-Lab-Makerere/beans", "1,295 leaf photographs, 3 classes: small and real"),
        ("ethz/food101", "101,000 food photographs, 101 classes: harder, 5 GB"),
        ("blanchon/EuroSAT_RGB", "27,000 satellite tiles, 10 classes"),
    ),
}
