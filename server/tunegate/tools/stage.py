"""Steps 4 and 5: docker_run, and diagnose for what it reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import anyio
from mcp.server.mcpserver import Context, Elicit, ElicitationResult, Resolve
from pydantic import Field

from tunegate import evidence, gates, jobs, stages
from tunegate.errors import NextCall, ToolFailure
from tunegate.evidence import approvals
from tunegate.evidence.approvals import Approval
from tunegate.rundir import Run
from tunegate.stage_table import StageName
from tunegate.stages import life, playbook, summary
from tunegate.tools.base import (
    DEFAULT_WAIT_S,
    Call,
    Confirm,
    OutputDir,
    Result,
    follow,
    next_for,
    recorded,
    require_evidence,
    tool,
    workspace,
)

CHANGED_AT_ONCE = (
    *summary.OUT_OF_MEMORY,
    "nan-loss",
    "diverged",
)  # their change is the next call, without a look at diagnose
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
    return approvals.ask(ctx, lambda: None if stop else _to_decide(workspace(ctx).run(output_dir), stage), confirm)


def _to_decide(run: Run, stage: str) -> str | None:
    return _asked(run, stage) or _retry(run, stage)


def _asked(run: Run, stage: str) -> str | None:
    """What the stage's evidence, as far as it holds, asks the user."""
    seen = gates.view(run)
    return None if seen.problems(f"stages/{stage}") else gates.unanswered(seen.facts(f"stages/{stage}"))


def _retry(run: Run, stage: str) -> str | None:
    error = stages.repeated_failure(run, stage)
    if error is None or jobs.inspect(run, stage).state == "running":
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
    run = call.run
    again = NextCall(tool=call.tool, arguments={"output_dir": str(run.path), "stage": stage}, why=RESUMES)
    begin = iter([] if stop else [lambda line: _begin(call, line, approval)])  # once a call: what ends stays ended
    if stop and not await anyio.to_thread.run_sync(_stop, call, stage):
        return _idle(run, stage)
    if not stop and (question := _asked(run, stage)):
        await anyio.to_thread.run_sync(_answered, call, stage, question, approval)
    report = await follow(
        run,
        stage,
        wait_s,
        lambda: _advance(call, stage, next(begin, None)),
        lambda: _report_progress(call.ctx, run, stage),
        again,
        lambda: _reattach(call, stage, "stop" if stop else "follow"),
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
        notes=[*summary.set_aside(run, stage), *([seen.pop("note")] if "note" in seen else [])],
        next=again,
        stage=stage,
        state="running",
        progress=seen,
        facts={},
        log=str(jobs.log_path(run, stage)),
    )


async def _report_progress(ctx: Context, run: Run, stage: str) -> None:
    seen = stages.progress(run, stage)
    if line := summary.progress_line(stage, seen):
        await ctx.report_progress(seen.get("step", 0), seen.get("max_steps"), line)


def _answered(call: Call, stage: str, question: str, approval: Any) -> None:
    """The user's yes becomes part of the stage's evidence. Raises ToolFailure(approval_required)."""
    name, run = f"stages/{stage}", call.run
    with call.recorded():
        notes, config, found = call.settle(approval, question), run.config(), evidence.read(run, name)
        run.save_config(config.model_copy(update={"notes": [*config.notes, *notes]}))
        facts = {**found.facts, "accepted": question}
        call.record_evidence(name, facts, config, resting_on=found.config, files=found.files)


def _stop(call: Call, stage: str) -> bool:
    with call.recorded():
        return life.stop(call.run, stage)


def _reattach(call: Call, stage: str, mode: Literal["follow", "stop"]) -> bool:
    with call.recorded():
        job = jobs.inspect(call.run, stage)
        return life.rejoin(call.run, job, mode) or job.state != "lost"


def _advance(call: Call, stage: str, begin: Callable[[dict], None] | None) -> StageReport | None:
    """One step of the stage's life, with a line of its own in the ledger. None while it runs."""
    run, line = call.run, dict(call.line)
    if jobs.inspect(run, stage).state == "running":
        return None
    with recorded(run, call.tool, line) as wrote:
        now = life.advance(
            run,
            stage,
            (lambda: begin(line)) if begin else None,
            outdated=lambda: stage == "check_api" and bool(gates.added_modules(gates.view(run))),
        )
        wrote.update(now.wrote)
        line.update(now.recorded)
    if now.state == "failed":
        raise _failed(run, stage, now.facts)
    return None if now.state == "running" else _ended(run, stage, now)


def _idle(run: Run, stage: str) -> StageReport:
    """What is to be said of a stage that was to be stopped and does not run."""
    return _ended(run, stage, life.idle(run, stage), [f"{stage} has passed: there was nothing to stop"])


def _ended(run: Run, stage: str, now: life.Standing, passed: list[str] | None = None) -> StageReport:
    """passed: notes in place of those of a stage that passed."""
    notes, following = summary.notes(now.facts) if passed is None else passed, {}
    if now.state == "stopped":
        notes = now.facts["problems"][:1] if now.facts else [f"{stage} is not running: there was nothing to stop"]
        arguments = {"output_dir": str(run.path), "stage": stage}
        following = {"next": NextCall(tool="docker_run", arguments=arguments, why=f"when {stage} is to go on")}
    if asks := gates.unanswered(now.facts):
        notes = [*notes, f"only the user can decide this; if they agree, make the same call with confirm={asks!r}"]
    return StageReport(
        notes=notes,
        stage=stage,
        state=now.state,
        progress={},
        log=str(jobs.log_path(run, stage)),
        facts=summary.brief(now.facts),
        ask_user=f"{asks}?" if asks else None,
        **following,
    )


def _begin(call: Call, line: dict[str, Any], approval: Any) -> None:
    run, stage = call.run, line["stage"]
    config = run.config()
    row = stages.STAGES[stage]
    _refuse_two(run, stage)
    if row.option and not getattr(config, row.option):
        wanted = {"output_dir": str(run.path), "overrides": {row.option: True}}
        raise ToolFailure(
            "invalid_input",
            f"docker_run(stage={stage!r}): {row.option} is false in config.yaml, so nothing of it was rendered; if the user wants it, switch it on first",
            next=NextCall(tool="render_project", arguments=wanted, why=f"only if the user wants {row.option}"),
        )
    gates.require(run, row.gate, f"docker_run(stage={stage!r})")
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
            gate=gates.gate_of(gates.view(run), f"stages/{missing[0]}"),
            missing=missing,
            next=NextCall(
                tool="docker_run",
                arguments={"output_dir": str(run.path), "stage": missing[0]},
                why=f"{stage} needs {missing[0]}",
            ),
        )
    notes = approvals.settle(approval, _retry(run, stage), line)
    if notes:
        run.save_config(config.model_copy(update={"notes": [*config.notes, *notes]}))
    stages.start(run, config, stage, call.workspace.local_roots)


def _refuse_two(run: Run, stage: str) -> None:
    """Raises ToolFailure(run_locked) while another stage of this run works: they share GPUs and downloads, and what one of them
    does must not reach the other."""
    for other in stages.STAGES:
        if other != stage and jobs.inspect(run, other).state == "running":
            follow_it = NextCall(
                tool="docker_run",
                arguments={"output_dir": str(run.path), "stage": other},
                why=f"{other} is running: follow it to its end, or stop it with stop: true",
            )
            raise ToolFailure(
                "run_locked",
                f"docker_run(stage={stage!r}) refuses: {other} is running, and a run works on one stage at a time",
                next=follow_it,
            )


def _failed(run: Run, stage: str, facts: dict[str, Any]) -> ToolFailure:
    found = summary.findings(run, stage, facts)
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
        gate=gates.gate_of(gates.view(run), f"stages/{stage}"),
        missing=facts["problems"],
        next=fix,
    )


def _render(run: Run, finding: playbook.Finding) -> NextCall:
    return NextCall(
        tool="render_project",
        arguments={"output_dir": str(run.path), "overrides": finding.overrides},
        why=finding.fix,
    )


@tool("Diagnose a failed stage", read_only=True)
def diagnose(call: Call, output_dir: OutputDir, stage: StageName | None = None) -> Diagnosis:
    """Why a stage failed: its problems, the matching rows of the error playbook with the minimal fix, and the end of its log."""
    run = call.run
    stage = stage or summary.last_failed(run)
    if stage is None:
        return Diagnosis(notes=["no stage of this run has failed"], stage=None, problems=[], findings=[], log_tail=[])
    found = evidence.read(run, f"stages/{stage}")
    facts = found.facts if found else {}
    problems, tail = facts.get("problems", []), jobs.log_tail(run, stage, lines=30)
    findings = summary.findings(run, stage, facts)
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
