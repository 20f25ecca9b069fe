"""The tasks: one file each, TASKS by name, and the look-ups that everybody else uses.

A new task is a new file here and its line in TASKS; docs/extending.md has the rest.
Nothing here needs more than the standard library: benchmarks read these facts where the server is not installed.
"""

from __future__ import annotations

from typing import get_args

from tunegate.tasks import (
    depth_estimation,
    image_classification,
    image_text_to_text,
    instance_segmentation,
    object_detection,
    panoptic_segmentation,
    semantic_segmentation,
    text_generation,
)
from tunegate.tasks.spec import EVERY_TASK, LocalFormat, MethodSpec, TaskSpec

TASKS: dict[str, TaskSpec] = {
    module.SPEC.name: module.SPEC
    for module in (
        image_classification,
        object_detection,
        semantic_segmentation,
        instance_segmentation,
        panoptic_segmentation,
        depth_estimation,
        image_text_to_text,
        text_generation,
    )
}
SUPPORTED = tuple(TASKS)
VISION = tuple(name for name, spec in TASKS.items() if "image" in spec.reads)  # these need an image processor
TEXT = tuple(name for name, spec in TASKS.items() if "text" in spec.reads)  # these need a tokenizer
ADAPTED = tuple(name for name, spec in TASKS.items() if spec.adapts)
SEGMENTATION = ("semantic-segmentation", "instance-segmentation", "panoptic-segmentation")
# Task, or task/method where the method has columns, a recipe or a metric of its own.
VARIANTS: dict[str, TaskSpec | MethodSpec] = {
    **TASKS,
    **{f"{name}/{method}": own for name, spec in TASKS.items() for method, own in spec.by_method.items()},
}
# Format of a local dataset -> the tasks that it can feed.
LOCAL_FORMATS: dict[str, tuple[str, ...]] = {
    found: tuple(name for name, spec in TASKS.items() if found in (*EVERY_TASK, *spec.local_formats))
    for found in get_args(LocalFormat)
}
# Models of a task's auto class that its scripts cannot train, and why.
UNSUPPORTED = {
    "oneformer": "it reads the task as text beside each image",
    "videomt": "it is made for video",
    "detr": "its masks hang on a detector, whose loss wants boxes too",
}


def variant(task: str, method: str | None) -> str:
    """The key of VARIANTS: `task/method` where the method has an entry of its own, else the task."""
    return f"{task}/{method}" if f"{task}/{method}" in VARIANTS else task


def metric(task: str, method: str | None) -> str:
    """The primary metric of a run. The same for both methods of a task unless the method names its own."""
    return VARIANTS[variant(task, method)].metric or TASKS[task].metric
