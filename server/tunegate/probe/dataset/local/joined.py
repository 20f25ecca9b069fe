"""Two local datasets as one Table: what is trained on, and what the user named to measure on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunegate.errors import ToolFailure
from tunegate.probe.dataset.columns import Feature, at_path
from tunegate.probe.dataset.labels import Labels
from tunegate.probe.dataset.local import read_local
from tunegate.probe.dataset.mapping import map_columns
from tunegate.probe.dataset.splits import EVAL_NAMES, choose_splits
from tunegate.probe.dataset.table import Rows, Table
from tunegate.probe.request import DatasetRequest

TRAIN, EVALUATION = "train", "validation"  # the splits of the joined table
_PLAIN = {"class", "int", "float", "string", "bool", "other"}  # kinds that text of a few rows may be taken for


def read_both(request: DatasetRequest, train: Table, path: Path) -> tuple[Table, DatasetRequest]:
    """(one table of two splits, the request that names them). Raises ToolFailure where the two do not go together."""
    evaluation = _named(lambda: read_local(path, request.local_format, request.task))
    taken = {
        TRAIN: choose_splits(train.splits, request.train_split, None)[0],
        EVALUATION: _eval_split(evaluation, request.eval_split),
    }
    if train.format != evaluation.format:
        raise ToolFailure(
            "rejected",
            f"local_dataset_path is in {train.format} format and local_eval_path in {evaluation.format}: write both in one",
        )
    _check_columns(request, train, evaluation)
    if train.names and evaluation.names and train.names != evaluation.names:
        raise ToolFailure(
            "rejected",
            "id2label.json of local_dataset_path and of local_eval_path give the values of masks to different classes: write the "
            "masks of both with the same values",
        )
    return _joined(train, evaluation, taken), replace(request, train_split=TRAIN, eval_split=EVALUATION)


def check_apart(train: Path, evaluation: Path) -> None:
    """Raises invalid_input where one of the two lies in the other: its rows would be trained on, too."""
    if train.is_relative_to(evaluation) or evaluation.is_relative_to(train):
        raise ToolFailure(
            "invalid_input",
            f"local_eval_path = {str(evaluation)!r} and local_dataset_path = {str(train)!r} lie in each other, so that rows could be "
            "in both: name two files or folders apart, or only the outer folder, with eval_split",
        )


def _named(read: Any) -> Table:
    """The messages of the readers are about local_dataset_path."""
    try:
        return read()
    except ToolFailure as failure:
        message = failure.failure.message.replace("local_dataset_path", "local_eval_path")
        raise ToolFailure(failure.code, message) from None


def _eval_split(table: Table, asked: str | None) -> str:
    """The only split, or the one to measure on."""
    if asked is not None and asked in table.splits:
        return asked
    if asked is None and len(table.splits) == 1:
        return next(iter(table.splits))
    if asked is None and (found := next((name for name in EVAL_NAMES if name in table.splits), None)):
        return found
    raise ToolFailure(
        "invalid_input" if asked else "ambiguous",
        f"local_eval_path has the splits {', '.join(table.splits)}"
        + (f", not eval_split = {asked!r}" if asked else ": pass one of them as eval_split"),
    )


def _check_columns(request: DatasetRequest, train: Table, evaluation: Table) -> None:
    mapping = map_columns(train.features, request.task, request.column_map, request.method)
    for role, column in mapping.columns.items():
        one, other = at_path(train.features, column), at_path(evaluation.features, column)
        if other is None:
            raise ToolFailure(
                "rejected",
                f"local_eval_path has no column {column!r}, which is {role} in local_dataset_path: it has "
                f"{', '.join(list(evaluation.features)[:12])}; give both the same columns",
            )
        if one.kind != other.kind and not {one.kind, other.kind} <= _PLAIN:
            raise ToolFailure(
                "rejected",
                f"column {column!r} is {one.shown} in local_dataset_path and {other.shown} in local_eval_path: write both "
                "with the same types",
            )


def _joined(train: Table, evaluation: Table, taken: dict[str, str]) -> Table:
    tables = {TRAIN: train, EVALUATION: evaluation}

    def read(split: str) -> Rows:
        return tables[split].rows(taken[split])

    def count(split: str, column: str) -> Labels:
        return tables[split].labels(taken[split], column)

    def every(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        one = tables[split]
        return one.every(taken[split], columns) if one.every else iter(one.rows(taken[split]).rows)

    def declared(split: str) -> dict[str, Feature]:
        one = tables[split]
        return one.declared(taken[split]) if one.declared else one.features

    unused = [
        f"split {name!r} of {key} is not used"
        for key, split in (("local_dataset_path", TRAIN), ("local_eval_path", EVALUATION))
        for name in tables[split].splits
        if name != taken[split]
    ]
    return Table(
        train.format,
        {split: one.splits[taken[split]] for split, one in tables.items()},
        train.features,
        read,
        count,
        every,
        listing=train.listing,
        warnings=[*train.warnings, *(f"local_eval_path: {said}" for said in evaluation.warnings), *unused],
        names=train.names or evaluation.names,
        declared=declared,
        facts=train.facts,
        evaluation=evaluation,
        taken=taken,
    )
