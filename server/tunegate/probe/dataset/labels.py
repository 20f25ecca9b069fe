"""Class labels: counted by name, and judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from tunegate.errors import ToolFailure
from tunegate.probe.dataset.columns import Feature

MAX_LABELS = 200_000  # rows whose labels are counted; beyond it the histogram is of a sample
MAX_CLASSES_SHOWN = 30
_END = object()


@dataclass
class Labels:
    """Labels counted over rows: `seen` of them, all of the split if `complete`."""

    counts: Counter[str] = field(default_factory=Counter)
    unlabeled: int = 0
    seen: int = 0
    complete: bool = False


def count_labels(values: Iterable[Any], found: Feature, *, complete: bool) -> Labels:
    """Labels by class name. -1 and None mean unlabeled, as `datasets` writes them."""
    labels = Labels(complete=complete)
    for value in values:
        labels.seen += 1
        name = class_name(value, found)
        if name is None:
            labels.unlabeled += 1
        else:
            labels.counts[name] += 1
    return labels


def count_some(values: Iterator[Any], found: Feature) -> Labels:
    """Labels of up to MAX_LABELS rows; `complete` when that was all."""
    labels = count_labels(islice(values, MAX_LABELS), found, complete=False)
    labels.complete = next(values, _END) is _END
    return labels


def class_name(value: Any, found: Feature) -> str | None:
    if value is None or value == "" or (found.kind in ("class", "int") and str(value) == "-1"):
        return None
    if found.kind == "class" and type(value) is int:
        return found.names[value] if 0 <= value < len(found.names) else None
    return str(value)[:100]


def judge_labels(labels: Labels, found: Feature, split: str, warnings: list[str]) -> list[str]:
    """The class names, as far as they are known. Raises rejected for an empty, unlabeled or one-class split."""
    if labels.complete and not labels.seen:
        raise ToolFailure("rejected", f"split {split!r} has no rows: choose another split or dataset")
    if labels.seen and not labels.counts:
        raise ToolFailure(
            "rejected",
            f"none of the {labels.seen} rows read of split {split!r} has a label: choose another split or dataset",
        )
    if labels.unlabeled:
        warnings.append(f"{labels.unlabeled} of {labels.seen} rows read of split {split!r} have no label")
    names = list(found.names) or (sorted(labels.counts, key=natural) if labels.complete else [])
    _refuse_one_class(labels, found, split)
    if len(labels.counts) == 1:
        only = next(iter(labels.counts))
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


def _refuse_one_class(labels: Labels, found: Feature, split: str) -> None:
    if len(found.names) == 1:
        only, where = found.names[0], "its schema names one class"
    elif len(labels.counts) == 1 and (labels.complete or not found.names):
        only, where = next(iter(labels.counts)), f"all {labels.seen} rows read of split {split!r} have it"
    else:
        return
    raise ToolFailure(
        "rejected",
        f"the dataset has one class only ({only!r}: {where}), so there is nothing to "
        "tell apart: choose another dataset, split, or column_map={'label': ...}",
    )


def natural(name: str) -> tuple[int, int | str]:
    """10 after 9 where the labels are numbers."""
    return (0, int(name)) if name.isdecimal() else (1, name)
