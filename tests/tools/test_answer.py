from __future__ import annotations

import json

from tunegate.errors import CODES, USER_DECIDES, Failure, NextCall
from tunegate.tools.answer import answer, content_of, error_of, refusal
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
    error = {"code": "gate_closed", "message": "m", "gate": 2, "missing": ["host"], "next": None}
    assert result.is_error and json.loads(result.content[0].text) == {"error": error}
    assert error_of(result) == error and content_of(result) == {"error": error}


def test_a_refusal_has_no_structured_content_which_could_only_contradict_the_tools_schema():
    assert refusal(Failure(code="internal", message="m")).structured_content is None
    good = answer(Result(output_dir="/r", next=None))
    assert error_of(good) is None and content_of(good) == good.structured_content


def test_what_only_the_user_can_fix_is_a_question_unless_a_call_comes_first():
    assert Failure(code="access_denied", message="ask for access").ask_user == "ask for access"
    assert Failure(code="ambiguous", message="m", next=NextCall(tool="audit_gpu")).ask_user is None
    assert Failure(code="gate_closed", message="m").ask_user is None
    assert {*USER_DECIDES} <= {*CODES}


def test_no_secret_is_in_either(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "w4ndb-key")
    good = answer(Result(output_dir="/r", notes=[f"token {TOKEN}"], next=None))
    bad = refusal(Failure(code="internal", message="key w4ndb-key", missing=[TOKEN]))
    for result in (good, bad):
        said = result.content[0].text + json.dumps(result.structured_content)
        assert TOKEN not in said and "w4ndb-key" not in said and "<HF_TOKEN>" in said
