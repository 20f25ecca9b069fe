"""Where a page and the code say the same thing, they agree: whoever changes one is sent to the other."""

from __future__ import annotations

import math
import os
import re
from typing import get_args

import pytest
import yaml

from tunegate import config, tasks
from tunegate.clients.docker import containers
from tunegate.config import RunConfig
from tunegate.hardware import fit
from tunegate.hardware.ngc import rules as ngc_rules
from tunegate.knowledge import reference_pages, workarounds
from tunegate.knowledge.workarounds import Condition
from tunegate.paths import data_dir
from tunegate.project import render
from tunegate.publish import card, push, rerun
from tunegate.recipe import rungs
from tunegate.recipe.slots import SLOTS
from tunegate.stage_table import STAGES
from tunegate.tasks.spec import TRL
from tunegate.tools import generate

REFERENCES = data_dir("references")


def page(name: str) -> str:
    return (REFERENCES / name).read_text(encoding="utf-8")


def table(name: str, first: str) -> list[list[str]]:
    return [list(row.values()) for row in reference_pages.table(name, first)]


def test_tasks_auto_classes_and_metrics():
    rows = table("model-discovery.md", "head in the architecture's name")
    assert {row[1]: (row[2], row[3]) for row in rows} == {
        task: (spec.auto_classes[0], spec.metric) for task, spec in tasks.TASKS.items()
    }, "references/model-discovery.md"


def test_every_task_is_trained_and_no_page_says_otherwise():
    """When this fails: a task lost its scaffold, or a page was not told that it has one."""
    for path in REFERENCES.glob("*.md"):
        assert not re.search(r"renders? no\b|only recognized|comes? next", path.read_text(encoding="utf-8")), path.name


BUILD = "the image itself: base by digest, dependencies, workarounds, code"


def stage_rows() -> str:
    """The rows of docker-runs.md's table of stages."""
    yes = {True: "yes", False: "none"}
    rows = []
    for name, row in STAGES.items():
        command = f"`python {' '.join(row.argv)}`" if row.argv else BUILD
        command += f", with `{row.option}`" if row.option else ""
        network = yes[row.network] if row.argv else "for wheels"
        by_hand = f"`python {' '.join(row.rerun)}`" if row.rerun else ""
        rows.append(f"| `{name}` | {command} | {network} | {yes[row.gpu]} | {by_hand} |\n")
    return "".join(rows)


def test_stages_in_containers():
    """The page's table is written from the rows: rerun with TUNEGATE_SNAPSHOTS=write after a change of them."""
    text = page("docker-runs.md")
    written = re.sub(r"(\| stage \|.*\n\|.*\n)(?:\|.*\n)+", lambda found: found[1] + stage_rows(), text, count=1)
    if os.environ.get("TUNEGATE_SNAPSHOTS") == "write":
        (REFERENCES / "docker-runs.md").write_text(written, encoding="utf-8")
    assert page("docker-runs.md") == written


def test_flags_of_containers():
    text = page("docker-runs.md")
    plan = containers.ContainerPlan("i", ("a",), "n", {}, REFERENCES, "1:1")
    spec = containers.container_spec(plan, {})
    assert f"--entrypoint {' '.join(spec['Entrypoint'])}" in text
    assert f"--shm-size={spec['HostConfig']['ShmSize'] // 2**30}g" in text
    assert f"HF_HOME={containers.ENV['HF_HOME']}" in text and {"HOME", "USER"} <= set(containers.ENV)
    assert spec["HostConfig"]["CapDrop"] == ["ALL"] and "--cap-drop ALL" in text
    assert spec["HostConfig"]["Mounts"][0]["Target"] == "/workspace" and "`/workspace`" in text


def test_priorities_of_research():
    rows = table("research-priorities.md", "priority")
    assert [(int(row[0]), re.split(r"[ :]", row[1])[0]) for row in rows] == [
        (rung.priority, rung.name.split()[0]) for rung in rungs.RUNGS
    ]
    where = {task: row[1:] for row in table("research-priorities.md", "task") for task in row[0].split(", ")}
    assert set(where) == set(tasks.SUPPORTED), "references/research-priorities.md"
    for key, spec in tasks.VARIANTS.items():
        sources = spec.sources
        script, docs = where[key.split("/")[0]]
        assert all(path.startswith(f"{script}/") or path.split("/")[-1] in script for path in sources.examples), key
        assert all(path.split("/")[-1].removesuffix(".md") in docs for path in sources.docs), key
        assert script.startswith("TRL") == docs.startswith("TRL") == (sources.repo == TRL), key


def test_slots():
    rows = table("step3-research.md", "slot")
    api, method = ({name.strip() for name in row[0].split(",")} for row in rows)
    assert api == {name for name, kind in SLOTS.items() if kind == "api"}
    assert method == {name for name, kind in SLOTS.items() if kind == "method"}


def test_deliverables_are_the_rendered_files_and_what_stages_make():
    text = page("deliverables.md")
    values = RunConfig(model_id="o/m", task="image-classification")
    files = render.render_files(render.with_defaults(values, {}), {})
    named = {name if "/" not in name else f"{name.split('/')[0]}/" for name in files if not name.startswith(".")}
    assert [name for name in named if f"`{name}`" not in text] == []
    made = {re.sub(r"[*].*", "", pattern) for stage in STAGES.values() for pattern in stage.makes}
    missing = [path for path in made if path not in text and path.split("/")[0] + "/" not in text]
    assert missing == []


def test_what_is_pushed():
    text = page("hub-push.md")
    for pattern, folder in push.PUSHED.items():
        assert (folder or pattern.split("*")[0].rstrip("/").split(".")[0]) in text, pattern
    assert all(name in text for name in push.NOT_PUSHED)


def test_options_are_those_that_can_be_switched_on():
    assert [row[0] for row in table("progress-testing-reporting.md", "option")] == [
        "emit_unit_tests",
        "emit_report",
        "emit_progress_log",
    ]
    assert {"emit_unit_tests", "emit_report", "emit_progress_log", "monitoring"} <= set(generate.OVERRIDES)


def test_rerun_template():
    text = page("rerun-template.md")
    assert [key for key in rerun.FRONT_MATTER if key not in text] == []
    assert "1.41 times" in text


def test_platforms_and_images():
    rows = table("hardware-container.md", "platform")
    known = set(get_args(RunConfig.model_fields["platform"].annotation))
    assert {row[0].split()[0] for row in rows} == known, "references/hardware-container.md"
    images = table("hardware-container.md", "release")
    assert [row[0] for row in images] == sorted((row[0] for row in images), reverse=True)
    for release, torch, cuda, driver, architectures, runs in images:
        assert (
            ngc_rules.ARCH_LIST_PATTERN.fullmatch(architectures) and ngc_rules.covers(architectures, "9.0") == "binary"
        )
        assert re.fullmatch(r"\d\d\.\d\d", release) and re.fullmatch(r"2\.\d+\.\d+a0", torch)
        assert driver == ("580" if cuda.startswith("13") else "525"), release
        assert (runs == "yes") is Condition(field="versions.torch", op="gte", value="2.6").holds(
            {"versions.torch": torch}
        )


def test_the_arithmetic_of_step_2():
    for parameters, *cells in [row[:4] for row in table("step2-hardware.md", "parameters")]:
        billions = float(parameters.split()[0])
        for cell, bytes_each in zip(cells, (16, 2, 0.6), strict=True):
            assert cell == "–" or abs(float(cell.replace(",", "")) - billions * bytes_each) <= 0.5, parameters
    full, lora, qlora = (
        fit.estimate({"parameters": 10**9}, fit.Plan(method)).terms_gb for method in ("full", "lora", "qlora")
    )
    assert full["weights"] + full["gradients"] + full["optimizer"] == 16
    assert 2 <= lora["weights"] <= 2.1 and 0.5 <= qlora["weights"] <= 0.6


def test_sizes_of_step_1():
    fields = RunConfig.model_fields
    assert f"({fields['n_train'].default:,} and {fields['n_eval'].default:,})" in page("step1-qualify.md")
    assert round(1.96 * math.sqrt(0.9 * 0.1 / 100), 2) == 0.06


def test_kinds_of_fixes():
    kinds = get_args(workarounds.Fix.model_fields["kind"].annotation)
    assert {row[0] for row in table("compat-workarounds.md", "kind")} == set(kinds)


def test_kinds_of_baseline():
    assert [kind for kind in card.BASELINES_SAID if f"`{kind}`" not in page("step5-train.md")] == []


def test_versions_of_the_workarounds_page_are_the_pinned_ones():
    first = page(workarounds.PAGE).split("## ")[0]
    pins = workarounds.pinned_versions()
    for package in ("transformers", "datasets", "accelerate", "torch"):
        assert f"{package} {'.'.join(pins[package].split('.')[:2])}" in first, package
    for workaround in workarounds.load():
        if workaround.fix.kind == "requirement":  # a pin may only bring an older project to what the scaffolds pin
            assert {name: pins.get(name, version) for name, version in workaround.fix.values.items()} == (
                workaround.fix.values
            ), workaround.id


@pytest.mark.parametrize("name", sorted(path.name for path in REFERENCES.glob("*.md")))
def test_a_page_is_short_and_its_links_exist(name):
    text = page(name)
    assert all((REFERENCES / link).is_file() for link in re.findall(r"\]\(([a-z0-9-]+\.md)\)", text))
    prose = re.sub(r"^```yaml\n.*?^```$", "", text, flags=re.M | re.S)
    limit = 20_000 if name in ("compat-workarounds.md", "error-playbook.md") else 6_500
    assert len(prose) < limit, "an agent reads it whole: split it"
    assert max(map(len, text.splitlines())) < 220 or "|" in max(text.splitlines(), key=len)


def test_inputs_and_their_defaults():
    fields = RunConfig.model_fields
    rows = {row[0]: row[1] for row in table("inputs.md", "key")}
    assert set(generate.OVERRIDES) | {"push_to_hub", "skip_baseline"} <= set(rows)
    for key, told in rows.items():
        default = "required" if fields[key].is_required() else fields[key].get_default(call_default_factory=True)
        assert told == (default if isinstance(default, str) else yaml.safe_dump(default).split("\n")[0]), key


def test_the_disk_that_a_run_wants():
    assert config.RunConfig.model_fields["min_disk_gb"].default == 100
    assert "100 GB free (`min_disk_gb`)" in page("hardware-container.md")
