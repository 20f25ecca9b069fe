"""The rerun skill: everything needed to reproduce a finished run, written from its evidence and checked before it is kept.

`python -m tunegate.publish.rerun REPORT PYTHON COMMANDS` is its verification: it runs the commands that were written into the
SKILL.md (COMMANDS: their words, as JSON; nothing is parsed out of the Markdown) in a clean copy of the project, outside the
run, and reports the metric that they give.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tunegate import __version__, evidence, gates, jobs, nofollow, quoting, stages
from tunegate import config as config_module
from tunegate.clients.network import LOOPBACK
from tunegate.config import RunConfig
from tunegate.errors import ToolFailure
from tunegate.hardware import gpu_handover
from tunegate.jobs import snapshot
from tunegate.paths import data_dir
from tunegate.plain_yaml import PlainLoader
from tunegate.platforms import registry
from tunegate.project import harness, render
from tunegate.publish import card
from tunegate.rundir import Run, file_sha256, hash_files
from tunegate.stage_table import HUB_SECRETS, MODULES, STAGES

JOB = "rerun"
RERUN_REPORT = "reports/rerun.json"
PROJECT = (
    *MODULES,
    "*.sh",
    "config.yaml",
    "requirements*.txt",
    "Dockerfile",
    ".dockerignore",
    ".gitignore",
    "README.md",
)
USES = (*PROJECT, "skills/*/SKILL.md")
_SEEN = re.compile(r"^- seen on this run: .*$", re.M)  # a stage's own error: a loss may have been nan
_PLACEHOLDER = re.compile(
    render.OWN_MARK + r"|\{\{.*?\}\}|\{%.*?%\}|<[A-Z][A-Z_ ]{2,}>|\b(?:TODO|TBD)\b|(?<![\w-])(?:None|nan)(?![\w-])"
)
FRONT_MATTER = ("name", "description", "license", "compatibility", "metadata", "allowed-tools")


def skill_path(run: Run) -> str:
    name = f"run-{run.config().short_name}"[:64].rstrip("-")
    return f"skills/{name}/SKILL.md"


def expected(run: Run) -> dict[str, Any]:
    """{metric, value, n, tolerance}: two runs differ by chance by up to sqrt(2) times half of one run's interval, or by a row."""
    facts = evidence.read(run, "stages/eval").facts
    low, high = facts["interval"]
    tolerance = max(math.sqrt(2) * (high - low) / 2, 1 / facts["n"])
    return {
        "metric": facts["metric"],
        "value": facts[facts["metric"]],
        "n": facts["n"],
        "tolerance": round(tolerance, 4),
    }


def emit(run: Run) -> tuple[str, str]:
    """Write the skill; (path in the run, text). Raises ToolFailure(internal) rather than keep one with a hole in it."""
    path, config = skill_path(run), run.config()
    name = Path(path).parent.name
    template = render.environment(data_dir("scaffolds") / "_shared").get_template("rerun_skill.md.j2")
    text = template.render(_values(run, config, name))
    without_names = template.render(
        _values(run, quoting.without(config, _PLACEHOLDER), name)
    )  # a class may be called None
    wrong = problems(text, name, without_names)
    if wrong:
        raise ToolFailure(
            "internal", f"the rerun skill would have been invalid ({wrong[0]}) and was not written: please report this"
        )
    nofollow.write(run.path / path, text)
    return path, text


def _values(run: Run, config: RunConfig, name: str) -> dict[str, Any]:
    facts = {key: found.facts for key in evidence.KINDS if (found := evidence.read(run, key))}
    packages = facts["stages/build"].get("packages", {})
    baseline = facts.get("stages/baseline") if not config.skip_baseline else None
    aim = expected(run)
    snapshot = {
        key: value
        for key, value in config.model_dump().items()
        if key not in ("notes", "research_sources", "output_dir") and value not in (None, [], {})
    }
    return {
        "name": name,
        "version": __version__,
        "config": config,
        "aim": aim,
        "baseline": baseline,
        "model": facts["model"],
        "host": facts["host"],
        "description": f"Reproduce the fine-tuning of {config.model_id} on {card.dataset_name(config)} ({config.task}): expected {aim['metric']} "
        f"{aim['value']:.4f} ± {aim['tolerance']:.4f}. Use when asked to rerun, verify or vary this run.",
        "snapshot": config_module.to_yaml(snapshot).rstrip(),
        "dataset": quoting.sentence(card.dataset_name(config)),
        "fence": quoting.fence,
        "code": quoting.code,
        "link": quoting.link,
        "train": facts["stages/train"],
        "smoke": facts["stages/smoke"],
        "push": facts.get("push"),
        "seconds": {
            stage: facts[f"stages/{stage}"]["seconds"]
            for stage in ("prepare", "smoke", "train", "eval")
            if f"stages/{stage}" in facts
        },
        "set_up": registry.of(config).set_up(config),
        "commands": [quoting.shell(argv) for argv in commands(config)],
        "lock": "\n".join(f"{package}=={version}" for package, version in packages.items()),
        "python_version": facts["stages/build"].get("python_version", ""),
        "sources": facts["recipe"]["sources"],
        "failures": _troubles(facts),
        "edited": gates.edited_files(gates.view(run)),
    }


def commands(config: RunConfig) -> list[list[str]]:
    """The words of the stages by hand, in order, inside the environment, or each in the project's image."""
    return [[*registry.of(config).python, *row.rerun] for row in STAGES.values() if row.rerun and row.applies(config)]


def _troubles(facts: dict[str, dict]) -> list[str]:
    """What went wrong on the way, as the evidence remembers it."""
    return [
        f"{name.removeprefix('stages/')}: {failure}"
        for name, found in facts.items()
        for failure in found.get("overcome", [])
    ]


def problems(text: str, name: str, without_names: str | None = None) -> list[str]:
    """What keeps the text from being a valid skill: placeholders, missing metadata, missing notice. Empty is valid.

    without_names: the same text, where no name of the user's looks like a placeholder.
    """
    found = []
    parts = re.match(r"---\n(.*?)\n---\n(.*)", text, re.S)
    try:
        front = yaml.load(parts[1], Loader=PlainLoader) if parts else None
    except (yaml.YAMLError, ValueError):
        front = None
    if not isinstance(front, dict):
        return ["no YAML front matter"]
    found += [f"front matter has no {key}" for key in FRONT_MATTER if not front.get(key)]
    found += [f"metadata has no {key}" for key in ("author", "version") if not (front.get("metadata") or {}).get(key)]
    if front.get("name") != name or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) or len(name) > 64:
        found.append(f"name {front.get('name')!r} is not the folder's name {name!r}")
    if len(str(front.get("description", ""))) > 1024:
        found.append("description is longer than 1024 characters")
    if not parts[2].lstrip("\n").startswith("<!--\nCopyright (c) 2026, NVIDIA CORPORATION."):
        found.append("the copyright notice does not follow the front matter")
    looked_at = _SEEN.sub("", without_names or text)
    return [*found, *(f"placeholder {mark!r} left" for mark in _PLACEHOLDER.findall(looked_at))]


def start(run: Run) -> None:
    """Start the emitted commands in a clean copy of the project, whose measuring code is freshly rendered."""
    run, files = snapshot.of(run, JOB), hash_files(run.path, USES)
    inputs = {name: digest for name, digest in files.items() if not name.startswith("skills/")}
    snapshot.lay(run, stages.code(run, run.config(), STAGES["train"]), inputs)
    jobs.start(run, JOB, command(run), env=environment(run), makes=(RERUN_REPORT,), resting_on={}, files=files)


def command(run: Run) -> list[str]:
    config = run.config()
    python = registry.of(config).interpreter(run)
    words = json.dumps(commands(config))
    return [*jobs.PYTHON_M, "tunegate.publish.rerun", RERUN_REPORT, python, words]


def environment(run: Run) -> dict[str, str]:
    with_token = stages.needs_token(run)
    extra = stages.hub_environment(snapshot.of(run, JOB).at(snapshot.HUB_CACHE), with_token) | harness.of_stage(
        run.config()
    )
    if urlsplit(os.environ.get("HF_ENDPOINT", "")).hostname in LOOPBACK:
        extra["NETWORK"] = "host"  # in_image.sh: a Hub on loopback
    built, host = (evidence.read(run, name) for name in ("stages/build", "host"))
    if image := (built.facts.get("image_id") if built else None):
        extra["IMAGE"] = image  # in_image.sh: the very one that was built, whatever bears its name by now
    if host and host.facts.get("gpu_handover") == "cdi":
        extra["GPU_FLAGS"] = gpu_handover.CDI_FLAGS  # in_image.sh says --gpus all
    return jobs.environment(extra, HUB_SECRETS if with_token else ())


def judge(run: Run, job: jobs.Job) -> tuple[float | None, list[str]]:
    """(metric of the rerun, what is wrong with it)."""
    aim = expected(run)
    try:
        report = json.loads((run.path / RERUN_REPORT).read_text())
    except (OSError, ValueError):
        code = job.result["exit_code"]
        why = "was killed: out of memory, or by hand" if code == 137 else "left no report"
        return None, [f"the verification {why} (exit code {code}): see {jobs.log_path(run, JOB)}"]
    if job.result["made"] != {RERUN_REPORT: file_sha256(run.path / RERUN_REPORT)}:
        return None, [f"{RERUN_REPORT} was changed after the verification ended: verify again"]
    if report["failed"]:
        return None, [f"`{report['failed']}` failed: see {jobs.log_path(run, JOB)}"]
    value = report["results"].get(aim["metric"])
    if type(value) not in (int, float) or not math.isfinite(value):  # JSON also has true, and Python writes NaN into it
        return None, [f"the rerun's results hold no number for {aim['metric']}: see {jobs.log_path(run, JOB)}"]
    off = abs(value - aim["value"]) > aim["tolerance"]
    return value, [f"{aim['metric']} {value:.4f} instead of {aim['value']:.4f} ± {aim['tolerance']:.4f}"] if off else []


def verify(report: str, python: str, commands: list[list[str]]) -> int:
    """Run the commands in the current directory, a clean copy of the project; keep the results in `report`."""
    copy, failed = Path.cwd(), None
    for argv in commands:
        line = quoting.shell(argv)
        print(f"$ {line}", flush=True)
        if subprocess.run([python if argv[0] == "python" else argv[0], *argv[1:]], cwd=copy).returncode != 0:
            failed = line
            break
    results = copy / "reports/eval_results.json"
    found = {
        "failed": failed,
        "commands": commands,
        "results": json.loads(results.read_text()) if results.exists() and not failed else {},
    }
    nofollow.write(copy / report, json.dumps(found, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(verify(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
