"""The demo's own parts: where it writes, what it says, and that its choices are ones the tools take. `make demo` is the rest."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from tests.sealed import CONFIG
from tunegate import demo, mcp_server
from tunegate.config import RunConfig
from tunegate.tools import generate
from tunegate.tools.base import TOOLS


def test_an_earlier_run_is_never_overwritten(tmp_path):
    wanted = tmp_path / "demo"
    assert demo._fresh(wanted) == wanted
    for name in ("demo", "demo-2"):
        (tmp_path / name).mkdir()
    assert demo._fresh(wanted) == tmp_path / "demo-3"


def test_the_files_of_a_repository_are_named_from_its_top(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("README.md", "data/train.parquet"):
        (tmp_path / name).write_text("x")
    assert demo._files(tmp_path) == {name: tmp_path / name for name in ("README.md", "data/train.parquet")}


def test_its_choices_are_arguments_of_the_tools():
    functions = {tool.function.__name__: tool.function for tool in TOOLS}
    for name, arguments in demo.CHOICES.items():
        assert set(arguments) <= set(inspect.signature(functions[name]).parameters), name
    overrides = demo.CHOICES["render_project"]["overrides"]
    assert set(overrides) <= set(generate.OVERRIDES)
    assert generate._overridden(CONFIG, overrides).n_epochs == overrides["n_epochs"]
    assert RunConfig(model_id=demo.MODEL, dataset_id=demo.DATASET)


def test_its_rate_is_the_project_s_own():
    """A demo that sets its own rate would hide what everybody else's run trains with."""
    assert "learning_rate" not in demo.CHOICES["render_project"]["overrides"]


def test_every_package_is_pinned():
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", package) for package in demo.PACKAGES)


ANSWERS = {
    "probe_model": {"task": "image-classification", "parameters": 4652008, "model_revision": "a" * 40},
    "probe_dataset": {"class_names": ["0", "1"], "splits": {"train": 10}, "column_map": {"image": "image"}},
    "audit_gpu": {"cpu_count": 2, "memory_gb": 8.0, "gpu_count": 2, "gpu_name": "NVIDIA H100"},
    "pick_ngc_image": {"model_fit": "fits", "ngc_image": None},
    "fetch_recipe": {"slots": {"collator": "https://x", "metrics": "scaffold"}},
    "render_project": {"files": ["a", "b"]},
    "docker_run(train)": {"state": "running", "progress": {"step": 3}, "facts": {}},
    "docker_run(eval)": {"state": "passed", "progress": {}, "facts": {"metric": "accuracy", "accuracy": 0.9, "n": 500}},
    "push_hub": {"files": 9, "url": "http://hub/x", "verified": True},
    "emit_rerun_skill": {"verified": "passed", "metric": "accuracy", "expected": 0.9, "rerun": 0.91, "skill": "/s"},
}


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("probe_model", "4,652,008 parameters"),
        ("probe_dataset", "2 classes"),
        ("audit_gpu", "2x NVIDIA H100"),
        ("pick_ngc_image", "no container; fits"),
        ("fetch_recipe", "1 of 2 slots from live pages"),
        ("docker_run(train)", "running {'step': 3}"),
        ("docker_run(eval)", "passed {'metric'"),
        ("push_hub", "9 files to http://hub/x"),
        ("emit_rerun_skill", "accuracy 0.9000 -> 0.91"),
    ],
)
def test_a_line_for_each_answer(label, says, capsys):
    demo._line(label, 1.5, ANSWERS[label])
    line = capsys.readouterr().out
    assert line.startswith(label) and "1.5 s" in line and says in line and line.count("\n") == 1


def test_a_verification_that_still_runs_has_no_number_yet(capsys):
    demo._line("emit_rerun_skill", 1, {**ANSWERS["emit_rerun_skill"], "verified": "running", "rerun": None})
    assert "0.9000 -> ..." in capsys.readouterr().out


def test_every_tool_that_an_agent_calls_on_the_way_has_a_line(capsys):
    called = {tool.function.__name__ for tool in TOOLS} - {"gate_status", "diagnose", "docker_run"}
    assert called <= set(ANSWERS) and mcp_server.DOMAINS
    for label, answer in ANSWERS.items():
        demo._line(label, 0, answer)
    assert len(capsys.readouterr().out.splitlines()) == len(ANSWERS)


def report(capsys, complete: bool) -> tuple[int, list[str]]:
    base = {"facts": {"metric": "accuracy", "accuracy": 0.1, "kind": "random-head"}}
    steps = [{"step": n, "name": name, "passed": complete or n < 6} for n, name in ((5, "train"), (6, "publish"))]
    answers = [
        *({"label": label, **answer} for label, answer in ANSWERS.items()),
        {"label": "docker_run(baseline)", **base},
        {"label": "gate_status", "steps": steps, "complete": complete},
    ]
    return demo._report(Path("/runs/demo"), answers), capsys.readouterr().out.splitlines()


def test_the_report_ends_with_the_run(capsys):
    code, lines = report(capsys, complete=True)
    assert code == 0 and lines[-1] == "run: /runs/demo"
    assert any("0.1000 (random-head)" in line for line in lines) and any("0.9000 on 500 held-out" in x for x in lines)


def test_a_run_with_a_closed_gate_is_a_failure_and_says_which(capsys):
    code, lines = report(capsys, complete=False)
    assert code == 1 and "gate 6 publish    CLOSED" in lines and "gate 5 train      open" in lines


def test_the_demo_itself_imports_neither_torch_nor_transformers():
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(ast.parse(Path(demo.__file__).read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert not imported & {"torch", "transformers", "datasets", "PIL"}
