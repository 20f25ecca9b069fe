"""The trainings of a Python source: each call of TrainingArguments or a TRL config, a script's own defaults, a plain loop.

Beside each stands what the code around it says of the method: pretrained weights or not, which trainer, which adapter. Of a
page of several code blocks, the block's own word counts; where only another block says something, the adapter is not known.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, NamedTuple

from tunegate.recipe.pysource import SourceCode
from tunegate.recipe.trainings import Adapter, Objective, Start, Training
from tunegate.recipe.values import hyperparameter, known

Lines = tuple[int, int]  # first and last line of a block of code
Given = tuple[str, Any, ast.AST]  # keyword, value, where
CLASSES_WITH_WEIGHTS = ("Model", "For", "LMHead", "Pipeline", "Transformer")  # what names of classes with weights hold
CLASSES_WITHOUT_WEIGHTS = ("Processor", "Tokenizer", "TokenizerFast", "Extractor", "Config", "ImageProcessorFast")
PEFT_NAMES = ("LoraConfig", "get_peft_model")
OTHER_ADAPTERS = (
    "get_peft_config",
    "PromptTuningConfig",
    "PrefixTuningConfig",
    "IA3Config",
    "AdaLoraConfig",
    "LoHaConfig",
)
QUANTIZED = ("load_in_4bit", "load_in_8bit", "quantization_config")
TRAINER_OBJECTIVES: dict[str, Objective] = {"DPO": "dpo", "GRPO": "grpo", "SFT": "supervised"}


class Signal(NamedTuple):
    line: int
    about: str  # start, objective, adapter, quantized
    value: str


def trainings(
    source: SourceCode, calls: list[list[Given]], others: list[list[Given]], parts: list[Lines]
) -> list[Training]:
    """calls: the keywords of each call; others: those of a script's own defaults and of its plain loop, each together."""
    seen = list(_signals(source))
    found = []
    for given in [*calls, *others]:
        values: dict[str, Any] = {}
        unread: list[str] = []
        for name, value, _ in given:
            clean = hyperparameter(name, value)
            keyword = clean[0] if clean else known(name)
            if clean:
                values.setdefault(*clean)
            elif keyword and value is not None and not a_form_of_adamw(keyword, value):
                unread.append(keyword)
            elif name == "**":
                unread.append("gradient_accumulation_steps")
        if values:
            found.append(_training(values, unread, given, seen, parts))
    return found


def start_of(source: SourceCode) -> Start | None:
    """Where a whole source starts from; pretrained weights where it can do both."""
    values = _of(list(_signals(source)), "start")
    return "pretrained" if "pretrained" in values else "scratch" if values else None


def _training(values: dict, unread: list[str], given: list[Given], seen: list[Signal], parts: list[Lines]) -> Training:
    nodes = [node for *_, node in given]
    first, last = min(node.lineno for node in nodes), max(node.end_lineno or node.lineno for node in nodes)
    part = next((part for part in parts if part[0] <= first <= part[1]), (1, 10**9))
    inside = [signal for signal in seen if part[0] <= signal.line <= part[1]]
    outside = [signal for signal in seen if signal not in inside]
    return Training(
        values=values,
        unread=[keyword for keyword in dict.fromkeys(unread) if keyword not in values],
        lines=(first, last),
        start=_start(inside) if _of(inside, "start") else _start(outside),
        objective=_objective(nodes[0], inside, outside),
        adapter=_adapter(inside, outside),
        devices=1,
    )


def _of(signals: list[Signal], about: str) -> set[str]:
    return {signal.value for signal in signals if signal.about == about}


def _start(signals: list[Signal]) -> Start | None:
    values = _of(signals, "start")
    return values.pop() if len(values) == 1 else None  # type: ignore[return-value]


def _objective(node: ast.AST, inside: list[Signal], outside: list[Signal]) -> Objective | None:
    """The config's own class says it; TrainingArguments serve the trainer that they stand beside."""
    name = _name(node.func) if isinstance(node, ast.Call) else ""
    for word, objective in TRAINER_OBJECTIVES.items():
        if name.startswith(word):
            return objective
    named = _of(inside, "objective") or _of(outside, "objective") or {"supervised"}
    return named.pop() if len(named) == 1 else None  # type: ignore[return-value]


def _adapter(inside: list[Signal], outside: list[Signal]) -> Adapter | None:
    own = _of(inside, "adapter")
    if not own:
        return None if _of(outside, "adapter") else "none"
    if own != {"lora"}:
        return None
    if _of(inside, "quantized"):
        return "qlora"
    return None if _of(outside, "quantized") else "lora"


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _signals(source: SourceCode) -> Iterator[Signal]:
    for call, _ in source.calls:
        origin = source.origin(call.func)
        name = origin.rsplit(".", 1)[-1] or _name(call.func)
        yield from (Signal(call.lineno, *pair) for pair in _said(source, call, origin, name))


def _said(source: SourceCode, call: ast.Call, origin: str, name: str) -> Iterator[tuple[str, str]]:
    given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    owner = source.origin(call.func.value).rsplit(".", 1)[-1] if isinstance(call.func, ast.Attribute) else ""
    if name in ("from_pretrained", "from_config") and _has_weights(owner):
        yield "start", "pretrained" if name == "from_pretrained" else "scratch"
    elif _has_weights(name) and any(_is_config(source, node) for node in [*call.args, *given.values()]):
        yield "start", "scratch"  # GPT2LMHeadModel(GPT2Config())
    if "pretrained" in given and isinstance(value := source.value(given["pretrained"]), bool):
        yield "start", "pretrained" if value else "scratch"  # timm, older torchvision
    if name.endswith("Trainer"):
        word = next((objective for word, objective in TRAINER_OBJECTIVES.items() if name.startswith(word)), None)
        yield "objective", word or ("supervised" if name in ("Trainer", "Seq2SeqTrainer") else "other")
        if name != "Trainer" and isinstance(given.get("model"), ast.Constant):
            yield "start", "pretrained"  # TRL loads a model by its name
    if name in PEFT_NAMES or "Peft" in owner:
        yield "adapter", "lora"
    elif name in OTHER_ADAPTERS or ("peft_config" in given and not _is_lora(source, given["peft_config"])):
        yield "adapter", "other"
    if any(key in given and source.value(given[key]) not in (False, None) for key in QUANTIZED):
        yield "quantized", "yes"


def a_form_of_adamw(keyword: str, value: Any) -> bool:
    """`paged_adamw_8bit`, `OptimizerNames.ADAMW_TORCH`: AdamW in another form, which has AdamW's rates."""
    name = str(value.get("symbol", "") if isinstance(value, dict) else value).rsplit(".", 1)[-1].lower()
    return keyword == "optim" and name.removeprefix("paged_").startswith("adamw")


def _is_lora(source: SourceCode, node: ast.expr) -> bool:
    node = source.resolved(node)
    if isinstance(node, ast.Constant) and node.value is None:
        return True  # peft_config=None: no adapter, and nothing else
    return isinstance(node, ast.Call) and _name(node.func) == "LoraConfig"


def _has_weights(name: str) -> bool:
    return any(word in name for word in CLASSES_WITH_WEIGHTS) and not name.endswith(CLASSES_WITHOUT_WEIGHTS)


def _is_config(source: SourceCode, node: ast.expr) -> bool:
    node = source.resolved(node)
    if not isinstance(node, ast.Call):
        return False
    name = _name(node.func)
    return name.endswith("Config") and not name.startswith(("Lora", "BitsAndBytes"))
