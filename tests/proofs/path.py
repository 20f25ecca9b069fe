"""The path that every proof walks: a real MCP client drives `tunegate serve` up to the samples, then the evidence is read."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio

from tunegate import demo, jobs
from tunegate.rundir import Run
from tunegate.tasks import metrics

SEED = int(os.environ.get("TUNEGATE_SEED", "42"))  # of the training; the rows are chosen with it too


@dataclass(frozen=True)
class Result:
    """What a proof found. `interval` is of the difference between tuned and untuned model, as run_eval.py gives it."""

    task: str
    metric: str
    before: float
    after: float
    kind: str  # of the baseline
    control: str
    control_value: float
    interval: tuple[float, float]
    n: int
    seed: int
    training_seconds: float
    training_cpu_seconds: float

    @property
    def gain(self) -> float:
        """How much better the tuned model is than the control; positive is better, whichever way the metric points."""
        difference = self.after - self.control_value
        return -difference if self.metric in metrics.LOWER_IS_BETTER else difference

    @property
    def improved(self) -> bool:
        """Whether the interval of the difference to the untuned model lies on the good side of zero."""
        low, high = self.interval
        return high < 0 if self.metric in metrics.LOWER_IS_BETTER else low > 0


def prove(
    run: Path, env: dict[str, str], repositories: dict[str, Path], choices: dict[str, dict[str, Any]], control: str
) -> Result:
    """`walk`, then print and record the row. control: its name in eval_results.json."""
    walk(run, env, repositories, choices)
    return record(run, control)


def walk(run: Path, env: dict[str, str], repositories: dict[str, Path], choices: dict[str, dict[str, Any]]) -> None:
    """From probe_model to the samples, gates 1 to 5 open at the end.

    repositories: {Hub id: folder of its files}, served by an embedded Hub; the one with a config.json is a model. choices:
    {tool: arguments}, as for demo.drive; platform, output_dir and seed are added.
    """
    choices = {name: dict(arguments) for name, arguments in choices.items()}
    choices["probe_model"] |= {"output_dir": str(run), "platform": "local-process"}
    rendering = choices.setdefault("render_project", {})
    rendering["overrides"] = {**rendering.get("overrides", {}), "seed": SEED}
    with demo.hub(repositories) as served:
        answers = anyio.run(demo.drive, run, choices, {**served, **env}, "infer")
    assert "error" not in answers[-1], answers[-1]
    opened = {step["step"]: step["passed"] for step in answers[-1]["steps"]}
    assert [step for step in range(1, 6) if opened[step]] == [1, 2, 3, 4, 5], answers[-1]


def record(run: Path, control: str) -> Result:
    """The result that the run's own reports tell, as a printed row and, where TUNEGATE_PROOFS says, a line of JSON."""
    config = Run(run).config()
    baseline, tuned = (json.loads((run / f"reports/{name}_results.json").read_text()) for name in ("baseline", "eval"))
    metric, job = tuned["primary_metric"], jobs.inspect(Run(run), "train").result
    found = Result(
        task=config.task + ("" if config.training_method == "full" else f" ({config.training_method})"),
        metric=metric,
        before=baseline[metric],
        after=tuned[metric],
        kind=baseline["kind"],
        control=control,
        control_value=tuned["controls"][control],
        interval=(tuned["difference"]["low"], tuned["difference"]["high"]),
        n=tuned["n"],
        seed=config.seed,
        training_seconds=job["seconds"],
        training_cpu_seconds=job["cpu_seconds"],
    )
    print("\n" + row(found))
    if where := os.environ.get("TUNEGATE_PROOFS"):
        with Path(where).open("a") as file:
            file.write(json.dumps(asdict(found)) + "\n")
    return found


def row(found: Result) -> str:
    """task | metric, before → after | control | interval of the difference | seconds of training, CPU seconds"""
    low, high = found.interval
    return (
        f"{found.task} | {found.metric} {found.before:.3f} → {found.after:.3f} | {found.control} {found.control_value:.3f} | "
        f"[{low:+.3f}, {high:+.3f}] | {found.training_seconds:.0f} s, {found.training_cpu_seconds:.0f} s of CPU"
    )
