"""The benchmarks still fit what they measure: each starts, and imports from a rendered project only what is there."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scaffolds.conftest import make_project
from tunegate import tasks

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
ON_THE_SERVER = ("kills", "gpu_path", "reference_pipelines", "throughput")  # those whose --help ends at once
OF_VIEW = {  # functions of throughput_stage.py that import from a project -> its task
    "classification": "image-classification",
    "segmentation": "semantic-segmentation",
    "detection": "object-detection",
    "questions": "image-text-to-text",
}


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_each_parses(path):
    ast.parse(path.read_text())


@pytest.mark.parametrize("name", ON_THE_SERVER)
def test_each_starts(name):
    done = subprocess.run([sys.executable, BENCHMARKS / f"{name}.py", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "usage" in done.stdout.lower(), done.stderr


def top_names(path: Path) -> set[str]:
    """What a module defines or imports at its top."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            found |= {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return found


@pytest.mark.parametrize(("view", "task"), OF_VIEW.items())
def test_the_plain_trainer_imports_what_a_project_has(view, task, tmp_path):
    """load_split moved from data.py to project.py, and the plain mode ended with an ImportError."""
    project = make_project(tmp_path / task, sys.executable, task=task, training_method=tasks.TASKS[task].methods[0])
    tree = ast.parse((BENCHMARKS / "throughput_stage.py").read_text())
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == view)
    imports = [node for node in ast.walk(function) if isinstance(node, ast.ImportFrom)]
    for node in imports:
        path = project.path / f"{(node.module or '').replace('.', '/')}.py"
        if path.exists():
            missing = {alias.name for alias in node.names} - top_names(path)
            assert not missing, f"{view}: {node.module}.py of {task} has no {missing}"
            defined = {
                n.name for n in ast.parse(path.read_text()).body if isinstance(n, (ast.FunctionDef, ast.ClassDef))
            }
            assert {alias.name for alias in node.names} <= defined, f"{view}: import it from where it is defined"
    assert imports
