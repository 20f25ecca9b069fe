"""A class for each pixel, and which object it belongs to."""

from tunegate.tasks.instance_segmentation import COLLATOR, HEADS, SEGMENTATION_SOURCES, SEGMENTS_FORM
from tunegate.tasks.spec import TaskSpec

SPEC = TaskSpec(
    name="panoptic-segmentation",
    reads=("image",),
    auto_classes=("AutoModelForUniversalSegmentation",),
    heads=HEADS,
    forms=(SEGMENTS_FORM,),
    schema="image + mask + segments_info{id, category_id}",
    metric="map",
    metrics_named=frozenset({"map", "pq", "panopticquality", "panoptic_quality", "meanaverageprecision"}),
    collator=COLLATOR,
    sources=SEGMENTATION_SOURCES,
    local_layout="COCO panoptic (annotations/panoptic_*.json and its PNG folder)",
    local_formats=("coco",),
    same_tags=("image-segmentation", "mask-generation"),
)
