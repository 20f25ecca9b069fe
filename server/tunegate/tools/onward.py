"""No answer sends an agent round in a circle: `next` is never the call that was just answered, unless that is still running."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mcp.types import CallToolResult

from tunegate.errors import Failure
from tunegate.tools.answer import content_of, refusal, with_content
from tunegate.tools.base import TOOLS, default_output_dir, without_defaults


def checked(result: CallToolResult, tool: str, arguments: dict[str, Any], root: Path) -> CallToolResult:
    """The answer to this call. If its `next` is the same call, the same would happen again: the user is asked instead."""
    content = content_of(result)
    said = content["error"] if result.is_error else content
    wanted = said.get("next")
    if not wanted or wanted.get("follow") or wanted["tool"] != tool:
        return result
    if _meaning(tool, wanted["arguments"], root) != _meaning(tool, arguments, root):
        return result
    said = {**said, "next": None, "ask_user": said.get("ask_user") or _question(tool, said, wanted["why"])}
    return refusal(Failure.model_validate(said)) if result.is_error else with_content(said)


def _question(tool: str, said: dict[str, Any], why: str) -> str:
    """What stands in the way, in words that can be put to the user."""
    reason = said.get("message") or "; ".join(filter(None, [why, *said["notes"][:1]]))
    return f"{tool} would answer the same again: {reason}. What should change, or shall it be tried again?"


def _meaning(tool: str, arguments: dict[str, Any], root: Path) -> dict[str, Any]:
    """The arguments as the tool understands them: without defaults and approval, and with the run's real directory."""
    declared = next(declared for declared in TOOLS if declared.function.__name__ == tool)
    where = arguments.get("output_dir") or default_output_dir(arguments.get("model_id") or "")
    return {
        **without_defaults(declared.function, arguments),
        "confirm": None,
        "output_dir": os.path.normpath(root.resolve() / str(where)),
    }
