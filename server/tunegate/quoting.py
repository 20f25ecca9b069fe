"""What somebody else chose or wrote (a folder, a class, a note of a page), inside shell commands and Markdown of ours: as text, never as syntax.

Nothing in it makes a command, a heading, a link, a tag, a new line or a table's cell. YAML is quoted by `config.to_yaml`.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Iterable
from typing import Any, TypeVar

from tunegate.config import RunConfig

Value = TypeVar("Value")


def shell(argv: Iterable[str]) -> str:
    """The words of a command as one line that a shell reads back as these words."""
    return shlex.join(argv)


def bind_mount(path: str) -> str:
    """The value of `docker run --mount`, as a word of a shell: `path` at its own place, read-only.

    The option's fields are CSV; -v would end a path at its first colon.
    """
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(["type=bind", f"source={path}", f"target={path}", "readonly"])
    return shlex.quote(out.getvalue().removesuffix("\r\n"))


def fence(text: str) -> str:
    """The backticks of a code block that nothing in the text closes."""
    return "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))


def without(config: RunConfig, pattern: re.Pattern[str]) -> RunConfig:
    """The config with an x for whatever in its texts matches the pattern: what else in a rendering matches is not the user's."""
    return config.model_copy(update=_without(config.model_dump(), pattern))


def _without(value: Value, pattern: re.Pattern[str]) -> Value:
    if isinstance(value, str):
        return pattern.sub("x", value)
    if isinstance(value, list):
        return [_without(item, pattern) for item in value]
    if isinstance(value, dict):
        return {_without(key, pattern): _without(item, pattern) for key, item in value.items()}
    return value


def code(value: Any, limit: int = 300) -> str:
    """A value that a stranger wrote, inside a code span that it cannot leave."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "`" + (printable(text, limit).replace("`", "'").replace("|", "¦") or " ") + "`"


def sentence(note: str, limit: int = 500) -> str:
    """A sentence of ours, in which a URL may stand: nothing in it makes a link, a tag or a new line."""
    for mark in "\\`[]<>|*":
        note = note.replace(mark, "\\" + mark)
    return printable(note, limit)


def printable(text: str, limit: int) -> str:
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def link(address: str) -> str:
    return (
        "<"
        + printable(address, 2048).replace("<", "%3C").replace(">", "%3E").replace("|", "%7C").replace(" ", "%20")
        + ">"
    )
