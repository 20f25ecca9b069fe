"""One class for each image."""

from tunegate.tasks.columns import IMAGE_ROLE, Form, Role
from tunegate.tasks.spec import Collator, TaskSpec, of_transformers

LABEL_NAMES = ("label", "labels", "class", "category", "target", "y", "fine_label", "class_name", "label_name", "cls")

SPEC = TaskSpec(
    name="image-classification",
    reads=("image",),
    auto_classes=("AutoModelForImageClassification",),
    heads=("ForImageClassification",),
    forms=(
        Form(
            "image_label",
            {"image": IMAGE_ROLE, "label": Role("label", LABEL_NAMES, "one class for each row", by_type=True)},
        ),
    ),
    schema="image + label",
    metric="accuracy",
    metrics_named=frozenset({"accuracy", "f1", "macro_f1"}),
    collator=Collator("stacks images and labels", frozenset({"pixel_values", "labels"})),
    sources=of_transformers("image-classification", "image_classification"),
    local_layout="one subfolder of images for each class (optionally under train/ and validation/)",
)
