"""From a seed to what is wrong with it: writes the example, probes it, has it prepared, compares."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.property import judge, world
from tests.property.world import Example
from tests.scaffolds.conftest import environment, make_project
from tunegate import tasks
from tunegate.clients.hub import Hub
from tunegate.config import RunConfig, dump
from tunegate.errors import ToolFailure
from tunegate.probe.dataset import probe_dataset
from tunegate.probe.request import DatasetRequest
from tunegate.project import listed

WORKER = Path(__file__).with_name("worker.py")
VALUES = {"n_train": 1000, "n_eval": 1000, "max_length": 800, "horizontal_flip": False, "crop_scale_min": 1.0}


@dataclass
class Outcome:
    seed: int
    layout: str
    oddities: tuple[str, ...]
    how: str  # arrived, refused, wrong
    problems: list[str] = field(default_factory=list)

    @property
    def shown(self) -> str:
        head = f"seed {self.seed}: {self.layout}, {', '.join(self.oddities) or 'nothing odd'}"
        again = f"python -m tests.property --seed {self.seed} --layout {self.layout!r}"
        return "\n  ".join([head, *self.problems, f"again: {again}"])


class Workshop:
    """A worker in the stage environment, and a rendered project for each task."""

    def __init__(self, python: str, folder: Path):
        self.folder, self.python = folder, python
        self.projects: dict[str, Path] = {}
        folder.mkdir(parents=True, exist_ok=True)
        env = {**environment(), "HF_HOME": str(folder / "hf"), "HF_DATASETS_CACHE": str(folder / "hf/datasets")}
        self.log = (folder / "worker.log").open("w")
        self.worker = subprocess.Popen(
            [python, str(WORKER), str(folder / "models")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=env
        )  # fmt: skip
        if self.worker.stdout.readline() != "ready\n":
            raise RuntimeError(f"the worker did not start: {(folder / 'worker.log').read_text()[-2000:]}")

    def close(self) -> None:
        self.worker.stdin.close()
        self.worker.kill()  # it waits for requests, and has nothing to put away
        self.worker.wait()
        self.log.close()

    def project(self, task: str, method: str) -> Path:
        key = f"{task}-{method}"
        if key not in self.projects:
            self.projects[key] = make_project(self.folder / key, self.python, task=task, training_method=method).path
        return self.projects[key]

    def run(self, seed: int, only: str | None = None, oddities: tuple[str, ...] | None = None) -> Outcome:
        name, drawn = world.plan(seed, only)
        drawn = drawn if oddities is None else oddities
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            example = world.build(seed, folder, name, drawn)
            how, problems = self._through(example)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return Outcome(seed, name, drawn, how, problems)

    def _through(self, example: Example) -> tuple[str, list[str]]:
        method = example.method or tasks.TASKS[example.task].methods[0]
        try:
            facts = self._probed(example, method)
        except ToolFailure as failure:
            problems = judge.refused(example, failure.code, failure.failure.message)
            return ("wrong" if problems else "refused"), problems
        except Exception:
            return "wrong", [f"the probe crashed: {traceback.format_exc()[-900:]}"]
        problems = judge.judged(example, facts, self._prepared(example, facts, method))
        return ("wrong" if problems else "arrived"), problems

    def examined(
        self, seed: int, folder: Path, name: str, oddities: tuple[str, ...]
    ) -> tuple[Example, Any, dict[str, Any]]:
        """(the example, the probe's facts, what was prepared), for one that the probe accepts."""
        example = world.build(seed, folder, name, oddities)
        method = example.method or tasks.TASKS[example.task].methods[0]
        facts = self._probed(example, method)
        return example, facts, self._prepared(example, facts, method)

    def _probed(self, example: Example, method: str) -> Any:
        request = DatasetRequest(task=example.task, method=method, local_path=str(example.path))
        try:
            return probe_dataset(Hub("http://127.0.0.1:9"), request)
        except ToolFailure as failure:
            if failure.code != "ambiguous" or not example.request:
                raise
        known = DatasetRequest(task=example.task, method=method, local_path=str(example.path), **example.request)
        return probe_dataset(Hub("http://127.0.0.1:9"), known)  # as a user who is asked would answer

    def _prepared(self, example: Example, facts: Any, method: str) -> dict[str, Any]:
        project = self.project(example.task, method)
        config = yaml.safe_load((project / "config.yaml").read_text())
        found = {
            key: getattr(facts, key)
            for key in ("train_split", "eval_split", "column_map", "column_reshape", "class_names")
        }
        found |= {
            "local_dataset_path": facts.local_path,
            "local_dataset_format": facts.local_format or "auto",
            **facts.for_config(),
            **VALUES,
        }
        found |= {key: value for key, value in example.config.items() if found.get(key) is None}
        text = dump(RunConfig.model_validate({**config, "model_id": "local/tiny", **found}))
        model = self.folder / "models" / example.task  # a path, which RunConfig's Hub ids cannot be
        (project / "config.yaml").write_text(text.replace("model_id: local/tiny", f"model_id: {model}"))
        (project / listed.IN_PROJECT).write_text(facts.manifest)
        out = example.folder / "answer.json"
        request = {
            "project": str(project),
            "task": example.task,
            "method": method,
            "truth": str(example.truth),
            "out": str(out),
            "page": example.seed % 5 == 0,
        }
        print(json.dumps(request), file=self.worker.stdin, flush=True)
        if not (said := self.worker.stdout.readline()):
            raise RuntimeError(
                f"the worker ended with {self.worker.wait()}: {(self.folder / 'worker.log').read_text()[-3000:]}"
            )
        if status := json.loads(said)["status"]:
            return {"error": f"the worker's process ended with {status}"}
        return json.loads(out.read_text())

    def reduced(self, outcome: Outcome, only: str | None = None) -> Outcome:
        """The same with as few oddities as it takes to be wrong."""
        for name in outcome.oddities:
            fewer = tuple(other for other in outcome.oddities if other != name)
            again = self.run(outcome.seed, only, fewer)
            if again.how == "wrong":
                outcome = again
        return outcome


def tally(outcomes: list[Outcome]) -> str:
    """Tables: by layout, and by oddity."""
    lines = []
    for title, keys in (("layout", lambda one: [one.layout]), ("oddity", lambda one: one.oddities or ["(none)"])):
        counts: dict[str, Counter[str]] = {}
        for one in outcomes:
            for key in keys(one):
                counts.setdefault(key, Counter())[one.how] += 1
        lines += ["", f"{title:34}{'examples':>9}{'arrived':>9}{'refused':>9}{'wrong':>7}"]
        lines += [
            f"{key:34}{n.total():>9}{n['arrived']:>9}{n['refused']:>9}{n['wrong']:>7}"
            for key, n in sorted(counts.items())
        ]
    return "\n".join(lines)


def stage_python() -> str:
    return os.environ.get("TUNEGATE_STAGE_PYTHON") or subprocess.run(
        [os.sys.executable, "-m", "tunegate.platforms.local_process.envs", "--task", "image-classification"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
