"""The error playbook: what a stage's log lines mean, and the smallest change that fixes it.

references/error-playbook.md is the page that people read and the only place where the rows lie. Nothing here guesses:
a log that no row knows has no finding.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tunegate.config import RunConfig, Scalar
from tunegate.knowledge.reference_pages import Section, sections
from tunegate.stage_table import StageName

PAGE = "error-playbook.md"
_CODE = re.compile(r"(?:[^\[\]]{1,120}: )?\[([a-z0-9_-]+)\] ")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Change(_Strict):
    """What to do to one config key; exactly one of the three."""

    divide: float | None = Field(None, gt=0)
    multiply: float | None = Field(None, gt=0)
    set: Scalar | None = None

    @model_validator(mode="after")
    def _one(self) -> Change:
        if sum(value is not None for value in (self.divide, self.multiply, self.set)) != 1:
            raise ValueError("a change is one of {divide: n}, {multiply: n}, {set: value}")
        return self

    def of(self, now: Any) -> Scalar | None:
        """The new value, None where there is none: nothing to scale, or a batch of 1 that cannot be halved."""
        if self.set is not None:
            return self.set
        if not isinstance(now, (int, float)):
            return None
        new = now / self.divide if self.divide else now * self.multiply
        if isinstance(now, int):
            return math.floor(new) if new >= 1 else None
        return float(f"{new:.6g}")


class NextChange(_Strict):
    overrides: dict[str, Change] = {}


class Row(_Strict):
    """`codes`: of our own problems (errors.coded). `match`: substrings of other programs' lines, any case. `exit_codes`: a match
    by themselves. `otherwise`: for when the change is impossible."""

    id: str
    title: str
    symptom: str
    cause: str
    fix: str
    otherwise: str | None = None
    codes: list[str] = []
    match: list[str] = []
    exit_codes: list[int] = []
    stages: list[StageName] | Literal["any"]
    next: NextChange = NextChange()
    needs_approval: bool

    @field_validator("next")
    @classmethod
    def _known_keys(cls, value: NextChange) -> NextChange:
        unknown = sorted(set(value.overrides) - set(RunConfig.model_fields))
        if unknown:
            raise ValueError(f"config.yaml has no key {unknown[0]!r}")
        return value

    @model_validator(mode="after")
    def _can_match(self) -> Row:
        if not (self.codes or self.match or self.exit_codes) or any(len(text) < 6 for text in self.match):
            raise ValueError(
                "a row needs something to match, and a substring of fewer than 6 characters matches by chance"
            )
        return self


class Finding(BaseModel):
    """A row that matched."""

    id: str
    symptom: str
    cause: str
    fix: str = Field(description="the smallest change that fixes it")
    overrides: dict[str, Scalar | dict[str, Scalar]] = Field(
        default_factory=dict, description="that change as render_project's overrides; empty: it is made elsewhere"
    )
    needs_approval: bool = Field(description="true: ask the user before doing it")
    line: str = Field(description="the log line that matched")


@cache
def load() -> list[Row]:
    """All rows, read on first use. Raises ValueError (a defect of the page) naming the section."""
    return [_row(section) for section in sections(PAGE)]


def _row(section: Section) -> Row:
    try:
        return Row.model_validate({"id": section.id, "title": section.title, **section.labels, **section.data})
    except ValueError as error:
        raise ValueError(f"{PAGE}, section {section.id!r}: {error}") from None


def diagnose(lines: list[str], stage: str, exit_code: int | None, config: RunConfig | None = None) -> list[Finding]:
    """The rows that match, best first: an exit code, then the earliest line, then the longest text on it.

    lines: the stage's problems first, then the end of its log. config: what the overrides are computed from; without
    it they stay empty.
    """
    if stage not in get_args(StageName):
        return []
    ranked = []
    for order, row in enumerate(load()):
        if row.stages != "any" and stage not in row.stages:
            continue
        hit = _hit(row, lines, exit_code)
        if hit:
            index, length, line = hit
            ranked.append((index, -length, order, _finding(row, line, config)))
    return [found for *_, found in sorted(ranked, key=lambda item: item[:3])]


def _hit(row: Row, lines: list[str], exit_code: int | None) -> tuple[int, int, str] | None:
    """(line number, length of the matching text, line); line -1 is the exit code, and a code goes before any text."""
    if exit_code in row.exit_codes:
        return -1, 0, f"exit code {exit_code}"
    for index, line in enumerate(lines):
        if (code := _CODE.match(line)) and code[1] in row.codes:
            return index, len(line), line.strip()[:300]
        found = [len(text) for text in row.match if text.lower() in line.lower()]
        if found:
            return index, max(found), line.strip()[:300]
    return None


def _finding(row: Row, line: str, config: RunConfig | None) -> Finding:
    wanted = {key: change.of(getattr(config, key)) for key, change in row.next.overrides.items()} if config else {}
    possible = all(value is not None for value in wanted.values())
    fix = row.fix if possible or not row.otherwise else row.otherwise
    return Finding(
        id=row.id,
        symptom=row.symptom,
        cause=row.cause,
        fix=fix,
        overrides=wanted if possible else {},
        line=line,
        needs_approval=row.needs_approval or (not possible and row.otherwise is not None),
    )
