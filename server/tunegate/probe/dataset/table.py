"""What a source tells about one dataset, whatever it came from: the viewer, the repository's files, a local folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tunegate.probe.dataset.columns import Feature, at_path, dig
from tunegate.probe.dataset.labels import Labels, count_labels
from tunegate.probe.dataset.pictures import Picture
from tunegate.readers.tree import Listing

N_ROWS = 400  # rows of one split of a local dataset that are looked at
N_SHOWN = 3  # rows that evidence keeps for people to look at


@dataclass
class Rows:
    """A bounded sample of a split. `spread`: taken from all over it, not only from its beginning."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    complete: bool = False
    spread: bool = False


@dataclass
class Table:
    """Splits with row counts (None: unknown), columns, and how to read a little of each split.

    Cells of image columns are Pictures. `count`: labels of one column over as many rows as are cheap; None: count them over `rows`.
    `every`: all rows of a split, at least in the columns named, one after the other; None: there are only `rows`.
    `listing`: what exactly is read, for the manifest; None: its files are not known.
    `evaluation`: of two datasets, the one that is measured on; `taken`: split -> its name in its own dataset.
    `declared`: the columns as the files of one split declare them, where splits may differ; None: as `features`.
    `exact`: pictures of a mask or depth column with their values as stored, where those of `rows` may not be.
    """

    format: str
    splits: dict[str, int | None]
    features: dict[str, Feature]
    read: Callable[[str], Rows] = field(repr=False)
    count: Callable[[str, str], Labels | None] | None = field(default=None, repr=False)
    every: Callable[[str, list[str]], Iterator[dict[str, Any]]] | None = field(default=None, repr=False)
    declared: Callable[[str], dict[str, Feature]] | None = field(default=None, repr=False)
    exact: Callable[[str, str], list[Picture]] | None = field(default=None, repr=False)
    listing: Callable[[], Listing] | None = field(default=None, repr=False)
    warnings: list[str] = field(default_factory=list)
    names: dict[int, str] = field(
        default_factory=dict
    )  # value of a mask -> class, where a file beside the data says so
    facts: dict[str, Any] = field(default_factory=dict)  # what the format itself tells: crowds, kinds of outlines
    evaluation: Table | None = field(default=None, repr=False)
    taken: dict[str, str] = field(default_factory=dict)
    _rows: dict[str, Rows] = field(default_factory=dict, repr=False)

    def rows(self, split: str) -> Rows:
        """The split's sample, read once."""
        if split not in self._rows:
            self._rows[split] = self.read(split)
        return self._rows[split]

    def column(self, split: str, path: str) -> Feature | None:
        """A column's type in this split: the names of its classes may stand in another order than elsewhere."""
        own = at_path(self.declared(split), path) if self.declared else None
        return own or at_path(self.features, path)

    def labels(self, split: str, column: str) -> Labels:
        """The class labels of a column. Over lists (a class for each box), every one counts."""
        if self.count and (counted := self.count(split, column)) is not None:
            return counted
        found, sample = self.column(split, column), self.rows(split)
        values = [dig(row, column) for row in sample.rows]
        if found.kind == "list":
            values, found = [item for value in values if isinstance(value, list) for item in value], found.item
        return count_labels(values, found, complete=sample.complete)
