"""A mask and a class for each object."""

from tunegate.tasks.columns import BBOX, CATEGORY, EXTRA, IMAGE_ROLE, MASK, OUTLINES, PANOPTIC, SEGMENTS, Form
from tunegate.tasks.spec import Collator, TaskSpec, of_transformers

# The names of the classes that segment objects end in these, here and in panoptic_segmentation.py.
HEADS = ("ForUniversalSegmentation", "ForInstanceSegmentation")
SEGMENTS_FORM = Form("segments", {"image": IMAGE_ROLE, "mask": PANOPTIC, "segments": SEGMENTS})
COLLATOR = Collator(
    "stacks images of one size, and lists masks and classes",
    frozenset({"pixel_values", "pixel_mask", "mask_labels", "class_labels"}),
)
SEGMENTATION_SOURCES = of_transformers("instance-segmentation", "instance_segmentation")

SPEC = TaskSpec(
    name="instance-segmentation",
    reads=("image",),
    auto_classes=("AutoModelForUniversalSegmentation", "AutoModelForInstanceSegmentation"),
    heads=HEADS,
    forms=(
        Form(
            "outlines",
            {"image": IMAGE_ROLE, "segmentation": OUTLINES, "category": CATEGORY, "bbox": BBOX, **EXTRA},
            "nest_objects",
        ),
        SEGMENTS_FORM,
        Form("mask", {"image": IMAGE_ROLE, "mask": MASK}),
    ),
    schema="image + objects{segmentation, category}, or image + mask",
    metric="map",
    metrics_named=frozenset({"map", "mean_average_precision", "meanaverageprecision", "coco"}),
    collator=COLLATOR,
    sources=SEGMENTATION_SOURCES,
    local_layout="COCO with segmentation, YOLO with outlines, or a table with image and outlines",
    local_formats=("coco", "yolo"),
    same_tags=("image-segmentation", "mask-generation"),
)
