"""Columns: which roles a task reads, and which layouts can be brought into that shape.

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
    caption_to_messages              caption (or captions)                 [user: caption_prompt, assistant: the (first) caption]
    sharegpt_to_messages             conversations[{from, value}]          [{role, content}], human -> user, gpt -> assistant
    language_modelling               text                                  the text itself, every token a label
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tunegate.readers.tables import IMAGE_COLUMNS

Reshape = Literal[
    "nest_objects",
    "transpose_objects",
    "question_answer_to_messages",
    "prompt_completion_to_messages",
    "instruction_to_messages",
    "caption_to_messages",
    "sharegpt_to_messages",
    "language_modelling",
]  # the closed set of ways in which columns become a task's
ColumnShape = Literal[
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

    shape: ColumnShape
    aliases: tuple[str, ...]
    needs: str
    by_type: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Form:
    name: str
    roles: dict[str, Role]
    reshape: Reshape | None = None


IMAGE_ROLE = Role(
    "image",
    ("image", "img", "picture", "photo", "pixel_values", "jpg", "png", "file_name", "rgb"),
    "images",
    by_type=True,
)
_CALLED = ("image", "img", "picture", "photo")
IMAGES = Role(
    "images",
    (*_CALLED, "images", "pixel_values", "file_name", *(f"{name}{end}" for name in _CALLED for end in ("_1", "1"))),
    "images",
    by_type=True,
)
MORE_IMAGES = {  # further image columns of a row, found by their numbers
    role: Role(
        "images",
        tuple(f"{name}{dash}{role[-1]}" for name in _CALLED for dash in ("_", "")),
        "further images of a row",
        optional=True,
    )
    for role in IMAGE_COLUMNS[1:]
}
CAPTION_PROMPT = "Describe the image."  # what the user says where a row is an image and its caption
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
EXTRA = {
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
SHAREGPT_COLUMN = Role(
    "sharegpt", ("conversations", "conversation", "messages", "dialog"), "a list of {from, value}", by_type=True
)
QUESTION = Role("text", ("question", "query", "problem", "questions"), "the question as text")
ANSWER = Role(
    "answer", ("answer", "multiple_choice_answer", "answers", "response", "solution", "label"), "the answer as text"
)
PROMPT = Role("chat", ("prompt",), "the prompt, as text or messages")
COMPLETION = Role(
    "chat", ("completion", "response", "output", "answer", "target"), "the completion, as text or messages"
)
INSTRUCTION = {
    "instruction": Role("text", ("instruction", "instructions"), "the instruction as text"),
    "input": Role("text", ("input", "inputs", "context"), "what the instruction is about", optional=True),
    "output": Role("text", ("output", "outputs", "response", "completion", "answer"), "the wanted output as text"),
}
CAPTION = Role(
    "answer",
    (
        "caption",
        "captions",
        "text",
        "texts",
        "description",
        "descriptions",
        "sentences",
        "alt_text",
        "blip_caption",
        "txt",
    ),
    "what the image shows, as text",
)
TEXT_ROLE = Role("text", ("text", "content", "document", "article", "body"), "text")
CHAT_PROMPT = Role(
    "chat",
    ("prompt", "question", "instruction", "input", "problem", "query", "messages", "conversations", "conversation"),
    "the prompt, as text or messages",
)
RIGHT = Role(
    "answer",
    ("answer", "solution", "ground_truth", "reference", "target", "label", "answers"),
    "the right answer, for a reward that compares with it",
    optional=True,
)
CHOSEN = Role("chat", ("chosen", "chosen_response", "preferred"), "the better completion")
REJECTED = Role("chat", ("rejected", "rejected_response", "dispreferred"), "the worse completion")

BEFORE_COLUMNS = {  # what a conversation begins with, although it stands in a column of its own
    "system": Role("text", ("system", "system_prompt"), "the system prompt as text", optional=True),
    "history": Role("pairs", ("history",), "earlier rounds as [[question, answer], ...]", optional=True),
}
BESIDE_COLUMNS = {
    **BEFORE_COLUMNS,
    "tools": Role("tools", ("tools",), "the tools that may be called: a list, or JSON text", optional=True),
}
SFT = (
    Form("messages", {"messages": MESSAGES, **BESIDE_COLUMNS}),
    Form("prompt_completion", {"prompt": PROMPT, "completion": COMPLETION, **BESIDE_COLUMNS}),
    Form("sharegpt", {"messages": SHAREGPT_COLUMN, **BESIDE_COLUMNS}, "sharegpt_to_messages"),
    Form("instruction", {**INSTRUCTION, **BESIDE_COLUMNS}, "instruction_to_messages"),
    Form("question_answer", {"question": QUESTION, "answer": ANSWER, **BESIDE_COLUMNS}, "question_answer_to_messages"),
    Form("text", {"text": TEXT_ROLE}, "language_modelling"),
)
