"""Every refusal that a tool can answer with.

Code            what happened                                          who can fix it
--------------  -----------------------------------------------------  --------------------------
invalid_input   an argument has the wrong form or value                the agent: call it again
invalid_config  config.yaml cannot be read as a RunConfig              the agent or user: edit it
outside_root    a path leaves the server's root, or is a symlink       the agent: another path
not_found       no such model, dataset, revision, file or run          the agent: check the name
access_denied   access denied by the Hub: gated, private or no token   the user: ask for access
out_of_scope    tunegate does not train the model's task               the user: another model
rejected        the model or dataset cannot serve this run             the user: decide
ambiguous       more than one reading is possible                      the user: choose
gate_closed     an earlier step's evidence is missing or stale         the agent: follow `next`
approval_required  a substitution that only the user may decide        the user, then `confirm`
run_locked      another call is working on this run                    the agent: wait, try again
unavailable     an outside service failed or cannot be reached         the agent: try again later
stage_failed    a stage ran and did not pass                           the agent: `diagnose`
disk_full       nothing could be written                               the user: free space
internal        a defect in tunegate                                   tunegate: please report it
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, Field, model_validator

ErrorCode = Literal[
    "invalid_input",
    "invalid_config",
    "outside_root",
    "not_found",
    "access_denied",
    "out_of_scope",
    "rejected",
    "ambiguous",
    "gate_closed",
    "approval_required",
    "run_locked",
    "unavailable",
    "stage_failed",
    "disk_full",
    "internal",
]
CODES: tuple[str, ...] = get_args(ErrorCode)
USER_DECIDES = {"access_denied", "out_of_scope", "rejected", "ambiguous", "approval_required", "disk_full"}


ASK_USER: Any = Field(
    default=None,
    exclude_if=lambda question: question is None,  # an agent pays for each null
    description="what to ask the user where no call can help",
)


class NextCall(BaseModel):
    """The call that makes sense now."""

    tool: str = Field(description="tool to call")
    arguments: dict[str, Any] = Field(default_factory=dict, description="its arguments")
    why: str = Field(default="", description="one short reason")
    follow: bool = Field(
        default=False,
        exclude_if=lambda follow: not follow,
        description="true: what the same call started is still running; call it again",
    )


class Failure(BaseModel):
    """What a refused tool answers, under `error`."""

    code: ErrorCode
    message: str = Field(description="what is wrong (field and value) and the remedy")
    gate: int | None = Field(default=None, description="the gate (1-6) that is closed, if that is the reason")
    missing: list[str] = Field(default_factory=list, description="what the gate still lacks")
    next: NextCall | None = None
    ask_user: str | None = ASK_USER

    @model_validator(mode="after")
    def _someone_can_act(self) -> Failure:
        """What only the user can fix is a question to the user, unless a call comes first."""
        if self.code in USER_DECIDES and self.next is None and self.ask_user is None:
            self.ask_user = self.message
        return self


class ToolFailure(Exception):
    """An anticipated refusal. Anything else that a tool raises is a defect and is reported as `internal`."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        gate: int | None = None,
        missing: list[str] | None = None,
        next: NextCall | None = None,
        ask_user: str | None = None,
        diagnosis: str | None = None,
    ):
        """diagnosis: the code of a row of the error playbook, for a process that ends with this refusal (`coded`)."""
        super().__init__(message)
        self.diagnosis = diagnosis
        self.failure = Failure(
            code=code, message=message, gate=gate, missing=missing or [], next=next, ask_user=ask_user
        )

    @property
    def code(self) -> str:
        return self.failure.code


def coded(code: str, text: str) -> str:
    """A problem, or the last line of a stage's log, with the code by which `diagnose` finds its row of the error playbook.
    The text is for people and decides nothing."""
    return f"[{code}] {text}"
