"""What there is to report of a stage: how far it is, what of its facts matters, and which rows of the playbook explain a failure."""

from __future__ import annotations

from typing import Any

from tunegate import evidence, jobs, stages
from tunegate.hardware import fit
from tunegate.project import render
from tunegate.rundir import Run
from tunegate.stages import playbook
from tunegate.tasks import activations

OUT_OF_MEMORY = ("out-of-memory", "killed-for-memory-in-training")  # rows of the playbook
PROGRESS = {
    "loss": "loss {:.4g}",
    "reward": "reward {:.4g}",
    "grad_norm": "grad_norm {:.3g}",
    "samples_per_second": "{:.4g} samples/s",
    "eta_s": "{:.0f} s left",
}
INTERNAL = (
    "packages",
    "job",
    "exit_code",
    "passed",
    "stopped",
    "overcome",
    "problems",
    "failures",
    "notes",
    "drawn_with",
    "accepted",
)


def progress_line(stage: str, seen: dict[str, Any]) -> str | None:
    """seen: of stages.progress. None where there is nothing to say yet."""
    if "step" not in seen:
        return f"{stage}: {seen['last_line']}" if "last_line" in seen else None
    known = {key: value for key, value in seen.items() if isinstance(value, (int, float))}
    numbers = "".join(f", {said.format(known[key])}" for key, said in PROGRESS.items() if key in known)
    note = f"; {seen['note']}" if "note" in seen else ""
    return f"{stage}: step {seen['step']}/{seen.get('max_steps')}{numbers}{note}"


def set_aside(run: Run, stage: str) -> list[str]:
    """What lay in checkpoints/ and was not this training's."""
    return ((jobs.inspect(run, stage).spec or {}).get("training") or {}).get("set_aside", [])


def notes(facts: dict[str, Any]) -> list[str]:
    """What of a passed stage's facts the user has to hear."""
    seen = facts.get("seen_in_training")
    again = f"{seen} of {facts.get('n') or facts.get('n_eval')} evaluation rows are training rows too: the metric partly measures memorized rows"
    again += (
        f" ({anew} of them written anew: re-encoded, resized or respelled)" if (anew := facts.get("seen_anew")) else ""
    )
    found = [(facts.get("memory") or {}).get("note"), facts.get("outcome"), again if seen else None]
    found += facts.get("set_aside", [])
    found += facts.get("notes", [])  # of prepare: what was left out, and why
    page = facts.get("page")  # of prepare too
    found += [f"before training, show the user {page} in output_dir: rows as the model will see them"] if page else []
    page = facts.get("page")  # of prepare too
    found += [f"before training, show the user {page} in output_dir: rows as the model will see them"] if page else []
    return [note for note in found if note]


def kept(facts: dict[str, Any]) -> str:
    """Of a prepare that passed: how many rows of each split were read, and how many are left out and why; else empty."""
    if not facts.get("passed"):
        return ""
    named = (("train", "train on"), ("eval", "measure on"))
    said = [f"{facts[f'n_{part}']:,} rows to {verb}" for part, verb in named if f"n_{part}" in facts]
    for part, name in (("train", "training split"), ("eval", "evaluation split")):
        if counts := facts.get(f"{part}_rows"):
            lost = counts["left_out"] | counts.get("objects_left_out", {})
            why = ", ".join(f"{count:,} {reason}" for reason, count in lost.items()) or "nothing"
            said.append(f"{name}: {counts['read']:,} rows read, left out: {why}")
    return "; ".join(said) or "prepared"


def brief(facts: dict[str, Any]) -> dict[str, Any]:
    """Without the long tables, which stand in the evidence file."""
    return {key: value for key, value in facts.items() if key not in INTERNAL and len(str(value)) < 400}


def last_failed(run: Run) -> str | None:
    found = {stage: evidence.read(run, f"stages/{stage}") for stage in stages.STAGES}
    failed = [
        (e.created, stage)
        for stage, e in found.items()
        if e and not e.facts.get("passed") and not e.facts.get("stopped")
    ]
    return max(failed)[1] if failed else None


def findings(run: Run, stage: str, facts: dict[str, Any]) -> list[playbook.Finding]:
    """The rows of the playbook that match its problems or the end of its log, best first."""
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
