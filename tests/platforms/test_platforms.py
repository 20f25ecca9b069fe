"""What every platform answers, and the life of a stage on one that is neither of those there are."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests import sealed
from tests.memory_platform import InMemory
from tests.sealed import CONFIG
from tests.stages.test_stages import PREPARE, end
from tunegate import evidence, gates, jobs, stages
from tunegate.evidence import ledger
from tunegate.platforms import registry
from tunegate.platforms.base import Platform
from tunegate.project import render
from tunegate.publish import rerun
from tunegate.rundir import Run
from tunegate.stages import life

pytestmark = pytest.mark.usefixtures("own_code")


@pytest.fixture
def memory(monkeypatch) -> InMemory:
    found = InMemory({"prepare": PREPARE})
    monkeypatch.setitem(registry.PLATFORMS, found.name, found)
    return found


@pytest.fixture
def run(tmp_path) -> Run:
    return sealed.build(Run(tmp_path / "run"), until="stages/check_api", files={"prepare_data.py": sealed.script("")})


def advance(run: Run, begins: bool = False) -> life.Standing:
    begin = (lambda: stages.start(run, CONFIG, "prepare")) if begins else None
    now = life.advance(run, "prepare", begin, outdated=lambda: False)
    ledger.append(run, "docker_run", {"stage": "prepare", **now.recorded}, "ok", now.wrote)
    return now


def test_a_class_that_leaves_a_question_open_is_no_platform():
    class Unanswered(InMemory):
        forget = Platform.forget

    with pytest.raises(TypeError, match="forget"):
        Unanswered()


@pytest.mark.parametrize("platform", registry.PLATFORMS.values(), ids=lambda platform: platform.name)
def test_what_a_platform_names_is_there(platform):
    assert set(platform.config_keys) <= set(CONFIG.model_dump())
    assert set(platform.requirements) <= set(render.REQUIREMENTS)
    assert platform.python[-1] == "python" and platform.set_up(CONFIG)
    folder = Path(__file__).parent / platform.name.replace("-", "_")
    assert list(folder.glob("test_*.py")), f"tests/platforms/{folder.name}/ has no tests"


def test_a_stage_from_its_beginning_to_its_evidence(memory, run):
    assert advance(run, begins=True).state == "running"
    end(run, "prepare")
    now = advance(run)
    assert now.state == "passed" and now.facts["n_eval"] == 4 and set(now.wrote) == {"stages/prepare"}
    (_, _, inputs), forgotten = memory.asked
    assert forgotten == ("forget", "prepare") and jobs.spec(run, "prepare")["container"] == inputs
    assert advance(run, begins=True).state == "passed" and len(memory.asked) == 2  # nothing began again
    (run.path / "prepare_data.py").write_text(sealed.script("# changed"))
    advance(run, begins=True)
    assert memory.asked[-1][0] == "launch" and memory.asked[-1][2] != inputs  # other inputs are another job
    end(run, "prepare")


def kill(run: Run) -> jobs.Job:
    """The runner and its child, as when the machine kills them; what it followed lives on in memory."""
    where = jobs.directory(run, "prepare") / "process.json"
    deadline = time.monotonic() + 20
    while not where.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(json.loads(where.read_text())["pid"], signal.SIGKILL)
    return end(run, "prepare")


@pytest.mark.parametrize(("mode", "state"), [("follow", "passed"), ("stop", "stopped")])
def test_a_stage_whose_follower_is_killed_is_followed_again_or_stopped(memory, run, mode, state):
    memory.scripts["prepare"] = "import time; time.sleep(60)"
    advance(run, begins=True)
    job = kill(run)
    assert job.state == "lost"
    memory.scripts["prepare"] = PREPARE
    assert life.rejoin(run, job, mode)
    assert memory.asked[-1] == (mode, "prepare", job.spec["container"])
    end(run, "prepare")
    now = advance(run)
    assert now.state == state and now.recorded == ({} if state == "passed" else {"stopped": True})


def test_a_build_that_is_gone_has_not_passed(memory, run):
    assert life.still_passed(run, CONFIG, "build")
    sealed.write(run, "stages/build", {**sealed.FACTS["stages/build"], "gone": True})
    assert stages.passed(run, CONFIG, "build", ledger.latest(run)) and not life.still_passed(run, CONFIG, "build")


def test_gates_and_rerun_ask_the_platform(memory, run):
    seen = gates.view(run)
    assert gates.preflight(seen)["image"] == "memory"
    hardware = gates.steps(seen)[1]
    assert "config.yaml has no ngc_image" in [check.detail for check in hardware.checks]
    assert {tuple(words[:2]) for words in rerun.commands(CONFIG)} == {("remote", "python")}
    assert evidence.read(run, "image").facts["fit"] == "fits"
