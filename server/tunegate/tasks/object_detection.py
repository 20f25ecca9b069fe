"""Boxes with a class each."""

from tunegate.tasks.columns import BBOX, CATEGORY, EXTRA, IMAGE_ROLE, Form
from tunegate.tasks.spec import Collator, TaskSpec, of_transformers

SPEC = TaskSpec(
    name="object-detection",
    reads=("image",),
    auto_classes=("AutoModelForObjectDetection",),
    heads=("ForObjectDetection",),
    forms=(Form("objects", {"image": IMAGE_ROLE, "bbox": BBOX, "category": CATEGORY, **EXTRA}, "nest_objects"),),
    schema="image + objects{bbox, category}",
    metric="map",
    metrics_named=frozenset({"map", "mean_average_precision", "meanaverageprecision", "coco"}),
    collator=Collator(
        "pads images below and on the right, and says so in pixel_mask",
        frozenset({"pixel_values", "pixel_mask", "labels"}),
    ),
    sources=of_transformers("object-detection", "object_detection"),
    local_layout="COCO (annotations/*.json beside the images), VOC (Annotations/*.xml and JPEGImages/), or YOLO (images/ and "
    "labels/ with a data.yaml or classes.txt)",
    local_formats=("coco", "voc", "yolo"),
)
