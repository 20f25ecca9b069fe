"""What a Python source says about training, read from its syntax tree. Nothing is imported, run or copied as code.

slot               where it is read
-----------------  --------------------------------------------------------------------------------
auto_class         X.from_pretrained(...) with X ending in the task's head (…ForImageClassification)
processor_class    X.from_pretrained(...) or X(...) with X an image processor, feature extractor or processor
processor_kwargs   the keywords of that call
train_transforms   see pytransforms.py
eval_transforms    the same, distinguished by the names around it (see pysource.split_role)
collator           Trainer(data_collator=...), DataLoader(collate_fn=...), else a function named *collate*
metrics            evaluate.load("..."), load_metric("..."), sklearn.metrics, torchmetrics
hyperparameters    TrainingArguments(...) and TRL's configs, optimizers and loaders of plain loops, add_argument("--...",
                   default=...), dataclass defaults, a mapping or constants whose names say what they are
lora               LoraConfig(...)
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tunegate.recipe import renames
from tunegate.recipe.needs import called_requirements
from tunegate.recipe.pysource import OPAQUE, SourceCode, own_arguments, own_fields, parse, split_role
from tunegate.recipe.pytrainings import Given, Lines, start_of, trainings
from tunegate.recipe.pytransforms import lines, transforms
from tunegate.recipe.trainings import Training
from tunegate.recipe.values import hyperparameter, is_name, is_symbol, known, lora_settings, processor_settings

Head = str | tuple[str, ...]  # how the names of the classes end that have the task's head, the preferred ending first
PROCESSORS = ("ImageProcessor", "ImageProcessorFast", "FeatureExtractor")
SKLEARN = {
    "accuracy_score": "accuracy",
    "f1_score": "f1",
    "precision_score": "precision",
    "recall_score": "recall",
    "roc_auc_score": "roc_auc",
    "balanced_accuracy_score": "balanced_accuracy",
}
TORCHMETRICS = {"meanaverageprecision": "map", "jaccardindex": "mean_iou", "meaniou": "mean_iou"}
CONFIGS = ("TrainingArguments", "SFTConfig", "DPOConfig", "GRPOConfig")
OPTIMIZERS = ("torch.optim.", "transformers.", "bitsandbytes.optim.", "optim.")
# What a constant or a mapping's key must be called to count: other names mean other things elsewhere (temperature, beta).
TRAINING_KEYWORDS = (
    "learning_rate",
    "weight_decay",
    "num_train_epochs",
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "warmup_steps",
    "max_grad_norm",
)
MAX_IMPORTS = 40
# They have classes whose names end like those of transformers, where no project could import them from.
OTHER_LIBRARIES = (
    "peft",
    "optimum",
    "trl",
    "unsloth",
    "auto_gptq",
    "gptqmodel",
    "awq",
    "timm",
    "adapters",
    "intel_extension_for_transformers",
)


class SlotFinding(NamedTuple):
    slot: str
    value: Any  # JSON data
    lines: tuple[int, int] | None


@dataclass
class Extraction:
    """What one document says: at most one finding a slot, and what was seen but not taken."""

    findings: dict[str, SlotFinding] = field(default_factory=dict)
    finetunes: bool = False  # starts from pretrained weights: its hyperparameters are a fine-tuning's
    outdated: set[str] = field(default_factory=set)  # keywords that the installed libraries renamed or removed
    imports: list[str] = field(default_factory=list)  # top-level names of libraries other than Python's own
    requires: dict[str, str] = field(default_factory=dict)  # library -> version specifier
    written_with: dict[str, str] = field(default_factory=dict)  # library -> version
    problems: list[str] = field(default_factory=list)
    transforms_unread: bool = False  # one of its transforms is not a plain call and was left out
    trainings: list[Training] = field(default_factory=list)  # each sets its hyperparameters together

    def settle(self, adapted: bool | None = None) -> None:
        """The hyperparameters' finding: the first training with a rate, of our kind of weights (adapted) where it can be."""

        def rank(training: Training) -> tuple[bool, bool]:
            other = adapted is not None and (training.adapter in ("lora", "qlora")) != adapted
            return "learning_rate" not in training.values, other

        if best := min(self.trainings, key=rank, default=None):
            self.findings["hyperparameters"] = SlotFinding("hyperparameters", best.values, best.lines)

    def add(self, slot: str, value: Any, lines: tuple[int, int] | None) -> None:
        if value not in (None, [], {}):
            self.findings.setdefault(slot, SlotFinding(slot, value, lines))


def extract_python(text: str, head: Head) -> Extraction:
    """Source text -> Extraction. `head` is the task's class suffix (or several), e.g. ForImageClassification."""
    try:
        return extract_tree(parse(text), head)
    except ValueError as error:
        return Extraction(problems=[str(error)])


def extract_tree(tree: ast.Module, head: Head, parts: list[Lines] | None = None) -> Extraction:
    """parts: the lines of a page's code blocks; None for one program."""
    found = Extraction()
    try:
        source = SourceCode(tree)
        for read in (_imports, _classes, _pipelines, _collator, _metrics, _lora):
            read(source, head, found)
        _hyperparameters(source, found, parts or [(1, sys.maxsize)])
        found.settle()
    except RecursionError:
        found.problems.append("nested too deeply to be read to the end")
    return found


def _last(origin: str) -> str:
    return origin.rsplit(".", 1)[-1]


def _imports(source: SourceCode, head: Head, found: Extraction) -> None:
    roots = dict.fromkeys(origin.split(".")[0] for origin in source.imports.values())  # of relative ones nothing
    found.imports = [name for name in roots if is_name(name) and name not in sys.stdlib_module_names][:MAX_IMPORTS]
    found.requires = called_requirements(source)


def _classes(source: SourceCode, head: Head, found: Extraction) -> None:
    """Auto classes go before a model's own: they hold for every checkpoint."""
    endings = (head,) if isinstance(head, str) else head
    heads, processors = [], []
    for call, _ in source.calls:
        loads = isinstance(call.func, ast.Attribute) and call.func.attr in ("from_pretrained", "from_config")
        name = _last(source.origin(call.func.value if loads else call.func))
        if not is_name(name) or name.startswith(("TF", "Flax")):
            continue
        root = source.origin(call.func.value if loads else call.func).split(".")[0]
        if root in OTHER_LIBRARIES:
            found.finetunes |= loads and call.func.attr == "from_pretrained"
            continue
        if loads and name.endswith(endings):
            ending = next(index for index, ending in enumerate(endings) if name.endswith(ending))
            heads.append((not name.startswith("Auto"), ending, name, call))
            found.finetunes |= call.func.attr == "from_pretrained"
        elif name.endswith(PROCESSORS) or (loads and name.endswith("Processor")):
            processors.append((not name.startswith("Auto"), not loads, name, call))
    for slot, seen in (("auto_class", heads), ("processor_class", processors)):
        for *_, name, call in sorted(seen, key=lambda item: item[:2])[:1]:
            found.add(slot, name, lines(call))
    for *_, call in processors:
        given = processor_settings({k.arg: source.value(k.value) for k in call.keywords if k.arg})
        found.add("processor_kwargs", given, lines(call))


def _pipelines(source: SourceCode, head: Head, found: Extraction) -> None:
    left_out: list[str] = []
    for role, steps, where in transforms(source, left_out):
        found.add(f"{role}_transforms", steps, where)
    found.problems += left_out
    found.transforms_unread = bool(left_out)


def _collator(source: SourceCode, head: Head, found: Extraction) -> None:
    named = [k.value for call, _ in source.calls for k in call.keywords if k.arg in ("data_collator", "collate_fn")]
    for node in named:
        node = source.resolved(node)
        origin = source.origin(node.func if isinstance(node, ast.Call) else node)
        if is_name(_last(origin)):
            return _add_collator(source, _last(origin), node, found)
    for name, function in source.functions.items():
        if "collat" in name.lower():
            return _add_collator(source, name, function, found)


def _add_collator(source: SourceCode, name: str, node: ast.AST, found: Extraction) -> None:
    function = source.functions.get(name)
    if function is None:
        return found.add("collator", {"name": name, "kind": "function" if name.islower() else "class"}, lines(node))
    keys = [
        key.value
        for part in ast.walk(function)
        if isinstance(part, ast.Return) and isinstance(part.value, ast.Dict)
        for key in part.value.keys
        if isinstance(key, ast.Constant) and is_name(key.value)
    ]
    calls = {source.origin(part.func) for part in ast.walk(function) if isinstance(part, ast.Call)}
    value = {
        "name": name,
        "kind": "function",
        "returns": keys[:16],
        "calls": sorted(c for c in calls if c.startswith("torch.") and is_symbol(c))[:16],
    }
    found.add("collator", value, lines(function))


def _metrics(source: SourceCode, head: Head, found: Extraction) -> None:
    names: dict[str, ast.Call] = {}
    for call, _ in source.calls:
        origin = source.origin(call.func)
        if origin in ("evaluate.load", "evaluate.combine") or _last(origin) == "load_metric":
            for node in source.items(call.args[0]) or call.args[:1] if call.args else []:
                name = source.value(node)
                if is_name(name):
                    names.setdefault(name, call)
        elif origin.startswith("sklearn.metrics.") and _last(origin) in SKLEARN:
            names.setdefault(SKLEARN[_last(origin)], call)
        elif origin.startswith("torchmetrics.") and _last(origin)[:1].isupper():
            name = _last(origin).removeprefix("Multiclass").lower()
            names.setdefault(TORCHMETRICS.get(name, name), call)
    if names:
        found.add("metrics", list(names)[:8], lines(*list(names.values())[:8]))


def _hyperparameters(source: SourceCode, found: Extraction, parts: list[Lines]) -> None:
    """Each call of TrainingArguments, then each block's plain loop with the defaults of its own arguments and named values."""
    calls = list(_arguments(source, found))
    own = [(name, source.value(default), node) for name, default, node in [*own_arguments(source), *own_fields(source)]]
    loose = [*_loops(source), *own, *_named(source)]
    called = {given[2].lineno for call in calls for given in call}  # a block with a call is not a plain loop
    plain = [part for part in parts if not any(part[0] <= line <= part[1] for line in called)]
    others = [[given for given in loose if part[0] <= given[2].lineno <= part[1]] for part in plain]
    found.trainings += trainings(source, calls, others, parts)
    found.finetunes = start_of(source) == "pretrained" or (found.finetunes and start_of(source) != "scratch")
    for name, value, node in [*(given for call in calls for given in call), *loose]:
        keyword = known(name)
        if keyword and value is not None and not hyperparameter(name, value) and value != {}:
            if not isinstance(value, dict) or value == OPAQUE:
                found.problems.append(
                    f"line {node.lineno}: the value of {keyword} is not a sane number or known word: not taken"
                )


def _arguments(source: SourceCode, found: Extraction) -> Iterator[list[Given]]:
    """The keywords of each call; `**` stands for a mapping that is unpacked into it."""
    for call, _ in source.calls:
        name = _last(source.origin(call.func))
        if name.endswith((*CONFIGS, "Trainer")):
            found.finetunes |= any(k.arg in ("args", "learning_rate") for k in call.keywords)
            found.outdated |= {k.arg for k in call.keywords if renames.find(k.arg, *renames.OF_TRAINER)}
        if name.endswith(CONFIGS):
            given: list[Given] = []
            for key, node in unpacked(source, call):
                value = source.value(node)
                if isinstance(value, dict) and key == "lr_scheduler_type":
                    value = value.get("symbol", value)
                given.append((key, value, call))
            yield given


def unpacked(source: SourceCode, call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """(keyword, value) of a call, `**mapping` opened where it is a mapping of this source; ("**", …) where it is not."""
    for keyword in call.keywords:
        node = source.resolved(keyword.value)
        if keyword.arg:
            yield keyword.arg, keyword.value
        elif isinstance(node, ast.Dict) and all(
            isinstance(key, ast.Constant) and is_name(key.value) for key in node.keys
        ):
            yield from zip((key.value for key in node.keys), node.values, strict=True)
        else:
            yield "**", keyword.value


def _loops(source: SourceCode) -> Iterator[tuple[str, Any, ast.AST]]:
    """Loops without a Trainer: AdamW(model.parameters(), lr=...) and DataLoader(..., batch_size=..., shuffle=True)."""
    for call, around in source.calls:
        origin = source.origin(call.func)
        given = {k.arg: source.value(k.value) for k in call.keywords if k.arg}
        if origin.startswith(OPTIMIZERS) and _last(origin).startswith(("Adam", "SGD")):
            wanted = {name: given[name] for name in ("lr", "weight_decay") if name in given}
            if isinstance(betas := given.get("betas"), list) and len(betas) == 2:
                wanted |= {"adam_beta1": betas[0], "adam_beta2": betas[1]}
        elif _last(origin) == "DataLoader":
            role = "train" if given.get("shuffle") is True else split_role(around)
            wanted = {f"{role}_batch_size": given["batch_size"]} if role and "batch_size" in given else {}
        else:
            continue
        for name, value in wanted.items():
            if not isinstance(value, dict):  # an expression, which tells nothing
                yield name, value, call


def _named(source: SourceCode) -> Iterator[tuple[str, Any, ast.AST]]:
    """`config = {"lr": 1e-4, "max_epochs": 10}` and `BATCH_SIZE = 16`, where the names leave no doubt."""
    for name, node in source.assigned.items():
        if isinstance(node, ast.Dict) and any(word in name.lower() for word in ("config", "cfg", "args", "param")):
            for key, item in zip(node.keys, node.values, strict=True):
                if (
                    isinstance(key, ast.Constant)
                    and isinstance(key.value, str)
                    and known(key.value) in TRAINING_KEYWORDS
                ):
                    if not isinstance(value := source.value(item), dict):
                        yield key.value, value, node
        elif known(name.lower()) in TRAINING_KEYWORDS and isinstance(value := source.value(node), (int, float)):
            yield name.lower(), value, node


def _lora(source: SourceCode, head: Head, found: Extraction) -> None:
    for call, _ in source.calls:
        if _last(source.origin(call.func)) == "LoraConfig":
            given = {}
            for name, node in unpacked(source, call):
                given[name] = source.value(node)
            found.add("lora", lora_settings(given), lines(call))
            if "target_modules" in given and "target_modules" not in lora_settings(given):
                found.problems.append(f"line {call.lineno}: target_modules is no list of names: not taken")
