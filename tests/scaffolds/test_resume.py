"""A training that is stopped, or killed, and goes on: the same steps on the same data as one that nothing disturbed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.scaffolds.conftest import Project, environment, make_project

STOPPED = 75
STEPS = 60  # 6 epochs of 10
# Dropout draws from torch's random state, flips and crops from Python's: a resumption must put both back.
MAKE_VIT = """
import sys
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil, set_seed
set_seed(0)
config = ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
                   hidden_dropout_prob=0.2, num_labels=5)
ViTForImageClassification(config).save_pretrained(sys.argv[1])
ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(sys.argv[1])
"""


VALUES = {
    "local_dataset_format": "imagefolder",
    "n_train": 160,
    "n_eval": 30,
    "n_epochs": 6,
    "learning_rate": 3e-3,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 2,
    "horizontal_flip": True,
    "crop_scale_min": 0.4,
    "seed": 3,
}


@pytest.fixture(scope="module")
def prepared(stage_python, shapes, tmp_path_factory) -> Project:
    model = tmp_path_factory.mktemp("vit")
    subprocess.run([stage_python, "-c", MAKE_VIT, model], check=True, capture_output=True, env=environment())
    values = {"local_dataset_path": str(shapes), **VALUES}
    project = make_project(tmp_path_factory.mktemp("project"), stage_python, model_id=str(model), **values)
    project.ok("prepare_data.py")
    return project


@pytest.fixture(scope="module")
def unbroken(prepared, tmp_path_factory) -> list[dict]:
    """logs/train.jsonl of a training that nothing disturbed: a row for each step."""
    project = twin(prepared, tmp_path_factory.mktemp("unbroken"))
    project.ok("train.py")
    assert project.json("reports/train.json")["sessions"] == 1
    return project.rows("logs/train.jsonl")


@pytest.fixture
def project(prepared, tmp_path) -> Project:
    return twin(prepared, tmp_path)


def twin(project: Project, where: Path) -> Project:
    shutil.copytree(project.path, where / "project", ignore=shutil.ignore_patterns("checkpoints", "logs", "reports"))
    return Project(where / "project", project.python)


def start(project: Project, *argv: str) -> subprocess.Popen:
    argv = argv or (project.python, "train.py")
    return subprocess.Popen(
        argv, cwd=project.path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def done(project: Project) -> list[dict]:
    path = project.path / "logs/steps.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def interrupt(project: Project, number: int, after: int, *argv: str) -> tuple[int, str]:
    """Train until `after` more steps are done, then send the signal. (exit code, output)"""
    before = len(done(project))
    process = start(project, *argv)
    wait_for(lambda: len(done(project)) >= before + after, process)
    process.send_signal(number)
    printed = process.communicate(timeout=120)[0]
    return process.returncode, printed


def same_curve(rows: list[dict], unbroken: list[dict]) -> None:
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1)) == [row["step"] for row in unbroken]
    for key in ("loss", "grad_norm", "learning_rate"):
        assert [row[key] for row in rows] == pytest.approx([row[key] for row in unbroken], rel=1e-4), key


def test_stopped_three_times_it_trains_each_step_once_and_the_same(project, unbroken):
    for after in (3, 14, 9):
        code, printed = interrupt(project, signal.SIGTERM, after)
        report, last = project.json("reports/train.json"), done(project)[-1]["step"]
        assert code == STOPPED and f"stopped at step {last} of {STEPS}" in printed
        assert report["stopped"] and report["global_step"] == last and not (project.path / "checkpoints/final").exists()
    assert "goes on" not in project.ok("train.py")
    report = project.json("reports/train.json")
    assert (report["global_step"], report["stopped"], report["sessions"], report["steps_repeated"]) == (60, False, 4, 0)
    assert [row["step"] for row in done(project)] == list(range(1, STEPS + 1))
    same_curve(project.rows("logs/train.jsonl"), unbroken)


@pytest.mark.slow
def test_killed_it_repeats_only_what_no_checkpoint_holds_and_says_so(project, unbroken):
    code, _ = interrupt(project, signal.SIGKILL, 15)
    assert code == -signal.SIGKILL and not (project.path / "reports/train.json").exists()
    lost = done(project)[-1]["step"]
    kept = max(int(path.parent.name.split("-")[1]) for path in checkpoints(project))
    project.ok("train.py")
    report = project.json("reports/train.json")
    assert report["resumed_from"] == f"checkpoint-{kept}" and report["sessions"] == 2
    assert report["steps_repeated"] == lost - kept > 0  # the count can be other than 0
    same_curve(project.rows("logs/train.jsonl"), unbroken)


def checkpoints(project: Project) -> list[Path]:
    return list(project.path.glob("checkpoints/checkpoint-*/trainer_state.json"))


@pytest.mark.parametrize("call", ["train.build_trainer(cfg)", "project.find_device(cfg)"])
def test_what_was_promised_a_gpu_does_not_go_on_without_one(project, call):
    """As after the driver is gone; this torch, a CPU build, is told that it is none."""
    setup = "import torch; torch.version.cuda = '13.2'; import train; from harness import project; from harness.project import load_config"
    refused = project.run("-c", f"{setup}; cfg = {{**load_config(), 'gpu_count': 1}}; {call}")
    assert refused.returncode == 1 and "No CUDA GPUs are available" in refused.stdout.splitlines()[-1]


@pytest.mark.slow
def test_stopped_between_two_epochs(project, unbroken):
    project.ok("train.py", "--max_steps", "20")
    project.ok("train.py")
    same_curve(project.rows("logs/train.jsonl"), unbroken)


@pytest.mark.slow
def test_a_stop_before_the_first_step_saves_nothing_and_loses_nothing(project):
    process = start(project)
    wait_for(lambda: (project.path / "checkpoints/fingerprint.json").exists(), process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode in (STOPPED, -signal.SIGTERM)  # with the handler in place, or a moment before
    assert done(project) == [] and checkpoints(project) == []


@pytest.mark.slow
def test_a_reader_that_is_gone_does_not_end_the_work(project):
    process = start(project)
    wait_for(lambda: done(project), process)
    process.stdout.close()
    assert process.wait(120) == 0 and project.json("reports/train.json")["global_step"] == STEPS


@pytest.mark.slow
def test_torchrun_stops_after_the_same_step_everywhere(prepared, stage_python, tmp_path):
    """Two processes on the CPU. torchrun's own exit code is 1 whatever its workers' is: the report tells."""
    config = yaml.safe_load((prepared.path / "config.yaml").read_text())
    values = {**VALUES, "local_dataset_path": config["local_dataset_path"], "training_arguments": {"use_cpu": True}}
    project = make_project(tmp_path / "project", stage_python, model_id=config["model_id"], **values)
    shutil.copytree(prepared.path / "data", project.path / "data")
    argv = (str(Path(stage_python).with_name("torchrun")), "--standalone", "--nproc_per_node=2", "train.py")
    code, printed = interrupt(project, signal.SIGTERM, 3, *argv)
    report = project.json("reports/train.json")
    assert code != 0 and report["stopped"] and 3 <= report["global_step"] < report["max_steps"] == 30, printed
    assert f"checkpoint-{report['global_step']}" in {path.parent.name for path in checkpoints(project)}
    again = start(project, *argv)
    printed = again.communicate(timeout=200)[0]
    assert again.returncode == 0, printed
    assert [row["step"] for row in done(project)] == list(range(1, 31))
    assert not project.json("reports/train.json")["stopped"] and (project.path / "checkpoints/final").exists()


@pytest.mark.slow
def test_a_full_disk_ends_it_with_the_reason_and_leaves_the_last_good_checkpoint(prepared, unbroken, tmp_path):
    """A real filesystem, filled up in the middle of the training."""
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", tmp_path]).returncode:
        pytest.skip("mounting needs root")
    try:
        project = twin(prepared, tmp_path)
        process = start(project)
        wait_for(lambda: checkpoints(project), process)
        ballast = tmp_path / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        printed = process.communicate(timeout=120)[0]
        assert process.returncode == 1 and ("No space left" in printed or "failed writing" in printed), printed
        assert len(list(project.path.glob("checkpoints/checkpoint-*"))) == len(checkpoints(project)) > 0
        ballast.unlink()
        project.ok("train.py")
        same_curve(project.rows("logs/train.jsonl"), unbroken)
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)
