"""What lies in a run and was not rendered: modules to check, shadows that close the gate, files that are not among the project's."""

from __future__ import annotations

import pytest

from tests import sealed
from tests.sealed import build, put, script
from tunegate import gates
from tunegate.rundir import Run

SCRIPTS = {
    "train.py": script("import json, torch\nimport data\nfrom harness import rows\n"),
    "data.py": script("x = 1"),
}
SCRIPTS |= {"harness/__init__.py": script(""), "harness/rows.py": script("x = 1")}


@pytest.fixture
def run(tmp_path) -> Run:
    return build(Run(tmp_path / "run"), until="stages/smoke", files=SCRIPTS)


def check(run: Run) -> gates.Check:
    return next(c for c in gates.steps(gates.view(run))[3].checks if c.name == "added_code")


@pytest.mark.parametrize(
    "name",
    [
        "plots/plot.py",
        "plots/__init__.py",
        ".ipynb_checkpoints/train.py",
        ".git/x.py",
        "notes.txt",
        "train.py.orig",
        "json/x.py",
    ],
)
def test_what_no_script_imports_is_said_and_not_part_of_the_project(run, name):
    put(run, {name: script("print(1)")})
    assert check(run).ok and f"not part of the project: {name.split('/')[0]}" in check(run).detail


@pytest.mark.parametrize(
    "name",
    [
        *(
            "argparse.py",
            "torch.py",
            "sitecustomize.py",
            "data/__init__.py",
            "torch/__init__.py",
            "argparse.pyc",
            "data.so",
        ),
        *(
            "harness.py",
            "harness/x.py",
            "harness/rows.pyc",
            "harness/rows.so",
            "harness/readers/coco.py",
            "harness/rows/__init__.py",
        ),
    ],
)
def test_what_would_be_imported_instead_closes_the_gate(run, name):
    put(run, {name: script("print(1)")})
    assert not check(run).ok and name.split("/")[0] in check(run).detail


def test_a_module_that_was_added_is_checked_and_then_counts(run):
    put(run, {"plot_results.py": script("import json")})
    assert not check(run).ok and gates.next_call(gates.view(run)).arguments["stage"] == "check_api"
    assert gates.added_modules(gates.view(run)) == ["plot_results.py"]
    checked = {name: "" for name in ("train.py", "data.py", "plot_results.py")}
    sealed.write(run, "stages/check_api", {"passed": True, "checked": checked})
    assert check(run).ok and gates.added_modules(gates.view(run)) == []


def test_a_helper_that_an_edited_script_imports_is_no_shadow(run):
    put(run, {"train.py": script("import json, torch, data, helpers"), "helpers.py": script("x = 1")})
    assert gates.added_modules(gates.view(run)) == ["helpers.py"] and "helpers.py added since" in check(run).detail


def test_a_folder_that_an_edited_script_imports_closes_the_gate(run):
    put(run, {"train.py": script("import helpers.one"), "helpers/one.py": script("x = 1")})
    assert not check(run).ok and "helpers/" in check(run).detail


def test_the_harness_may_not_be_a_link(run, tmp_path):
    (run.path / "harness").rename(tmp_path / "elsewhere")
    (run.path / "harness").symlink_to(tmp_path / "elsewhere")
    assert not check(run).ok and "harness/ is a link" in check(run).detail


def test_what_python_compiled_of_the_harness_is_not_part_of_it(run):
    put(run, {"harness/__pycache__/rows.cpython-311.pyc": b""})
    assert check(run).ok
