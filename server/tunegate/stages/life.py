"""Where a stage stands, one step further at a time: begun, followed, stopped, judged. The caller holds the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from tunegate import evidence, jobs, stages
from tunegate.config import RunConfig
from tunegate.evidence import ledger
from tunegate.platforms import registry
from tunegate.rundir import Run


@dataclass(frozen=True)
class Standing:
    """facts: of its evidence; empty while it runs, or when there was nothing to stop. wrote: evidence of this step -> digest."""

    state: Literal["running", "passed", "failed", "stopped"]
    facts: dict[str, Any] = field(default_factory=dict)
    wrote: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: dict[str, Any], wrote: dict[str, str] | None = None) -> Standing:
        state = "stopped" if facts.get("stopped") else "passed" if facts["passed"] else "failed"
        return cls(state, facts, wrote or {})

    @property
    def recorded(self) -> dict[str, Any]:
        """What the ledger's line of this step says beside the call's arguments."""
        if not self.wrote or self.state == "passed":
            return {}
        return {"stopped": True} if self.state == "stopped" else {"failed": stages.signature(self.facts["problems"])}


def advance(run: Run, stage: str, begin: Callable[[], None] | None, outdated: Callable[[], bool]) -> Standing:
    """Judge the stage if it has ended, else leave it passed, else start it by `begin`, if this call may.

    outdated: whether something came since it passed that it would have to see.
    """
    job, config = jobs.inspect(run, stage), run.config()
    if job.state == "running":
        return Standing("running")
    if job.state == "ended" and not stages.collected(run, job):
        found, wrote = stages.collect(run, config, job)
        return Standing.of(found.facts, wrote)
    if still_passed(run, config, stage) and not outdated():
        return Standing.of(evidence.read(run, f"stages/{stage}").facts)
    if begin:
        begin()
        return Standing("running")
    found = evidence.read(run, f"stages/{stage}")  # another call has judged it meanwhile
    return Standing.of(found.facts) if found else Standing("stopped")


def still_passed(run: Run, config: RunConfig, stage: str) -> bool:
    """Whether the stage has passed, and what it built is still there."""
    if not stages.passed(run, config, stage, ledger.latest(run)):
        return False
    return stage != "build" or not registry.of(config).build_is_gone(evidence.read(run, "stages/build").facts)


def stop(run: Run, stage: str) -> bool:
    """Ask the stage to stop, if it runs: its job, or what lives on without one. False: nothing of it runs, or waits for its verdict."""
    job = jobs.inspect(run, stage)
    if job.state == "running":
        jobs.stop(run, job)
    elif not rejoin(run, job, "stop"):
        return job.state == "ended" and not stages.collected(run, job)
    return True


def rejoin(run: Run, job: jobs.Job, mode: Literal["follow", "stop"]) -> bool:
    """Follow again what a lost job has started, where that outlives it. False: there is none."""
    if job.state != "lost" or not job.spec.get("container"):
        return False
    stages.reattach(run, job, mode)
    return True


def idle(run: Run, stage: str) -> Standing:
    """A stage that was to be stopped and does not run."""
    found = evidence.read(run, f"stages/{stage}")
    if stages.passed(run, run.config(), stage, ledger.latest(run)):
        return Standing("passed", found.facts)
    return Standing("stopped", found.facts if found and found.facts.get("stopped") else {})
