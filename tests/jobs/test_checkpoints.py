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
from tunegate.jobs import checkpoints
from tunegate.readers import content
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
stop = int(open("STOP").read()) if os.path.exists("STOP") else 0
for step in range(kept + 1, 11):
    print(json.dumps({"session": session, "step": step}), file=steps, flush=True)
    print(json.dumps({"step": step, "loss": 1 / step}), file=losses, flush=True)
    if step % 3 == 0:
        folder = root / f"checkpoint-{step}"; folder.mkdir()
        (folder / "model.safetensors").write_text(session)
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    if step == stop:
        sys.exit(75)
    while os.path.exists("WAIT") and step > 6: time.sleep(0.01)
(root / "final").mkdir(); (root / "final/model.safetensors").write_text(session)
json.dump({"global_step": 10, "max_steps": 10}, open("reports/train.json", "w"))
"""


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.setattr(checkpoints, "WATCH_S", 0.05)
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


def undone(run: Run) -> int:
    return checkpoints.undone(run, began(run), json.loads((run.path / "reports/train.json").read_text()))


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
    assert (
        "checkpoints/final was not trained by this run: set aside as checkpoints.old-1/final" in began(run)["set_aside"]
    )
    assert not began(run)["finished"] and "x" in began(run)["sessions"]
    assert "bought" not in (run.path / "logs/train.jsonl").read_text()


def test_a_checkpoint_that_was_laid_there_or_changed_is_not_gone_on_from(run):
    train(run, stop=7)
    lay(run, 9)
    assert train(run, stop=8) == "from 6" and (run.path / "checkpoints.old-1/checkpoint-9").exists()
    (run.path / "checkpoints/checkpoint-6/model.safetensors").write_text("changed")
    assert train(run, stop=4) == "from 3" and (run.path / "checkpoints.old-2/checkpoint-6").exists()
    sealed.put(run, {"checkpoints/checkpoint-3/optimizer.pt": "added"})
    assert train(run) == "from 0" and undone(run) == 0
    assert [line.split()[0] for line in began(run)["set_aside"]] == [f"checkpoints/checkpoint-{n}" for n in (9, 6, 3)]


def test_a_finished_model_that_was_changed_is_trained_again(run):
    train(run)
    for name in ("checkpoints/final/model.safetensors", "reports/train.json"):
        old = (run.path / name).read_text()
        sealed.put(run, {name: old + " "})
        assert train(run) == "from 9", name
    assert undone(run) == 0


def test_records_of_another_training_or_of_another_run_vouch_for_nothing(run, tmp_path):
    train(run, stop=7)
    records = (jobs.directory(run, "train") / "made.jsonl").read_bytes()
    other = sealed.build(Run(tmp_path / "other"), until="stages/check_api")
    sealed.put(other, {"train.py": script(TRAIN)})
    train(other, stop=1)
    shutil.copytree(run.path / "checkpoints", other.path / "checkpoints", dirs_exist_ok=True)
    (jobs.directory(other, "train") / "made.jsonl").write_bytes(records)
    assert train(other) == "from 0"
    changed = CONFIG.model_copy(update={"learning_rate": 0.5})
    assert train(run, config=changed, stop=1) == "from 0"
    shutil.copytree(other.path / "checkpoints.old-1", run.path / "checkpoints", dirs_exist_ok=True)
    assert train(run, config=changed) == "from 0"


def test_records_that_are_edited_cut_off_or_gone_lose_only_what_they_named(run):
    train(run, stop=7)
    path = jobs.directory(run, "train") / "made.jsonl"
    lines = path.read_text().splitlines()
    forged = [line.replace("checkpoint-6", "checkpoint-5") for line in lines if "checkpoint-6" in line]
    path.write_text(
        "\n".join([*forged, *(line for line in lines if "checkpoint-3" in line), "{", "[]", lines[-1][:40]])
    )
    assert train(run, stop=8) == "from 3"
    path.unlink()
    assert train(run) == "from 0"


def test_after_a_kill_of_everything_it_goes_on_from_what_was_sealed_meanwhile(run):
    sealed.put(run, {"WAIT": "", "STOP": "0"})
    stages.start(run, CONFIG, "train")
    path, deadline = jobs.directory(run, "train") / "made.jsonl", time.monotonic() + 20
    while not (path.exists() and "checkpoint-6" in path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(json.loads((jobs.directory(run, "train") / "process.json").read_text())["pid"], signal.SIGKILL)
    end(run)  # its training gets TERM from the kernel
    assert jobs.inspect(run, "train").state == "lost"
    lay(run, 9), lay_final(run)
    (run.path / "WAIT").unlink()
    assert train(run) == "from 6" and undone(run) == 0 and len(began(run)["set_aside"]) == 3


def test_what_is_laid_there_while_it_trains_is_not_sealed_without_its_steps(run, monkeypatch):
    sealed.put(run, {"STOP": "7"})
    sealed.put(run, {"train.py": script(TRAIN.replace("        sys.exit(75)", "        time.sleep(1); sys.exit(75)"))})
    stages.start(run, CONFIG, "train")
    deadline = time.monotonic() + 20
    while not (run.path / "checkpoints/checkpoint-6/trainer_state.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    lay(run, 9)
    sealed.put(run, {"checkpoints/final/model.safetensors": "bought", "reports/train.json": '{"global_step": 7}'})
    end(run)
    assert train(run) == "from 6" and len(began(run)["set_aside"]) == 3 and undone(run) == 0


def test_a_checkpoint_is_not_sealed_again_long_after_it_was_made(run, monkeypatch):
    monkeypatch.setattr(checkpoints, "SETTLES_S", 0.2)
    sealed.put(run, {"logs/steps.jsonl": "".join(json.dumps({"session": "a", "step": n}) + "\n" for n in range(1, 7))})
    lay(run, 6)
    watch = checkpoints.Watch(run, {"id": "1", "resting_on": {}, "files": {}})
    (jobs.directory(run, "train")).mkdir(parents=True)
    watch._seal_new()
    sealed.put(run, {"checkpoints/checkpoint-6/rng_state_1.pth": "of another process"})
    watch._seal_new()
    time.sleep(0.3)
    sealed.put(run, {"checkpoints/checkpoint-6/model.safetensors": "changed"})
    watch._over.set(), watch.begin(), watch.end(0)
    names = [record["name"] for record in checkpoints._records(run, checkpoints.identity({}, {}))]
    assert names == ["checkpoints/checkpoint-6", "checkpoints/checkpoint-6", ""]


def test_a_link_is_no_checkpoint(run, tmp_path):
    train(run, stop=7)
    shutil.move(run.path / "checkpoints/checkpoint-6", tmp_path / "elsewhere")
    (run.path / "checkpoints/checkpoint-6").symlink_to(tmp_path / "elsewhere")
    assert train(run, stop=3) == "from 3" and (tmp_path / "elsewhere/model.safetensors").exists()
    shutil.move(run.path / "checkpoints", tmp_path / "moved")
    (run.path / "checkpoints").symlink_to(tmp_path / "moved")
    with pytest.raises(ToolFailure, match="symlink"):
        stages.start(run, CONFIG, "train")


def test_a_large_file_is_known_by_its_size_and_a_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(content, "BLOCKS", 5)
    monkeypatch.setattr(content, "BLOCK_BYTES", 10)
    path = tmp_path / "optimizer.pt"
    path.write_bytes(bytes(2000))
    first = checkpoints.digest(path)
    assert first.startswith("sample:") and checkpoints.digest(path) == first
    for at, size in ((0, 2000), (1999, 2000), (1000, 2000), (0, 2001)):
        data = bytearray(size)
        data[at] = at != 0 or size == 2000
        path.write_bytes(data)
        assert checkpoints.digest(path) != first
    assert checkpoints.digest(tmp_path / "none") == "" == checkpoints.digest(tmp_path)
