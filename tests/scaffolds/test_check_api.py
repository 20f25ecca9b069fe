"""check_api against the installed packages: an untouched project passes, and each mistake is named with its line."""

from __future__ import annotations

import pytest

from tests.scaffolds.conftest import make_project
from tunegate.render import HEADER

MISTAKES = (
    HEADER
    + """
import hallucinated_package
import torch
import transformers
from datasets import load_metric
from project import load_everything, write_json
from torch.utils.data import DataLoader
from transformers import AutoModelForImageClassification, Trainer, TrainingArguments

import data
args = TrainingArguments(evaluation_strategy="steps", bf17=True)
trainer = Trainer(model=None, tokenizer=None)
trainer.train(resume=True)
trainer.train(resume_from_checkpoint=None)
AutoModelForImageClassification.from_pretrained("x", torch_dtype="float32", num_labels=3, revision="main", some_config_value=1)
DataLoader([], batchsize=3)
transformers.AutoModelForEverything
data.collate(rows=[])
write_json("a", value={}, indent=2)
torch.nn.Linear(1, 2, biass=False)

from pixels import PixelTrainer
PixelTrainer(model=None, train_datset=None)


def shadowed(TrainingArguments, trainer):
    TrainingArguments(anything=1)
    trainer.train(anything=1)
"""
)


@pytest.fixture(scope="module")
def project(stage_python, tmp_path_factory):
    return make_project(
        tmp_path_factory.mktemp("check"), stage_python, training_arguments={"warmup_ratio": 0.1, "max_grad_norm": 0.5}
    )


def test_a_removed_keyword_is_named_with_its_line_and_successor(project):
    ran = project.run("check_api.py")
    assert ran.returncode == 1
    report = project.json("reports/check_api.json")
    (problem,) = report["problems"]
    lines = (project.path / "train.py").read_text().splitlines()
    assert (problem["file"], problem["call"]) == ("train.py", "TrainingArguments")
    assert (problem["keyword"], problem["suggestion"]) == ("warmup_ratio", "warmup_steps")
    assert lines[problem["line"] - 1].strip() == 'warmup_ratio=cfg["training_arguments"]["warmup_ratio"],'
    assert f"train.py:{problem['line']}: " in ran.stdout
    assert report["versions"]["transformers"]
    assert report["versions"]["torch"]
    assert set(report["files"]["train.py"]) == {"sha256", "imports", "calls", "keywords", "unverified"}


def test_every_mistake_is_found_and_nothing_else(project):
    (project.path / "mistakes.py").write_text(MISTAKES)
    (project.path / "headless.py").write_text("import json\n")
    (project.path / "unfinished.py").write_text(HEADER + "def f(:\n")
    assert project.run("check_api.py", "--headers").returncode == 1
    project.run("check_api.py")
    problems = [p for p in project.json("reports/check_api.json")["problems"] if p["file"] != "train.py"]
    for name in ("mistakes.py", "headless.py", "unfinished.py"):
        (project.path / name).unlink()
    lines = MISTAKES.splitlines()
    found = {
        p["keyword"] or lines[p["line"] - 1].split()[-1]: p["suggestion"]
        for p in problems
        if p["file"] == "mistakes.py"
    }
    assert set(found) == {
        "hallucinated_package",
        "load_metric",
        "write_json",
        "evaluation_strategy",
        "bf17",
        "tokenizer",
        "resume",
        "torch_dtype",
        "batchsize",
        "transformers.AutoModelForEverything",
        "rows",
        "indent",
        "biass",
        "train_datset",
    }
    sure = {
        "load_metric": "evaluate.load",
        "evaluation_strategy": "eval_strategy",
        "tokenizer": "processing_class",
        "torch_dtype": "dtype",
        "resume": "resume_from_checkpoint",
        "biass": "bias",
    }
    assert {name: found[name] for name in sure} == sure
    assert "batch_size" in found["batchsize"]
    others = {p["file"]: p["message"] for p in problems if p["file"] != "mistakes.py"}
    assert "copyright header" in others["headless.py"]
    assert "not valid Python" in others["unfinished.py"]
