"""Every rendered project is one that a stranger's ruff has nothing to say about, and whose imports may be sorted at will."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tunegate.config import RunConfig
from tunegate.paths import data_dir
from tunegate.project import render
from tunegate.tasks import TASKS

RUFF = (sys.executable, "-m", "ruff")
ISOLATED = ("--isolated", "--line-length", "119")
RULES = "E,F,I,UP,B,W291,W293,W391"
IMAGE = {"ngc_image": "nvcr.io/nvidia/pytorch:26.09-py3", "ngc_image_digest": "sha256:" + "0" * 64}
ARGUMENTS = {
    **{"bf16": True, "save_steps": 5, "dataloader_num_workers": 1, "dataloader_pin_memory": False},
    **{"save_total_limit": 1, "max_grad_norm": 1.0},
}
ASKED_FOR = {
    "as little as there is": {},
    "all that there is": {"emit_unit_tests": True, "emit_report": True, "monitoring": "tensorboard", **IMAGE},
    "arguments, attention, trackio": {
        "training_arguments": ARGUMENTS,
        "attn_implementation": "sdpa",
        "monitoring": "trackio",
    },
    "wandb": {"monitoring": "wandb"},
}
KINDS = [(task, method, None) for task, spec in TASKS.items() for method in spec.methods]
KINDS += [("text-generation", method, "language_modelling") for method in ("full", "lora")]


def project(folder: Path, slots: dict[str, str] | None = None, **values) -> Path:
    config = render.with_defaults(RunConfig.model_validate({"model_id": "o/m", "dataset_id": "o/d", **values}), {})
    for name, text in render.render_files(config, slots or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def ruff(folder: Path, *argv: str) -> str:
    done = subprocess.run([*RUFF, *argv, *ISOLATED, "."], cwd=folder, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("asked_for", ASKED_FOR)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(filter(None, kind)))
def test_a_project_is_formatted_and_has_nothing_too_many(tmp_path, kind, asked_for):
    task, method, reshape = kind
    values = {"task": task, "training_method": method, "column_reshape": reshape}
    made = project(tmp_path, **values, **ASKED_FOR[asked_for])
    assert ruff(made, "check", "--preview", "--select", RULES, "--output-format", "concise") == ""
    assert ruff(made, "format", "--diff") == ""


@pytest.mark.parametrize("name", ["ASTForImageClassification", "ViTForImageClassification"])
def test_whatever_the_recipe_calls_its_class(tmp_path, name):
    made = project(tmp_path, {"auto_class": name}, task="image-classification")
    assert name in (made / "model.py").read_text()
    assert ruff(made, "check", "--select", RULES) + ruff(made, "format", "--diff") == ""


# What a library would see that reads its variables when it is loaded.
LIBRARY = "import json, os; SEEN = {name: value for name, value in os.environ.items() if name.startswith(('GOMP', 'HF_', 'CUDA'))}"
SCRIPT = """
import torch
import datasets
from harness.project import say
import json
import os

say(json.dumps({"torch": torch.SEEN, "datasets": datasets.SEEN, "now": dict(os.environ), "pid": os.getpid(), "argv": sys.argv}))
"""


def test_imports_may_be_sorted_and_the_environment_is_set_up_all_the_same(tmp_path):
    """Sorted, a script imports torch before the harness: it is started anew, by itself, with what torch must find."""
    made = project(tmp_path / "project", task="image-classification")
    for name in ("torch", "datasets"):
        path = tmp_path / "libraries" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(LIBRARY)
    (made / "script.py").write_text("import sys\n" + SCRIPT)
    ruff(made, "check", "--select", "I", "--fix")
    text = (made / "script.py").read_text()
    assert text.index("import torch") < text.index("from harness")

    def seen(*argv: str, **env: str) -> dict:
        given = {"PYTHONPATH": str(tmp_path / "libraries"), "CUDA_VISIBLE_DEVICES": "2,3", **env}
        started = subprocess.Popen([sys.executable, *argv], cwd=made, env=given, stdout=subprocess.PIPE, text=True)
        (line,) = started.communicate(timeout=60)[0].splitlines()
        found = json.loads(line)
        assert found["pid"] == started.pid  # who follows it, or sends it SIGTERM, finds it where it was
        return found

    found = seen("-B", "script.py", "--max_steps", "2")
    assert found["argv"] == ["script.py", "--max_steps", "2"]
    for library in ("torch", "datasets"):
        assert found[library]["GOMP_SPINCOUNT"] == "10000" and found[library]["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"
    assert found["now"]["CUDA_VISIBLE_DEVICES"] == "2"  # which torch reads when it first uses a GPU
    assert seen("script.py", GOMP_SPINCOUNT="7")["torch"]["GOMP_SPINCOUNT"] == "7"  # the user's own stays
    assert seen("script.py", WORLD_SIZE="2")["now"]["CUDA_VISIBLE_DEVICES"] == "2,3"  # torchrun gives each its own


def test_every_module_of_the_harness_is_one_that_a_project_has():
    names = set()
    for task, method, reshape in KINDS:
        values = {"model_id": "o/m", "task": task, "training_method": method, "column_reshape": reshape}
        names |= set(render.render_files(render.with_defaults(RunConfig.model_validate(values), {}), {}))
    scaffolds = data_dir("scaffolds")
    ours = {path.relative_to(scaffolds).as_posix() for path in scaffolds.glob("harness/**/*.py")}
    assert ours <= names
