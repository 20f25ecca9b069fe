"""Substitutions that only the user may decide: asked by elicitation, or confirmed in the words of the refusal.

Changing model, dataset, task or method, running a repository's own code, and a fourth try after the same error three
times are never the agent's decision. A client that can ask its user is made to; for one that cannot, `confirm` must
quote the substitution word for word. Either way it is written into the ledger, and into the run's notes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcp.server.mcpserver import AcceptedElicitation, Context, Elicit, ElicitationResult
from pydantic import BaseModel, Field

from tunegate import evidence
from tunegate.errors import ToolFailure
from tunegate.evidence import ledger
from tunegate.rundir import Run

CONFIRMED = "confirmed by the agent for the user, whom the client could not ask"


class Approval(BaseModel):
    """The user's answer."""

    approve: bool = Field(description="Do you approve this change?")


class Quoted(Approval):
    """`confirm`, sent by an agent whose client cannot ask: whether a user ever saw the question, nothing shows."""


def ask(ctx: Context, find: Callable[[], str | None], confirm: str | None) -> Approval | Elicit[Approval]:
    """The resolver's answer: nothing to ask, ask the user, or take `confirm` where the client cannot ask.

    `find` says what would be substituted. If it fails nothing is approved, and the tool itself meets the failure.
    """
    try:
        substitution = find()
    except ToolFailure:
        return Approval(approve=False)
    if substitution is None:
        return Approval(approve=True)
    capabilities = ctx.client_capabilities
    if capabilities is not None and capabilities.elicitation is not None:
        return Elicit(f"tunegate: {substitution}. Approve?", Approval)
    return Quoted(approve=confirm == substitution)


def settle(answer: ElicitationResult[Approval], substitution: str | None, arguments: dict[str, Any]) -> list[str]:
    """Notes to record; empty when nothing was substituted. The ledger line of this call gets it too, as `approved`.

    Raises ToolFailure(approval_required).
    """
    if substitution is None:
        return []
    if isinstance(answer, AcceptedElicitation) and answer.data.approve:
        arguments["approved"] = substitution
        if isinstance(answer.data, Quoted):
            arguments["channel"] = "confirm"
            return [f"{CONFIRMED}: {substitution}"]
        arguments["channel"] = "elicitation"
        return [f"approved by the user: {substitution}"]
    raise ToolFailure(
        "approval_required",
        f"only the user can decide this: {substitution}. Ask them; if they agree, make the same call with "
        f"confirm={substitution!r} (a client with elicitation asks them itself)",
        ask_user=f"{substitution}?",
    )


def settled(run: Run, name: str, tool: str, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """What this run has already decided about `keys`: in config.yaml, in the evidence, in the ledger's last successful call.

    All three are asked, so that editing config.yaml or deleting evidence does not turn a substitution into a first choice.
    """
    if not run.config_path.exists():
        return []
    found = evidence.read(run, name)
    try:
        entries = ledger.entries(run)
    except ToolFailure:
        entries = []
    calls = [entry["arguments"] for entry in entries if entry["tool"] == tool and entry["wrote"].get(name)]
    config = run.config().model_dump()
    return [{key: known.get(key) for key in keys} for known in (config, found.config if found else {}, *calls[-1:])]


def substitution(run: Run, name: str, tool: str, wanted: dict[str, Any]) -> str | None:
    """`replace model_id 'a' with 'b'` for the keys that differ from what this run has decided, else None."""
    known = settled(run, name, tool, tuple(wanted))
    changes = []
    for key, new in wanted.items():
        old = next(
            (values[key] for values in known if values[key] not in (None, "none", new)), None
        )  # "none": no monitoring yet
        if old is not None and new is not None:
            changes.append(f"replace {key} {old!r} with {new!r}")
    return "; ".join(changes) or None
