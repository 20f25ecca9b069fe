"""PROGRESS.md: what was done when, for people. Derived from the ledger and the evidence alone; no gate ever looks at it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from tunegate import evidence, gates
from tunegate.config import RunConfig
from tunegate.errors import NextCall, ToolFailure
from tunegate.evidence import ledger, seal
from tunegate.gates import Step
from tunegate.publish import card
from tunegate.quoting import code
from tunegate.rundir import Run, atomic_write

PROGRESS_FILE = "PROGRESS.md"
WRITTEN_BY = (
    "<!-- written by tunegate after each call, from the run's ledger and evidence: an edit is lost at the next one -->"
)
OF_THE_ANSWER = (
    "output_dir",
    "failed",
    "stopped",
    "pushed",
)  # in a ledger line's arguments, but not what the caller asked for
log = logging.getLogger("tunegate")


@dataclass
class RunState:
    """What the page is made of: of the evidence, only what the ledger names as the newest."""

    config: RunConfig
    calls: list[dict[str, Any]]
    steps: list[Step]
    next: NextCall | None
    running: dict[str, str] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)
    broken: str | None = None
    set_aside: list[str] = field(default_factory=list)


def update(run: Run) -> None:
    """Write the page anew where the run's config.yaml asks for it. Whatever fails here is only logged: the call itself was done."""
    try:
        if run.config_path.is_file() and run.config().emit_progress_log:
            atomic_write(run.path / PROGRESS_FILE, seal.redacted(text(state(run))))
    except Exception as error:
        log.warning("%s was not written: %s", run.path / PROGRESS_FILE, error)


def is_foreign(run: Run) -> bool:
    """Whether a file lies there under the page's name that no tool has written."""
    path = run.path / PROGRESS_FILE
    return path.is_symlink() or (path.is_file() and not path.read_text(errors="replace").startswith(WRITTEN_BY))


def state(run: Run) -> RunState:
    seen = gates.view(run)
    try:
        calls = ledger.entries(run)
    except ToolFailure:  # the view says why
        calls = []
    known = {name: evidence.read(run, name) for name in seen.newest}
    ours = [name for name, found in known.items() if found and found.digest == seen.newest[name] and seen.facts(name)]
    return RunState(
        config=seen.config,
        calls=calls,
        steps=gates.steps(seen),
        next=gates.next_call(seen),
        running=gates.job_states(run),
        facts={name: seen.facts(name) for name in ours},
        stale={name: found[0] for name in ours if (found := seen.problems(name))},
        broken=seen.ledger_problem,
        set_aside=sorted(path.name for path in run.meta.glob("ledger.foreign-*.jsonl")),
    )


def text(state: RunState) -> str:
    config, last = state.config, state.calls[-1] if state.calls else None
    parts = [WRITTEN_BY, f"# Progress of {code(config.model_id)} on {code(card.dataset_name(config))}"]
    parts.append(f"After call {last['seq'] + 1}, {_time(last)} UTC." if last else "No call is recorded.")
    if state.broken:
        parts.append(f"**The ledger does not hold, so nothing is known of the calls:** {code(state.broken)}")
    if state.set_aside:
        named = ", ".join(f"`meta/{name}`" for name in state.set_aside)
        parts.append(
            f"**Not shown: what {named} say.** They were not written here, or were edited, and count for nothing."
        )
    parts += ["## Result", _result(state)]
    parts += ["## Gates", _table(("gate", "state", "what is missing"), [_gate(step) for step in state.steps])]
    if state.next:
        parts.append(f"Next: {code(_call(state.next.tool, state.next.arguments))}")
    parts += ["## Stages", _table(("stage", "state", "seconds", "what it says"), _stages(state))]
    parts += ["## Failures, and what overcame them", "\n".join(_failures(state.calls)) or "None."]
    parts += ["## Calls", _table(("#", "time", "call", "result"), [_line(entry) for entry in state.calls])]
    return "\n\n".join(parts) + "\n"


def _result(state: RunState) -> str:
    tuned, base = state.facts.get("stages/eval", {}), state.facts.get("stages/baseline", {})
    if not tuned.get("passed"):
        measured = _measured(base) if base.get("passed") else ""
        return f"Baseline: {measured}. The tuned model is not measured yet." if measured else "Nothing is measured yet."
    before = f"baseline {_measured(base)} → " if base.get("passed") and not state.config.skip_baseline else ""
    old = f" **Stale:** {code(state.stale['stages/eval'])}" if "stages/eval" in state.stale else ""
    return f"{before}tuned {_measured(tuned)}. {card.certainty(tuned)}{old}"


def _measured(facts: dict[str, Any]) -> str:
    return f"{facts['metric']} {facts[facts['metric']]:.4f} ({code(facts['kind'])}, {facts['n']} rows)"


def _gate(step: Step) -> tuple[str, ...]:
    missing = "; ".join(f"{check.name}: {code(check.detail)}" for check in step.checks if not check.ok)
    return f"{step.step} {step.name}", "open" if step.passed else "closed", missing


def _stages(state: RunState) -> list[tuple[str, ...]]:
    """Of each stage that was begun: how its last run ended, or that it runs."""
    said = {check.name: check for step in state.steps for check in step.checks}
    rows = []
    for name in (kind.removeprefix("stages/") for kind in evidence.KINDS if kind.startswith("stages/")):
        facts, check = state.facts.get(f"stages/{name}", {}), said.get(name)
        if facts or name in state.running:
            now = state.running.get(name) or _ended(facts, f"stages/{name}" in state.stale)
            seconds = f"{facts['seconds']:.1f}" if "seconds" in facts and name not in state.running else ""
            rows.append((name, now, seconds, code(check.detail) if check and name not in state.running else ""))
    return rows


def _ended(facts: dict[str, Any], stale: bool) -> str:
    how = "passed" if facts.get("passed") else "stopped" if facts.get("stopped") else "failed"
    return f"{how}, stale" if stale else how


def _failures(calls: list[dict[str, Any]]) -> list[str]:
    """Of each failure of a stage: the calls that changed something before the stage was judged again, and how that ended."""
    found = []
    for at, entry in enumerate(calls):
        if failed := entry["arguments"].get("failed"):
            stage, between = entry["arguments"]["stage"], []
            again = next((later for later in calls[at + 1 :] if f"stages/{stage}" in later["wrote"]), None)
            for later in calls[at + 1 : again["seq"] if again else None]:
                if later["outcome"] == "ok" and later["wrote"] and later["arguments"].get("stage") != stage:
                    between.append(f"{code(_asked(later))} (call {later['seq'] + 1})")
            changed = ", ".join(between) or "no tool changed anything"
            end = f"{_outcome(again)} in call {again['seq'] + 1}" if again else "not run again to its end yet"
            found.append(f"- {stage}, call {entry['seq'] + 1}: {code(failed)}. Then {changed}; {end}.")
    return found


def _line(entry: dict[str, Any]) -> tuple[str, ...]:
    return str(entry["seq"] + 1), _time(entry), code(_asked(entry)), _outcome(entry)


def _outcome(entry: dict[str, Any]) -> str:
    given = entry["arguments"]
    if entry["outcome"] != "ok":
        return f"refused: {entry['outcome']}"
    if "failed" in given:
        return f"failed: {code(given['failed'])}"
    if entry["tool"] == "docker_run":
        if "stopped" in given:
            return "stopped"
        return "passed" if entry["wrote"] else "asked to stop" if given.get("stop") else "started or followed"
    return f"wrote {', '.join(entry['wrote'])}" if entry["wrote"] else "done"


def _asked(entry: dict[str, Any]) -> str:
    return _call(entry["tool"], entry["arguments"])


def _call(tool: str, arguments: dict[str, Any]) -> str:
    given = ", ".join(f"{key}={value!r}" for key, value in arguments.items() if key not in OF_THE_ANSWER)
    return f"{tool}({given})"


def _time(entry: dict[str, Any]) -> str:
    return entry["time"].replace("T", " ").removesuffix("Z")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else "None."
