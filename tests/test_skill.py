from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml

from tests import dataset_names
from tunegate import cli, errors, skill, stages, tasks
from tunegate.config import RunConfig, Task
from tunegate.hardware import fit
from tunegate.paths import data_dir
from tunegate.project import extras, listed, render
from tunegate.publish import card
from tunegate.recipe.slots import SLOTS

PACKAGE = Path(skill.__file__).parent
PAGES = {
    "SKILL.md": data_dir("skill") / "SKILL.md",
    **{path.name: path for path in sorted(data_dir("references").glob("*.md"))},
}
FRONT, BODY = re.fullmatch(r"---\n(.*?)\n---\n(.*)", PAGES["SKILL.md"].read_text(), re.S).groups()


def declared() -> tuple[dict[str, set[str]], set[str]]:
    """(tool -> its arguments, fields of results and refusals), read from the source, so that nothing heavy is imported."""
    tools, fields = {}, set()
    for path in (
        *(PACKAGE / "tools").glob("*.py"),
        PACKAGE / "errors.py",
        PACKAGE / "gates.py",
        PACKAGE / "stages/playbook.py",
    ):
        for node in ast.parse(path.read_text()).body:
            decorators = [
                d.func.id
                for d in getattr(node, "decorator_list", [])
                if isinstance(d, ast.Call) and isinstance(d.func, ast.Name)
            ]
            if "tool" in decorators:
                tools[node.name] = {argument.arg for argument in node.args.args} - {"ctx", "approval"}
            elif isinstance(node, ast.ClassDef):
                fields |= {item.target.id for item in node.body if isinstance(item, ast.AnnAssign)}
    return tools, fields


TOOLS, FIELDS = declared()
PROJECT = {  # what is rendered, and what the stages make of it
    *render.SHARED,
    *render.REQUIREMENTS,
    "in_image.sh",
    "harness/",
    listed.IN_PROJECT,
    *(path.name.removesuffix(".j2") for path in data_dir("scaffolds").glob("*/*.*")),
    *(path.relative_to(data_dir("scaffolds")).as_posix() for path in data_dir("scaffolds").glob("harness/*.py")),
    *(re.sub(r"[*].*", "", pattern).rstrip("_") for stage in stages.STAGES.values() for pattern in stage.makes),
}
FILES = {  # of a run and of its skill; each is looked for in the package's or the scaffolds' source below
    "config.yaml",
    "tests/",
    "meta/",
    "meta/recipe.md",
    "logs/",
    "data/",
    "checkpoints/",
    "checkpoints/final",
    "checkpoints/merged",
    "reports/",
    "reports/eval_results.json",
    "reports/baseline_results.json",
    "output/<short name>",
    "skills/run-<short>/SKILL.md",
    "training_args.bin",
    "evaluate.py",
    "PROGRESS.md",
    listed.PATH,
}
OWN = {  # words of ours: values of arguments and results
    "<whoami>/<short>-finetuned",
    "/workspace",
    "error",
    "error.code",
    "full",
    "local-docker",
    "local-process",
    "none",
    "passed",
    "skipped",
    *get_args(RunConfig.model_fields["monitoring"].annotation),
    *extras.WANDB_SETTINGS,
    "WANDB_API_KEY",
    "WANDB_MODE=offline",
    "WANDB_MODE=disabled",
    "logs/tensorboard",
    "logs/trackio",
    "stopped",
    "steps_repeated",
    "running",
    "url",
    "value",
    *card.BASELINES_SAID,
}
NOT_YET = {"wandb"}  # named only to say that this version does not render them
FOREIGN = set((Path(__file__).parent / "foreign_names.txt").read_text().split())  # of libraries, tools and messages
KNOWN = (
    {
        *TOOLS,
        *FIELDS,
        *stages.STAGES,
        *RunConfig.model_fields,
        *errors.CODES,
        *SLOTS,
        *get_args(Task),
        *(tasks.metric(*key.partition("/")[::2]) for key in tasks.VARIANTS),
        *PROJECT,
        *FILES,
        *OWN,
        *NOT_YET,
        *FOREIGN,
    }
    | {argument for arguments in TOOLS.values() for argument in arguments}
    | {Path(name).name.split(".")[0] for name in (*PROJECT, *FILES, *NOT_YET)}
    | set(re.findall(r"TUNEGATE_[A-Z_]+", "".join(path.read_text() for path in PACKAGE.rglob("*.py"))))
    | {*fit.TERMS, *get_args(fit.Code)}
    | {"grad_norm", "parameters_changed", "checkpoint_reloads"}  # smoke's checks
    | dataset_names.NAMES
)


def prose(path: Path) -> str:
    """The page without URLs, and without what only machines read: yaml fences."""
    return re.sub(r"^```yaml\n.*?^```$|https?://\S+", "", path.read_text(), flags=re.M | re.S)


@pytest.mark.parametrize("page", PAGES)
def test_names_exist(page):
    text = prose(PAGES[page])
    spans = re.findall(r"`([^`\n]+)`", text)
    single = {span for span in spans if re.fullmatch(r"[\w./<>-]+( name)?>?", span)}
    snake = set(re.findall(r"\b(?<![./])[a-z]+(?:_[a-z0-9]+)+\b", text))
    unknown = sorted(
        name
        for name in single | snake
        if name not in KNOWN and name.rstrip("_") not in KNOWN and name + "_" not in KNOWN
    )
    assert unknown == []


@pytest.mark.parametrize("page", PAGES)
def test_calls_have_the_tools_arguments(page):
    for name, arguments in re.findall(r"`(\w+)\(([^`)]*)\)`", prose(PAGES[page])):
        if name in FOREIGN:
            continue
        assert name in TOOLS, name
        named = {argument.split("=")[0].strip() for argument in arguments.split(",") if argument.strip()}
        assert named <= TOOLS[name], f"{name} takes no {named - TOOLS[name]}"


def test_paths_of_a_run_are_those_of_the_code():
    ours = [*PACKAGE.rglob("*.py"), *(path for ext in ("j2", "py") for path in data_dir("scaffolds").rglob(f"*.{ext}"))]
    source = "".join(path.read_text() for path in ours)
    parts = {part for name in FILES - {"evaluate.py"} for part in re.split(r"/|<[^>]+>", name) if part}
    assert [
        part for part in parts if f'"{part}' not in source and f"/{part}" not in source and f"{part}/" not in source
    ] == []


def test_every_foreign_name_is_still_used():
    text = "".join(prose(path) for path in PAGES.values())
    assert [name for name in sorted(FOREIGN) if name not in text] == []
    assert FOREIGN & {*TOOLS, *stages.STAGES, *RunConfig.model_fields, *errors.CODES} == set()


def test_every_tool_and_stage_is_named():
    guide = "".join(path.read_text() for name, path in PAGES.items() if name.startswith("step"))
    assert len(TOOLS) == 11
    assert [name for name in TOOLS if f"`{name}" not in BODY] == []
    assert [name for name in (*TOOLS, *stages.STAGES) if f"`{name}" not in guide] == []


def test_the_skill_links_every_page_but_the_data_ones():
    """One level deep: a page that only another page names would not be found by an agent in a hurry."""
    linked = set(re.findall(r"\]\(references/([a-z0-9-]+\.md)\)", BODY))
    assert linked <= set(PAGES)
    assert {name for name in PAGES if name.startswith("step")} <= linked
    assert set(PAGES) - linked - {"SKILL.md"} <= set(re.findall(r"\(([a-z0-9-]+\.md)\)", PAGES["index.md"].read_text()))


def test_front_matter():
    front = yaml.safe_load(FRONT)
    assert (
        front["name"] == "tunegate" and front["license"] == "Apache-2.0" and front["metadata"]["author"] == "tunegate"
    )
    assert 200 < len(front["description"]) <= 1024 and len(front["compatibility"]) <= 500


def test_body_is_short():
    assert len(BODY.splitlines()) < 500
    assert len(BODY) / 3.2 < 2000, "an agent pays this in every session; 3.2 characters a token is the cautious end"


def test_every_page_has_a_date_and_an_index_line():
    for name, path in PAGES.items():
        if name != "SKILL.md":
            assert re.search(r"^\*Written 20\d\d-\d\d-\d\d", path.read_text(), re.M), name
            assert name == "index.md" or f"({name})" in PAGES["index.md"].read_text(), name


def test_text_is_the_body():
    assert skill.text().startswith("# Fine-tune with tunegate") and skill.text() == BODY.lstrip("\n")


def test_install(tmp_path):
    where = skill.install(tmp_path / "skills")
    assert where == tmp_path / "skills/tunegate"
    assert sorted(p.relative_to(where).as_posix() for p in where.rglob("*.md")) == sorted(
        ["SKILL.md", *(f"references/{name}" for name in PAGES if name != "SKILL.md")]
    )
    links = [
        (page, link) for page in where.rglob("*.md") for link in re.findall(r"\]\(([^)]+\.md)\)", page.read_text())
    ]
    assert len(links) > 5 and all((page.parent / link).is_file() for page, link in links)
    assert sorted(p.name for p in where.parent.iterdir()) == ["tunegate"], "nothing temporary is left"


def test_install_is_a_valid_skill(tmp_path):
    command = Path(sys.executable).with_name("agentskills")
    if not command.exists():
        pytest.skip("skills-ref is not installed")
    done = subprocess.run([command, "validate", skill.install(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_command_line_installs(tmp_path, capsys):
    assert cli.main(["skill", "install", "--to", str(tmp_path)]) == 0
    assert str(tmp_path / "tunegate") in capsys.readouterr().out


def test_installing_again_replaces_our_own(tmp_path):
    where = skill.install(tmp_path)
    (where / "SKILL.md").write_text((where / "SKILL.md").read_text() + "\nedited\n")
    (where / "references/gone.md").write_text("a page of an older version")
    skill.install(tmp_path)
    assert "edited" not in (where / "SKILL.md").read_text() and not (where / "references/gone.md").exists()


def put_foreign_skill(path: Path) -> None:
    path.mkdir()
    (path / "SKILL.md").write_text("---\nname: other\n---\n")


def put_added_file(path: Path) -> None:
    skill.install(path.parent)
    (path / "scripts").mkdir()
    (path / "scripts/mine.py").write_text("precious")


def put_symlink(path: Path) -> None:
    (path.parent / "elsewhere").mkdir()
    path.symlink_to(path.parent / "elsewhere")


@pytest.mark.parametrize("put", [Path.mkdir, Path.touch, put_foreign_skill, put_added_file, put_symlink])
def test_what_is_not_ours_is_not_overwritten(tmp_path, put):
    put(tmp_path / "tunegate")
    before = sorted((p, p.read_bytes() if p.is_file() else b"") for p in tmp_path.rglob("*"))
    with pytest.raises(errors.ToolFailure) as caught:
        skill.install(tmp_path)
    assert caught.value.code == "invalid_input" and "tunegate" in str(caught.value)
    assert sorted((p, p.read_bytes() if p.is_file() else b"") for p in tmp_path.rglob("*")) == before


def test_unwritable_target_leaves_nothing(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(errors.ToolFailure) as caught:
        skill.install(tmp_path / "file")
    assert caught.value.code == "invalid_input"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
