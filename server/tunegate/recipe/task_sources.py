"""Where each task's recipe is found: the example scripts and documentation of transformers and TRL, as a table."""

from __future__ import annotations

from typing import NamedTuple

from tunegate.recipe.pyfacts import Head

# How the names of the classes end that have a task's head, the preferred ending first.
UNIVERSAL = ("ForUniversalSegmentation", "ForInstanceSegmentation")
VISION_LANGUAGE = ("ForImageTextToText", "ForVision2Seq", "ForConditionalGeneration")
TRANSFORMERS, TRL = "huggingface/transformers", "huggingface/trl"


class TaskSources(NamedTuple):
    """Where a task's recipe is found, and how the names of the classes end that have its head."""

    head: Head
    examples: tuple[str, ...]
    docs: tuple[str, ...]
    repo: str = TRANSFORMERS


def _of_transformers(head: Head, example: str | None, *docs: str) -> TaskSources:
    script = f"examples/pytorch/{example}/run_{example.replace('-', '_')}.py" if example else ""
    examples = (script, f"examples/pytorch/{example}/README.md") if example else ()
    return TaskSources(head, examples, tuple(f"docs/source/en/tasks/{name}.md" for name in docs))


def _of_trl(head: Head, script: str, *docs: str) -> TaskSources:
    return TaskSources(head, (script,), tuple(f"docs/source/{name}.md" for name in docs), TRL)


# By task, or task/method where the method has sources of its own. Depth estimation has no example script, and its page only
# infers; vision-language and language models are trained with TRL.
TASKS = {
    "image-classification": _of_transformers("ForImageClassification", "image-classification", "image_classification"),
    "object-detection": _of_transformers("ForObjectDetection", "object-detection", "object_detection"),
    "semantic-segmentation": _of_transformers("ForSemanticSegmentation", "semantic-segmentation", "semantic_segmentation"),
    "instance-segmentation": _of_transformers(UNIVERSAL, "instance-segmentation", "instance_segmentation"),
    "panoptic-segmentation": _of_transformers(UNIVERSAL, "instance-segmentation", "instance_segmentation"),
    "depth-estimation": _of_transformers("ForDepthEstimation", None, "monocular_depth_estimation"),
    "image-text-to-text": _of_trl(VISION_LANGUAGE, "examples/scripts/sft_vlm.py", "sft_trainer", "dataset_formats"),
    "image-text-to-text/dpo": _of_trl(VISION_LANGUAGE, "examples/scripts/dpo_vlm.py", "dpo_trainer"),
    "text-generation": _of_trl("ForCausalLM", "trl/scripts/sft.py", "sft_trainer", "dataset_formats"),
    "text-generation/dpo": _of_trl("ForCausalLM", "trl/scripts/dpo.py", "dpo_trainer", "dataset_formats"),
    "text-generation/grpo": _of_trl("ForCausalLM", "trl/scripts/grpo.py", "grpo_trainer", "dataset_formats"),
}  # fmt: skip
