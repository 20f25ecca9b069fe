"""Columns of a dataset: what they hold, which of them serve a task, and what their labels are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from tunegate.errors import ToolFailure
from tunegate.probe.tasks import COLUMNS, SCHEMAS, Column

Kind = Literal["image", "class", "int", "float", "string", "bool", "list", "struct", "audio", "other"]
TRAIN_NAMES = ("train", "training")
EVAL_NAMES = ("validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation")  # in order of preference
MAX_CLASSES_SHOWN = 30


@dataclass(frozen=True)
class Feature:
    """One column: its kind, its type in words, and its class names where the dataset declares them."""

    kind: Kind
    shown: str
    names: tuple[str, ...] = ()


@dataclass
class Labels:
    """Labels counted over rows: `seen` of them, all of the split if `complete`."""

    counts: Counter[str] = field(default_factory=Counter)
    unlabelled: int = 0
    seen: int = 0
    complete: bool = False


def feature(raw: Any) -> Feature:
    """A column's type, as `datasets` writes it in JSON, -> Feature."""
    if isinstance(raw, list):
        return Feature("list", "list")
    if not isinstance(raw, dict):
        return Feature("other", str(raw)[:40])
    kind = raw["_type"] if isinstance(raw.get("_type"), str) else None
    if kind == "ClassLabel":
        names = raw.get("names")
        names = list(names.values()) if isinstance(names, dict) else names if isinstance(names, list) else []
        return Feature("class", f"ClassLabel({len(names)})", tuple(str(name) for name in names))
    if kind == "Value":
        dtype = str(raw.get("dtype"))[:40]
        return Feature(_value_kind(dtype), dtype)
    if kind is None and {"bytes", "path"} <= set(raw):
        return Feature("image", "struct<bytes, path>")
    table = {
        "Image": "image",
        "Audio": "audio",
        "Sequence": "list",
        "List": "list",
        "LargeList": "list",
        None: "struct",
    }
    return Feature(table.get(kind, "other"), str(kind or "struct")[:40])


def arrow_feature(dtype: Any) -> Feature:
    """A pyarrow type -> Feature, where the file does not carry the types of `datasets`."""
    text = str(dtype)
    if text.startswith("struct<") and "bytes: " in text and "path: " in text:
        return Feature("image", "struct<bytes, path>")
    if text.startswith(("list", "large_list", "fixed_size_list")):
        return Feature("list", text[:40])
    if text.startswith("struct"):
        return Feature("struct", text[:40])
    return Feature(_value_kind(text), text[:40])


def _value_kind(dtype: str) -> Kind:
    for start, kind in (
        ("int", "int"),
        ("uint", "int"),
        ("float", "float"),
        ("double", "float"),
        ("halffloat", "float"),
        ("string", "string"),
        ("large_string", "string"),
        ("bool", "bool"),
    ):
        if dtype.startswith(start):
            return kind
    return "other"


def map_columns(features: dict[str, Feature], task: str, asked: dict[str, str] | None = None) -> dict[str, str]:
    """Task column -> dataset column. A rename is found; several candidates are `ambiguous`, none is `rejected`."""
    needed = COLUMNS[task]
    for ours in asked or {}:
        if ours not in needed:
            raise ToolFailure(
                "invalid_input",
                f"column_map has {ours!r}, which is no column of {task}: its keys are {', '.join(needed)}",
            )
    return {
        ours: _chosen(ours, column, asked[ours], features)
        if ours in (asked or {})
        else _find(ours, column, features, task)
        for ours, column in needed.items()
    }


def _chosen(ours: str, column: Column, theirs: object, features: dict[str, Feature]) -> str:
    if theirs not in features:
        raise ToolFailure(
            "invalid_input", f"column_map[{ours!r}] = {theirs!r} is no column: the dataset has {describe(features)}"
        )
    if features[theirs].kind not in column.kinds:
        raise ToolFailure(
            "invalid_input",
            f"column_map[{ours!r}] = {theirs!r} is {features[theirs].shown}, and {ours} needs "
            f"{column.needs}: the dataset has {describe(features)}",
        )
    return theirs


def _find(ours: str, column: Column, features: dict[str, Feature], task: str) -> str:
    fitting = [name for name, found in features.items() if found.kind in column.kinds]
    if ours in fitting:
        return ours
    # A declared type (Image, ClassLabel) says what a column is for, whatever its name; plain numbers and text do not.
    declared = [name for name in fitting if features[name].kind in ("image", "class")]
    named = [name for name in fitting if name.lower() in column.aliases]
    candidates = declared or named
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise ToolFailure(
            "ambiguous",
            f"{ours} could be any of {', '.join(candidates[:10])}: ask the user, then pass e.g. "
            f"column_map={{{ours!r}: {candidates[0]!r}}}",
        )
    raise ToolFailure(
        "rejected",
        f"{task} needs {SCHEMAS[task]}, and no column serves as {ours} ({column.needs}): the dataset has "
        f"{describe(features)}. If one of them does ({', '.join(fitting[:8]) or 'none fits by type'}), "
        f"pass column_map={{{ours!r}: ...}}, "
        "or choose another dataset; a restructuring is for the user to decide",
    )


def describe(features: dict[str, Feature]) -> str:
    shown = [f"{name[:60]} ({found.shown})" for name, found in list(features.items())[:20]]
    return (
        ", ".join(shown) + (f" and {len(features) - 20} more" if len(features) > 20 else "") if shown else "no columns"
    )


def choose_splits(
    splits: dict[str, int | None], train: str | None, evaluation: str | None
) -> tuple[str, str | None, str]:
    """(train, eval or None, why). None: held out of train. Raises invalid_input, ambiguous, rejected."""
    for argument, name in (("train_split", train), ("eval_split", evaluation)):
        if name is not None and name not in splits:
            raise ToolFailure(
                "invalid_input", f"{argument} = {name!r} does not exist: the dataset has {_listed(splits)}"
            )
    if train is None:
        train = _train_split(splits, evaluation)
    if train == evaluation:
        raise ToolFailure(
            "invalid_input",
            f"eval_split = {evaluation!r} is the train split too: the metric would be measured on "
            "what was trained on; leave eval_split out to hold a part of it back",
        )
    if splits[train] == 0:
        raise ToolFailure(
            "rejected",
            f"split {train!r} has no rows: the dataset has {_listed(splits)}; choose another train_split or dataset",
        )
    if evaluation is not None:
        if splits[evaluation] == 0:
            raise ToolFailure("rejected", f"eval_split = {evaluation!r} has no rows: the dataset has {_listed(splits)}")
        return train, evaluation, "eval_split was named"
    for name in EVAL_NAMES:
        if name in splits and name != train and splits[name] != 0:
            return train, name, f"{name!r} is the first of {', '.join(EVAL_NAMES[:5])} that it has"
    return train, None, f"it has no split to evaluate on ({_listed(splits)}): a part of {train!r} is held out"


def _train_split(splits: dict[str, int | None], evaluation: str | None) -> str:
    found = next((name for name in TRAIN_NAMES if name in splits), None)
    rest = [name for name in splits if name != evaluation]
    if found or len(rest) == 1:
        return found or rest[0]
    if not splits:
        raise ToolFailure("rejected", "the dataset has no splits: choose another one")
    raise ToolFailure(
        "ambiguous", f"no split is called train: the dataset has {_listed(splits)}; ask the user, then pass train_split"
    )


def _listed(splits: dict[str, int | None]) -> str:
    return (
        ", ".join(f"{name} ({'?' if rows is None else f'{rows:,}'} rows)" for name, rows in list(splits.items())[:12])
        or "no splits"
    )


def count_labels(values: list[Any], found: Feature, *, complete: bool) -> Labels:
    """Labels by class name. -1 and None mean unlabelled, as `datasets` writes them."""
    labels = Labels(seen=len(values), complete=complete)
    for value in values:
        name = _class_name(value, found)
        if name is None:
            labels.unlabelled += 1
        else:
            labels.counts[name] += 1
    return labels


def _class_name(value: Any, found: Feature) -> str | None:
    if value is None or value == "" or (found.kind in ("class", "int") and value == -1):
        return None
    if found.kind == "class" and type(value) is int:
        return found.names[value] if 0 <= value < len(found.names) else None
    return str(value)[:100]


def judge_labels(labels: Labels, found: Feature, split: str, warnings: list[str]) -> list[str]:
    """The class names, as far as they are known. Raises rejected for an empty, unlabelled or one-class split."""
    if labels.complete and not labels.seen:
        raise ToolFailure("rejected", f"split {split!r} has no rows: choose another split or dataset")
    if labels.seen and not labels.counts:
        raise ToolFailure(
            "rejected",
            f"none of the {labels.seen} rows read of split {split!r} has a label: choose another split or dataset",
        )
    if labels.unlabelled:
        warnings.append(f"{labels.unlabelled} of {labels.seen} rows read of split {split!r} have no label")
    names = list(found.names) or (sorted(labels.counts, key=_natural) if labels.complete else [])
    only = next(iter(labels.counts), None)
    if len(found.names) == 1 or (len(labels.counts) == 1 and (labels.complete or not found.names)):
        where = (
            "its schema names one class"
            if len(found.names) == 1
            else f"all {labels.seen} rows read of split {split!r} have it"
        )
        raise ToolFailure(
            "rejected",
            f"the dataset has one class only ({only or found.names[0]!r}: {where}), so there is nothing to "
            "tell apart: choose another dataset, split, or column_map={'label': ...}",
        )
    if len(labels.counts) == 1:
        warnings.append(
            f"the {labels.seen} rows read of split {split!r} are all {only!r}; the schema names {len(names)} classes"
        )
    if not names:
        warnings.append("the class names are not declared: the prepare stage takes them from all of the training rows")
    if found.kind in ("int", "string") and labels.seen >= 50 and len(labels.counts) > labels.seen * 0.5:
        warnings.append(
            f"{len(labels.counts)} different labels in {labels.seen} rows: this looks like an identifier, not a class"
        )
    return names


def _natural(name: str) -> tuple[int, int | str]:
    """10 after 9 where the labels are numbers."""
    return (0, int(name)) if name.isdecimal() else (1, name)


def bounded_row(row: dict[str, Any], features: dict[str, Feature]) -> dict[str, Any]:
    """A row for people to look at: images as their size, long text cut."""
    return {name[:60]: _bounded_cell(value, features.get(name)) for name, value in list(row.items())[:20]}


def _bounded_cell(value: Any, found: Feature | None) -> Any:
    if found and found.kind == "image":
        width, height = (value.get("width"), value.get("height")) if isinstance(value, dict) else (None, None)
        return f"<image {width}x{height}>" if type(width) is int and type(height) is int else "<image>"
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
