"""What a source tells about one dataset, whatever it came from: the viewer, the repository's files, a local folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tunegate.probe.columns import Feature, Labels

MAX_LABELS = 200_000  # rows whose labels are counted; beyond it the histogram is of a sample
N_SAMPLE = 5

# `datasets` names the splits of plain files by these words, between separators, anywhere in the path.
KEYWORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}


@dataclass
class Table:
    """Splits with row counts (None: unknown), columns, and how to read a little of each split."""

    format: str
    splits: dict[str, int | None]
    features: dict[str, Feature]
    labels: Callable[[str, str], Labels] = field(repr=False)
    sample: Callable[[str], list[dict[str, Any]]] = field(repr=False)
    warnings: list[str] = field(default_factory=list)


def by_split(paths: list[str]) -> dict[str, list[str]]:
    """Relative paths -> split name -> paths, as `datasets` groups them; all are `train` if no path names a split."""
    found: dict[str, list[str]] = {}
    for path in paths:
        words = re.split(r"[-._ 0-9/]+", path.lower())
        split = next((KEYWORDS[word] for word in words if word in KEYWORDS), None)
        if split:
            found.setdefault(split, []).append(path)
    return found or ({"train": paths} if paths else {})
