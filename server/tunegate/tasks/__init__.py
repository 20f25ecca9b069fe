"""What is known about tasks, as tables. architectures.py has their models, schemas.py their columns."""

from __future__ import annotations

from tunegate.errors import ToolFailure
from tunegate.paths import data_dir
from tunegate.tasks import architectures, metrics

SUPPORTED = tuple(task for task in metrics.PRIMARY if "/" not in task)

# How each task may be trained, the default first. dpo and grpo train a LoRA adapter.
METHODS = dict.fromkeys(SUPPORTED, ("full",)) | {
    "image-text-to-text": ("lora", "full"),
    "text-generation": ("lora", "full", "dpo", "grpo"),
}


def check_method(task: str, method: str) -> None:
    """Raises ToolFailure(out_of_scope) for a method that the task's scaffold does not have."""
    if method not in METHODS[task]:
        why = ": bitsandbytes' 4-bit kernels need a GPU that no test of ours has" if method == "qlora" else ""
        raise ToolFailure(
            "out_of_scope",
            f"training_method = {method!r}: {task} is trained with {' or '.join(METHODS[task])} in this version{why}",
        )


# What this version can take further than step 1: the tasks that it has scripts for.
TRAINABLE = tuple(task for task in SUPPORTED if (data_dir("scaffolds") / task / "train.py.j2").is_file())
# Models of a task's auto class that its scripts cannot train, and why.
UNFIT = {
    "oneformer": "it reads the task as text beside each image",
    "videomt": "it is made for video",
    "detr": "its masks hang on a detector, whose loss wants boxes too",
}
AUTO_CLASS = {task: autos[0] for task, autos in architectures.AUTO_CLASSES.items()}
SEGMENTATION = ("semantic-segmentation", "instance-segmentation", "panoptic-segmentation")
VISION = tuple(task for task in SUPPORTED if task != "text-generation")  # these need an image processor
