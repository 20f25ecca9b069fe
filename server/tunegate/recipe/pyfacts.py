"""What a Python source says about training, read from its syntax tree. Nothing is imported, run or copied as code.

slot               where it is read
-----------------  --------------------------------------------------------------------------------
auto_class         X.from_pretrained(...) with X ending in the task's head (…ForImageClassification)
processor_class    X.from_pretrained(...) with X an image processor, feature extractor or processor
train_transforms   Compose([...]) of torchvision, albumentations, kornia; timm's create_transform; PIL calls
eval_transforms    the same, told apart by the names around it (see pysource.role_of)
collator           Trainer(data_collator=...), DataLoader(collate_fn=...), else a function named *collate*
metrics            evaluate.load("..."), load_metric("..."), sklearn.metrics, torchmetrics
hyperparameters    TrainingArguments(...) and TRL's configs, add_argument("--...", default=...), dataclass defaults
lora               LoraConfig(...)
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tunegate.recipe.pysource import OPAQUE, Source, parse, role_of
from tunegate.recipe.values import REMOVED_IN_5, hyperparameter, is_name, is_symbol, known, lora_settings

IMAGE_LIBRARIES = ("torchvision", "albumentations", "kornia", "timm", "PIL", "monai")
PROCESSORS = ("ImageProcessor", "ImageProcessorFast", "FeatureExtractor")
SKLEARN = {
    "accuracy_score": "accuracy",
    "f1_score": "f1",
    "precision_score": "precision",
    "recall_score": "recall",
    "roc_auc_score": "roc_auc",
    "balanced_accuracy_score": "balanced_accuracy",
}
CONFIGS = ("TrainingArguments", "SFTConfig", "DPOConfig", "GRPOConfig")
PIL_METHODS = ("resize", "crop", "rotate", "convert", "transpose", "thumbnail")


class Finding(NamedTuple):
    slot: str
    value: Any  # JSON data
    lines: tuple[int, int] | None


@dataclass
class Extraction:
    """What one document says: at most one finding a slot, and what was seen but not taken."""

    findings: dict[str, Finding] = field(default_factory=dict)
    finetunes: bool = False  # starts from pretrained weights: its hyperparameters are a fine-tuning's
    outdated: set[str] = field(default_factory=set)  # keywords that transformers 5 refuses
    problems: list[str] = field(default_factory=list)

    def add(self, slot: str, value: Any, lines: tuple[int, int] | None) -> None:
        if value not in (None, [], {}):
            self.findings.setdefault(slot, Finding(slot, value, lines))


def extract_python(text: str, head: str) -> Extraction:
    """Source text -> Extraction. `head` is the task's class suffix, e.g. ForImageClassification."""
    try:
        return extract_tree(parse(text), head)
    except ValueError as error:
        return Extraction(problems=[str(error)])


def extract_tree(tree: ast.Module, head: str) -> Extraction:
    found = Extraction()
    try:
        source = Source(tree)
        for read in (_classes, _pipelines, _collator, _metrics, _hyperparameters, _lora):
            read(source, head, found)
    except RecursionError:
        found.problems.append("nested too deeply to be read to the end")
    return found


def _lines(*nodes: ast.AST) -> tuple[int, int]:
    return min(n.lineno for n in nodes), max(n.end_lineno or n.lineno for n in nodes)


def _last(origin: str) -> str:
    return origin.rsplit(".", 1)[-1]


def _classes(source: Source, head: str, found: Extraction) -> None:
    """Auto classes go before a model's own: they hold for every checkpoint."""
    heads, processors = [], []
    for call, _ in source.calls:
        if not (isinstance(call.func, ast.Attribute) and call.func.attr in ("from_pretrained", "from_config")):
            continue
        name = _last(source.origin(call.func.value))
        if not is_name(name) or name.startswith(("TF", "Flax")):
            continue
        if name.endswith(head):
            heads.append((not name.startswith("Auto"), name, call))
            found.finetunes |= call.func.attr == "from_pretrained"
        elif name.endswith(PROCESSORS) or name == "AutoProcessor":
            processors.append((not name.startswith("Auto"), name, call))
    for slot, seen in (("auto_class", heads), ("processor_class", processors)):
        for _, name, call in sorted(seen, key=lambda item: item[0])[:1]:
            found.add(slot, name, _lines(call))


def _pipelines(source: Source, head: str, found: Extraction) -> None:
    seen = [(steps, around, call) for call, around in source.calls if (steps := _steps(source, call, found))]
    for steps, around, call in seen:
        role = role_of(around) or _flag(call)
        if not role:  # `_transforms = Compose([RandomResizedCrop(...)])`: chance has its place in training only
            role = "train" if any(step["name"].startswith(("Random", "Color", "Aug")) for step in steps) else "eval"
        found.add(f"{role}_transforms", steps, _lines(call))
    if not seen:
        _pil(source, found)


def _flag(call: ast.Call) -> str:
    """timm's create_transform(is_training=True)."""
    for keyword in call.keywords:
        if keyword.arg == "is_training" and isinstance(keyword.value, ast.Constant):
            return "train" if keyword.value.value else "eval"
    return ""


def _steps(source: Source, call: ast.Call, found: Extraction, depth: int = 0) -> list[dict]:
    """A Compose call -> its steps, in order; [] for any other call. Depth is bounded: names can refer in circles."""
    origin = source.origin(call.func)
    name = _last(origin)
    if name == "create_transform" and origin.startswith("timm"):
        return [_step(source, call)]
    if (
        name != "Compose"
        or not call.args
        or not (origin == "Compose" or origin.split(".")[0] in (*IMAGE_LIBRARIES, "transforms", "T", "A"))
    ):
        return []
    steps: list[dict] = []
    for node in _items(source, call.args[0])[:32] if depth < 2 else []:
        node = node.body if isinstance(node, ast.IfExp) else node
        node = source.resolved(node)
        if isinstance(node, ast.Call) and is_name(_last(source.origin(node.func))):
            steps += _steps(source, node, found, depth + 1) or [_step(source, node)]
        elif is_symbol(source.origin(node)):
            steps.append({"name": source.origin(node)})
        else:
            found.problems.append(f"line {node.lineno}: a transform that is not a plain call was left out")
    return steps[:32]


def _items(source: Source, node: ast.expr, depth: int = 0) -> list[ast.expr]:
    """A list, a tuple, a name for one, or a sum of a few of them."""
    node = source.resolved(node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _items(source, node.left, depth + 1) + _items(source, node.right, depth + 1) if depth < 6 else []
    return list(node.elts) if isinstance(node, (ast.List, ast.Tuple)) else []


def _step(source: Source, call: ast.Call) -> dict:
    origin = source.origin(call.func)
    step: dict[str, Any] = {"name": _last(origin)}
    if origin.split(".")[0] in IMAGE_LIBRARIES:
        step["library"] = origin.split(".")[0]
    if args := [source.value(node) for node in call.args[:8] if not isinstance(node, ast.Starred)]:
        step["args"] = args
    if kwargs := {k.arg: source.value(k.value) for k in call.keywords[:16] if is_name(k.arg)}:
        step["kwargs"] = kwargs
    return step


def _pil(source: Source, found: Extraction) -> None:
    """Scripts that call PIL directly, inside functions whose names say what they are for."""
    if not any(origin.split(".")[0] == "PIL" for origin in source.imports.values()):
        return
    steps: dict[str, list[tuple[dict, ast.Call]]] = {"train": [], "eval": []}
    for call, around in source.calls:
        origin, role = source.origin(call.func), role_of(around)
        method = isinstance(call.func, ast.Attribute) and call.func.attr in PIL_METHODS
        if role and (method or origin.startswith(("PIL.ImageOps.", "PIL.ImageEnhance."))):
            step = _step(source, call) | {"name": call.func.attr if method else _last(origin), "library": "PIL"}
            steps[role].append((step, call))
    for role, seen in steps.items():
        if seen:
            found.add(f"{role}_transforms", [step for step, _ in seen][:32], _lines(*[call for _, call in seen]))


def _collator(source: Source, head: str, found: Extraction) -> None:
    named = [k.value for call, _ in source.calls for k in call.keywords if k.arg in ("data_collator", "collate_fn")]
    for node in named:
        node = source.resolved(node)
        origin = source.origin(node.func if isinstance(node, ast.Call) else node)
        if is_name(_last(origin)):
            return _add_collator(source, _last(origin), node, found)
    for name, function in source.functions.items():
        if "collat" in name.lower():
            return _add_collator(source, name, function, found)


def _add_collator(source: Source, name: str, node: ast.AST, found: Extraction) -> None:
    function = source.functions.get(name)
    if function is None:
        return found.add("collator", {"name": name, "kind": "function" if name.islower() else "class"}, _lines(node))
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
    found.add("collator", value, _lines(function))


def _metrics(source: Source, head: str, found: Extraction) -> None:
    names: dict[str, ast.Call] = {}
    for call, _ in source.calls:
        origin = source.origin(call.func)
        if origin in ("evaluate.load", "evaluate.combine") or _last(origin) == "load_metric":
            for node in _items(source, call.args[0]) or call.args[:1] if call.args else []:
                name = source.value(node)
                if is_name(name):
                    names.setdefault(name, call)
        elif origin.startswith("sklearn.metrics.") and _last(origin) in SKLEARN:
            names.setdefault(SKLEARN[_last(origin)], call)
        elif origin.startswith("torchmetrics.") and _last(origin)[:1].isupper():
            names.setdefault(_last(origin).removeprefix("Multiclass").lower(), call)
    if names:
        found.add("metrics", list(names)[:8], _lines(*list(names.values())[:8]))


def _hyperparameters(source: Source, head: str, found: Extraction) -> None:
    """TrainingArguments first, then the defaults of a script's own arguments."""
    values: dict[str, Any] = {}
    where: list[ast.AST] = []
    for name, value, node in [*_arguments(source, found), *_argparse(source), *_dataclasses(source)]:
        if clean := hyperparameter(name, value):
            if clean[0] not in values:
                values[clean[0]] = clean[1]
                where.append(node)
        elif known(name) and value is not None and (not isinstance(value, dict) or value == OPAQUE):
            found.problems.append(
                f"line {node.lineno}: the value of {known(name)} is not a sane number or known word: not taken"
            )
    if values:
        found.add("hyperparameters", values, _lines(*where))


def _arguments(source: Source, found: Extraction) -> Iterator[tuple[str, Any, ast.AST]]:
    for call, _ in source.calls:
        name = _last(source.origin(call.func))
        if name.endswith((*CONFIGS, "Trainer")):
            found.finetunes |= any(k.arg in ("args", "learning_rate") for k in call.keywords)
            found.outdated |= {k.arg for k in call.keywords if k.arg in REMOVED_IN_5}
        if name.endswith(CONFIGS):
            for keyword in call.keywords:
                if keyword.arg:
                    value = source.value(keyword.value)
                    yield (
                        keyword.arg,
                        value["symbol"] if isinstance(value, dict) and keyword.arg == "lr_scheduler_type" else value,
                        call,
                    )


def _lora(source: Source, head: str, found: Extraction) -> None:
    for call, _ in source.calls:
        if _last(source.origin(call.func)) == "LoraConfig":
            values = {k.arg: source.value(k.value) for k in call.keywords if k.arg}
            found.add("lora", lora_settings(values), _lines(call))


def _argparse(source: Source) -> Iterator[tuple[str, Any, ast.AST]]:
    for call, _ in source.calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument":
            names = [
                a.value
                for a in call.args
                if isinstance(a, ast.Constant) and isinstance(a.value, str) and a.value.startswith("--")
            ]
            default = next((k.value for k in call.keywords if k.arg == "default"), None)
            for name in names[:1] if default is not None else []:
                yield name.lstrip("-").replace("-", "_"), source.value(default), call


def _dataclasses(source: Source) -> Iterator[tuple[str, Any, ast.AST]]:
    for node in source.classes:
        if not any("dataclass" in source.origin(d.func if isinstance(d, ast.Call) else d) for d in node.decorator_list):
            continue
        for part in node.body:
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and part.value is not None:
                default: ast.expr | None = part.value
                if isinstance(default, ast.Call):  # field(default=...)
                    default = next((k.value for k in default.keywords if k.arg == "default"), None)
                if default is not None:
                    yield part.target.id, source.value(default), part
