"""docs/extending.md is true: a toy task, platform and stage are added by its recipes to a copy of the repository, and the guards
pass; with any one step left out they fail, and name what was forgotten."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COPIED = ("server", "scaffolds", "references", "skill", "standin", "tests", "docs", "pyproject.toml", "README.md")
GUARDS = (
    "tests/test_references.py",
    "tests/test_mcp_server.py::test_the_tools_and_their_schemas_are_those_of_the_snapshots",
    "tests/tasks/test_tasks.py",
    "tests/platforms/test_platforms.py::test_what_a_platform_names_is_there",
    "tests/stages/test_stages.py::test_a_row_speaks_of_stages_before_it_and_of_what_it_makes",
    "tests/stages/test_stages.py::test_what_a_row_runs_is_rendered_where_it_applies",
    "tests/stages/test_stages.py::test_every_judge_has_a_test",
    "tests/probe/dataset/test_recommend.py",
    "tests/test_layout.py",
    "tests/test_names.py",
)
Steps = dict[str, Callable[[Path], None]]


def put(path: str, text: str) -> Callable[[Path], None]:
    def step(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)

    return step


def edit(path: str, old: str, new: str) -> Callable[[Path], None]:
    def step(root: Path) -> None:
        text = (root / path).read_text()
        assert old in text, f"{path} has no {old!r} any more"
        (root / path).write_text(text.replace(old, new, 1))

    return step


def steps(*steps: Callable[[Path], None]) -> Callable[[Path], None]:
    def step(root: Path) -> None:
        for each in steps:
            each(root)

    return step


STAGE: Steps = {
    "stage_table.py": edit(
        "server/tunegate/stage_table.py",
        '    "report": Stage(',
        '    "toy": Stage(("toy.py",), ("toy.py", *MODULES), ("reports/toy.json",), ("train",), gate=4, rests=ON_RUN, '
        'judge="shown.toy"),\n    "report": Stage(',
    ),
    "shown": edit(
        "server/tunegate/stages/verdicts/shown.py",
        "\n\ndef infer(",
        "\n\ndef toy(run: Run, config: RunConfig) -> tuple[dict, list[str]]:\n    return {}, []\n\n\ndef infer(",
    ),
    "toy.py": lambda root: shutil.copy(root / "scaffolds/_shared/report.py", root / "scaffolds/_shared/toy.py"),
    "docker_run's schema": lambda root: run_guards(root, write=True),
    "deliverables": edit(
        "references/deliverables.md",
        "| `infer.py` →",
        "| `toy.py` → `reports/toy.json` | `toy` | a toy |\n| `infer.py` →",
    ),
    "tests/stages/verdicts": put("tests/stages/verdicts/test_toy.py", 'STAGE = "toy"\n'),
}
RECOMMENDED = (
    "\n## toy\n\nA toy.\n\n```yaml\ntask: toy\ndatasets:\n"
    + "".join(f"  - {{id: a/{name}, rows: 1, size: 1 MB, licence: mit, why: a toy}}\n" for name in "bcd")
    + "```\n"
)
TASK: Steps = {
    "toy": lambda root: put(
        "server/tunegate/tasks/toy.py",
        (root / "server/tunegate/tasks/depth_estimation.py")
        .read_text()
        .replace("depth-estimation", "toy")
        .replace("ForDepthEstimation", "ForToy"),
    )(root),
    "TASKS": steps(
        edit(
            "server/tunegate/tasks/__init__.py",
            "    text_generation,\n)\nfrom",
            "    text_generation,\n    toy,\n)\nfrom",
        ),
        edit(
            "server/tunegate/tasks/__init__.py",
            "        text_generation,\n    )",
            "        text_generation,\n        toy,\n    )",
        ),
    ),
    "scaffolds/toy": lambda root: shutil.copytree(root / "scaffolds/depth-estimation", root / "scaffolds/toy"),
    "model-discovery.md": edit(
        "references/model-discovery.md",
        "| ForDepthEstimation |",
        "| ForToy | toy | AutoModelForToy | abs_rel |\n| ForDepthEstimation |",
    ),
    "research-priorities.md": edit("references/research-priorities.md", "depth-estimation", "depth-estimation, toy"),
    "dataset-recommendations.md": edit(
        "references/dataset-recommendations.md",
        "\n## depth-estimation\n",
        RECOMMENDED + "\n## depth-estimation\n",
    ),
    "schema": lambda root: run_guards(root, write=True),
    "test_toy.py": put("tests/scaffolds/test_toy.py", ""),
}
PLATFORM: Steps = {
    "PlatformName": edit("server/tunegate/config.py", 'Literal["local-process", ', 'Literal["toy", "local-process", '),
    "platforms.toy": lambda root: steps(
        put(
            "server/tunegate/platforms/toy/platform.py",
            (root / "server/tunegate/platforms/local_process/platform.py")
            .read_text()
            .replace("LocalProcess", "Toy")
            .replace('"local-process"', '"toy"')
            .replace("NO_CONTAINER", "TOY_ENVIRONMENT")
            .replace("NO_GPU", "TOY_GPU"),
        ),
        put("server/tunegate/platforms/toy/__init__.py", ""),
    )(root),
    "registry": steps(
        edit(
            "server/tunegate/platforms/registry.py",
            "import LocalProcess\n",
            "import LocalProcess\nfrom tunegate.platforms.toy.platform import Toy\n",
        ),
        edit("server/tunegate/platforms/registry.py", "(LocalProcess(), ", "(Toy(), LocalProcess(), "),
    ),
    "schema": lambda root: run_guards(root, write=True),
    "hardware-container.md": edit(
        "references/hardware-container.md",
        "| `local-docker` (default)",
        "| `toy` | nowhere | a toy |\n| `local-docker` (default)",
    ),
    "tests/platforms/toy": put("tests/platforms/toy/test_toy.py", ""),
}
RECIPES = {"A task": TASK, "A stage": STAGE, "A platform": PLATFORM}


def run_guards(root: Path, write: bool = False) -> subprocess.CompletedProcess:
    """The guards of the copy; `write`: those that write what is derived do so."""
    env = {**os.environ, "PYTHONPATH": str(root / "server"), "PYTHONDONTWRITEBYTECODE": "1"}
    env |= {"TUNEGATE_SNAPSHOTS": "write"} if write else {}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "--tb=short",
        *(GUARDS[:2] if write else GUARDS),
    ]
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path) -> Path:
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_each_recipe_is_short_and_has_the_steps_that_are_followed_here():
    text = (ROOT / "docs/extending.md").read_text()
    for title, recipe in RECIPES.items():
        section = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
        assert len(section.strip().splitlines()) <= 12, title
        assert len(re.findall(r"^\d\. ", section, re.M)) >= len(recipe) - 2, title


@pytest.mark.parametrize("title", RECIPES)
def test_a_toy_that_is_added_by_the_recipe_passes_the_guards(copy, title):
    for step in RECIPES[title].values():
        step(copy)
    done = run_guards(copy)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow  # one run of the guards for each step
@pytest.mark.parametrize(
    ("title", "forgotten"), [(title, name) for title, recipe in RECIPES.items() for name in list(recipe)[1:]]
)
def test_a_step_that_is_forgotten_is_named(copy, title, forgotten):
    for name, step in RECIPES[title].items():
        if name != forgotten:
            step(copy)
    done = run_guards(copy)
    assert done.returncode != 0, f"nothing missed {forgotten}"
    assert forgotten in done.stdout + done.stderr
