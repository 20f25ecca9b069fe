"""gate_status: where a run stands."""

from __future__ import annotations

from pydantic import Field

from tunegate import gates
from tunegate.errors import ToolFailure
from tunegate.gates import Step
from tunegate.publish import push
from tunegate.tools.base import Call, OutputDir, Result, tool


class GateStatus(Result):
    complete: bool
    steps: list[Step]
    preflight: dict[str, str]
    jobs: dict[str, str] = Field(description="stage -> running | ended | lost, for jobs that await a docker_run call")


@tool("Gate status", read_only=True)
def gate_status(call: Call, output_dir: OutputDir) -> GateStatus:
    """The six gates with every check and its evidence, the preflight summary, running jobs, and the next call."""
    seen = gates.view(call.run)
    return status(seen, _look_at_remote(call, seen))


def _look_at_remote(call: Call, seen: gates.View) -> list[str]:
    """Read again what was pushed, as it lies on the Hub now. A Hub that does not answer leaves the gate as it was, and is said."""
    if not seen.config.push_to_hub or not seen.facts("push").get("hashes") or seen.problems("push"):
        return []
    try:
        seen.remote = push.changed_since(call.workspace.hub, seen.facts("push"))
    except ToolFailure as failure:
        return [f"what was pushed could not be looked at again: {failure}"]
    return []


def status(seen: gates.View, notes: list[str] | None = None) -> GateStatus:
    run, steps = seen.run, gates.steps(seen)
    notes = [*([seen.ledger_problem] if seen.ledger_problem else []), *(notes or [])]
    return GateStatus(
        output_dir=str(run.path),
        notes=notes,
        next=gates.next_call(seen),
        complete=all(step.passed for step in steps),
        steps=steps,
        preflight=gates.preflight(seen),
        jobs=gates.job_states(run),
    )
