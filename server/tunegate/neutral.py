"""What strangers wrote, inside Markdown of ours: nothing in it makes a heading, a link, a tag, a new line or a table's cell."""

from __future__ import annotations

import json
from typing import Any


def code(value: Any, limit: int = 300) -> str:
    """A value that a stranger wrote, inside a code span that it cannot leave."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "`" + (printable(text, limit).replace("`", "'").replace("|", "¦") or " ") + "`"


def sentence(note: str) -> str:
    """A sentence of ours, in which a URL may stand: nothing in it makes a link, a tag or a new line."""
    for mark in "\\`[]<>|*":
        note = note.replace(mark, "\\" + mark)
    return printable(note, 500)


def printable(text: str, limit: int) -> str:
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def link(address: str) -> str:
    return (
        "<"
        + printable(address, 2048).replace("<", "%3C").replace(">", "%3E").replace("|", "%7C").replace(" ", "%20")
        + ">"
    )
