"""Rendered projects of several processes: torchrun with gloo on the CPU, as several GPUs train with NCCL."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

from tests.scaffolds import test_instance_segmentation as instance
from tests.scaffolds import test_panoptic_segmentation as panoptic
from tests.scaffolds.conftest import Project, environment, make_project
from tests.scaffolds.scenes import MAKE_MASK2FORMER, draw_scene
from tests.scaffolds.test_object_detection import coco, make_model, project_on  # noqa: F401  a fixture

STILL = {"horizontal_flip": False, "crop_scale_min": 1.0, "n_epochs": 1}  # the same pictures, whoever reads them
ON_CPU = {
    "training_arguments": {"use_cpu": True}
}  # without it, accelerate starts no process group where there is no GPU


def train(project: Project, processes: int, steps: int = 2) -> float:
    """The loss of the first step, whose learning rate is 0."""
    launch = ("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}") if processes > 1 else ()
    project.ok(*launch, "train.py", "--fresh", "--max_steps", str(steps))
    rows = project.rows("logs/train.jsonl")
    assert [row["step"] for row in rows] == list(range(1, steps + 1))
    return rows[0]["loss"]


def of_one_and_of_two(project: Project, batch: int) -> tuple[float, float]:
    """First losses on the same rows: one process with twice the batch, and two processes."""
    project.configure(per_device_train_batch_size=2 * batch)
    one = train(project, 1)
    project.configure(per_device_train_batch_size=batch)
    return one, train(project, 2)


@pytest.mark.slow  # 25 s on two idle cores, minutes on busy ones
def test_detr_trains_in_two_processes_and_its_boxes_count_once(coco, stage_python, tmp_path):  # noqa: F811
    """The loss of boxes was twice as large with two processes: transformers divides a mean by their number once more."""
    model = make_model(stage_python, "detr", tmp_path / "model")
    project = project_on(coco, stage_python, tmp_path / "project", model, **STILL, **ON_CPU)
    project.ok("prepare_data.py")
    one, two = of_one_and_of_two(project, 4)
    assert two == pytest.approx(one, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["instance-segmentation", "panoptic-segmentation"])
def test_masks_are_learned_in_two_processes_and_count_once(task, stage_python, tmp_path):
    subprocess.run([stage_python, "-c", MAKE_MASK2FORMER, tmp_path / "model"], check=True, capture_output=True, env=environment())  # fmt: skip
    rng = random.Random(0)
    of_task = instance if task == "instance-segmentation" else panoptic
    data = of_task.write_coco(tmp_path / "data", [draw_scene(rng) for _ in range(24)])
    values = {"n_train": 16, "n_eval": 4, "gradient_accumulation_steps": 1, **STILL, **ON_CPU}
    project = of_task.local(tmp_path / "project", stage_python, data, model_id=str(tmp_path / "model"), **values)
    project.ok("prepare_data.py")
    one, two = of_one_and_of_two(project, 4)
    assert two == pytest.approx(one, rel=0.15)


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({}, "0"),
        ({"CUDA_VISIBLE_DEVICES": "2,3"}, "2"),
        ({"CUDA_VISIBLE_DEVICES": ""}, ""),
        ({"WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": "0,1"}, "0,1"),
        ({"WORLD_SIZE": "2"}, None),
    ],
)
def test_one_process_sees_one_gpu(given, seen, tmp_path):
    """Else the Trainer takes DataParallel, which cannot divide labels that are lists of objects; torchrun's processes see them all."""
    project = make_project(tmp_path / "project", sys.executable)
    code = "import os, harness; print(repr(os.environ.get('CUDA_VISIBLE_DEVICES')))"
    clean = {key: value for key, value in os.environ.items() if key not in ("CUDA_VISIBLE_DEVICES", "WORLD_SIZE")}
    done = subprocess.run([sys.executable, "-c", code], cwd=project.path, env={**clean, **given}, capture_output=True, text=True)  # fmt: skip
    assert done.stdout.strip() == repr(seen), done.stderr
