"""gate_status: where a run stands."""

from __future__ import annotations

from pydantic import Field

from tunegate import gates
from tunegate.gates import Step
from tunegate.rundir import Run
from tunegate.tools.base import Call, OutputDir, Result, tool


class GateStatus(Result):
    complete: bool
    steps: list[Step]
    preflight: dict[str, str]
    jobs: dict[str, str] = Field(description="stage -> running | ended | lost, for jobs that await a docker_run call")


@tool("Gate status", read_only=True)
def gate_status(call: Call, output_dir: OutputDir) -> GateStatus:
    """The six gates with every check and its evidence, the preflight summary, running jobs, and the next call."""
    return status(call.run)


def status(run: Run) -> GateStatus:
    seen = gates.view(run)
    steps = gates.steps(seen)
    notes = [seen.ledger_problem] if seen.ledger_problem else []
    return GateStatus(
        output_dir=str(run.path),
        notes=notes,
        next=gates.next_call(seen),
        complete=all(step.passed for step in steps),
        steps=steps,
        preflight=gates.preflight(seen),
        jobs=gates.job_states(run),
    )
