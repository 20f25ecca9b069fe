"""Substitutions that only the user may decide: asked by elicitation, or confirmed in the words of the refusal.

Changing model, dataset, task or method, running a repository's own code, and a fourth try after the same error three
times are never the agent's decision. A client that can ask its user is made to; for one that cannot, `confirm` must
quote the substitution word for word. Either way it is written into the run's notes.
"""

from __future__ import annotations

from mcp.server.mcpserver import AcceptedElicitation, Context, Elicit, ElicitationResult
from pydantic import BaseModel, Field

from tunegate import evidence
from tunegate.errors import ToolFailure
from tunegate.rundir import Run


class Approval(BaseModel):
    """The user's answer."""

    approve: bool = Field(description="Do you approve this change?")


def ask(ctx: Context, substitution: str | None, confirm: str | None) -> Approval | Elicit[Approval]:
    """The resolver's answer: nothing to ask, ask the user, or take `confirm` where the client cannot ask."""
    if substitution is None:
        return Approval(approve=True)
    capabilities = ctx.client_capabilities
    if capabilities is not None and capabilities.elicitation is not None:
        return Elicit(f"tunegate: {substitution}. Approve?", Approval)
    return Approval(approve=confirm == substitution)


def settle(answer: ElicitationResult[Approval], substitution: str | None) -> list[str]:
    """Notes to record; empty when nothing was substituted. Raises ToolFailure(approval_required)."""
    if substitution is None:
        return []
    if isinstance(answer, AcceptedElicitation) and answer.data.approve:
        return [f"approved by the user: {substitution}"]
    raise ToolFailure(
        "approval_required",
        f"only the user can decide this: {substitution}. Ask them; if they agree, make the same call with "
        f"confirm={substitution!r} (a client with elicitation asks them itself)",
    )


def substitution(run: Run, name: str, wanted: dict[str, object]) -> str | None:
    """`replace model_id 'a' with 'b'` for the keys that differ from this run's config or from its evidence, else None.

    The evidence is asked too, so that editing config.yaml by hand does not turn a substitution into a first choice.
    """
    if not run.config_path.exists():
        return None
    config, found = run.config(), evidence.read(run, name)
    settled = {**(found.config if found else {})}
    changes = []
    for key, new in wanted.items():
        for old in (getattr(config, key), settled.get(key)):
            if old is not None and new is not None and old != new:
                changes.append(f"replace {key} {old!r} with {new!r}")
                break
    return "; ".join(changes) or None
