"""Steps 4 and 5: docker_run, and diagnose for what it reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import anyio
from mcp.server.mcpserver import Context, Elicit, ElicitationResult, Resolve
from pydantic import Field

from tunegate import evidence, gates, jobs, stages
from tunegate.config import RunConfig
from tunegate.errors import NextCall, ToolFailure
from tunegate.evidence import approvals, ledger
from tunegate.evidence.approvals import Approval
from tunegate.hardware import fit
from tunegate.project import render
from tunegate.project.stages import StageName
from tunegate.rundir import Run
from tunegate.stages import playbook
from tunegate.tasks import activations
from tunegate.tools.base import (
    DEFAULT_WAIT_S,
    Call,
    Confirm,
    OutputDir,
    Result,
    Workspace,
    follow,
    next_for,
    recorded,
    require_evidence,
    tool,
    workspace,
)

OUT_OF_MEMORY = ("out-of-memory", "killed-for-memory-in-training")  # rows of the playbook
CHANGED_AT_ONCE = (*OUT_OF_MEMORY, "nan-loss", "diverged")  # their change is the next call, without a look at diagnose
TOLD = {
    "loss": "loss {:.4g}",
    "reward": "reward {:.4g}",
    "grad_norm": "grad_norm {:.3g}",
    "samples_per_second": "{:.4g} samples/s",
    "eta_s": "{:.0f} s left",
}
RESUMES = "starts it again; training resumes from its last checkpoint"


class StageReport(Result):
    stage: str
    state: Literal["running", "passed", "stopped"]
    progress: dict[str, Any] = Field(
        description="step, max_steps, loss, grad_norm, samples_per_second, eta_s while training; else the log's last line"
    )
    facts: dict[str, Any] = Field(description="what the stage's evidence says once it passed")
    log: str


class Diagnosis(Result):
    stage: str | None
    problems: list[str]
    findings: list[playbook.Finding] = Field(
        description="playbook rows that match, best first; empty: nothing known matches"
    )
    log_tail: list[str]


def approve_retry(
    ctx: Context, output_dir: str, stage: StageName, stop: bool, confirm: str | None
) -> Approval | Elicit[Approval]:
    return approvals.ask(ctx, lambda: None if stop else _retry(workspace(ctx), output_dir, stage), confirm)


def _retry(ws: Workspace, output_dir: str, stage: str) -> str | None:
    run = ws.run(output_dir)
    error = stages.repeated_failure(run, stage)
    if error is None or jobs.look(run, stage).state == "running":
        return None
    return f"run {stage} again although it failed {stages.SAME_ERROR_LIMIT} times in a row with the same error"


@tool("Run a stage", destructive=True, open_world=True)
async def docker_run(
    call: Call,
    output_dir: OutputDir,
    stage: StageName,
    wait_s: Annotated[
        float, Field(ge=0, le=110, description="answer at the latest after this many seconds; the stage goes on")
    ] = DEFAULT_WAIT_S,
    stop: Annotated[
        bool,
        Field(
            description="stop it instead: a training saves everything first and goes on from there when called again"
        ),
    ] = False,
    confirm: Confirm = None,
    approval: Annotated[ElicitationResult[Approval], Resolve(approve_retry)] = None,
) -> StageReport:
    """Run one stage, or follow it if it is running. Call again while state is 'running'."""
    ws, run = call.workspace, call.run
    again = NextCall(tool="docker_run", arguments={"output_dir": str(run.path), "stage": stage}, why=RESUMES)
    arguments = {"output_dir": output_dir, "stage": stage}
    begin = iter([] if stop else [lambda given: _begin(ws, run, given, approval)])  # once a call: what ends stays ended
    if stop and not await anyio.to_thread.run_sync(_stop, run, arguments):
        return _idle(run, stage)
    report = await follow(
        run,
        stage,
        wait_s,
        lambda: _advance(run, arguments, next(begin, None)),
        lambda: _tell(call.ctx, run, stage),
        again,
        lambda: _reattach(run, arguments, "stop" if stop else "follow"),
    )
    return report or _running(run, stage, stop)


def _running(run: Run, stage: str, stop: bool) -> StageReport:
    again = NextCall(
        tool="docker_run",
        arguments={"output_dir": str(run.path), "stage": stage, **({"stop": True} if stop else {})},
        why=f"{stage} is {'saving what it has' if stop else 'running'}: follow it",
        follow=True,
    )
    seen = stages.progress(run, stage)
    return StageReport(
        output_dir=str(run.path),
        notes=[*_set_aside(run, stage), *([seen.pop("note")] if "note" in seen else [])],
        next=again,
        stage=stage,
        state="running",
        progress=seen,
        facts={},
        log=str(jobs.log_path(run, stage)),
    )


def _set_aside(run: Run, stage: str) -> list[str]:
    """What lay in checkpoints/ and was not this training's."""
    return ((jobs.look(run, stage).spec or {}).get("training") or {}).get("set_aside", [])


async def _tell(ctx: Context, run: Run, stage: str) -> None:
    seen = stages.progress(run, stage)
    if "step" in seen:
        known = {key: value for key, value in seen.items() if isinstance(value, (int, float))}
        numbers = "".join(f", {said.format(known[key])}" for key, said in TOLD.items() if key in known)
        note = f"; {seen['note']}" if "note" in seen else ""
        await ctx.report_progress(
            seen["step"], seen.get("max_steps"), f"{stage}: step {seen['step']}/{seen.get('max_steps')}{numbers}{note}"
        )
    elif "last_line" in seen:
        await ctx.report_progress(0, None, f"{stage}: {seen['last_line']}")


def _stop(run: Run, arguments: dict[str, Any]) -> bool:
    """Ask the stage to stop, if it runs: its job, or the container that lives on without one. False: nothing of it runs."""
    stage = arguments["stage"]
    with recorded(run, "docker_run", {**arguments, "stop": True}):
        job = jobs.look(run, stage)
        if job.state == "running":
            jobs.stop(run, job)
        elif job.state == "lost" and job.spec.get("container"):
            stages.reattach(run, job, "stop")
        else:
            return job.state == "ended" and not stages.collected(run, job)
    return True


def _idle(run: Run, stage: str) -> StageReport:
    """What is to be said of a stage that was to be stopped and does not run."""
    if stages.passed(run, run.config(), stage, ledger.latest(run)):
        found = evidence.read(run, f"stages/{stage}")
        return _passed(run, stage, found.facts, [f"{stage} has passed: there was nothing to stop"])
    found = evidence.read(run, f"stages/{stage}")
    return _stopped(run, stage, found.facts if found and found.facts.get("stopped") else None)


def _reattach(run: Run, arguments: dict[str, Any], mode: Literal["follow", "stop"]) -> bool:
    with recorded(run, "docker_run", arguments):
        job = jobs.look(run, arguments["stage"])
        if job.state == "lost" and job.spec.get("container"):
            stages.reattach(run, job, mode)
        return job.state != "lost" or bool(job.spec.get("container"))


def _advance(run: Run, arguments: dict[str, Any], begin: Callable[[dict], None] | None) -> StageReport | None:
    """One step of the stage's life: start it, if this call may, or judge it if it has ended. None while it runs."""
    stage = arguments["stage"]
    job = jobs.look(run, stage)
    if job.state == "running":
        return None
    arguments = dict(arguments)
    with recorded(run, "docker_run", arguments) as wrote:
        job, config = jobs.look(run, stage), run.config()
        if job.state == "running":
            return None
        if job.state == "ended" and not stages.collected(run, job):
            found, written = stages.collect(run, config, job)
            wrote.update(written)
            if found.facts.get("stopped"):
                arguments["stopped"] = True
            elif not found.facts["passed"]:
                arguments["failed"] = stages.signature(found.facts["problems"])
        elif _still_passed(run, config, stage):
            found = evidence.read(run, f"stages/{stage}")
        elif begin:
            begin(arguments)
            return None
        elif (found := evidence.read(run, f"stages/{stage}")) is None:  # else another call has judged it meanwhile
            return _stopped(run, stage, None)
    if found.facts.get("stopped"):
        return _stopped(run, stage, found.facts)
    if not found.facts["passed"]:
        raise _failed(run, stage, found.facts)
    return _passed(run, stage, found.facts, _notes(found.facts))


def _still_passed(run: Run, config: RunConfig, stage: str) -> bool:
    """Whether the stage has passed, and nothing came since that it would have to see."""
    if not stages.passed(run, config, stage, ledger.latest(run)) or stages.image_gone(run, config, stage):
        return False
    return stage != "check_api" or not gates.added_modules(gates.view(run))


def _notes(facts: dict[str, Any]) -> list[str]:
    """What of a passed stage's facts the user has to hear."""
    seen = facts.get("seen_in_training")
    again = f"{seen} of {facts.get('n') or facts.get('n_eval')} evaluation rows are training rows too: the metric is partly of what was learnt by heart"
    notes = [(facts.get("memory") or {}).get("note"), facts.get("outcome"), again if seen else None]
    notes += facts.get("set_aside", [])
    notes += facts.get("notes", [])  # of prepare: what was left out, and why
    return [note for note in notes if note]


def _passed(run: Run, stage: str, facts: dict[str, Any], notes: list[str]) -> StageReport:
    return StageReport(
        output_dir=str(run.path),
        notes=notes,
        next=next_for(run),
        stage=stage,
        state="passed",
        progress={},
        log=str(jobs.log_path(run, stage)),
        facts=_brief(facts),
    )


def _stopped(run: Run, stage: str, facts: dict[str, Any] | None) -> StageReport:
    """facts: of the evidence; None when nothing ran that could have been stopped."""
    said = facts["problems"][0] if facts else f"{stage} is not running: there was nothing to stop"
    arguments = {"output_dir": str(run.path), "stage": stage}
    return StageReport(
        output_dir=str(run.path),
        notes=[said],
        next=NextCall(tool="docker_run", arguments=arguments, why=f"when {stage} is to go on"),
        stage=stage,
        state="stopped",
        progress={},
        facts=_brief(facts or {}),
        log=str(jobs.log_path(run, stage)),
    )


def _begin(ws: Workspace, run: Run, arguments: dict[str, Any], approval: Any) -> None:
    stage, config = arguments["stage"], run.config()
    row = stages.STAGES[stage]
    if row.option and not getattr(config, row.option):
        wanted = {"output_dir": str(run.path), "overrides": {row.option: True}}
        raise ToolFailure(
            "invalid_input",
            f"docker_run(stage={stage!r}): {row.option} is false in config.yaml, so nothing of it was rendered; if the user wants it, switch it on first",
            next=NextCall(tool="render_project", arguments=wanted, why=f"only if the user wants {row.option}"),
        )
    gates.require(run, row.gate or 3, f"docker_run(stage={stage!r})")
    require_evidence(run, "project", tool=f"docker_run(stage={stage!r})")
    if edited := gates.guarded_edits(gates.view(run)):
        render = NextCall(
            tool="render_project", arguments={"output_dir": str(run.path), "overwrite": True}, why=edited[0]
        )
        raise ToolFailure(
            "gate_closed", f"docker_run(stage={stage!r}) refuses: {edited[0]}", gate=4, missing=edited, next=render
        )
    missing = stages.missing_before(run, config, stage)
    if missing:
        raise ToolFailure(
            "gate_closed",
            f"docker_run(stage={stage!r}) refuses: stage {missing[0]} has not passed",
            gate=row.gate or 4,
            missing=missing,
            next=NextCall(
                tool="docker_run",
                arguments={"output_dir": str(run.path), "stage": missing[0]},
                why=f"{stage} needs {missing[0]}",
            ),
        )
    notes = approvals.settle(approval, _retry(ws, arguments["output_dir"], stage), arguments)
    if notes:
        run.save_config(config.model_copy(update={"notes": [*config.notes, *notes]}))
    stages.start(run, config, stage, ws.local_roots)


def _failed(run: Run, stage: str, facts: dict[str, Any]) -> ToolFailure:
    found = _findings(run, stage, facts)
    if found and found[0].id in CHANGED_AT_ONCE and found[0].overrides:
        fix = _render(run, found[0])
    else:
        fix = NextCall(
            tool="diagnose",
            arguments={"output_dir": str(run.path), "stage": stage},
            why="what the log says, and the minimal fix",
        )
    return ToolFailure(
        "stage_failed",
        f"{stage} did not pass: {facts['problems'][0]}",
        gate=stages.STAGES[stage].gate or 4,
        missing=facts["problems"],
        next=fix,
    )


def _findings(run: Run, stage: str, facts: dict[str, Any]) -> list[playbook.Finding]:
    lines = [*facts.get("problems", []), *jobs.log_tail(run, stage, lines=30)]
    found = playbook.diagnose(lines, stage, facts.get("exit_code"), run.config())
    return [_in_less_memory(run, finding, facts) if finding.id in OUT_OF_MEMORY else finding for finding in found]


def _in_less_memory(run: Run, finding: playbook.Finding, facts: dict[str, Any]) -> playbook.Finding:
    """The smaller batch that a measured peak asks for, else half, the effective batch exactly as it was; at a batch of 1
    activation checkpointing, which computes the same with less kept."""
    config, model = run.config(), (found.facts if (found := evidence.read(run, "model")) else {})
    batch, accumulation = config.per_device_train_batch_size or 1, config.gradient_accumulation_steps or 1
    if batch > 1:
        smaller = (facts.get("memory") or {}).get("split") or fit.split(batch, accumulation, batch // 2)
        keys = ("per_device_train_batch_size", "gradient_accumulation_steps")
        return finding.model_copy(update={"overrides": dict(zip(keys, smaller, strict=True))})
    asked, on = config.training_arguments, fit.plan_of(config, model, render.plan_defaults(config)).checkpointing
    if on or model.get("model_type") not in activations.CHECKPOINTABLE:
        return finding
    return finding.model_copy(
        update={
            "fix": "activation checkpointing: a batch of 1 in less memory, a third slower, with the same result",
            "overrides": {"training_arguments": {**asked, "activation_checkpointing": True}},
            "needs_approval": False,
        }
    )


def _render(run: Run, finding: playbook.Finding) -> NextCall:
    return NextCall(
        tool="render_project",
        arguments={"output_dir": str(run.path), "overrides": finding.overrides},
        why=finding.fix,
    )


def _brief(facts: dict[str, Any]) -> dict[str, Any]:
    """Without the long tables, which stand in the evidence file."""
    return {
        key: value
        for key, value in facts.items()
        if key not in ("packages", "job", "exit_code", "passed", "stopped", "overcome", "problems", "failures", "notes")
        and len(str(value)) < 400
    }


@tool("Diagnose a failed stage", read_only=True)
def diagnose(call: Call, output_dir: OutputDir, stage: StageName | None = None) -> Diagnosis:
    """Why a stage failed: its problems, the matching rows of the error playbook with the minimal fix, and the end of its log."""
    run = call.run
    stage = stage or _last_failed(run)
    if stage is None:
        return Diagnosis(notes=["no stage of this run has failed"], stage=None, problems=[], findings=[], log_tail=[])
    found = evidence.read(run, f"stages/{stage}")
    facts = found.facts if found else {}
    problems, tail = facts.get("problems", []), jobs.log_tail(run, stage, lines=30)
    findings = _findings(run, stage, facts)
    again = NextCall(tool="docker_run", arguments={"output_dir": str(run.path), "stage": stage}, why="after the fix")
    if findings and findings[0].overrides:
        again = _render(run, findings[0])
    unknown = bool(problems) and not findings
    question = (
        f"{stage} failed ({problems[0][:300]}), and nothing known matches: which change shall be tried before {stage} runs again?"
        if unknown
        else None
    )
    return Diagnosis(
        next=None if unknown else again if problems else next_for(run),
        ask_user=question,
        stage=stage,
        problems=problems,
        findings=findings,
        log_tail=tail[-12:],
    )


def _last_failed(run: Run) -> str | None:
    found = {stage: evidence.read(run, f"stages/{stage}") for stage in stages.STAGES}
    failed = [
        (e.created, stage)
        for stage, e in found.items()
        if e and not e.facts.get("passed") and not e.facts.get("stopped")
    ]
    return max(failed)[1] if failed else None
