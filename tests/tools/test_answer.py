from __future__ import annotations

import json

from tunegate.errors import Failure, NextCall
from tunegate.tools.answer import answer, refusal
from tunegate.tools.base import Result

TOKEN = "hf_" + "s3" * 15


def test_the_text_is_the_structured_content():
    result = answer(Result(output_dir="/r", notes=["größer"], next=NextCall(tool="audit_gpu")))
    content = result.structured_content
    assert json.loads(result.content[0].text) == content and not result.is_error and "größer" in result.content[0].text
    assert content["next"] == {"tool": "audit_gpu", "arguments": {}, "why": ""}


def test_null_is_said_and_not_left_out():
    assert answer(Result(output_dir="/r", next=None)).structured_content == {
        "output_dir": "/r",
        "notes": [],
        "next": None,
    }


def test_a_refusal_is_an_error_with_every_field():
    result = refusal(Failure(code="gate_closed", message="m", gate=2, missing=["host"]))
    assert result.is_error and json.loads(result.content[0].text) == result.structured_content
    assert result.structured_content == {
        "error": {"code": "gate_closed", "message": "m", "gate": 2, "missing": ["host"], "next": None}
    }


def test_no_secret_is_in_either(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "w4ndb-key")
    good = answer(Result(output_dir="/r", notes=[f"token {TOKEN}"], next=None))
    bad = refusal(Failure(code="internal", message="key w4ndb-key", missing=[TOKEN]))
    for result in (good, bad):
        said = result.content[0].text + json.dumps(result.structured_content)
        assert TOKEN not in said and "w4ndb-key" not in said and "<HF_TOKEN>" in said
