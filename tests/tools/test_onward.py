"""`next` is never the call that was just answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunegate.errors import Failure, NextCall
from tunegate.tools import stage  # noqa: F401  (declares docker_run)
from tunegate.tools.answer import answer, content_of, refusal
from tunegate.tools.base import Result
from tunegate.tools.onward import checked

ROOT = Path("/srv")


def result(tool: str, follow: bool = False, **arguments) -> Result:
    call = NextCall(tool=tool, arguments=arguments, why="the disk is full", follow=follow)
    return Result(output_dir="/srv/run", next=call)


@pytest.mark.parametrize(
    ("made", "offered"),
    [
        ({"output_dir": "run"}, {"output_dir": "/srv/run"}),
        ({"output_dir": "./run/", "image": None}, {"output_dir": "run"}),
    ],
)
def test_the_same_call_is_a_question(made, offered):
    found = content_of(checked(answer(result("pick_ngc_image", **offered)), "pick_ngc_image", made, ROOT))
    assert found["next"] is None and "the disk is full" in found["ask_user"]


def test_how_long_a_call_waits_and_its_defaults_do_not_make_it_another():
    made = {"output_dir": "run", "stage": "train", "wait_s": 3, "stop": False}
    again = answer(result("docker_run", output_dir="/srv/run", stage="train"))
    assert content_of(checked(again, "docker_run", made, ROOT))["next"] is None


@pytest.mark.parametrize(
    ("tool", "made", "offered"),
    [
        ("docker_run", {"output_dir": "run", "stage": "build"}, {"output_dir": "run", "stage": "smoke"}),
        ("pick_ngc_image", {"output_dir": "run"}, {"output_dir": "other"}),
        ("render_project", {"output_dir": "run"}, {"output_dir": "run", "overrides": {"n_epochs": 1}}),
    ],
)
def test_another_call_is_left_alone(tool, made, offered):
    assert content_of(checked(answer(result(tool, **offered)), tool, made, ROOT))["next"]["arguments"] == offered


def test_what_runs_is_followed_by_the_same_call():
    made = {"output_dir": "run", "stage": "train"}
    assert content_of(checked(answer(result("docker_run", True, **made)), "docker_run", made, ROOT))["next"]


def test_a_refusal_does_not_send_the_agent_round_either():
    again = NextCall(tool="docker_run", arguments={"output_dir": "run", "stage": "train"})
    made = refusal(Failure(code="stage_failed", message="train was killed", missing=["x"], next=again))
    found = checked(made, "docker_run", again.arguments, ROOT)
    error = content_of(found)["error"]
    assert found.is_error and found.structured_content is None and error["missing"] == ["x"]
    assert error["next"] is None and "train was killed" in error["ask_user"]


def test_a_probe_without_a_directory_is_the_same_as_one_that_names_the_default():
    offered = {"output_dir": "/srv/output/vit", "model_id": "me/vit"}
    found = content_of(checked(answer(result("probe_model", **offered)), "probe_model", {"model_id": "me/vit"}, ROOT))
    assert found["next"] is None
