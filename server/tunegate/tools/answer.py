"""The two forms of an answer: a typed result, or a structured refusal."""

from __future__ import annotations

from mcp.types import CallToolResult, TextContent
from pydantic import BaseModel

from tunegate import seal
from tunegate.errors import Failure


def answer(result: BaseModel) -> CallToolResult:
    """The result as structured content, and the same JSON as text for clients that read only text."""
    content = seal.redacted(result.model_dump(mode="json", exclude_none=False))
    return CallToolResult(content=[TextContent(type="text", text=_compact(content))], structured_content=content)


def refusal(failure: Failure) -> CallToolResult:
    content = seal.redacted({"error": failure.model_dump(mode="json")})
    return CallToolResult(
        content=[TextContent(type="text", text=_compact(content))], structured_content=content, is_error=True
    )


def _compact(content: dict) -> str:
    import json

    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)
