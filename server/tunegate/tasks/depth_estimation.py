"""A distance for each pixel."""

from tunegate.tasks.columns import DEPTH_NAMES, IMAGE_ROLE, Form, Role
from tunegate.tasks.spec import Collator, TaskSpec, of_transformers

SPEC = TaskSpec(
    name="depth-estimation",
    reads=("image",),
    auto_classes=("AutoModelForDepthEstimation",),
    heads=("ForDepthEstimation",),
    forms=(
        Form(
            "depth", {"image": IMAGE_ROLE, "depth_map": Role("depth", DEPTH_NAMES, "a depth map: an image or an array")}
        ),
    ),
    schema="image + depth_map",
    metric="abs_rel",
    metrics_named=frozenset({"abs_rel", "rmse", "delta1", "meansquarederror", "meanabsolutepercentageerror"}),
    collator=Collator("stacks images and depth maps", frozenset({"pixel_values", "labels"})),
    sources=of_transformers(None, "monocular_depth_estimation"),  # no example script; the page only infers
    local_layout="images/ and depth/ with the same file names",
    local_formats=("segfolder",),
)
