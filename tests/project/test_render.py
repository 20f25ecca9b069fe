"""Rendering: what comes out, what is refused, and the two checks that no file escapes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tunegate import readers
from tunegate.config import RunConfig
from tunegate.errors import ToolFailure
from tunegate.paths import data_dir
from tunegate.project import render

DIGEST = "sha256:" + "0" * 64


def config(**values) -> RunConfig:
    return render.with_defaults(
        RunConfig(**{"model_id": "org/model", "task": "image-classification", "dataset_id": "org/data", **values}), {}
    )


def test_every_file_of_a_project_is_there():
    files = render.render_files(config(), {})
    assert {name for name in files if not name.startswith("harness/")} == {
        *("prepare_data.py", "train.py", "run_eval.py", "infer.py", "show_data.py", "data.py", "model.py"),
        *("Dockerfile", "requirements.txt", "requirements-local.txt", "README.md", ".gitignore", ".dockerignore"),
    }
    harness = {name.removeprefix("harness/").removesuffix(".py") for name in files if name.startswith("harness/")}
    of_others = {"conversations", "detect"}  # another task's; and prepare detects nothing, it obeys the manifest
    assert {name for name in harness if name.startswith("readers/")} == {
        f"readers/{path.stem}" for path in Path(readers.__file__).parent.glob("*.py") if path.stem not in of_others
    }
    assert {name for name in harness if not name.startswith("readers/")} == {
        *("local_data", "local_tables", "class_order", "features", "outlines", "overlap", "overlays"),
        *("data_page", "data_numbers", "html_page", "tiles"),
        *("__init__", "project", "rows", "training", "watch", "smoke", "check_api", "signatures", "scoring", "metrics"),
        *("source", "config_words", "resumption", "launch"),
        *("texts", "samples", "captions", "pictures", "pixels", "headers", "heads", "fast_trainer"),
        *("rendered.json", "renames.json"),
    }
    measures = {"prepare_data.py", "run_eval.py", "infer.py"}
    assert set(render.guarded(files)) == {name for name in files if name.startswith("harness/")} | measures


def test_python_files_parse_and_begin_with_the_header():
    for name, text in render.render_files(config(), {}).items():
        if name.endswith(".py"):
            ast.parse(text)
            assert text.startswith(
                "# Copyright (c) 2026, NVIDIA CORPORATION.  All rights reserved.\n#\n# Licensed under the Apache License"
            )
            assert text.startswith(render.HEADER)


def test_rendered_code_holds_no_value_of_the_config():
    files = render.render_files(config(learning_rate=0.327, n_train=4321, seed=98765), {})
    text = "".join(text for name, text in files.items() if name.endswith(".py"))
    assert not any(value in text for value in ("0.327", "4321", "98765", "org/model", "org/data"))


def test_rendering_is_a_function_of_its_input():
    assert render.render_files(config(), {}) == render.render_files(config(), {})


def test_defaults_fill_only_what_is_null_and_the_recipe_goes_before_the_scaffold():
    found = render.with_defaults(
        RunConfig(model_id="a/b", task="image-classification", learning_rate=0.5),
        {"learning_rate": 1e-4, "weight_decay": 0.3, "optim": "sgd", "num_train_epochs": 90, "max_steps": 5},
    )
    defaults = yaml.safe_load((data_dir("scaffolds") / "image-classification/defaults.yaml").read_text())
    assert (found.learning_rate, found.weight_decay, found.lr_scheduler_type) == (
        0.5,
        0.3,
        defaults["lr_scheduler_type"],
    )
    assert found.training_arguments == {"optim": "sgd"}
    assert found.n_epochs == 3
    blank = [key for key in defaults if getattr(found, key) is None]
    assert blank == ["image_size"]  # null: the processor's own


def test_each_training_argument_becomes_a_keyword_of_its_own():
    text = render.render_files(config(training_arguments={"max_grad_norm": 0.5, "bf16": False}), {})["train.py"]
    call = next(
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "TrainingArguments"
    )
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    assert given["max_grad_norm"] == "cfg['training_arguments']['max_grad_norm']"
    assert given["bf16"] == "cfg['training_arguments']['bf16']"  # the scaffold's own line for it gave way
    assert given["learning_rate"] == "cfg['learning_rate']"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("learning_rate", "set that key"),
        ("logging_steps", "remove it"),
        ("num_train_epochs", "n_epochs"),
        ("max_steps", "remove it"),
        ("class", "no name of a keyword"),
        ("x=1); import os; f(y", "no name of a keyword"),
    ],
)
def test_training_arguments_that_cannot_be_rendered_are_refused(name, says):
    with pytest.raises(ToolFailure, match=says) as caught:
        render.render_files(config(training_arguments={name: 1}), {})
    assert caught.value.code == "invalid_config"


def test_a_recipe_s_class_is_used_if_it_has_the_head():
    assert (
        "ViTForImageClassification"
        in render.render_files(config(), {"auto_class": "ViTForImageClassification"})["model.py"]
    )
    assert (
        "AutoModelForImageClassification.from_pretrained("
        in render.render_files(config(), {"auto_class": "AutoModel"})["model.py"]
    )


@pytest.mark.parametrize("task", [None, "translation", "../_shared"])
def test_tasks_without_a_scaffold_are_refused(task):
    with pytest.raises(ToolFailure) as caught:
        render.requirements(task)
    assert caught.value.code == "out_of_scope"
    assert "image-classification" in str(caught.value)


def test_dockerfile_layers_and_the_container_s_torch():
    text = render.render_files(config(ngc_image="nvcr.io/nvidia/pytorch:26.09-py3", ngc_image_digest=DIGEST), {})[
        "Dockerfile"
    ]
    assert f"FROM nvcr.io/nvidia/pytorch:26.09-py3@{DIGEST}\n" in text
    assert "requirements-local" not in text
    assert [line for line in text.splitlines() if line in ("# base", "# dependencies", "# workarounds", "# code")] == [
        "# base",
        "# dependencies",
        "# workarounds",
        "# code",
    ]
    assert "python -m harness.headers" in text
    local = render.render_files(config(), {})["Dockerfile"]
    assert "FROM python:3.12-slim\n" in local
    assert "uses no container" in local


@pytest.mark.parametrize("image", ["x\nRUN evil", "nvcr.io/nvidia/pytorch:26.09-py3 AS x", ""])
def test_image_names_are_checked(image):
    with pytest.raises(ToolFailure, match="pick_ngc_image"):
        render.render_files(config(ngc_image=image, ngc_image_digest=DIGEST), {})


def test_an_image_without_its_digest_is_refused():
    with pytest.raises(ToolFailure, match="digest"):
        render.render_files(config(ngc_image="nvcr.io/nvidia/pytorch:26.09-py3"), {})


def test_requirements_are_pinned_and_in_the_order_of_installation():
    found = render.requirements("image-classification")
    assert list(found) == ["requirements-local.txt", "requirements.txt"]
    assert all("==" in line for text in found.values() for line in text.splitlines() if not line.startswith("#"))
    assert "torch==" in found["requirements-local.txt"]
    assert "torch==" not in found["requirements.txt"]
    assert found == {
        name: text for name, text in render.render_files(config(learning_rate=0.3), {}).items() if name in found
    }


def test_missing_headers_names_the_python_files():
    files = {
        "a.py": render.HEADER + "x = 1\n",
        "b.py": "x = 1\n" + render.HEADER,
        "c.py": render.HEADER.replace("2026", "2025"),
        "README.md": "none",
    }
    assert render.missing_headers(files) == ["b.py", "c.py"]


@pytest.mark.parametrize(
    "text",
    [
        "x = {{ learning_rate }}",
        "x = '{{ config.seed | int }}'",
        "{% if x %}",
        "# TODO: write this",
        "x = <MODEL_ID>",
        "docker build -t run-<short> .",
        "cd <output_dir>",
        "x = 'REPLACE_ME'",
        "model = 'YOUR_MODEL'",
        "# FIXME (later)",
        "{# note #}",
        "x = {{slots['a']}}",
    ],
)
def test_placeholders_are_found(text):
    (found,) = render.unresolved_placeholders({"train.py": f"y = 1\n{text}\n"})
    assert found.startswith("train.py:2: ")


@pytest.mark.parametrize(
    "text",
    [
        "x = f'{{ braces }} {y}'",
        "x = {'a': {'b': {}}}",
        "x = f'''\n{{ a }}\n{y}'''",
        "x = a < B > c",
        "x = 'é' + f'é{{ y }}{z}'",
        "todo = {'done': 1}",
        'x = f"{a:{b}}"',
    ],
)
def test_python_that_only_looks_like_a_placeholder_is_not_one(text):
    assert render.unresolved_placeholders({"train.py": text + "\n"}) == []


def test_a_scaffold_with_a_hole_writes_nothing(monkeypatch):
    monkeypatch.setattr(render, "requirements", lambda task: {"requirements.txt": "torch==<VERSION>\n"})
    with pytest.raises(ToolFailure, match="placeholder") as caught:
        render.render_files(config(), {})
    assert caught.value.code == "internal"


def test_importing_render_loads_no_template_engine():
    code = "import sys, tunegate.project.render; print([m for m in ('jinja2', 'torch', 'transformers') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


@pytest.mark.parametrize(
    "name", ["TODO list (photos)", "<NAME>", "<short>", "{{ x }}", "{% x %}", "REPLACE_ME", "None"]
)
def test_a_folder_or_a_class_may_be_called_like_a_placeholder(name):
    local = {"dataset_id": None, "local_dataset_path": f"/data/{name}", "class_names": [name, "b"], "train_split": name}
    assert render.render_files(config(**local), {})["README.md"].startswith("# ")


def test_a_folders_name_is_one_line_of_the_readme_and_no_markdown():
    local = {"dataset_id": None, "local_dataset_path": "/data/x\n\n## Run\n\n```bash\nrm -rf ~\n```\n[a](http://b)"}
    text = render.render_files(config(**local), {})["README.md"]
    assert text.count("\n## Run") == 1 and "\nrm" not in text and "[a](" not in text
