"""Answers as text: language models, by supervised fine-tuning, preferences (DPO) or rewards (GRPO)."""

from tunegate.tasks.columns import BEFORE_COLUMNS, CHAT_PROMPT, CHOSEN, REJECTED, RIGHT, SFT, Form
from tunegate.tasks.spec import Collator, MethodSpec, TaskSpec, of_trl

DPO = MethodSpec(
    forms=(
        Form("preference", {"prompt": CHAT_PROMPT, "chosen": CHOSEN, "rejected": REJECTED, **BEFORE_COLUMNS}),
        Form("implicit_preference", {"chosen": CHOSEN, "rejected": REJECTED, **BEFORE_COLUMNS}),
    ),
    schema="prompt + chosen + rejected",
    sources=of_trl("trl/scripts/dpo.py", "dpo_trainer", "dataset_formats"),
    metric="reward_accuracy",
)
GRPO = MethodSpec(
    forms=(Form("prompts", {"prompt": CHAT_PROMPT, "answer": RIGHT}),),
    schema="prompt, and what rewards.py reads (answer)",
    sources=of_trl("trl/scripts/grpo.py", "grpo_trainer", "dataset_formats"),
    metric="reward_accuracy",
)

SPEC = TaskSpec(
    name="text-generation",
    reads=("text",),
    auto_classes=("AutoModelForCausalLM",),
    heads=("ForCausalLM",),
    forms=SFT,
    schema="messages, prompt + completion, instruction + output, question + answer, or text",
    metric="eval_loss",
    metrics_named=frozenset({"perplexity", "loss", "eval_loss", "exact_match", "accuracy"}),
    collator=Collator(
        "is TRL's own; only the answer's tokens have labels",
        frozenset({"input_ids", "attention_mask", "labels"}),
        frozenset(
            {
                "DataCollatorForLanguageModeling",
                "DataCollatorForCompletionOnlyLM",
                "DataCollatorForPreference",
                "DPODataCollatorWithPadding",
            }
        ),
    ),
    sources=of_trl("trl/scripts/sft.py", "sft_trainer", "dataset_formats"),
    local_layout="a .jsonl with messages, or prompt and completion",
    methods=("lora", "full", "dpo", "grpo"),
    arguments_class={"lora": "SFTConfig", "full": "SFTConfig", "dpo": "DPOConfig", "grpo": "GRPOConfig"},
    by_method={"dpo": DPO, "grpo": GRPO},
    same_tags=("conversational", "text2text-generation"),
    sample_suffix="txt",
)
