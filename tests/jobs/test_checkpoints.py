"""What counts when a training goes on: real jobs, whose scripts are a few lines of Python that write what a Trainer writes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time

import pytest

from tests import sealed
from tests.sealed import CONFIG, script
from tunegate import jobs, stages
from tunegate.errors import ToolFailure
from tunegate.jobs import checkpoints, snapshot
from tunegate.rundir import Run

# Ten steps, a checkpoint at 3, 6 and 9; `STOP` in the run ends it after that step. It says where it began.
TRAIN = """import json, os, pathlib, secrets, shutil, sys, time
root = pathlib.Path("checkpoints"); root.mkdir(exist_ok=True)
for name in ("logs", "reports"): os.makedirs(name, exist_ok=True)
if (root / "final").exists() and os.path.exists("reports/train.json"):
    print("finished already"); sys.exit()
kept = max((int(p.name.split("-")[1]) for p in root.glob("checkpoint-*")), default=0)
print("from", kept, flush=True)
session, steps, losses = secrets.token_hex(4), open("logs/steps.jsonl", "a"), open("logs/train.jsonl", "a")
stop = int(open(RUN / "STOP").read()) if os.path.exists(RUN / "STOP") else 0
for step in range(kept + 1, 11):
    print(json.dumps({"session": session, "step": step}), file=steps, flush=True)
    print(json.dumps({"step": step, "loss": 1 / step}), file=losses, flush=True)
    if step % 3 == 0:
        folder = root / f"checkpoint-{step}"; folder.mkdir()
        (folder / "model.safetensors").write_text(session)
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    if step == stop:
        sys.exit(75)
    while os.path.exists(RUN / "WAIT") and step > 6: time.sleep(0.01)
(root / "final").mkdir(); (root / "final/model.safetensors").write_text(session)
json.dump({"global_step": 10, "max_steps": 10}, open("reports/train.json", "w"))
"""


pytestmark = pytest.mark.usefixtures("own_code")


@pytest.fixture
def run(tmp_path) -> Run:
    found = sealed.build(Run(tmp_path / "run"), until="stages/check_api")
    sealed.put(found, {"train.py": script(TRAIN)})
    return found


def end(run: Run) -> jobs.Job:
    deadline = time.monotonic() + 20
    while (job := jobs.inspect(run, "train")).state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return job


def train(run: Run, stop: int = 0, config=CONFIG) -> str:
    """The training's last word, after it has ended."""
    sealed.put(run, {"STOP": str(stop)})
    stages.start(run, config, "train")
    end(run)
    return jobs.log_tail(run, "train")[-1]


def began(run: Run) -> dict:
    return jobs.inspect(run, "train").spec["training"]


def lay(run: Run, step: int) -> None:
    folder = f"checkpoints/checkpoint-{step}"
    state = json.dumps({"global_step": step})
    sealed.put(run, {f"{folder}/model.safetensors": "bought", f"{folder}/trainer_state.json": state})


def lay_final(run: Run) -> None:
    """A model of anybody's, with the report and the logs of a training that never was."""
    report = json.dumps({"global_step": 10, "max_steps": 10})
    steps = "".join(json.dumps({"session": "x", "step": step}) + "\n" for step in range(1, 11))
    sealed.put(run, {"checkpoints/final/model.safetensors": "bought", "reports/train.json": report})
    sealed.put(run, {"logs/steps.jsonl": steps, "logs/train.jsonl": steps})


def private(run: Run) -> Run:
    return snapshot.of(run, "train")


def undone(run: Run) -> int:
    return checkpoints.undone(private(run), began(run), json.loads((run.path / "reports/train.json").read_text()))


def test_a_stopped_training_goes_on_from_its_own_checkpoint(run):
    assert train(run, stop=7) == "from 0" and train(run) == "from 6"
    assert began(run)["set_aside"] == [] and began(run)["step"] == 6 and undone(run) == 0
    assert train(run) == "finished already" and began(run)["finished"] and undone(run) == 0


@pytest.mark.parametrize("stop", [1, 7])
def test_a_model_that_was_laid_there_is_not_a_finished_training(run, stop):
    train(run, stop=stop)
    lay_final(run)
    assert train(run) == f"from {stop // 3 * 3}"
    assert (run.path / "checkpoints.old-1/final/model.safetensors").read_text() == "bought"
    assert (run.path / "checkpoints/final/model.safetensors").read_text() != "bought" and undone(run) == 0
    said = "checkpoints/final was not trained by this run: set aside as checkpoints.old-1/final"
    assert said in began(run)["set_aside"] and not began(run)["finished"] and "x" not in began(run)["sessions"]
    assert "bought" not in (run.path / "logs/train.jsonl").read_text()
    assert train(run) == "finished already" and said in began(run)["set_aside"]  # it is not forgotten


def test_checkpoints_that_were_laid_there_are_set_aside_and_not_gone_on_from(run):
    train(run, stop=7)
    lay(run, 9)
    assert train(run, stop=8) == "from 6" and (run.path / "checkpoints.old-1/checkpoint-9").exists()
    lay(run, 3)
    assert train(run) == "from 6" and undone(run) == 0
    assert [line.split()[0] for line in began(run)["set_aside"]] == [f"checkpoints/checkpoint-{n}" for n in (9, 3)]


def test_a_finished_model_that_was_changed_is_shown_anew(run):
    train(run)
    for name in ("checkpoints/final/model.safetensors", "reports/train.json"):
        old = (run.path / name).read_text()
        sealed.put(run, {name: old + " "})
        assert train(run) == "finished already", name
        assert (run.path / name).read_text() == old
    assert undone(run) == 0


def test_another_training_begins_anew_and_the_earlier_model_is_kept(run):
    train(run)
    changed = CONFIG.model_copy(update={"learning_rate": 0.5})
    assert train(run, config=changed) == "from 0" and began(run)["set_aside"] == []
    assert (run.path / "checkpoints.old-1/final/model.safetensors").exists()
    assert train(run) == "from 0"  # and the first one is no longer known


def test_after_a_kill_of_everything_it_goes_on_from_its_last_checkpoint(run):
    sealed.put(run, {"WAIT": "", "STOP": "0"})
    stages.start(run, CONFIG, "train")
    deadline = time.monotonic() + 20
    while checkpoints.newest(private(run)) < 6:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(json.loads((jobs.directory(run, "train") / "process.json").read_text())["pid"], signal.SIGKILL)
    end(run)  # its training gets TERM from the kernel
    assert jobs.inspect(run, "train").state == "lost"
    lay(run, 9), lay_final(run)
    shutil.rmtree(jobs.directory(run, "train"))  # and what is told of its jobs
    (run.path / "WAIT").unlink()
    assert train(run) == "from 6" and undone(run) == 0 and len(began(run)["set_aside"]) == 2


def test_what_is_laid_there_while_it_trains_changes_nothing(run):
    sealed.put(run, {"WAIT": "", "STOP": "0"})
    stages.start(run, CONFIG, "train")
    deadline = time.monotonic() + 20
    while checkpoints.newest(private(run)) < 6:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    lay(run, 9), lay_final(run)
    (run.path / "WAIT").unlink()
    end(run)
    assert (run.path / "checkpoints/final/model.safetensors").read_text() != "bought" and undone(run) == 0
    assert jobs.inspect(run, "train").result["made"].keys() == {
        *("checkpoints/final/model.safetensors", "reports/train.json", "logs/steps.jsonl", "logs/train.jsonl")
    }


def test_a_report_of_steps_that_no_job_did_is_counted(run):
    forged = TRAIN.replace("range(kept + 1, 11)", "range(kept + 1, 4)")
    sealed.put(run, {"train.py": script(forged)})
    train(run)
    assert undone(run) == 7


def test_a_link_for_the_folder_is_refused(run, tmp_path):
    (run.path / "checkpoints").symlink_to(tmp_path)
    with pytest.raises(ToolFailure, match="checkpoints is a symlink"):
        stages.start(run, CONFIG, "train")
