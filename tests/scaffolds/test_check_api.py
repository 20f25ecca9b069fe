"""check_api against the installed packages: an untouched project passes, and each mistake is named with its line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.scaffolds.conftest import environment, make_project
from tunegate.project.render import HEADER
from tunegate.tasks import VISION

MISTAKES = (
    HEADER
    + """
import hallucinated_package
import torch
import transformers
from datasets import load_metric
from harness.project import load_everything, write_json
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

from harness.pixels import PixelTrainer
PixelTrainer(model=None, train_datset=None)

from functools import partial
from harness.pixels import Scaling
from harness.readers.tree import vanished
from harness.rows import pick
from .data import lone
from transformers import LogitsProcessor, TrainerCallback

load_rows(1)
pick(1, 2, 3)
write_json("a")
partial(write_json, valeu=1)
TrainingArguments(save_strategy="epochs", lr_scheduler_type="cosinus")
AutoModelForImageClassification.from_pretrained("x", revisoin="main")
DataLoader([], **{"shufle": True})
data.colate


class Callback(TrainerCallback):
    def __init__(self, folder):
        self.folder = folder

    def on_log(self, args, state, control, **kwargs):
        self.write(self.fodler, leng=1)

    def write(self, folder, length=0):
        return folder.map(write_json, input_colums=["a"])


class Mine(PixelTrainer):
    def __init__(self, **parts):
        super().__init__(model=None, depht=1, **parts)


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
    ran = project.run("-m", "harness.check_api")
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
    assert project.run("-m", "harness.headers").returncode == 1
    project.run("-m", "harness.check_api")
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
        "valeu",
        "save_strategy",
        "lr_scheduler_type",
        "revisoin",
        "shufle",
        "depht",
        "leng",
        "input_colums",
        "data.colate",
        "vanished",
        "lone",
    } | {"load_rows(1)", "3)", 'write_json("a")', "leng=1)", "data.collate(rows=[])"}
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


# Every rendered project in one process: importing torch and transformers once is most of the time that it takes.
CHECK_ALL = """
import contextlib, importlib, io, json, sys
from pathlib import Path

found = {}
for folder in sys.argv[1:]:
    sys.path.insert(0, folder)
    checker = importlib.import_module("harness.check_api")
    sys.argv = ["check_api.py"]
    with contextlib.redirect_stdout(io.StringIO()):
        checker.main()
    found[Path(folder).name] = json.loads(Path(folder, "reports/check_api.json").read_text())["problems"]
    sys.path.remove(folder)
    for name in [name for name in sys.modules if name.split(".")[0] == "harness"]:
        del sys.modules[name]
print(json.dumps(found))
"""
KINDS = [(task, "full") for task in VISION[:-1]] + [("image-text-to-text", m) for m in ("full", "lora")]
KINDS += [("text-generation", method) for method in ("full", "lora", "dpo", "grpo")]


@pytest.fixture(scope="module")
def every_project(stage_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("every")
    for task, method in KINDS:
        asked_for = {"emit_unit_tests": True, "emit_report": True, "monitoring": "tensorboard"}
        make_project(folder / f"{task}-{method}", stage_python, task=task, training_method=method, **asked_for)
    return folder


# Half a minute of one core for each four: the others are left to `make test-all`.
OFTEN = ("image-classification-full", "panoptic-segmentation-full", "image-text-to-text-lora", "text-generation-grpo")


@pytest.mark.parametrize("often", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["four", "the others"])
def test_no_rendered_project_has_a_mistake(stage_python, every_project, often):
    folders = sorted(str(path) for path in every_project.iterdir() if (path.name in OFTEN) == often)
    run = subprocess.run([stage_python, "-c", CHECK_ALL, *folders], capture_output=True, text=True, env=environment())
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout.splitlines()[-1])
    # pytest and tensorboard are in the image of a project that wants them, not in this environment
    others = {name: [p for p in problems if "import pytest" not in p["message"]] for name, problems in found.items()}
    assert others == {Path(folder).name: [] for folder in folders} and len(folders) >= len(OFTEN)


def test_a_word_in_config_that_no_library_knows(project):
    project.configure(lr_scheduler_type="cosinus", training_arguments={"optim": "adamw_fast"})
    project.run("-m", "harness.check_api")
    problems = [p for p in project.json("reports/check_api.json")["problems"] if p["file"] == "config.yaml"]
    project.configure(lr_scheduler_type="cosine", training_arguments={"warmup_ratio": 0.1, "max_grad_norm": 0.5})
    assert [p["keyword"] for p in problems] == ["lr_scheduler_type", "optim"]
    assert all(p["line"] > 1 and "is not one of" in p["message"] for p in problems)
