"""How a stage ended: by its own end, stopped or failed, and what a training does when it is run again."""

from __future__ import annotations

import re

from tunegate import jobs
from tunegate.errors import CODES, coded
from tunegate.jobs import checkpoints
from tunegate.rundir import Run
from tunegate.stages.verdicts.read import read_json, read_rows

KILLED = 137  # 128 + SIGKILL


def was_stopped(run: Run, job: jobs.Job) -> bool:
    """By its exit code; torchrun's own tells nothing, so a training's report does (train.py deletes it when it begins)."""
    if job.result["exit_code"] in jobs.STOPPED:
        return True
    try:
        return (
            job.stage == "train"
            and job.result["exit_code"] != 0
            and read_json(run, "reports/train.json")["stopped"] is True
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def stopped(run: Run, stage: str) -> tuple[dict, list[str]]:
    """(facts, how it goes on) of a stage that was asked to stop."""
    again = f"docker_run(stage={stage!r})"
    if stage != "train":
        return {}, [f"{stage} was stopped: {again} runs it from its beginning"]
    kept = checkpoints.newest(run)
    try:
        facts = {key: read_json(run, "reports/train.json")[key] for key in ("global_step", "max_steps", "resumed_from")}
    except (OSError, ValueError, KeyError, TypeError):  # before its first step
        facts = {}
    facts |= steps_done(run)
    at = (
        f"at step {facts['global_step']} of {facts['max_steps']}" if "global_step" in facts else "before its first step"
    )
    how = f"{at}, with everything saved: {again} goes on with step {kept + 1}"
    if last_step(run) > kept:  # an edited train.py that does not listen, or no time was left
        how = f"without saving: {resumption(run)}"
    return facts, [f"train was stopped {how}"]


def steps_done(run: Run) -> dict[str, int]:
    """{sessions, steps_repeated}, counted in what train.py wrote down at each optimizer step; {} where it did not."""
    try:
        rows = [(row["session"], row["step"]) for row in read_rows(run.at("logs/steps.jsonl"))]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {"sessions": len({row[0] for row in rows}), "steps_repeated": len(rows) - len({row[1] for row in rows})}


def last_step(run: Run) -> int:
    """The last optimizer step that was ever done in this training; 0 where nothing tells."""
    try:
        return max((row["step"] for row in read_rows(run.at("logs/steps.jsonl"))), default=0)
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def resumption(run: Run) -> str:
    """What a training that was killed, or failed, will do when it is run again."""
    kept, last = checkpoints.newest(run), last_step(run)
    where = f"it resumes from checkpoint-{kept}" if kept else "there is no checkpoint yet: it begins again"
    twice = f", and trains steps {kept + 1} to {last} a second time" if last > kept else ""
    return f"when it is run again, {where}{twice}"


def last_error(run: Run, job: jobs.Job) -> str:
    """Our own refusal if the log holds one, else the line that names the exception, else the last line; with the exit code."""
    lines = [line.strip() for line in jobs.log_tail(run, job.stage, lines=60) if line.strip()]
    refused = [line for line in lines if line.partition(": ")[0] in CODES]  # its last lines of output follow it
    named = [line for line in lines if re.match(r"^[\w.]*(Error|Exception|Interrupt|Exit)\b", line)]
    last = (refused or named or lines or ["no output"])[-1][:300]
    if job.result["exit_code"] == KILLED and not last.startswith("["):
        last = coded("killed", last)
    return f"exit code {job.result['exit_code']}: {last}"
