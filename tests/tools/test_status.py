from __future__ import annotations

import os
import shutil

import pytest

from tests import sealed
from tests.tiny import TOKEN
from tunegate import rundir
from tunegate.rundir import Run
from tunegate.tools.base import Workspace


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """A server root without a Hub: nothing here asks for one."""
    return Workspace(tmp_path / "root")


@pytest.fixture
def run(call) -> Run:
    return sealed.build(Run(call.workspace.root / "run"))


def status(call, output_dir: str = "run") -> dict:
    return call("gate_status", output_dir=output_dir)


def test_a_complete_run(call, run):
    found = status(call)
    assert found["complete"] and found["next"] is None and found["notes"] == [] and found["jobs"] == {}
    assert [(step["step"], step["name"], step["passed"]) for step in found["steps"]] == [
        (number, name, True)
        for number, name in enumerate(("qualify", "hardware", "research", "generate", "train", "publish"), 1)
    ]
    assert all(found["preflight"].values()) and found["preflight"]["smoke"] == "PASSED (loss 2.3, grad_norm 1)"


def test_a_closed_gate_says_why_and_what_to_call(call, run):
    (run.meta / "stages/smoke.json").write_text('{"passed": true}')
    found = status(call)
    check = next(c for c in found["steps"][3]["checks"] if c["name"] == "smoke")
    assert not check["ok"] and "not a file that a tool writes" in check["detail"]
    assert check["evidence"] == "meta/stages/smoke.json" and found["preflight"]["smoke"] == ""
    assert found["next"]["tool"] == "docker_run" and found["next"]["arguments"]["stage"] == "smoke"
    assert "gate 4 (generate) is closed" in found["steps"][4]["checks"][-1]["detail"]


def test_looking_changes_nothing(call, run):
    def files() -> dict:
        return {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}

    before = files()
    status(call)
    assert files() == before


def test_a_run_copied_elsewhere_keeps_its_record_and_opens_nothing(call, run):
    shutil.copytree(run.path, call.workspace.root / "copy")
    found = status(call, "copy")
    assert not any(step["passed"] for step in found["steps"]) and found["next"]["tool"] == "probe_model"
    assert "copied from elsewhere" in found["notes"][0]
    assert status(call)["complete"]  # the original is untouched


def test_another_users_key(call, run, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "someone"))
    found = status(call)
    assert not found["complete"] and not any(step["passed"] for step in found["steps"])


def test_it_answers_while_another_call_works(call, run):
    with rundir.lock(run, "docker_run"):
        assert status(call)["complete"]


@pytest.mark.parametrize(
    ("output_dir", "code"), [("nowhere", "not_found"), ("..", "outside_root"), ("link", "outside_root")]
)
def test_what_is_no_run(call, run, output_dir, code):
    os.symlink(run.path, call.workspace.root / "link")
    assert status(call, output_dir)["error"]["code"] == code


def test_the_token_is_not_in_the_answer(call, run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    config = sealed.CONFIG.model_copy(update={"dataset_id": None, "local_dataset_path": f"/data/{TOKEN}"})
    run.save_config(config)
    assert TOKEN not in str(status(call))
