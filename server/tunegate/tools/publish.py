"""Step 6: push_hub and emit_rerun_skill."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context, Elicit, ElicitationResult, Resolve
from pydantic import Field

from tunegate import evidence, gates, jobs
from tunegate.config import RunConfig
from tunegate.errors import NextCall, ToolFailure
from tunegate.evidence import approvals, ledger
from tunegate.evidence.approvals import Approval
from tunegate.jobs import snapshot
from tunegate.publish import push, rerun
from tunegate.rundir import Run, hash_files
from tunegate.tools.base import (
    DEFAULT_WAIT_S,
    Call,
    Confirm,
    OutputDir,
    Result,
    Workspace,
    follow,
    tool,
    workspace,
)


class PushReport(Result):
    pushed: bool
    url: str | None
    commit: str | None
    files: int
    verified: bool = Field(description="every file was read back and has the hash that was sent")


class RerunReport(Result):
    skill: str
    verified: Literal["not asked", "running", "passed"]
    metric: str
    expected: float
    rerun: float | None
    tolerance: float


def approve_push(ctx: Context, output_dir: str, confirm: str | None) -> Approval | Elicit[Approval]:
    return approvals.ask(ctx, lambda: _over(workspace(ctx), output_dir)[1], confirm)


def _over(ws: Workspace, output_dir: str) -> tuple[push.Target | None, str | None]:
    """(the repository as it is, what only the user may decide about it): that it is public, or that not all of it is this run's."""
    run = ws.run(output_dir)
    gates.require(run, 5, "push_hub")  # what would be pushed must be known before it is compared with what is there
    config = run.config()
    repo = config.hf_model_repo
    if not config.push_to_hub or not repo or not (found := push.target(ws.hub, repo)):
        return None, None
    public = [f"push to {repo}, which is public"] if found.public else []
    if push.is_this_runs(ws.hub, run, repo, found):
        return found, "; ".join(public) or None
    holds = f"its {len(found.files)} files: those of the same name are replaced, the others stay beside the new ones"
    over = f"push over {repo}, which holds what this run did not put there ({holds if found.files else 'no files yet'})"
    return found, "; ".join([*public, over])


@tool("Push to the Hub", destructive=True, open_world=True)
def push_hub(
    call: Call,
    output_dir: OutputDir,
    confirm: Confirm = None,
    approval: Annotated[ElicitationResult[Approval], Resolve(approve_push)] = None,
) -> PushReport:
    """Push weights, card, results and samples in one commit to a private repository, then read it back and compare every hash."""
    call.require_gate(5)
    config = call.run.config()
    if not config.push_to_hub:
        why = "push_to_hub is false: nothing was pushed"
        return PushReport(notes=[why], pushed=False, url=None, commit=None, files=0, verified=False)
    over, asked = _over(call.workspace, output_dir)
    notes = call.settle(approval, asked)
    if notes:
        config = config.model_copy(update={"notes": [*config.notes, *notes]})
        call.run.save_config(config)
    return PushReport(notes=notes, pushed=True, verified=True, **_push(call, config, over))


def _push(call: Call, config: RunConfig, over: push.Target | None) -> dict[str, Any]:
    """One commit, read back, its evidence written: {url, commit, files}. Raises ToolFailure(stage_failed) if it differs.

    The ledger has each commit, and the intent to create the repository before there is one: by that, and by nothing else,
    a later call knows what is this run's own.
    """
    run, hub, repo = call.run, call.workspace.hub, config.hf_model_repo
    private, used = push.copied(run)
    files = push.assemble(private)
    if over is None and not push.begun(run, repo):
        ledger.append(run, call.tool, {"output_dir": call.arguments["output_dir"], "creates": repo}, "ok")
    done = push.push(hub, repo, files, f"Fine-tuned {config.model_id}", over)
    call.line["pushed"] = {"repo": repo, "commit": done["commit"]}
    wrong = push.read_back(hub, repo, done["commit"], files)
    snapshot.clear(private)
    there = push.hashes(hub, repo, done["commit"])
    facts = {**done, "repo": repo, "files": sorted(files), "verified": not wrong, "problems": wrong}
    facts["hashes"] = {name: there[name] for name in files if name in there}
    call.record_evidence("push", facts, config, files=used)
    if wrong:
        message = f"the repository read back differs from what was sent: {wrong[0]}: call push_hub again"
        raise ToolFailure("stage_failed", message, gate=6, missing=wrong, ask_user=f"{message}. Shall I?")
    return {**done, "files": len(files)}


@tool("Emit the rerun skill", open_world=True)
async def emit_rerun_skill(
    call: Call,
    output_dir: OutputDir,
    verify: Annotated[
        bool,
        Field(description="run the emitted commands in a clean copy and compare the metric (takes as long as the run)"),
    ] = False,
    wait_s: Annotated[
        float, Field(ge=0, le=110, description="answer at the latest after this many seconds; the verification goes on")
    ] = DEFAULT_WAIT_S,
) -> RerunReport:
    """Write the skill that reproduces this run without any research: every command, expected results, provenance."""

    async def tell() -> None:
        tail = jobs.log_tail(call.run, rerun.JOB, lines=1)
        await call.ctx.report_progress(0, None, f"verify: {tail[0][:200] if tail else 'starting'}")

    again = _verify_again(call.run, "starts the verification again")
    report = await follow(call.run, rerun.JOB, wait_s, lambda: _emit(call, verify), tell, again)
    return report or _report(call.run, "running", None)


def _emit(call: Call, verify: bool) -> RerunReport | None:
    """Write the skill, start its verification or judge it. None while the verification runs."""
    if jobs.inspect(call.run, rerun.JOB).state == "running":
        return None
    with call.recorded():
        call.require_gate(5)
        if call.run.config().push_to_hub:
            call.require_evidence("push")
        return _emit_or_judge(call, verify)


def _emit_or_judge(call: Call, verify: bool) -> RerunReport | None:
    run = call.run
    job = jobs.inspect(run, rerun.JOB)
    found = evidence.read(run, "rerun")
    path, _ = rerun.emit(run)
    done = job.result if job.state == "ended" and job.spec["files"] == hash_files(run.path, rerun.USES) else None
    judged = bool(found and done and found.facts.get("job") == job.spec["id"])
    if judged and found.facts["valid"] and not gates.view(run).problems("rerun"):
        return _report(run, "passed", found.facts["rerun"])
    if judged and not found.facts["valid"]:
        done = None  # that verification failed and was reported: this call is a new try
    if done is None and verify:
        rerun.start(run)
        return None
    measured, problems = rerun.judge(run, job) if done else (None, [])
    facts = {
        "skill": path,
        "valid": not problems,
        "job": job.spec["id"] if done else None,
        "rerun": measured,
        "problems": problems,
    }
    call.record_evidence("rerun", facts, run.config(), files=hash_files(run.path, (path,)))
    if problems:
        raise ToolFailure(
            "stage_failed",
            f"the emitted commands did not reproduce the run: {problems[0]}",
            gate=6,
            missing=problems,
            next=_verify_again(run, "after the cause is fixed"),
        )
    return _report(run, "passed" if done else "not asked", measured)


def _report(run: Run, verified: str, measured: float | None) -> RerunReport:
    path, expected = rerun.skill_path(run), rerun.expected(run)
    again = _verify_again(run, "the verification is running: follow it").model_copy(update={"follow": True})
    return RerunReport(
        skill=str(run.path / path),
        verified=verified,
        metric=expected["metric"],
        expected=expected["value"],
        rerun=measured,
        tolerance=expected["tolerance"],
        **({"next": again} if verified == "running" else {}),
    )


def _verify_again(run: Run, why: str) -> NextCall:
    return NextCall(tool="emit_rerun_skill", arguments={"output_dir": str(run.path), "verify": True}, why=why)
