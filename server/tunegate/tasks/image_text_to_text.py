"""Answers to questions about images: vision-language models."""

from tunegate.tasks.columns import (
    ANSWER,
    CHAT_PROMPT,
    CHOSEN,
    COMPLETION,
    IMAGES,
    INSTRUCTION,
    MESSAGES,
    PROMPT,
    QUESTION,
    REJECTED,
    SHAREGPT_COLUMN,
    Form,
)
from tunegate.tasks.spec import Collator, MethodSpec, TaskSpec, of_trl

FORMS = (
    Form("messages", {"image": IMAGES, "messages": MESSAGES}),
    Form("sharegpt", {"image": IMAGES, "messages": SHAREGPT_COLUMN}, "sharegpt_to_messages"),
    Form("question_answer", {"image": IMAGES, "question": QUESTION, "answer": ANSWER}, "question_answer_to_messages"),
    Form(
        "prompt_completion",
        {"image": IMAGES, "prompt": PROMPT, "completion": COMPLETION},
        "prompt_completion_to_messages",
    ),
    Form("instruction", {"image": IMAGES, **INSTRUCTION}, "instruction_to_messages"),
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
    schema="image + messages, or image + question + answer",
    metric="exact_match",
    metrics_named=frozenset({"exact_match", "accuracy", "vqa_accuracy"}),
    collator=Collator(
        "pads, and only the answer's tokens have labels",
        frozenset({"input_ids", "attention_mask", "labels", "pixel_values"}),
        frozenset({"DataCollatorForVisionLanguageModeling", "DataCollatorForVisionLanguageChat"}),
    ),
    sources=of_trl("examples/scripts/sft_vlm.py", "sft_trainer", "dataset_formats"),
    local_layout="a .jsonl with file_name and messages, or question and answer, beside the images",
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
