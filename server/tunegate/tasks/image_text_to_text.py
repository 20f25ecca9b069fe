"""Answers to questions about images: vision-language models."""

from tunegate.tasks.columns import (
    ANSWER,
    BEFORE_COLUMNS,
    CAPTION,
    CHAT_PROMPT,
    CHOSEN,
    COMPLETION,
    IMAGES,
    INSTRUCTION,
    MESSAGES,
    MORE_IMAGES,
    PROMPT,
    QUESTION,
    REJECTED,
    SHAREGPT_COLUMN,
    Form,
)
from tunegate.tasks.spec import Collator, MethodSpec, TaskSpec, of_trl

IMAGE_ROLES = {"image": IMAGES, **MORE_IMAGES}
FORMS = (
    Form("messages", {**IMAGE_ROLES, "messages": MESSAGES, **BEFORE_COLUMNS}),
    Form("sharegpt", {**IMAGE_ROLES, "messages": SHAREGPT_COLUMN, **BEFORE_COLUMNS}, "sharegpt_to_messages"),
    Form(
        "question_answer",
        {**IMAGE_ROLES, "question": QUESTION, "answer": ANSWER, **BEFORE_COLUMNS},
        "question_answer_to_messages",
    ),
    Form(
        "prompt_completion",
        {**IMAGE_ROLES, "prompt": PROMPT, "completion": COMPLETION, **BEFORE_COLUMNS},
        "prompt_completion_to_messages",
    ),
    Form("instruction", {**IMAGE_ROLES, **INSTRUCTION, **BEFORE_COLUMNS}, "instruction_to_messages"),
    Form("caption", {**IMAGE_ROLES, "caption": CAPTION}, "caption_to_messages"),
)
PREFERENCES = MethodSpec(
    forms=(Form("preference", {"image": IMAGES, "prompt": CHAT_PROMPT, "chosen": CHOSEN, "rejected": REJECTED}),),
    schema="image + prompt + chosen + rejected",
    sources=of_trl("examples/scripts/dpo_vlm.py", "dpo_trainer"),
)

SPEC = TaskSpec(
    name="image-text-to-text",
    reads=("image", "text"),
    auto_classes=("AutoModelForImageTextToText",),
    heads=("ForImageTextToText", "ForVision2Seq", "ForConditionalGeneration"),
    forms=FORMS,
    schema="image + messages, image + question + answer, or image + caption",
    metric="exact_match",
    metrics_named=frozenset({"exact_match", "accuracy", "vqa_accuracy"}),
    collator=Collator(
        "pads, and only the answer's tokens have labels",
        frozenset({"input_ids", "attention_mask", "labels", "pixel_values"}),
        frozenset({"DataCollatorForVisionLanguageModeling", "DataCollatorForVisionLanguageChat"}),
    ),
    sources=of_trl("examples/scripts/sft_vlm.py", "sft_trainer", "dataset_formats"),
    local_layout="a metadata.jsonl with file_name and messages, question and answer, or caption, beside the images",
    local_formats=("captions",),
    methods=("lora", "full"),
    by_method={"dpo": PREFERENCES},
    same_tags=(
        "any-to-any",
        "image-to-text",
        "video-text-to-text",
        "visual-question-answering",
        "document-question-answering",
    ),
)
