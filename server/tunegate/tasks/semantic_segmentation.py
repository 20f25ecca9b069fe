"""A class for each pixel."""

from tunegate.tasks.columns import IMAGE_ROLE, MASK, Form
from tunegate.tasks.spec import Collator, TaskSpec, of_transformers

SPEC = TaskSpec(
    name="semantic-segmentation",
    reads=("image",),
    auto_classes=("AutoModelForSemanticSegmentation", "AutoModelForUniversalSegmentation"),
    heads=("ForSemanticSegmentation",),
    forms=(Form("mask", {"image": IMAGE_ROLE, "mask": MASK}),),
    schema="image + mask",
    metric="mean_iou",
    metrics_named=frozenset({"mean_iou", "iou", "jaccardindex", "jaccard", "accuracy", "pixel_accuracy"}),
    collator=Collator("stacks images and masks", frozenset({"pixel_values", "labels"})),
    sources=of_transformers("semantic-segmentation", "semantic_segmentation"),
    local_layout="images/ and masks/ with the same file names",
    local_formats=("voc", "segfolder"),
    same_tags=("image-segmentation", "mask-generation"),
)
