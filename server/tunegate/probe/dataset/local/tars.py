"""WebDataset tars as Tables: a row for each sample, images by their bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunegate.probe.dataset.columns import Feature, list_of, struct_of
from tunegate.probe.dataset.labels import Labels, count_some
from tunegate.probe.dataset.local.files import N_TABLE_ROWS, with_pictures
from tunegate.probe.dataset.local.images import IMAGE
from tunegate.probe.dataset.table import Rows, Table
from tunegate.readers import webdataset
from tunegate.readers.tree import spread


def tar_table(path: Path, task: str) -> Table:
    found = webdataset.read(path)
    features = {column: _feature(kind) for column, kind in found.types.items()}

    def read(split: str) -> Rows:
        samples = [(tar, sample) for tar in found.splits[split] for sample in found.samples[tar]]
        rows = list(found.read(spread(samples, N_TABLE_ROWS)))
        return Rows(with_pictures(rows, features, split), complete=len(rows) == len(samples), spread=True)

    def count(split: str, column: str) -> Labels | None:
        if column not in features or features[column].kind in ("list", "image"):
            return None
        return count_some((row[column] for row in found.rows(split, [column])), features[column])

    def every(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        return (with_pictures([row], features, split)[0] for row in found.rows(split, columns))

    counts = {split: found.count(split) for split in found.splits}
    return Table("webdataset", counts, features, read, count, every, listing=found.listing, warnings=found.warnings)


def _feature(kind: Any) -> Feature:
    """A column's type as the reader found it."""
    if isinstance(kind, str):
        return IMAGE if kind == "image" else Feature("other" if kind in ("null", "json") else kind, kind)
    if "list" in kind:
        return list_of(_feature(kind["list"]))
    return struct_of({name: _feature(one) for name, one in kind["struct"].items()})
