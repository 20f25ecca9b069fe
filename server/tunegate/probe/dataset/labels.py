"""Class labels: counted by name, and judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from tunegate.errors import ToolFailure
from tunegate.probe.dataset.columns import Feature
from tunegate.readers.labels import alike, class_of
from tunegate.readers.types import fitted

MAX_LABELS = 200_000  # rows whose labels are counted; beyond it the histogram is of a sample
MAX_CLASSES_SHOWN = 30
MAX_NAME = 200  # characters of a class's name
_END = object()


@dataclass
class Labels:
    """Labels counted over rows: `seen` of them, all of the split if `complete`."""

    counts: Counter[str] = field(default_factory=Counter)
    unlabeled: int = 0
    seen: int = 0
    complete: bool = False


def count_labels(values: Iterable[Any], found: Feature, *, complete: bool) -> Labels:
    """Labels by class name."""
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
    """In a column of text, what is none counts as the text that prepare reads."""
    return class_of(fitted(value, found.kind), found.names if found.kind == "class" else None)


def judge_labels(labels: Labels, found: Feature, split: str, warnings: list[str]) -> list[str]:
    """The class names, as far as they are known. Raises rejected for an empty, unlabeled or one-class split."""
    if labels.complete and not labels.seen:
        raise ToolFailure("rejected", f"split {split!r} has no rows: choose another split or dataset")
    if labels.seen and not labels.counts:
        raise ToolFailure(
            "rejected",
            f"none of the {labels.seen} rows read of split {split!r} has a label: choose another split or dataset",
        )
    _refuse_no_classes(labels, found, split)
    if labels.unlabeled:
        warnings.append(f"{labels.unlabeled} of {labels.seen} rows read of split {split!r} have no label")
    names = list(found.names) or (sorted(labels.counts, key=natural) if labels.complete else [])
    _refuse_one_class(labels, found, split)
    warnings += doubtful_names(labels.counts, found)
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


def doubtful_names(names: Iterable[str], found: Feature) -> list[str]:
    """Remarks on classes that may be one class, or none."""
    doubts = [
        f"the classes {' and '.join(map(repr, group[:4]))} differ only in case, spaces or accents, and are trained as "
        f"{len(group)}: ask the user whether they are one, and write it one way"
        for group in alike(names)[:3]
    ]
    if found.kind in ("int", "float", "string") and "-1" in names:
        doubts.append("-1 is trained as a class: if it stands for no label, leave those cells empty")
    return doubts


def _refuse_no_classes(labels: Labels, found: Feature, split: str) -> None:
    """Numbers to predict, and texts, are no classes."""
    fraction = next(filter(_is_fraction, labels.counts), None) if found.kind == "float" else None
    longest = max(labels.counts, key=len, default="")
    if fraction is not None or len(longest) > MAX_NAME:
        what = (
            f"fractions ({fraction})"
            if fraction
            else f"texts of up to {len(longest):,} characters ({longest[:40]!r}...)"
        )
        raise ToolFailure(
            "rejected",
            f"the labels of split {split!r} are {what}, not classes: pass column_map={{'label': ...}} with another column, or "
            "choose another dataset",
        )


def _is_fraction(name: str) -> bool:
    try:
        return float(name) % 1 != 0
    except ValueError:
        return False


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
