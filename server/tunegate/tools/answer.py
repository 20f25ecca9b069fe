"""The two forms of an answer: a typed result, or a structured refusal."""

from __future__ import annotations

import json
from typing import Any

from mcp.types import CallToolResult, TextContent
from pydantic import BaseModel

from tunegate.errors import Failure
from tunegate.evidence import seal


def answer(result: BaseModel) -> CallToolResult:
    """The result as structured content, and the same JSON as text for clients that read only text."""
    return with_content(seal.redacted(result.model_dump(mode="json", exclude_none=False)))


def with_content(content: dict[str, Any]) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=_compact(content))], structured_content=content)


def refusal(failure: Failure) -> CallToolResult:
    """The refusal as JSON text, `{"error": {...}}`, and without structured content.

    Structured content must match the tool's output schema. A refusal cannot, and clients that check it even where is_error
    is set (the TypeScript SDK 1.x, and with it Gemini CLI and the Inspector) would drop the whole answer.
    """
    content = seal.redacted({"error": failure.model_dump(mode="json")})
    return CallToolResult(content=[TextContent(type="text", text=_compact(content))], is_error=True)


def error_of(result: CallToolResult) -> dict[str, Any] | None:
    """The `error` of a refusal, as a client reads it; None for an answer."""
    return json.loads(result.content[0].text)["error"] if result.is_error else None


def content_of(result: CallToolResult) -> dict[str, Any]:
    """What a client reads of either form: the structured content, or `{"error": {...}}`."""
    return {"error": error_of(result)} if result.is_error else result.structured_content


def _compact(content: dict) -> str:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)
