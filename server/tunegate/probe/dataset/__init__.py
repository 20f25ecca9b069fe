"""probe_dataset: what a dataset is and how its columns, splits and labels serve the task. Nothing is downloaded whole."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tunegate import tasks
from tunegate.clients.hub import Hub
from tunegate.config import Reshape
from tunegate.errors import ToolFailure
from tunegate.evidence import Source
from tunegate.probe.dataset import findings as findings_module
from tunegate.probe.dataset import recommend
from tunegate.probe.dataset.columns import at_path
from tunegate.probe.dataset.findings import Findings, Look
from tunegate.probe.dataset.hub.table import HubTable, read_hub
from tunegate.probe.dataset.labels import MAX_CLASSES_SHOWN, Labels, judge_labels, natural
from tunegate.probe.dataset.local import read_local
from tunegate.probe.dataset.mapping import Mapping, bounded_row, map_columns
from tunegate.probe.dataset.splits import choose_splits
from tunegate.probe.dataset.streamed import Place
from tunegate.probe.dataset.table import N_SHOWN, Table
from tunegate.probe.model import ModelFacts

MAX_CLASSES_KEPT = 2000  # of a split, in evidence
CODINGS = {
    "class ids": "ids",
    "binary 0/255": "binary_255",
    "segment ids in RGB": "segment_ids",
    "class in R, instance in G": "class_and_instance",
}  # masks.coding -> mask_values of config.yaml


class ClassCounts(BaseModel):
    """How often each class occurs: among all rows of a split, or among the rows that were read."""

    model_config = ConfigDict(extra="forbid")
    counts: dict[str, int] = Field(description="class -> rows (objects), the most frequent ones")
    complete: bool = Field(description="whether these are of all rows of the split")


class DatasetFacts(Findings):
    """Everything that later steps may ask about the dataset. `verdict` is what gate 1 reads."""

    model_config = ConfigDict(extra="forbid")
    source: Literal["hub", "local"]
    read_through: Literal["viewer", "files", "streamed in a container"]
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
    form: str = Field(description="which of the task's layouts the columns have: tasks/columns.py")
    column_map: dict[str, str] = Field(description="task column -> dataset column, or column.field")
    column_reshape: Reshape | None = Field(
        description="how these columns become the task's; null: by their names alone"
    )
    class_names: list[str] = Field(description="in order of the label ids; empty: not declared, known after prepare")
    label_histogram: dict[str, int] = Field(description="class -> rows (boxes, for detection) among the rows read")
    label_rows: int = Field(description="rows (boxes) counted for the histogram")
    label_complete: bool = Field(description="whether these are all of the train split")
    class_counts: dict[str, ClassCounts] = Field(
        default_factory=dict, description="split -> classes counted, which prepare's rows are compared with"
    )
    rows_partial: bool = Field(False, description="`splits` counts only a part of the rows that there are")
    unused_columns: list[str] = Field(default_factory=list, description="columns that nothing reads, the first 50")
    rows_read: dict[str, int] = Field(description="split -> rows of the sample that the other facts are of")
    sample_spread: bool = Field(description="the sample is from all over the split, not only from its beginning")
    sample_rows: list[dict[str, Any]]
    sources: list[Source]
    bytes_fetched: int

    def for_config(self) -> dict[str, Any]:
        """What config.yaml says about the annotations, so that a rendered project needs no evidence to read them."""
        masks = self.masks
        return {
            "box_format": self.boxes.format if self.boxes else None,
            "boxes_normalised": self.boxes.normalised if self.boxes else None,
            "ignore_index": masks.ignore_index if masks else None,
            "mask_values": ("ids_from_1" if masks.reduce_labels else CODINGS[masks.coding]) if masks else None,
            "depth_scale": self.depth.scale if self.depth else None,
        }

    def described(self) -> list[str]:
        """The findings in a few lines."""
        sample = " + ".join(f"{rows} of {self.splits.get(name) or '?'} {name}" for name, rows in self.rows_read.items())
        lines = findings_module.describe(self, self.form, self.column_reshape)
        chosen = [f"evaluation: {self.split_reason}"]
        if len(self.configs) > 1:
            chosen.insert(0, f"configuration {self.config}: {self.config_reason}")
        unused = [f"columns not read: {', '.join(self.unused_columns[:10])}"] if self.unused_columns else []
        return [*chosen, f"sample: {sample} rows" + ("" if self.sample_spread else ", the first ones"), *lines, *unused]


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
    method: str | None = None,
    model_facts: ModelFacts | None = None,
    column_map: dict[str, str] | None = None,
    box_format: str | None = None,
    place: Place | None = None,
) -> DatasetFacts:
    """Facts of a dataset on the Hub or on this machine, for a task and a training method (dpo and grpo read other columns).

    `place`: where a container may stream what neither the viewer nor a range request can read; None: none may.

    Raises ToolFailure: invalid_input, not_found, access_denied, unavailable; out_of_scope (the task); ambiguous (no dataset,
    several configurations or columns, an undecidable box format); rejected (script, empty, one class, unlabelled, no
    fitting columns, masks that are colours, turns of unknown roles).
    """
    _check_arguments(dataset_id, local_path, task, method, model_facts)
    hub = hub.recording()
    if local_path is not None:
        table = _local(local_path, local_format, config, task)
        resolved = Path(local_path).expanduser().resolve()
        about = {"source": "local", "read_through": "files", "local_path": str(resolved), "local_format": table.format}
        sources = [_listing(resolved)]
    else:
        info = hub.dataset_info(dataset_id)
        hub.check_access("dataset", info)
        found = read_hub(hub, info, config, place)
        table = found.table
        about = {"source": "hub", "read_through": found.read_through, "dataset_id": info.id, "revision": info.sha}
        about |= {"gated": info.gated, "private": info.private, **_config(found)}
        sources = []
    facts = _facts(table, task, method, (train_split, eval_split), column_map, box_format)
    facts["warnings"] += _remarks(facts, model_facts, gated=bool(about.get("gated")))
    sources += {one.url: one for one in hub.trail.sources}.values()  # one of a file that was read in many ranges
    return DatasetFacts(**about, **facts, sources=sources, bytes_fetched=hub.trail.bytes_fetched)


def _check_arguments(
    dataset_id: str | None, local_path: str | None, task: str, method: str | None, model_facts: ModelFacts | None
) -> None:
    if dataset_id is not None and local_path is not None:
        raise ToolFailure(
            "invalid_input",
            f"dataset_id = {dataset_id[:100]!r} and local_dataset_path = {local_path[:100]!r} are both given: "
            "pass exactly one",
        )
    if task not in tasks.TASKS:
        raise ToolFailure(
            "out_of_scope",
            f"task = {task[:60]!r}: datasets are probed for {', '.join(tasks.TASKS)}",
        )
    if model_facts and model_facts.task != task:
        raise ToolFailure(
            "invalid_input",
            f"task = {task!r}, but {model_facts.model_id} was probed for {model_facts.task}: probe the model again",
        )
    if dataset_id is None and local_path is None:
        raise ToolFailure("ambiguous", recommend.message(task, method, model_facts))


def _local(path: str, wanted: str, config: str | None, task: str) -> Table:
    if config is not None:
        raise ToolFailure(
            "invalid_input",
            f"dataset_config = {config!r} is for datasets on the Hub: leave it out with local_dataset_path",
        )
    if "\0" in path or not path.strip():
        raise ToolFailure("invalid_input", f"local_dataset_path = {path[:80]!r} is no path: give a folder or a file")
    return read_local(Path(path), wanted, task)


def _facts(
    table: Table,
    task: str,
    method: str | None,
    asked: tuple[str | None, str | None],
    column_map: dict[str, str] | None,
    box_format: str | None,
) -> dict[str, Any]:
    """What holds for every source: columns, splits, labels, and what the rows show."""
    mapping = map_columns(table.features, task, column_map, method)
    train, evaluation, why, eval_labels = _splits(table, mapping.columns.get("label"), *asked)
    warnings: list[str] = []
    column = _class_column(mapping)
    labels, names = _labels(table, task, column, train, warnings)
    if eval_labels and labels.complete and (new := sorted(set(eval_labels.counts) - set(labels.counts))):
        warnings.append(f"{len(new)} classes of split {evaluation!r} are not in {train!r}: {', '.join(new[:5])}")
    _undeclared_image(table, mapping, warnings)
    look = Look(table, mapping, task, train, evaluation)
    if box_format is not None and "bbox" not in mapping.columns:
        raise ToolFailure(
            "invalid_input", f"box_format = {box_format!r}: the layout {mapping.form!r} of {task} has no boxes"
        )
    found = look.findings([] if mapping.form == "segments" else names, box_format)
    names = names or _mask_names(table, found, warnings)
    return {
        "task": task,
        "verdict": "accept",
        "splits": table.splits,
        "train_split": train,
        "eval_split": evaluation,
        "split_reason": why,
        "columns": {name: kind.shown for name, kind in list(table.features.items())[:100]},
        "form": mapping.form,
        "column_map": mapping.columns,
        "column_reshape": mapping.reshape,
        "class_names": names,
        "label_histogram": dict(labels.counts.most_common(MAX_CLASSES_SHOWN)),
        "class_counts": _class_counts(table, column, {train: labels, **({evaluation: None} if evaluation else {})}),
        "rows_partial": bool(table.facts.get("partial")),
        "unused_columns": mapping.unused[:50],
        "label_rows": labels.seen,
        "label_complete": labels.complete,
        "warnings": [*table.warnings, *warnings, *look.warnings],
        **_sample(table, train, evaluation),
        **{name: getattr(found, name) for name in Findings.model_fields},
    }


def _class_column(mapping: Mapping) -> str | None:
    """Where the classes are: of rows, of boxes, or of the segments of a mask."""
    segments = mapping.columns.get("segments")
    return mapping.columns.get("label") or mapping.columns.get("category") or (segments and f"{segments}.category_id")


def _class_counts(table: Table, column: str | None, splits: dict[str, Labels | None]) -> dict[str, ClassCounts]:
    """Of each split that will be read; splits: its labels where they are counted already."""
    if column is None:
        return {}
    found = {split: labels or table.labels(split, column) for split, labels in splits.items()}
    return {
        split: ClassCounts(counts=dict(labels.counts.most_common(MAX_CLASSES_KEPT)), complete=labels.complete)
        for split, labels in found.items()
    }


def _sample(table: Table, train: str, evaluation: str | None) -> dict[str, Any]:
    sample = table.rows(train)
    return {
        "rows_read": {split: len(table.rows(split).rows) for split in (train, evaluation) if split},
        "sample_spread": sample.spread or sample.complete,
        "sample_rows": [bounded_row(row, table.features) for row in sample.rows[:N_SHOWN]],
    }


def _labels(table: Table, task: str, column: str | None, train: str, warnings: list[str]) -> tuple[Labels, list[str]]:
    """(labels counted, class names in order of their ids)"""
    if column is None:
        return Labels(), []
    labels, found = table.labels(train, column), at_path(table.features, column)
    if task == "image-classification":
        return labels, judge_labels(labels, found, train, warnings)
    kind = found.item or found
    if labels.seen and not labels.counts:
        raise ToolFailure(
            "rejected", f"no object of split {train!r} has a class in {column!r}: choose another column_map or dataset"
        )
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


def _mask_names(table: Table, found: Findings, warnings: list[str]) -> list[str]:
    """Classes of a mask, by value, where a file beside the data names them."""
    if found.masks is None or found.masks.coding == "segment ids in RGB":
        return []
    if not table.names:
        warnings.append(
            "the classes of the masks have no names (no id2label.json): ask the user what the values stand for"
        )
        return []
    return [table.names.get(value, str(value)) for value in range(max(table.names) + 1)]


def _undeclared_image(table: Table, mapping: Mapping, warnings: list[str]) -> None:
    found = at_path(table.features, mapping.columns["image"]) if "image" in mapping.columns else None
    if found and found.shown.startswith("struct"):
        warnings.append(
            f"column {mapping.columns['image']!r} is not declared as Image: it holds bytes and path, and is cast"
        )


def _splits(
    table: Table, label: str | None, train: str | None, evaluation: str | None
) -> tuple[str, str | None, str, Labels | None]:
    """As choose_splits, but a split without labels (a benchmark's hidden test) is passed over."""
    splits, hidden = dict(table.splits), []
    while True:
        train, chosen, why = choose_splits(splits, train, evaluation)
        labels = table.labels(chosen, label) if chosen and label else None
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
