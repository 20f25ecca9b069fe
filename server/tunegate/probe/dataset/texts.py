"""Texts and conversations: how long, how many are empty, whether the turns are what training expects."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tunegate.errors import ToolFailure
from tunegate.probe.dataset.columns import dig
from tunegate.readers.conversations import (
    BESIDE,
    IMAGE_PARTS,
    ROLES,
    SPEAKERS,
    as_messages,
    preference,
    role_of,
    stored_turns,
)
from tunegate.readers.tables import IMAGE_COLUMNS


class TextFacts(BaseModel):
    """Lengths of whole rows, [median, 95th percentile, longest]; tokens are the smoke stage's to measure."""

    model_config = ConfigDict(extra="forbid")
    rows: int = Field(description="looked at")
    characters: list[int]
    words: list[int] = Field(description="between spaces: few for languages written without them")
    empty: int = Field(description="rows in which a text that is learned from is empty")
    turns: int = Field(0, description="most turns of a conversation")
    roles: dict[str, int] = Field(default_factory=dict, description="turns by role, as stored")
    without_answer: int = Field(0, description="conversations that do not end with the assistant's turn")
    image_marks: int = Field(0, description="<image> marks and image parts in the texts")


def judge_texts(
    rows: list[dict[str, Any]], form: str, columns: dict[str, str], warnings: list[str] | None = None
) -> TextFacts | None:
    """Facts of the text columns of these rows. Raises rejected: all empty, unknown roles, nothing to learn from."""
    roles = [role for role in columns if role not in IMAGE_COLUMNS]
    if not rows or not roles:
        return None
    turned: Counter[str] = Counter()
    answered = "messages" in columns or "completion" in columns  # a prompt alone waits for its answer
    lengths, words, empty, most, unanswered, marks = [], [], 0, 0, 0, 0
    learned = [role for role in roles if role not in BESIDE]
    for row in rows:
        cells = {role: _text(dig(row, columns[role])) for role in roles}
        empty += any(not cells[role].strip() for role in learned)
        whole = "\n".join(cells.values())
        lengths.append(len(whole))
        words.append(len(whole.split()))
        marks += whole.count("<image>")
        turns = _turns(row, columns)
        most = max(most, len(turns))
        turned.update(turn["role"][:40] for turn in turns)
        unanswered += answered and bool(turns) and role_of(turns[-1]["role"]) != "assistant"
    _refuse(len(rows), empty, unanswered, turned, columns, form)
    if "rejected" in columns:
        _refuse_pairs(rows, columns, [] if warnings is None else warnings)
    return TextFacts(
        rows=len(rows),
        characters=_three(lengths),
        words=_three(words),
        empty=empty,
        turns=most,
        roles=dict(turned.most_common(8)),
        without_answer=unanswered,
        image_marks=marks,
    )


def _turns(row: dict[str, Any], columns: dict[str, str]) -> list[dict[str, Any]]:
    """The turns of a conversation, as they are stored; none where its columns are plain text."""
    cells = [dig(row, columns[role]) for role in ("messages", "prompt", "completion") if role in columns]
    if not any(isinstance(cell, (list, dict)) for cell in cells):
        return []
    kinds = ("user", "assistant") if len(cells) > 1 else ("user",)
    return [
        turn
        for cell, role in zip(cells, kinds, strict=False)
        for turn in (stored_turns(cell) if isinstance(cell, (list, dict)) else as_messages(cell, role))
    ]


def _refuse_pairs(rows: list[dict[str, Any]], columns: dict[str, str], warnings: list[str]) -> None:
    """Preferences that cannot be learned: nothing that both answers are to, or no difference between them."""
    read = [preference({role: dig(row, path) for role, path in columns.items()}) for row in rows]
    without = sum(not one["prompt"] for one in read)
    alike = sum(not one["chosen"] or not one["rejected"] for one in read)
    where = f"{columns['chosen']!r} and {columns['rejected']!r}"
    if without == len(rows):
        raise ToolFailure(
            "rejected",
            f"columns {where} begin alike in none of the {len(rows)} rows read, and no column is the prompt: split what was asked "
            "off into a column `prompt`, or give the answers as whole conversations",
        )
    if alike == len(rows):
        raise ToolFailure("rejected", f"columns {where} hold the same answer, or none, in all {len(rows)} rows read")
    for count, what in ((without, "have no prompt"), (alike, "have no two answers to tell apart")):
        if count:
            warnings.append(f"{count} of {len(rows)} rows read {what}: prepare leaves them out")


def _refuse(rows: int, empty: int, unanswered: int, roles: Counter[str], columns: dict[str, str], form: str) -> None:
    where = ", ".join(map(repr, sorted({path for role, path in columns.items() if role != "image"})))
    if empty == rows:
        raise ToolFailure(
            "rejected",
            f"all {rows} rows read have an empty text in {where}: choose another split, column_map or dataset",
        )
    unknown = [name for name in roles if role_of(name) is None]
    if unknown:
        known = ", ".join((*SPEAKERS, *ROLES) if form == "sharegpt" else ROLES)
        raise ToolFailure(
            "rejected",
            f"column {where} has turns of {unknown[0]!r}, and only {known} are known: who speaks there is for "
            "the user to say; rename those turns in the data",
        )
    if roles and unanswered == rows:
        raise ToolFailure(
            "rejected",
            f"none of the {rows} conversations read ends with a turn of the assistant, so there is nothing to learn from: "
            "choose another column_map or dataset",
        )


def _text(value: Any) -> str:
    """The text of a cell: of a conversation all turns, of content parts their texts, of several answers the first."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, list) and value and isinstance(value[0], dict):
        if turns := [turn for turn in stored_turns(value) if turn["role"] != "None"]:
            return "\n".join(_text(turn["content"]) for turn in turns)
        return "\n".join(_part(part) for part in value if isinstance(part, dict))
    if isinstance(value, list):
        return next((item for item in value if isinstance(item, str)), "")
    return "\n".join(_text(turn["content"]) for turn in stored_turns(value))


def _part(part: dict[str, Any]) -> str:
    return "<image>" if part.get("type") in IMAGE_PARTS else str(part.get("text") or "")


def _three(values: list[int]) -> list[int]:
    ordered = sorted(values)
    return [int(statistics.median(ordered)), ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))], ordered[-1]]
