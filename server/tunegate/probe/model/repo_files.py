"""Small files of a repository, read with every suspicion: their size, their JSON and the types inside are a stranger's."""

from __future__ import annotations

import json
from typing import Any

from tunegate.clients.hub import Hub, RepoInfo
from tunegate.errors import ToolFailure

MAX_CONFIG = 4_000_000  # a classifier of 21,841 classes names each of them twice: 2 MB
MAX_INT = 1 << 62


def json_file(hub: Hub, info: RepoInfo, path: str, max_bytes: int = MAX_CONFIG) -> dict[str, Any]:
    """A JSON object. Raises rejected when it is another thing, or larger; and as Hub.read_text."""
    text = hub.read_text("model", info.id, info.sha, path, max_bytes)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ToolFailure("rejected", f"{path} of {info.id!r} is not a JSON object: give another model or revision")
    return value


def text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def identifier(value: object) -> str | None:
    """A class name, else None: what is quoted in messages to an agent must not be a stranger's prose."""
    return value if isinstance(value, str) and len(value) <= 100 and value.isidentifier() else None


def whole(value: object) -> int | None:
    """A whole number from 0 on that is no bool, else None."""
    return value if type(value) is int and 0 <= value <= MAX_INT else None


def items(value: object) -> list:
    return value if isinstance(value, list) else []


def mapping(value: object) -> dict:
    return value if isinstance(value, dict) else {}
