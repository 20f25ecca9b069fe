"""The verdict on an ended stage: read what it left on disk, recompute what can be recomputed, decide.

One function a stage, each (Run, RunConfig) -> (facts, problems). An exit code of 0 is necessary and never sufficient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from tunegate import jobs
from tunegate.config import RunConfig
from tunegate.rundir import Run
from tunegate.stage_table import STAGES
from tunegate.stages.verdicts import ended, training

UNREADABLE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, SyntaxError
)  # fmt: skip


@dataclass
class Verdict:
    passed: bool
    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    stopped: bool = False  # it was asked to stop: neither passed nor failed


def _judge(name: str) -> Callable[[Run, RunConfig], tuple[dict, list[str]]]:
    module, _, function = name.partition(".")
    return getattr(import_module(f"{__name__}.{module}"), function)


JUDGES = {
    name: _judge(row.judge) for name, row in STAGES.items()
}  # at import: a row whose judge does not exist stops it


def judge(run: Run, config: RunConfig, job: jobs.Job) -> Verdict:
    """Never raises on what a stage wrote: a report that is missing, cut off or of another shape fails the stage."""
    if ended.was_stopped(run, job):
        facts, said = ended.stopped(run, job.stage)
        return Verdict(False, facts, said, stopped=True)
    problems = []
    if job.result["exit_code"] != 0:
        problems.append(ended.last_error(run, job))
        problems += [ended.resumption(run)] if job.stage == "train" else []
    try:
        facts, more = JUDGES[job.stage](run, config)
        if job.stage == "train":
            facts, more = training.done_by_jobs(run, job, facts, more)
    except UNREADABLE as error:
        facts, more = {}, [f"the stage left no usable report ({type(error).__name__}: {str(error)[:120]})"]
    if facts.pop("ended", False):
        problems = problems[1:]  # reported already, in whole
    if problems and not facts:
        more = []  # the exit code's reason is the reason
    problems += [said] if (said := job.result.get("unpublished")) else []
    # What the report says is more telling than the exit code.
    return Verdict(not (problems or more), facts, more + problems)
