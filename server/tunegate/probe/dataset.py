"""probe_dataset: what a dataset is and how its columns, splits and labels serve the task. Nothing is downloaded whole."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tunegate.errors import ToolFailure
from tunegate.hub import Hub, Source
from tunegate.probe import tasks
from tunegate.probe.columns import (
    MAX_CLASSES_SHOWN,
    Labels,
    bounded_row,
    choose_splits,
    judge_labels,
    map_columns,
)
from tunegate.probe.hub_table import HubTable, read_hub
from tunegate.probe.local import read_local
from tunegate.probe.model import ModelFacts
from tunegate.probe.table import Table


class DatasetFacts(BaseModel):
    """Everything that later steps may ask about the dataset. `verdict` is what gate 1 reads."""

    model_config = ConfigDict(extra="forbid")
    source: Literal["hub", "local"]
    read_through: Literal["viewer", "files"]
    dataset_id: str | None = None
    local_path: str | None = None
    local_format: str | None = None
    revision: str | None = Field(None, description="commit SHA")
    gated: str | None = None
    private: bool = False
    task: str
    verdict: Literal["accept", "reject"]
    reasons: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    configs: list[str] = Field(default_factory=list, description="the first 50")
    config: str | None = None
    config_reason: str = ""
    splits: dict[str, int | None] = Field(description="rows; null: unknown")
    train_split: str
    eval_split: str | None = Field(description="null: held out of train_split")
    split_reason: str
    columns: dict[str, str] = Field(description="name -> type")
    column_map: dict[str, str] = Field(description="task column -> dataset column")
    class_names: list[str] = Field(description="in order of the label ids; empty: not declared, known after prepare")
    label_histogram: dict[str, int] = Field(description="class -> rows, among the rows read of the train split")
    label_rows: int = Field(description="rows read for the histogram")
    label_complete: bool = Field(description="whether these are all rows of the train split")
    sample_rows: list[dict[str, Any]]
    sources: list[Source]
    bytes_fetched: int


def probe_dataset(
    hub: Hub,
    *,
    dataset_id: str | None = None,
    local_path: str | None = None,
    local_format: str = "auto",
    config: str | None = None,
    train_split: str | None = None,
    eval_split: str | None = None,
    task: str,
    model_facts: ModelFacts | None = None,
    column_map: dict[str, str] | None = None,
) -> DatasetFacts:
    """Facts of a dataset on the Hub or on this machine.

    Raises ToolFailure: invalid_input, not_found, access_denied, unavailable; out_of_scope (the task); ambiguous (no dataset,
    several configurations or columns); rejected (script, empty, one class, unlabelled, no fitting columns).
    """
    _check_arguments(dataset_id, local_path, task, model_facts)
    hub = hub.recording()
    common = {"task": task, "asked": (train_split, eval_split), "column_map": column_map}
    if local_path is not None:
        return _local(hub, local_path, local_format, config, model_facts, common)
    info = hub.dataset_info(dataset_id)
    hub.check_access("dataset", info)
    found = read_hub(hub, info, config)
    facts = _facts(found.table, **common)
    facts["warnings"] += _remarks(facts, model_facts, gated=bool(info.gated))
    return DatasetFacts(
        source="hub",
        read_through=found.read_through,
        dataset_id=info.id,
        revision=info.sha,
        gated=info.gated,
        private=info.private,
        **_config(found),
        **facts,
        sources=hub.trail.sources,
        bytes_fetched=hub.trail.bytes_fetched,
    )


def _check_arguments(dataset_id: str | None, local_path: str | None, task: str, model_facts: ModelFacts | None) -> None:
    if dataset_id is not None and local_path is not None:
        raise ToolFailure(
            "invalid_input",
            f"dataset_id = {dataset_id[:100]!r} and local_dataset_path = {local_path[:100]!r} are both given: "
            "pass exactly one",
        )
    if task not in tasks.TRAINABLE:
        raise ToolFailure(
            "out_of_scope",
            f"task = {task[:60]!r}: this version prepares datasets for {', '.join(tasks.TRAINABLE)} only",
        )
    if model_facts and model_facts.task != task:
        raise ToolFailure(
            "invalid_input",
            f"task = {task!r}, but {model_facts.model_id} was probed for {model_facts.task}: probe the model again",
        )
    if dataset_id is None and local_path is None:
        listed = "; ".join(f"{name}: {why}" for name, why in tasks.RECOMMENDED[task])
        raise ToolFailure(
            "ambiguous",
            f"no dataset is given: show the user these for {task}, and pass the choice as dataset_id. {listed}; or the "
            "user's own data, as local_dataset_path (a folder with one subfolder of images for each class)",
        )


def _local(
    hub: Hub, path: str, wanted: str, config: str | None, model_facts: ModelFacts | None, common: dict
) -> DatasetFacts:
    if config is not None:
        raise ToolFailure(
            "invalid_input",
            f"dataset_config = {config!r} is for datasets on the Hub: leave it out with local_dataset_path",
        )
    if "\0" in path or not path.strip():
        raise ToolFailure("invalid_input", f"local_dataset_path = {path[:80]!r} is no path: give a folder or a file")
    table = read_local(Path(path), wanted, common["task"])
    facts = _facts(table, **common)
    facts["warnings"] += _remarks(facts, model_facts, gated=False)
    resolved = Path(path).expanduser().resolve()
    return DatasetFacts(
        source="local",
        read_through="files",
        local_path=str(resolved),
        local_format=table.format,
        **facts,
        sources=[_listing(resolved)],
        bytes_fetched=hub.trail.bytes_fetched,
    )


def _facts(
    table: Table, *, task: str, asked: tuple[str | None, str | None], column_map: dict[str, str] | None
) -> dict[str, Any]:
    """What holds for every source: columns, splits, labels."""
    mapped = map_columns(table.features, task, column_map)
    label = table.features[mapped["label"]]
    train, evaluation, why, eval_labels = _splits(table, mapped["label"], *asked)
    labels = table.labels(train, mapped["label"])
    warnings: list[str] = []
    names = judge_labels(labels, label, train, warnings)
    if eval_labels and labels.complete and (new := sorted(set(eval_labels.counts) - set(labels.counts))):
        warnings.append(f"{len(new)} classes of split {evaluation!r} are not in {train!r}: {', '.join(new[:5])}")
    if table.features[mapped["image"]].shown.startswith("struct"):
        warnings.append(f"column {mapped['image']!r} is not declared as Image: it holds bytes and path, and is cast")
    rows = [bounded_row(row, table.features) for row in table.sample(train)]
    return {
        "task": task,
        "verdict": "accept",
        "splits": table.splits,
        "train_split": train,
        "eval_split": evaluation,
        "split_reason": why,
        "columns": {name: found.shown for name, found in list(table.features.items())[:100]},
        "column_map": mapped,
        "class_names": names,
        "label_histogram": dict(labels.counts.most_common(MAX_CLASSES_SHOWN)),
        "label_rows": labels.seen,
        "label_complete": labels.complete,
        "sample_rows": rows,
        "warnings": [*table.warnings, *warnings],
    }


def _splits(
    table: Table, label: str, train: str | None, evaluation: str | None
) -> tuple[str, str | None, str, Labels | None]:
    """As choose_splits, but a split without labels (a benchmark's hidden test) is passed over."""
    splits, hidden = dict(table.splits), []
    while True:
        train, chosen, why = choose_splits(splits, train, evaluation)
        labels = table.labels(chosen, label) if chosen else None
        if labels is None or labels.counts or not labels.seen:
            return train, chosen, why + (f"; {', '.join(hidden)} has no labels" if hidden else ""), labels
        if evaluation is not None:
            raise ToolFailure(
                "rejected",
                f"eval_split = {evaluation!r} has no labels in the {labels.seen} rows read: choose another split",
            )
        hidden.append(chosen)
        del splits[chosen]


def _remarks(facts: dict[str, Any], model: ModelFacts | None, *, gated: bool) -> list[str]:
    remarks = []
    classes = len(facts["class_names"])
    if model and classes and model.num_labels and model.num_labels != classes:
        remarks.append(
            f"the model's head has {model.num_labels} classes, the dataset {classes}: training gives it a new head"
        )
    if gated:
        remarks.append("the dataset is gated: the stage that downloads it needs HF_TOKEN")
    rows = facts["splits"][facts["train_split"]]
    if rows is not None and classes and rows < 10 * classes:
        remarks.append(f"{rows} training rows for {classes} classes: fewer than 10 for each")
    return remarks


def _config(found: HubTable) -> dict[str, Any]:
    return {"configs": found.configs[:50], "config": found.config, "config_reason": found.config_reason}


def _listing(path: Path) -> Source:
    """A local dataset's source: the hash of its file names and sizes, so that a later change shows."""
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            digest.update(f"{file.relative_to(path)}\0{file.lstat().st_size}\n".encode("utf-8", "surrogateescape"))
    if path.is_file():
        digest.update(f"{path.name}\0{path.stat().st_size}\n".encode())
    return Source(url=path.as_uri(), sha256=digest.hexdigest(), time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
