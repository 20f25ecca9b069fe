"""The column schemas of the tasks, as tables: which columns a task reads, which layouts can be brought into that shape.

A form is one layout that is known: its roles (task column -> what may feed it) and the reshape that leads from it to the
shape that training reads. The reshapes are a closed set, each the same for every row; what needs more
than that is for the user to decide. `column_map` in config.yaml holds role -> column (`objects.bbox` is the field of a
struct or of a list of structs), `column_reshape` the reshape:

    reshape                          from                                  to
    -------------------------------  ------------------------------------  -------------------------------------------
    (none)                           the task's own columns                the same under the task's names
    nest_objects                     bbox, category columns (lists)        objects{bbox, category}: a dict of lists
    transpose_objects                objects: a list of dicts              objects: a dict of lists
    question_answer_to_messages      question, answer (or answers)         [user: question, assistant: the (first) answer]
    prompt_completion_to_messages    prompt, completion                    [user: prompt, assistant: completion]
    instruction_to_messages          instruction, input?, output           [user: instruction + input, assistant: output]
    sharegpt_to_messages             conversations[{from, value}]          [{role, content}], human -> user, gpt -> assistant
    language_modelling               text                                  the text itself, every token a label
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tunegate.config import Reshape
from tunegate.tasks import SUPPORTED

Shape = Literal[
    "image",
    "images",
    "label",
    "boxes",
    "labels",
    "text",
    "answer",
    "messages",
    "sharegpt",
    "chat",
    "pairs",
    "tools",
    "segments",
    "outlines",
    "depth",
]
MASK_NAMES = (
    "mask", "masks", "label", "labels", "annotation", "annotations", "segmentation", "segmentation_mask",
    "semantic_mask", "seg", "seg_map", "label_map", "semantic", "gt", "annotated", "annotation_mask", "mask_image", "class_mask",
)  # fmt: skip
DEPTH_NAMES = ("depth_map", "depth", "depths", "depth_image", "disparity", "gt_depth", "depth_gt")
PANOPTIC_NAMES = ("panoptic", "panoptic_mask", "panoptic_seg", "panoptic_map", "pan_seg")


@dataclass(frozen=True)
class Role:
    """What may feed one task column. `by_type`: the only column of this type serves, whatever its name."""

    shape: Shape
    aliases: tuple[str, ...]
    needs: str
    by_type: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Form:
    name: str
    roles: dict[str, Role]
    reshape: Reshape | None = None


IMAGE = Role(
    "image",
    ("image", "img", "picture", "photo", "pixel_values", "jpg", "png", "file_name", "rgb"),
    "images",
    by_type=True,
)
IMAGES = Role(
    "images", ("image", "images", "img", "picture", "photo", "pixel_values", "file_name"), "images", by_type=True
)
CATEGORY_NAMES = (
    "category",
    "categories",
    "category_id",
    "category_ids",
    "label",
    "labels",
    "class",
    "classes",
    "class_id",
    "class_labels",
    "name",
    "names",
)
BBOX = Role("boxes", ("bbox", "bboxes", "box", "boxes", "bounding_boxes"), "boxes, 4 numbers each", by_type=True)
CATEGORY = Role("labels", CATEGORY_NAMES, "one class for each box")
_EXTRA = {
    "area": Role("labels", ("area", "areas"), "one number for each box", optional=True),
    "iscrowd": Role("labels", ("iscrowd", "is_crowd", "crowd"), "0 or 1 for each box", optional=True),
}
OUTLINES = Role(
    "outlines",
    ("segmentation", "segmentations", "mask", "masks", "polygons", "rle"),
    "an outline (polygon, RLE or mask) for each object",
)
MASK = Role("image", MASK_NAMES, "a mask image of class ids")
SEGMENTS = Role(
    "segments", ("segments_info", "segments", "segment_info"), "id and category_id for each segment of the mask"
)
PANOPTIC = Role("image", (*PANOPTIC_NAMES, *MASK_NAMES), "a mask image of segment ids (R + 256 G + 65536 B)")
MESSAGES = Role(
    "messages",
    ("messages", "conversation", "conversations", "chat", "dialog", "dialogue"),
    "a list of {role, content}",
    by_type=True,
)
SHAREGPT = Role(
    "sharegpt", ("conversations", "conversation", "messages", "dialog"), "a list of {from, value}", by_type=True
)
QUESTION = Role("text", ("question", "query", "problem", "questions"), "the question as text")
ANSWER = Role(
    "answer", ("answer", "multiple_choice_answer", "answers", "response", "solution", "label"), "the answer as text"
)
PROMPT = Role("text", ("prompt",), "the prompt as text")
COMPLETION = Role("text", ("completion", "response", "output", "answer", "target"), "the completion as text")
INSTRUCTION = {
    "instruction": Role("text", ("instruction", "instructions"), "the instruction as text"),
    "input": Role("text", ("input", "inputs", "context"), "what the instruction is about", optional=True),
    "output": Role("text", ("output", "outputs", "response", "completion", "answer"), "the wanted output as text"),
}
TEXT = Role("text", ("text", "content", "document", "article", "body"), "text")
_CHAT_PROMPT = Role(
    "chat", ("prompt", "question", "instruction", "input", "problem", "query"), "the prompt, as text or messages"
)
RIGHT = Role(
    "answer",
    ("answer", "solution", "ground_truth", "reference", "target", "label", "answers"),
    "the right answer, for a reward that compares with it",
    optional=True,
)
CHOSEN = Role("chat", ("chosen", "chosen_response", "preferred"), "the better completion")
REJECTED = Role("chat", ("rejected", "rejected_response", "dispreferred"), "the worse completion")

BESIDE = {  # what belongs to a conversation although it stands in a column of its own
    "system": Role("text", ("system", "system_prompt"), "the system prompt as text", optional=True),
    "history": Role("pairs", ("history",), "earlier rounds as [[question, answer], ...]", optional=True),
    "tools": Role("tools", ("tools",), "the tools that may be called: a list, or JSON text", optional=True),
}
SFT = (
    Form("messages", {"messages": MESSAGES, **BESIDE}),
    Form("prompt_completion", {"prompt": PROMPT, "completion": COMPLETION, **BESIDE}),
    Form("sharegpt", {"messages": SHAREGPT, **BESIDE}, "sharegpt_to_messages"),
    Form("instruction", {**INSTRUCTION, **BESIDE}, "instruction_to_messages"),
    Form("question_answer", {"question": QUESTION, "answer": ANSWER, **BESIDE}, "question_answer_to_messages"),
    Form("text", {"text": TEXT}, "language_modelling"),
)
# task -> forms, the preferred one first. Preference data for DPO and prompts for GRPO stand under the method's name.
FORMS: dict[str, tuple[Form, ...]] = {
    "image-classification": (
        Form(
            "image_label",
            {
                "image": IMAGE,
                "label": Role(
                    "label",
                    ("label", "labels", "class", "category", "target", "y", "fine_label", "class_name", "label_name", "cls"),
                    "one class for each row",
                    by_type=True,
                ),
            },
        ),
    ),
    "object-detection": (Form("objects", {"image": IMAGE, "bbox": BBOX, "category": CATEGORY, **_EXTRA}, "nest_objects"),),
    "semantic-segmentation": (Form("mask", {"image": IMAGE, "mask": MASK}),),
    "instance-segmentation": (
        Form("outlines", {"image": IMAGE, "segmentation": OUTLINES, "category": CATEGORY, "bbox": BBOX, **_EXTRA}, "nest_objects"),
        Form("segments", {"image": IMAGE, "mask": PANOPTIC, "segments": SEGMENTS}),
        Form("mask", {"image": IMAGE, "mask": MASK}),
    ),
    "panoptic-segmentation": (Form("segments", {"image": IMAGE, "mask": PANOPTIC, "segments": SEGMENTS}),),
    "depth-estimation": (
        Form("depth", {"image": IMAGE, "depth_map": Role("depth", DEPTH_NAMES, "a depth map: an image or an array")}),
    ),
    "image-text-to-text": (
        Form("messages", {"image": IMAGES, "messages": MESSAGES}),
        Form("sharegpt", {"image": IMAGES, "messages": SHAREGPT}, "sharegpt_to_messages"),
        Form("question_answer", {"image": IMAGES, "question": QUESTION, "answer": ANSWER}, "question_answer_to_messages"),
        Form("prompt_completion", {"image": IMAGES, "prompt": PROMPT, "completion": COMPLETION}, "prompt_completion_to_messages"),
        Form("instruction", {"image": IMAGES, **INSTRUCTION}, "instruction_to_messages"),
    ),
    "text-generation": SFT,
    "text-generation/dpo": (
        Form("preference", {"prompt": _CHAT_PROMPT, "chosen": CHOSEN, "rejected": REJECTED}),
        Form("implicit_preference", {"chosen": CHOSEN, "rejected": REJECTED}),
    ),
    "text-generation/grpo": (Form("prompts", {"prompt": _CHAT_PROMPT, "answer": RIGHT}),),
    "image-text-to-text/dpo": (
        Form("preference", {"image": IMAGES, "prompt": _CHAT_PROMPT, "chosen": CHOSEN, "rejected": REJECTED}),
    ),
}  # fmt: skip
# For messages: what each task reads, in one line.
SCHEMAS = {
    "image-classification": "image + label",
    "object-detection": "image + objects{bbox, category}",
    "semantic-segmentation": "image + mask",
    "instance-segmentation": "image + objects{segmentation, category}, or image + mask",
    "panoptic-segmentation": "image + mask + segments_info{id, category_id}",
    "depth-estimation": "image + depth_map",
    "image-text-to-text": "image + messages, or image + question + answer",
    "text-generation": "messages, prompt + completion, instruction + output, question + answer, or text",
    "text-generation/dpo": "prompt + chosen + rejected",
    "text-generation/grpo": "prompt, and what rewards.py reads (answer)",
    "image-text-to-text/dpo": "image + prompt + chosen + rejected",
}
# Formats of local datasets -> the tasks that they can feed.
LOCAL_FORMATS = {
    "imagefolder": SUPPORTED,
    "coco": ("object-detection", "instance-segmentation", "panoptic-segmentation"),
    "voc": ("object-detection", "semantic-segmentation"),
    "segfolder": ("semantic-segmentation", "depth-estimation"),
    "jsonl": SUPPORTED,
    "arrow": SUPPORTED,
    "parquet": SUPPORTED,
    "csv": SUPPORTED,
}


def schema_key(task: str, method: str | None) -> str:
    """The key of FORMS and SCHEMAS: the task, or task/method where the method reads other columns."""
    return f"{task}/{method}" if f"{task}/{method}" in FORMS else task
