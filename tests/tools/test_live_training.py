"""docker_run(train) on real trainings that go wrong, through a real MCP client: what it answers while they run, and where they end."""

from __future__ import annotations

import math
import random
import shutil
import time
from pathlib import Path

import anyio
import pytest
from mcp import Client

from tests import sealed
from tests.scaffolds.conftest import CLASSES, Project, draw, environment, shapes, tiny_model  # noqa: F401
from tunegate import hyperparameters, jobs, mcp_server, stages
from tunegate.config import RunConfig
from tunegate.jobs import snapshot
from tunegate.project import listed, render
from tunegate.rundir import Run
from tunegate.tools import base
from tunegate.tools.answer import content_of
from tunegate.tools.base import Workspace

VALUES = {
    "model_id": "local/tiny",  # on no Hub: a folder of the run, and in the cache of its stages
    "model_revision": sealed.SHA,
    "task": "image-classification",
    "training_method": "full",
    "platform": "local-process",
    "local_dataset_format": "imagefolder",
    "class_names": sorted(CLASSES),
    "n_train": 700,
    "n_eval": 30,
    "n_epochs": 3,
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 16,
    "gradient_accumulation_steps": 1,
    "horizontal_flip": False,
    "gpu_count": 0,
    "applicable_workarounds": [],
    "column_map": {"image": "image", "label": "label"},
    "push_to_hub": False,
}


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(tmp_path / "root")


def drawn(folder: Path, permuted: bool) -> Path:
    rng = random.Random(1)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for i in range(300):
        for name in CLASSES:
            draw(name, rng).save(folder / (rng.choice(list(CLASSES)) if permuted else name) / f"{name}-{i}.png")
    return folder


@pytest.fixture
def begin(call, stage_python, tiny_model, monkeypatch):  # noqa: F811
    """begin(data, **values): a run whose gate 4 is open, its project rendered, its data really prepared."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)

    def make(data: Path, plant=lambda files: files, **values) -> Run:
        run = Run(call.workspace.root / "run")
        config = RunConfig.model_validate({**VALUES, "local_dataset_path": str(data), **values})
        config = render.with_defaults(config, {})
        files = plant(render.render_files(config, {}))
        sealed.put(run, files)
        run.save_config(config)
        shutil.copytree(tiny_model, run.path / "local/tiny")
        downloaded = snapshot.hub(snapshot.of(run, "train")) / "hub/models--local--tiny/snapshots" / sealed.SHA
        shutil.copytree(tiny_model, downloaded)
        Project(run.path, stage_python).ok("prepare_data.py")
        manifest = (run.path / listed.IN_PROJECT).read_text()
        files |= {listed.PATH: manifest, listed.IN_PROJECT: manifest}
        built = {"stages/build": {**sealed.FACTS["stages/build"], "python": stage_python}}
        return sealed.build(run, until="stages/smoke", config=config, facts=built, files=files)

    return make


def train(workspace: Workspace, wait_s: float = 100, **arguments) -> tuple[dict, list[str]]:
    """(docker_run's answer, its progress notifications)"""
    told = []

    async def go():
        async def keep(progress, total, message):
            told.append(message)

        async with Client(mcp_server.build(workspace)) as client:
            asked = {"output_dir": "run", "stage": "train", "wait_s": wait_s, **arguments}
            return await client.call_tool("docker_run", asked, progress_callback=keep)

    return content_of(anyio.run(go)), told


def test_wrong_labels_are_reported_while_it_trains_and_end_it(call, begin, tmp_path):
    run = begin(drawn(tmp_path / "data", permuted=True))
    found, told = train(call.workspace)
    error = found["error"]
    assert error["code"] == "stage_failed" and "did not fall below that of guessing" in error["message"]
    assert "goes on" in error["missing"][1] and error["next"]["tool"] == "diagnose"
    assert any("samples/s" in line and "grad_norm" in line for line in told)
    assert any("did not fall" in line for line in told)  # while it ran
    found = call("diagnose", output_dir="run", stage="train")
    assert found["findings"][0]["id"] == "flat-loss" and found["findings"][0]["overrides"] == {}
    kept = max(
        int(path.name.split("-")[1]) for path in snapshot.of(run, "train").at("checkpoints").glob("checkpoint-*")
    )
    found, _ = train(call.workspace)
    assert found["state"] == "passed" and found["facts"]["resumed_from"] == f"checkpoint-{kept}"


@pytest.mark.parametrize(("rate", "wrong"), [(1e30, "is not finite")])
def test_a_learning_rate_that_breaks_it_names_a_tenth_of_it(call, begin, shapes, rate, wrong, monkeypatch):  # noqa: F811
    anything = hyperparameters.Bound(0, math.inf, "")  # within the bounds, a tiny model breaks at no rate
    monkeypatch.setitem(hyperparameters.BOUNDS, "learning_rate", anything)
    begin(shapes, learning_rate=rate, weight_decay=0, n_train=150)
    error = train(call.workspace)[0]["error"]
    assert wrong in error["message"] and error["next"]["tool"] == "render_project"
    assert error["next"]["arguments"]["overrides"] == {"learning_rate": pytest.approx(rate / 10)}


HANGS = """
import time as _time


class Hanging(Repeatable):
    def __getitems__(self, indices):
        self.fetched = getattr(self, "fetched", 0) + 1
        while self.fetched > 6:
            _time.sleep(0.1)
        return super().__getitems__(indices)
"""


def test_a_data_loader_that_hangs_is_told_and_can_be_stopped(call, begin, shapes, monkeypatch, own_code):  # noqa: F811
    def plant(files):
        training = files["harness/training.py"].replace("STANDSTILL_S = 300", "STANDSTILL_S = 1") + HANGS
        return files | {
            "harness/training.py": training,
            "train.py": files["train.py"].replace("training.Repeatable(", "training.Hanging("),
        }

    monkeypatch.setattr(base, "POLL_S", 0.2)
    monkeypatch.setattr(stages, "STANDSTILL_S", 1)
    run = begin(shapes, plant, n_train=150)
    found, _ = train(call.workspace, wait_s=0)
    deadline = time.monotonic() + 60
    while not found["notes"]:
        assert found["state"] == "running" and time.monotonic() < deadline
        found, _ = train(call.workspace, wait_s=2)
    assert "no step was done for" in found["notes"][0] and "stop: true" in found["notes"][0]
    assert found["progress"]["step"] >= 1 and "note" not in found["progress"]
    found, _ = train(call.workspace, stop=True)
    assert found["state"] == "stopped" and jobs.inspect(run, "train").result["exit_code"] == 75
