"""The rerun skill: everything needed to reproduce a finished run, written from its evidence and checked before it is kept.

`python -m tunegate.rerun RUN REPORT PYTHON` is its verification: it runs the commands that stand in the emitted
SKILL.md, in a clean copy of the project, and reports the metric that they give.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tunegate import __version__, card, evidence, gates, gpu_handover, jobs, render
from tunegate import config as config_module
from tunegate.config import RunConfig
from tunegate.errors import ToolFailure
from tunegate.paths import data_dir
from tunegate.rundir import Run, atomic_write, file_sha256
from tunegate.web import LOOPBACK

JOB = "rerun"
REPORT = "reports/rerun.json"
PROJECT = ("*.py", "*.sh", "config.yaml", "requirements*.txt", "Dockerfile", ".dockerignore", ".gitignore", "README.md")
USES = (*PROJECT, "skills/*/SKILL.md")
# The config's values and a stage's own error are quoted as they are: a class may be called None, and a loss have been nan.
_QUOTED = re.compile(r"^## Config snapshot\n.*?^```\n|^- seen on this run: .*?$", re.S | re.M)
METADATA = ("name", "description", "license", "compatibility", "metadata", "allowed-tools")


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
    path = skill_path(run)
    template = render.environment(data_dir("scaffolds") / "_shared").get_template("rerun_skill.md.j2")
    text = template.render(_values(run, Path(path).parent.name))
    wrong = problems(text, Path(path).parent.name)
    if wrong:
        raise ToolFailure(
            "internal", f"the rerun skill would have been invalid ({wrong[0]}) and was not written: please report this"
        )
    atomic_write(run.path / path, text)
    return path, text


def _values(run: Run, name: str) -> dict[str, Any]:
    config = run.config()
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
        "dataset": card.dataset_name(config),
        "train": facts["stages/train"],
        "smoke": facts["stages/smoke"],
        "push": facts.get("push"),
        "seconds": {
            stage: facts[f"stages/{stage}"]["seconds"]
            for stage in ("prepare", "smoke", "train", "eval")
            if f"stages/{stage}" in facts
        },
        "commands": commands(config, baseline is not None),
        "packages": packages,
        "python_version": facts["stages/build"].get("python_version", ""),
        "sources": facts["recipe"]["sources"],
        "failures": _troubles(facts),
        "edited": gates.edited_files(gates.view(run)),
    }


def commands(config: RunConfig, baseline: bool) -> list[str]:
    """The stages by hand, in order, inside the environment, or each in the project's image."""
    python = "bash in_image.sh python" if config.platform == "local-docker" else "python"
    before = ["prepare_data.py", "train.py --smoke --max_steps 2", *(["run_eval.py --baseline"] if baseline else [])]
    merge = ["merge_lora.py"] if config.adapted else []
    after = ["run_eval.py", "infer.py", *(["report.py"] if config.emit_report else [])]
    return [f"{python} {script}" for script in (*before, "train.py --fresh", *merge, *after)]


def _troubles(facts: dict[str, dict]) -> list[str]:
    """What went wrong on the way, as the evidence remembers it."""
    return [
        f"{name.removeprefix('stages/')}: {failure}"
        for name, found in facts.items()
        for failure in found.get("overcome", [])
    ]


def problems(text: str, name: str) -> list[str]:
    """What keeps the text from being a valid skill: placeholders, missing metadata, missing notice. Empty is valid."""
    found = []
    parts = re.match(r"---\n(.*?)\n---\n(.*)", text, re.S)
    try:
        front = yaml.safe_load(parts[1]) if parts else None
    except yaml.YAMLError:
        front = None
    if not isinstance(front, dict):
        return ["no YAML front matter"]
    found += [f"front matter has no {key}" for key in METADATA if not front.get(key)]
    found += [f"metadata has no {key}" for key in ("author", "version") if not (front.get("metadata") or {}).get(key)]
    if front.get("name") != name or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) or len(name) > 64:
        found.append(f"name {front.get('name')!r} is not the folder's name {name!r}")
    if len(str(front.get("description", ""))) > 1024:
        found.append("description is longer than 1024 characters")
    if not parts[2].lstrip("\n").startswith("<!--\nCopyright (c) 2026, NVIDIA CORPORATION."):
        found.append("the copyright notice does not follow the front matter")
    found += [
        f"placeholder {mark!r} left"
        for mark in re.findall(
            r"\{\{.*?\}\}|\{%.*?%\}|<[A-Z][A-Z_ ]{2,}>|\b(?:TODO|TBD)\b|(?<![\w-])(?:None|nan)(?![\w-])",
            _QUOTED.sub("", parts[2]),
        )
    ]
    return found


def emitted_commands(text: str) -> list[str]:
    """The lines of the skill's `Run` section's bash block: what a person would paste."""
    block = re.search(r"^## Run\n.*?```bash\n(.*?)```", text, re.S | re.M)
    return [line for line in (block[1].splitlines() if block else []) if line.strip() and not line.startswith("#")]


def command(run: Run) -> list[str]:
    from tunegate.stages import stage_python

    # in containers the commands themselves say which python
    python = stage_python(run) if run.config().platform == "local-process" else "python"
    return [*jobs.PYTHON_M, "tunegate.rerun", str(run.path), REPORT, python]


def environment(run: Run) -> dict[str, str]:
    from tunegate.stages import HUB_SECRETS, hub_environment, needs_token

    with_token = needs_token(run)
    extra = hub_environment(run.path / ".verify/project", with_token)
    if urlsplit(os.environ.get("HF_ENDPOINT", "")).hostname in LOOPBACK:
        extra["NETWORK"] = "host"  # in_image.sh: a Hub on loopback
    host = evidence.read(run, "host")
    if host and host.facts.get("gpu_handover") == "cdi":
        extra["GPU_FLAGS"] = gpu_handover.CDI_FLAGS  # in_image.sh says --gpus all
    return jobs.environment(extra, HUB_SECRETS if with_token else ())


def judge(run: Run, job: jobs.Job) -> tuple[float | None, list[str]]:
    """(metric of the rerun, what is wrong with it)."""
    aim = expected(run)
    try:
        report = json.loads((run.path / REPORT).read_text())
    except (OSError, ValueError):
        code = job.result["exit_code"]
        why = "was killed, for want of memory or by hand" if code == 137 else "left no report"
        return None, [f"the verification {why} (exit code {code}): see {jobs.log_path(run, JOB)}"]
    if job.result["made"] != {REPORT: file_sha256(run.path / REPORT)}:
        return None, [f"{REPORT} was changed after the verification ended: verify again"]
    if report["failed"]:
        return None, [f"`{report['failed']}` failed: see {jobs.log_path(run, JOB)}"]
    value = report["results"].get(aim["metric"])
    if type(value) not in (int, float) or not math.isfinite(value):  # JSON also has true, and Python writes NaN into it
        return None, [f"the rerun's results hold no number for {aim['metric']}: see {jobs.log_path(run, JOB)}"]
    off = abs(value - aim["value"]) > aim["tolerance"]
    return value, [f"{aim['metric']} {value:.4f} instead of {aim['value']:.4f} ± {aim['tolerance']:.4f}"] if off else []


def verify(run_path: Path, report: Path, python: str) -> int:
    """Copy the project without data, checkpoints and reports; run the emitted commands there; keep the results."""
    copy = run_path / ".verify/project"
    shutil.rmtree(copy.parent, ignore_errors=True)
    copy.mkdir(parents=True)
    for path in {path for pattern in PROJECT for path in run_path.glob(pattern)}:
        shutil.copy2(path, copy / path.name)
    skill = (run_path / skill_path(Run(run_path))).read_text()  # not whatever an earlier model of this run left
    failed = None
    for line in emitted_commands(skill):
        print(f"$ {line}", flush=True)
        words = shlex.split(line)
        if subprocess.run([python if words[0] == "python" else words[0], *words[1:]], cwd=copy).returncode != 0:
            failed = line
            break
    results = copy / "reports/eval_results.json"
    found = {
        "failed": failed,
        "commands": emitted_commands(skill),
        "results": json.loads(results.read_text()) if results.exists() and not failed else {},
    }
    if not failed and not found["commands"]:
        found["failed"] = "(the skill holds no commands)"
    atomic_write(run_path / report, json.dumps(found, indent=1) + "\n")
    shutil.rmtree(copy.parent, ignore_errors=True)
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(verify(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
