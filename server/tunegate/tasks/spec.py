"""What must be known of a task, in one value: tasks/<task>.py holds one TaskSpec each, and every table by task is derived from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tunegate.tasks.columns import Form

Reads = Literal["image", "text"]
LocalFormat = Literal[
    "imagefolder", "coco", "voc", "yolo", "segfolder", "captions", "jsonl", "arrow", "parquet", "csv", "webdataset"
]
EVERY_TASK: tuple[LocalFormat, ...] = (
    "imagefolder",
    "jsonl",
    "arrow",
    "parquet",
    "csv",
    "webdataset",
)  # these feed every task
TRANSFORMERS, TRL = "huggingface/transformers", "huggingface/trl"


@dataclass(frozen=True)
class RecipeSources:
    """Where a recipe is found: paths in `repo` of the example script (with its README) and of the documentation."""

    examples: tuple[str, ...]
    docs: tuple[str, ...]
    repo: str = TRANSFORMERS


def of_transformers(example: str | None, *docs: str) -> RecipeSources:
    script = f"examples/pytorch/{example}/run_{example.replace('-', '_')}.py" if example else ""
    examples = (script, f"examples/pytorch/{example}/README.md") if example else ()
    return RecipeSources(examples, tuple(f"docs/source/en/tasks/{name}.md" for name in docs))


def of_trl(script: str, *docs: str) -> RecipeSources:
    return RecipeSources((script,), tuple(f"docs/source/{name}.md" for name in docs), TRL)


@dataclass(frozen=True)
class MethodSpec:
    """What a training method changes of its task: the columns that it reads, its metric, where its recipe is found."""

    forms: tuple[Form, ...]
    schema: str
    sources: RecipeSources
    metric: str | None = None  # None: the task's


@dataclass(frozen=True)
class Collator:
    """What our collator does, the keys of a batch that it makes, and the library collators that do the same."""

    does: str
    keys: frozenset[str]
    same: frozenset[str] = frozenset()


@dataclass(frozen=True)
class TaskSpec:
    """One task.

    auto_classes, heads: the auto classes that serve it, and how the names of the classes end that have its head; the preferred first.
    forms, schema: the column layouts that it reads (the preferred first), and the same in one line for messages.
    metric: what a run is judged by. metrics_named: what run_eval.py reports, by the names that evaluation libraries give it.
    methods: how it may be trained, the default first. arguments_class: by method, where it is not transformers' TrainingArguments.
    by_method: what a method changes; it may stand here before the method is rendered.
    same_tags: pipeline tags of the Hub that mean this task in other words.
    local_formats, local_layout: which local datasets feed it beside EVERY_TASK, and the layout to ask a user for.
    """

    name: str
    reads: tuple[Reads, ...]
    auto_classes: tuple[str, ...]
    heads: tuple[str, ...]
    forms: tuple[Form, ...]
    schema: str
    metric: str
    metrics_named: frozenset[str]
    collator: Collator
    sources: RecipeSources
    local_layout: str
    local_formats: tuple[LocalFormat, ...] = ()
    methods: tuple[str, ...] = ("full",)
    arguments_class: dict[str, str] = field(default_factory=dict)
    by_method: dict[str, MethodSpec] = field(default_factory=dict)
    same_tags: tuple[str, ...] = ()
    sample_suffix: str = "jpg"

    @property
    def adapts(self) -> bool:
        """Whether it can be trained through a LoRA adapter."""
        return "lora" in self.methods
