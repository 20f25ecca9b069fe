"""What a trap saw, what it must meet, and the word for the two of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

Place = Literal["gate", "card", "skill"]
Outcome = Literal["refused", "reported", "accepted", "held", "luck", "believed", "honest refused", "hole", "broken"]


@dataclass(frozen=True)
class Seen:
    """refusal: why a tool or a gate says no; "" where the work counts. gate, card, skill: what a person reads there.

    fact: what the tally shows beside the outcome. harm: what it did or forged; "" where it did nothing. Whatever else is said, harm done is a trap lost.
    """

    refusal: str = ""
    gate: str = ""
    card: str = ""
    skill: str = ""
    fact: str = ""
    harm: str = ""


@dataclass(frozen=True)
class Must:
    """kind of meeting; pattern: what the refusal or each of the places must say (a regular expression, case ignored)."""

    kind: Literal["refused", "reported", "honest", "held"]
    pattern: str = ""
    places: tuple[Place, ...] = ()


class Judged(NamedTuple):
    outcome: Outcome
    ok: bool


def refused(pattern: str) -> Must:
    """The work does not count, for this reason and not by luck."""
    return Must("refused", pattern)


def reported(pattern: str, *places: Place) -> Must:
    """The work may count, and each of these places says so."""
    return Must("reported", pattern, places)


def honest(pattern: str = "", *places: Place) -> Must:
    """The work counts; with a pattern, each of these places says it too."""
    return Must("honest", pattern, places)


def held() -> Must:
    """An attack does no harm."""
    return Must("held")


def judged(must: Must, seen: Seen) -> Judged:
    if seen.harm:
        return Judged({"held": "hole", "honest": "honest refused"}.get(must.kind, "believed"), False)
    said = bool(must.places) and all(
        re.search(must.pattern, getattr(seen, place), re.I | re.S) for place in must.places
    )
    if must.kind == "held":
        return Judged("held", True)
    if must.kind == "honest":
        ok = not seen.refusal and (said or not must.places)
        return Judged("accepted" if not seen.refusal else "honest refused", ok)
    if seen.refusal:
        right = re.search(must.pattern, seen.refusal, re.I | re.S) is not None
        return Judged("refused" if right else "luck", right)
    return Judged("reported", True) if said else Judged("believed", False)
