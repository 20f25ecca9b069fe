from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from tunegate import errors
from tunegate.errors import NextCall, ToolFailure

PACKAGE = Path(errors.__file__).parent


def raised_codes() -> dict[str, str]:
    """Code -> a file that raises it, over every literal `ToolFailure("code", ...)` of the package."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "ToolFailure":
                if node.args and isinstance(node.args[0], ast.Constant):
                    found[node.args[0].value] = path.name
    return found


def test_the_table_of_codes_is_the_enumeration():
    rows = re.findall(r"^([a-z_]+)  +\S", errors.__doc__, re.M)
    assert tuple(rows) == errors.CODES


def test_only_documented_codes_are_raised():
    assert set(raised_codes()) <= set(errors.CODES)


def test_a_failure_carries_what_a_refusal_answers():
    call = NextCall(tool="audit_gpu", arguments={"output_dir": "x"})
    failure = ToolFailure("gate_closed", "host is missing", gate=2, missing=["host"], next=call)
    assert str(failure) == "host is missing" and failure.code == "gate_closed"
    assert failure.failure.model_dump()["next"] == {"tool": "audit_gpu", "arguments": {"output_dir": "x"}, "why": ""}
    assert failure.failure.gate == 2 and failure.failure.missing == ["host"]


def test_a_code_outside_the_enumeration_is_refused():
    with pytest.raises(ValidationError):
        ToolFailure("oops", "no such code")
