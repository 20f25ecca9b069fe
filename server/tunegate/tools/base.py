"""What every tool shares: its declaration, the workspace it works in, the lock and the ledger line around a call."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import anyio
from mcp.server.mcpserver import Context
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

from tunegate import evidence, gates, jobs, nofollow, rundir
from tunegate.config import RunConfig
from tunegate.errors import ASK_USER, NextCall, ToolFailure
from tunegate.evidence import ledger
from tunegate.publish import progress_log
from tunegate.rundir import Run

if TYPE_CHECKING:
    from tunegate.clients.hub import Hub
    from tunegate.clients.web.page import Web

POLL_S = 0.5
DEFAULT_WAIT_S = 45.0  # well under the two minutes after which the least patient client gives up
Report = TypeVar("Report")

OutputDir = Annotated[str, Field(description="the run's directory, below the server's root")]
Confirm = Annotated[
    str | None, Field(description="only after the user agreed: the substitution, quoted from the refusal")
]


@dataclass
class Workspace:
    """The server's root, the directories that local datasets may come from, and the seams to the outside."""

    root: Path
    data_roots: tuple[Path, ...] = ()
    make_hub: Callable[[], Hub] | None = None
    make_web: Callable[[], Web] | None = None
    _made: dict[str, Any] = field(default_factory=dict)

    @property
    def hub(self) -> Hub:
        if "hub" not in self._made:
            from tunegate.clients.hub import Hub

            self._made["hub"] = (self.make_hub or Hub)()
        return self._made["hub"]

    @property
    def web(self) -> Web:
        if "web" not in self._made:
            from tunegate.clients.web import HttpWeb

            self._made["web"] = self.make_web() if self.make_web else HttpWeb.from_env()
        return self._made["web"]

    @property
    def local_roots(self) -> tuple[Path, ...]:
        """The directories that local datasets may come from, without links."""
        return tuple(root.resolve() for root in (self.root, *self.data_roots))

    def run(self, output_dir: str) -> Run:
        return rundir.existing(self.root, output_dir)


class Result(BaseModel):
    """What every tool answers at least."""

    output_dir: str
    notes: list[str] = Field(default_factory=list, description="what to tell the user")
    next: NextCall | None = Field(
        description="the call that makes sense now; null when the run is complete, or no call can help before the user answers"
    )
    ask_user: str | None = ASK_USER


@dataclass(frozen=True)
class Declaration:
    function: Callable
    title: str
    annotations: ToolAnnotations


TOOLS: list[Declaration] = []


def tool(
    title: str, *, read_only: bool = False, destructive: bool = False, idempotent: bool = True, open_world: bool = False
):
    """Declare a tool: its schema is its signature, its description its docstring. All four hints are always explicit."""

    def declare(function: Callable) -> Callable:
        hints = ToolAnnotations(
            title=title,
            read_only_hint=read_only,
            destructive_hint=destructive,
            idempotent_hint=idempotent,
            open_world_hint=open_world,
        )
        TOOLS.append(Declaration(function, title, hints))
        return function

    return declare


def workspace(ctx: Context) -> Workspace:
    return ctx.request_context.lifespan_context


@contextmanager
def recorded(run: Run, name: str, arguments: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Hold the run, and end with one ledger line: what was written, or the code of the refusal.

    Yields the dict to update with what `evidence.write` returns. A run that this call began and then refused leaves nothing.
    """
    new = not run.config_path.exists()
    began = not run.path.exists()
    with rundir.lock(run, name):
        ledger.start_over(run)
        wrote: dict[str, str] = {}
        try:
            yield wrote
        except ToolFailure as failure:
            if not new:
                _enter(run, name, arguments, failure.code, wrote)
            elif began and not run.config_path.exists():
                nofollow.rmtree(run.path)
            raise
        _enter(run, name, arguments, "ok", wrote)


def _enter(run: Run, name: str, arguments: dict[str, Any], outcome: str, wrote: dict[str, str]) -> None:
    given = {key: value for key, value in arguments.items() if value is not None}
    ledger.append(run, name, given, outcome, wrote)
    progress_log.keep(run)


def keep(run: Run, name: str, facts: dict[str, Any], config: RunConfig, wrote: dict[str, str], **kwargs: Any) -> None:
    """Write one piece of evidence and note it for the ledger line."""
    wrote.update(evidence.write(run, evidence.make(run, name, facts, config=config, **kwargs)))


def require_evidence(run: Run, *names: str, tool: str) -> None:
    """Raises ToolFailure(gate_closed) naming the first of `names` that does not hold, and the call that writes it."""
    seen = gates.view(run)
    for name in names:
        found = seen.problems(name)
        if found:
            kind = evidence.KINDS[name]
            arguments = {"output_dir": str(run.path), **dict(kind.arguments)}
            raise ToolFailure(
                "gate_closed",
                f"{tool} refuses: {name} evidence {found[0]}",
                gate=gates.gate_of(seen, name),
                missing=[f"{name}: {problem}" for problem in found],
                next=NextCall(tool=kind.tool, arguments=arguments, why=f"{name} {found[0]}"),
            )


async def follow(
    run: Run,
    job: str,
    wait_s: float,
    advance: Callable[[], Report | None],
    tell: Callable[[], Awaitable[None]],
    again: NextCall,
    reattach: Callable[[], bool] = lambda: False,
) -> Report | None:
    """Call `advance` now, and again whenever the job has stopped running, until it answers or `wait_s` is over (None).

    reattach: tried once when the job is gone without a result; True if what it followed lives on, and is followed again.
    Raises ToolFailure(stage_failed), with `again` as the next call, when the job is gone without a result.
    """
    attempts = iter([reattach])
    deadline = time.monotonic() + wait_s
    report = await anyio.to_thread.run_sync(advance)
    while report is None and time.monotonic() < deadline:
        await tell()
        await anyio.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))
        state = jobs.look(run, job).state
        if state == "lost":
            if not await anyio.to_thread.run_sync(next(attempts, lambda: False)):
                raise killed(run, job, again)
        elif state != "running":
            report = await anyio.to_thread.run_sync(advance)
    return report


def killed(run: Run, job: str, again: NextCall) -> ToolFailure:
    """The refusal for a job that is gone without a result, or whose runner could not even start."""
    said = jobs.runner_error(run, job)
    why = f"could not run ({said})" if said else "was killed before it ended (for want of memory, or by hand)"
    return ToolFailure("stage_failed", f"{job} {why}: make the call again", gate=4, next=again)


def next_for(run: Run) -> NextCall | None:
    return gates.next_call(gates.view(run))
