"""The classes of a dataset: which column holds them, their names, how often each occurs."""

from __future__ import annotations

from tunegate.errors import ToolFailure
from tunegate.probe.dataset.facts import ClassCounts
from tunegate.probe.dataset.findings import Findings
from tunegate.probe.dataset.labels import Labels, doubtful_names, judge_labels, natural
from tunegate.probe.dataset.mapping import Mapping
from tunegate.probe.dataset.table import Table

MAX_CLASSES_KEPT = 2000  # of a split, in evidence


def class_column(mapping: Mapping) -> str | None:
    """Where the classes are: of rows, of boxes, or of the segments of a mask."""
    segments = mapping.columns.get("segments")
    return mapping.columns.get("label") or mapping.columns.get("category") or (segments and f"{segments}.category_id")


def class_counts(table: Table, column: str | None, splits: dict[str, Labels | None]) -> dict[str, ClassCounts]:
    """Of each split that will be read; splits: its labels where they are counted already."""
    if column is None:
        return {}
    found = {split: labels or table.labels(split, column) for split, labels in splits.items()}
    return {
        split: ClassCounts(
            counts=dict(labels.counts.most_common(MAX_CLASSES_KEPT)),
            complete=labels.complete,
            whole_list=len(labels.counts) <= MAX_CLASSES_KEPT,
        )
        for split, labels in found.items()
    }


def read_labels(
    table: Table, task: str, column: str | None, train: str, warnings: list[str]
) -> tuple[Labels, list[str]]:
    """(labels counted, class names in order of their ids)"""
    if column is None:
        return Labels(), []
    labels, found = table.labels(train, column), table.column(train, column)
    if task == "image-classification":
        return labels, judge_labels(labels, found, train, warnings)
    kind = found.item or found
    if labels.seen and not labels.counts:
        raise ToolFailure(
            "rejected", f"no object of split {train!r} has a class in {column!r}: choose another column_map or dataset"
        )
    warnings += doubtful_names(labels.counts, kind)
    names = list(kind.names) or (sorted(labels.counts, key=natural) if labels.complete else [])
    if not names:
        warnings.append("the class names are not declared: the prepare stage takes them from all of the training rows")
    elif kind.kind in ("int", "float"):
        warnings.append(
            f"the classes of {column!r} are numbers without names: ask the user what {', '.join(names[:5])} stand for"
        )
    if absent := [name for name in names if not labels.counts[name]] if labels.complete else []:
        warnings.append(f"{len(absent)} classes have no object in split {train!r}: {', '.join(absent[:5])}")
    return labels, names


def mask_names(table: Table, found: Findings, warnings: list[str]) -> list[str]:
    """Classes of a mask, by value, where a file beside the data names them."""
    if found.masks is None or found.masks.coding == "segment ids in RGB":
        return []
    if not table.names:
        warnings.append(
            "the classes of the masks have no names (no id2label.json): ask the user what the values stand for"
        )
        return []
    values = found.masks.codes or range(max(table.names) + 1)
    return [table.names.get(value, str(value)) for value in values]
