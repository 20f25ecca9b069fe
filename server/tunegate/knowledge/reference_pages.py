"""Reference pages that are data too: a table (`table`), or sections (`sections`) of this form, with one yaml fence each:

## some-id

One line that says what this is about.

- **Symptom:** what is seen; may go on
  over several lines
- **Cause:** why

```yaml
the typed part
```
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from tunegate.paths import data_dir

_BULLET = re.compile(r"^- \*\*([A-Z][A-Za-z ]*):\*\* (.+?)(?=^- |^```|\Z)", re.M | re.S)
_FENCE = re.compile(r"^```yaml\n(.*?)^```$", re.M | re.S)
_URL = re.compile(r"https?://[^\s<>)\],]+")


@dataclass(frozen=True)
class Section:
    """`labels`: lower-case bullet label -> text on one line. `data`: the yaml fence."""

    id: str
    title: str
    labels: dict[str, str]
    data: dict[str, Any]

    def urls(self, label: str) -> list[str]:
        return _URL.findall(self.labels.get(label, ""))


def table(page: str, first: str) -> list[dict[str, str]]:
    """The rows of the table of references/<page> whose header begins with `first`: column -> cell, without backticks.

    Raises ValueError when there is no such table, or a row has another number of cells.
    """
    text = (data_dir("references") / page).read_text(encoding="utf-8").replace("`", "")
    found = re.search(rf"^(\| {re.escape(first)} \|.*)\n\|[-| ]+\|\n((?:\|.*\n)+)", text, re.M)
    if not found:
        raise ValueError(f"{page} has no table that begins with {first!r}")
    header, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in (found[1] + "\n" + found[2]).splitlines()
    ]
    return [dict(zip(header, row, strict=True)) for row in rows]


def written(page: str) -> str:
    """The date (YYYY-MM-DD) at the top of references/<page>. Raises ValueError when it has none."""
    found = re.search(r"\*Written (\d{4}-\d\d-\d\d)", (data_dir("references") / page).read_text(encoding="utf-8"))
    if not found:
        raise ValueError(f"{page} has no date")
    return found[1]


def sections(page: str) -> list[Section]:
    """The sections of references/<page>, in order. Raises ValueError naming the section that is malformed."""
    return parse((data_dir("references") / page).read_text(encoding="utf-8"))


def parse(text: str) -> list[Section]:
    found = [_section(part) for part in re.split(r"^## ", text, flags=re.M)[1:]]
    ids = [section.id for section in found]
    if len(set(ids)) != len(ids):
        raise ValueError(f"two sections have one id: {next(i for i in ids if ids.count(i) > 1)!r}")
    return found


def _section(part: str) -> Section:
    name, _, body = part.partition("\n")
    fences = _FENCE.findall(body)
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) or len(fences) != 1:
        raise ValueError(
            f"section {name!r}: the heading must be an id such as some-id, with exactly one yaml fence below it"
        )
    data = yaml.safe_load(fences[0])
    if not isinstance(data, dict):
        raise ValueError(f"section {name!r}: the yaml fence must hold a mapping")
    title = next(line.strip() for line in body.splitlines() if line.strip())
    labels = {label.lower(): " ".join(value.split()) for label, value in _BULLET.findall(body)}
    return Section(name, title, labels, data)
