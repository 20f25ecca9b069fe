"""probe_dataset: what a dataset is and how its columns, splits and labels serve the task. Nothing is downloaded whole."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunegate import tasks
from tunegate.clients.hub import Hub
from tunegate.errors import ToolFailure
from tunegate.evidence import Source
from tunegate.probe.dataset import recommend
from tunegate.probe.dataset.classes import class_column, class_counts, mask_names, read_labels
from tunegate.probe.dataset.columns import at_path, class_names_of
from tunegate.probe.dataset.facts import DatasetFacts
from tunegate.probe.dataset.findings import Findings, Look
from tunegate.probe.dataset.hub.table import read_hub
from tunegate.probe.dataset.labels import MAX_CLASSES_SHOWN, Labels
from tunegate.probe.dataset.local import joined, read_local, refusals
from tunegate.probe.dataset.manifest import manifest_of
from tunegate.probe.dataset.mapping import Mapping, bounded_row, map_columns
from tunegate.probe.dataset.splits import choose_splits
from tunegate.probe.dataset.table import N_SHOWN, Table
from tunegate.probe.model import ModelFacts
from tunegate.probe.request import DatasetRequest
from tunegate.readers import manifest


def probe_dataset(hub: Hub, request: DatasetRequest) -> DatasetFacts:
    """Facts of the dataset that was asked for. Nothing is downloaded whole.

    Raises ToolFailure: invalid_input, not_found, access_denied, unavailable; out_of_scope (the task); ambiguous (no dataset,
    several configurations or columns, an undecidable box format); rejected (script, empty, one class, unlabeled, no
    fitting columns, masks that are colors, turns of unknown roles).
    """
    _check(request)
    hub = hub.recording()
    if request.local_path is not None:
        table, about, request = _local(request, Path(request.local_path))
    else:
        table, about = _on_the_hub(hub, request)
    with refusals(Path(request.local_path or "")):  # tables of local files are read lazily
        facts = _facts(table, request)
        found = manifest_of(table, about, facts)
    facts["warnings"] += _remarks(facts, request.model_facts, gated=bool(about.get("gated")))
    text = manifest.text_of(found)
    listed = {"manifest": text, "manifest_sha256": hashlib.sha256(text.encode()).hexdigest()}
    sources = [_listing(about, listed["manifest_sha256"])] if request.local_path is not None else []
    sources += {one.url: one for one in hub.trail.sources}.values()  # one of a file that was read in many ranges
    return DatasetFacts(**about, **facts, **listed, sources=sources, bytes_fetched=hub.trail.bytes_fetched)


def _check(request: DatasetRequest) -> None:
    dataset_id, local_path, model = request.dataset_id, request.local_path, request.model_facts
    if dataset_id is not None and local_path is not None:
        raise ToolFailure(
            "invalid_input",
            f"dataset_id = {dataset_id[:100]!r} and local_dataset_path = {local_path[:100]!r} are both given: "
            "pass exactly one",
        )
    if request.local_eval_path is not None and local_path is None:
        raise ToolFailure(
            "invalid_input",
            f"local_eval_path = {request.local_eval_path[:100]!r} is given without local_dataset_path: it is what a local dataset "
            "is measured on; pass both, or eval_split",
        )
    if request.task not in tasks.TASKS:
        raise ToolFailure(
            "out_of_scope",
            f"task = {request.task[:60]!r}: datasets are probed for {', '.join(tasks.TASKS)}",
        )
    if model and model.task != request.task:
        raise ToolFailure(
            "invalid_input",
            f"task = {request.task!r}, but {model.model_id} was probed for {model.task}: probe the model again",
        )
    if dataset_id is None and local_path is None:
        raise ToolFailure("ambiguous", recommend.message(request.task, request.method, model))


def _local(request: DatasetRequest, path: Path) -> tuple[Table, dict[str, Any], DatasetRequest]:
    """(the table, what is known about where it comes from, the request with the splits of two datasets named)"""
    if request.config is not None:
        raise ToolFailure(
            "invalid_input",
            f"dataset_config = {request.config!r} is for datasets on the Hub: leave it out with local_dataset_path",
        )
    given = request.local_path or ""
    if "\0" in given or not given.strip():
        raise ToolFailure("invalid_input", f"local_dataset_path = {given[:80]!r} is no path: give a folder or a file")
    table = read_local(path, request.local_format, request.task)
    resolved = path.expanduser().resolve()
    about = {"source": "local", "read_through": "files", "local_path": str(resolved), "local_format": table.format}
    if request.local_eval_path is None:
        return table, about, request
    evaluation = Path(request.local_eval_path).expanduser().resolve()
    joined.check_apart(resolved, evaluation)
    table, request = joined.read_both(request, table, evaluation)
    return table, {**about, "local_eval_path": str(evaluation)}, request


def _on_the_hub(hub: Hub, request: DatasetRequest) -> tuple[Table, dict[str, Any]]:
    """(the table, what is known about where it comes from)"""
    info = hub.dataset_info(request.dataset_id)
    hub.check_access("dataset", info)
    found = read_hub(hub, info, request.config, request.container)
    about = {
        "source": "hub",
        "read_through": found.read_through,
        "dataset_id": info.id,
        "revision": info.sha,
        "gated": info.gated,
        "private": info.private,
        "configs": found.configs[:50],
        "config": found.config,
        "config_reason": found.config_reason,
    }
    return found.table, about


def _facts(table: Table, request: DatasetRequest) -> dict[str, Any]:
    """What holds for every source: columns, splits, labels, and what the rows show."""
    mapping = map_columns(table.features, request.task, request.column_map, request.method)
    column, warnings = class_column(mapping), []
    train, evaluation, why, eval_labels = _splits(table, column, request)
    labels, names = read_labels(table, request.task, column, train, warnings)
    if eval_labels and labels.complete and (new := sorted(set(eval_labels.counts) - set(labels.counts))):
        warnings.append(f"{len(new)} classes of split {evaluation!r} are not in {train!r}: {', '.join(new[:5])}")
    _class_order(table, column, train, evaluation, warnings)
    _undeclared_image(table, mapping, warnings)
    if mapping.reshape == "caption_to_messages":
        warnings.append(
            f"the captions in {mapping.columns['caption']!r} answer no question: each is the answer to "
            f"{request.caption_prompt!r}, which is caption_prompt of config.yaml; exact_match counts a caption only where it is "
            "the same word for word, so judge by the samples and the loss"
        )
    look = Look(table, mapping, request.task, train, evaluation, _mask_codes(request, mapping))
    found = look.findings([] if mapping.form == "segments" else names, _box_format(request, mapping))
    names = names or mask_names(table, found, warnings)
    return {
        "task": request.task,
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
        "class_counts": class_counts(table, column, {train: labels, **({evaluation: None} if evaluation else {})}),
        "rows_partial": bool(table.facts.get("partial")),
        "unused_columns": mapping.unused[:50],
        "label_rows": labels.seen,
        "label_complete": labels.complete,
        "warnings": [*table.warnings, *warnings, *look.warnings],
        **_sample(table, train, evaluation),
        **{name: getattr(found, name) for name in Findings.model_fields},
    }


def _box_format(request: DatasetRequest, mapping: Mapping) -> str | None:
    if request.box_format is not None and "bbox" not in mapping.columns:
        raise ToolFailure(
            "invalid_input",
            f"box_format = {request.box_format!r}: the layout {mapping.form!r} of {request.task} has no boxes",
        )
    return request.box_format


def _mask_codes(request: DatasetRequest, mapping: Mapping) -> list[int] | None:
    if request.mask_codes is not None and (request.task != "semantic-segmentation" or "mask" not in mapping.columns):
        raise ToolFailure(
            "invalid_input",
            f"mask_codes = {request.mask_codes[:20]}: only masks of semantic-segmentation hold codes of classes",
        )
    return request.mask_codes


def _sample(table: Table, train: str, evaluation: str | None) -> dict[str, Any]:
    sample = table.rows(train)
    return {
        "rows_read": {split: len(table.rows(split).rows) for split in (train, evaluation) if split},
        "sample_spread": sample.spread or sample.complete,
        "sample_rows": [bounded_row(row, table.features) for row in sample.rows[:N_SHOWN]],
    }


def _class_order(table: Table, column: str | None, train: str, evaluation: str | None, warnings: list[str]) -> None:
    """Splits that declare their classes differently: the ids of each mean the names that it declares itself.

    Raises rejected where the two have no class in common.
    """
    parts = [class_names_of(table.column(split, column)) for split in (train, evaluation) if split and column]
    one, other = (part[0] if part else () for part in (parts if len(parts) == 2 else ([], [])))
    if not one or not other or one == other:
        return
    if not set(one) & set(other):
        raise ToolFailure(
            "rejected",
            f"split {train!r} declares the classes {', '.join(one[:5])} in {column!r}, and {evaluation!r} {', '.join(other[:5])}: "
            "no name is in both, so nothing says which are the same; declare the same names in both, or choose another eval_split",
        )
    how = "in another order" if sorted(one) == sorted(other) else "otherwise"
    warnings.append(
        f"split {evaluation!r} declares the classes of {column!r} {how} than {train!r}: labels are read by the names of their own split"
    )


def _undeclared_image(table: Table, mapping: Mapping, warnings: list[str]) -> None:
    found = at_path(table.features, mapping.columns["image"]) if "image" in mapping.columns else None
    if found and found.shown.startswith("struct"):
        warnings.append(
            f"column {mapping.columns['image']!r} is not declared as Image: it holds bytes and path, and is cast"
        )


def _splits(table: Table, column: str | None, request: DatasetRequest) -> tuple[str, str | None, str, Labels | None]:
    """As choose_splits, but a split without labels (a benchmark's hidden test) is passed over. column: of the classes."""
    train, evaluation = request.train_split, request.eval_split
    splits, hidden = dict(table.splits), []
    while True:
        train, chosen, why = choose_splits(splits, train, evaluation)
        labels = table.labels(chosen, column) if chosen and column else None
        if labels is None or labels.counts or not _is_hidden(table, chosen, column, labels):
            return train, chosen, why + (f"; {', '.join(hidden)} has no labels" if hidden else ""), labels
        if evaluation is not None:
            raise ToolFailure(
                "rejected",
                f"eval_split = {evaluation!r} has no labels in the {labels.seen or 'first'} rows read: choose another split",
            )
        hidden.append(chosen)
        del splits[chosen]


def _is_hidden(table: Table, split: str, column: str, labels: Labels) -> bool:
    """Of a split without a class, whether it has rows: then its objects or its labels were not published."""
    return bool(labels.seen) or ("." in column and bool(table.rows(split).rows))


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


def _listing(about: dict[str, Any], sha256: str) -> Source:
    """A local dataset's source: the hash of its manifest, so that a later change shows."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Source(url=Path(about["local_path"]).as_uri(), sha256=sha256, time=now)
