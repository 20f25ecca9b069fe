"""What every tool shares: its declaration, and all that happens around its body (`tool`): the run, the lock, the ledger line, `next`."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import anyio
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field

from tunegate import config as config_module
from tunegate import evidence, gates, jobs, nofollow, rundir
from tunegate.config import RunConfig
from tunegate.errors import ASK_USER, NextCall, ToolFailure
from tunegate.evidence import approvals, ledger
from tunegate.jobs import snapshot
from tunegate.publish import progress_log
from tunegate.rundir import Run
from tunegate.tools.answer import answer

if TYPE_CHECKING:
    from tunegate.clients.hub import Hub
    from tunegate.clients.web.page import Web

POLL_S = 0.5
DEFAULT_WAIT_S = 45.0  # well under the two minutes after which the least patient client gives up
UNRECORDED = ("wait_s",)  # arguments that do not change what a call does
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


def _always_there(schema: dict[str, Any]) -> None:
    schema["required"] = ["output_dir", "next", *schema.get("required", [])]


class Result(BaseModel):
    """What every tool answers at least. A body may leave `output_dir` and `next` to `tool()`: an answer always has both."""

    model_config = ConfigDict(json_schema_extra=_always_there)

    output_dir: str = Field(default_factory=str)
    notes: list[str] = Field(default_factory=list, description="what to tell the user")
    next: NextCall | None = Field(
        default_factory=lambda: None,
        description="the call that makes sense now; null when the run is complete, or no call can help before the user answers",
    )
    ask_user: str | None = ASK_USER


@dataclass
class Call:
    """One call of a tool: the run it works on, the arguments it was given, and what it has written so far."""

    tool: str
    ctx: Context
    workspace: Workspace
    run: Run
    arguments: dict[str, Any]  # as given, without those that have their default
    line: dict[str, Any]  # the arguments as the ledger's line shows them; a body adds what became of them
    wrote: dict[str, str] = field(default_factory=dict)  # evidence name -> digest

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """`recorded` for this call. Only a tool that does not hold the run all the time needs it: `tool()` does it for the others."""
        with recorded(self.run, self.tool, self.line) as self.wrote:
            yield

    def record_evidence(self, name: str, facts: dict[str, Any], config: RunConfig, **kwargs: Any) -> None:
        """Write one piece of evidence and note it for the ledger's line."""
        self.wrote.update(evidence.write(self.run, evidence.make(self.run, name, facts, config=config, **kwargs)))

    def require_gate(self, number: int) -> None:
        """Raises ToolFailure(gate_closed) unless gates 1..number hold."""
        gates.require(self.run, number, self.tool)

    def require_evidence(self, *names: str) -> None:
        require_evidence(self.run, *names, tool=self.tool)

    def settle(self, approval: Any, substitution: str | None) -> list[str]:
        """Notes on what the user has approved. Raises ToolFailure(approval_required)."""
        return approvals.settle(approval, substitution, self.line)

    def again(self, why: str, **changed: Any) -> NextCall:
        """The same call once more, with the arguments in `changed`, to follow what it has started."""
        given = {**self.arguments, "output_dir": str(self.run.path), **changed}
        return NextCall(tool=self.tool, arguments=given, why=why, follow=True)


@dataclass(frozen=True)
class Declaration:
    function: Callable
    title: str
    annotations: ToolAnnotations


TOOLS: list[Declaration] = []


def tool(
    title: str,
    *,
    read_only: bool = False,
    begins_run: bool = False,
    destructive: bool = False,
    idempotent: bool = True,
    open_world: bool = False,
):
    """Declare a tool: its schema is its signature, its description its docstring. All four hints are always explicit.

    The body is `name(call: Call, …) -> Report`. Around it: the run is found (with begins_run: made) and, unless read_only,
    held; one ledger line is written, whether the body answers or refuses; then `output_dir` and, unless the body has set it,
    `next` are filled in. A body that must see the gates as they are after that line answers with a function of their view.
    An async body holds the run by itself, and only while it has to (`call.recorded`).
    """

    def declare(body: Callable) -> Callable:
        hints = ToolAnnotations(
            title=title,
            read_only_hint=read_only,
            destructive_hint=destructive,
            idempotent_hint=idempotent,
            open_world_hint=open_world,
        )

        waits = inspect.iscoroutinefunction(body)
        handle = _async_handler(body, begins_run) if waits else _handler(body, begins_run, read_only)
        function = _with_signature(handle, body)
        TOOLS.append(Declaration(function, title, hints))
        return function

    return declare


def _handler(body: Callable, begins_run: bool, read_only: bool) -> Callable[..., CallToolResult]:
    def handle(ctx: Context, **arguments: Any) -> CallToolResult:
        call = _begin(body, begins_run, ctx, arguments)
        with nullcontext() if read_only else call.recorded():
            found = body(call, **arguments)
        return _answer(call, found)

    return handle


def _async_handler(body: Callable, begins_run: bool) -> Callable[..., Awaitable[CallToolResult]]:
    async def handle(ctx: Context, **arguments: Any) -> CallToolResult:
        call = _begin(body, begins_run, ctx, arguments)
        return await anyio.to_thread.run_sync(_answer, call, await body(call, **arguments))

    return handle


def _begin(body: Callable, begins_run: bool, ctx: Context, arguments: dict[str, Any]) -> Call:
    ws, output_dir = workspace(ctx), arguments["output_dir"]
    if begins_run:
        run = rundir.locate(ws.root, output_dir or default_output_dir(arguments["model_id"]))
    else:
        run = ws.run(output_dir)
    given = without_defaults(body, {key: value for key, value in arguments.items() if key != "approval"})
    line = {key: value for key, value in given.items() if key != "confirm"}
    return Call(body.__name__, ctx, ws, run, given, line)


def without_defaults(function: Callable, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that say something: without those that have their default, and without how long the call may take."""
    known = inspect.signature(function).parameters
    return {
        name: value
        for name, value in arguments.items()
        if name not in UNRECORDED and value is not None and (name not in known or value != known[name].default)
    }


def _with_signature(handle: Callable, body: Callable) -> Callable:
    """`handle` as the SDK shall see it: named and described as `body`, with its parameters (`ctx` for `call`) and its typed answer."""
    signature = inspect.signature(body, eval_str=True)
    first, *others = signature.parameters.values()
    parameters = [first.replace(name="ctx", annotation=Context), *others]
    answers = Annotated[CallToolResult, signature.return_annotation]
    handle.__name__, handle.__qualname__, handle.__doc__ = body.__name__, body.__qualname__, body.__doc__
    handle.__module__ = body.__module__
    handle.__signature__ = signature.replace(parameters=parameters, return_annotation=answers)
    handle.__annotations__ = {**{p.name: p.annotation for p in parameters}, "return": answers}
    return handle


def _answer(call: Call, found: Result | Callable[[gates.View], Result]) -> CallToolResult:
    if not isinstance(found, Result):
        found = found(gates.view(call.run))
    filled = {"output_dir": str(call.run.path)}
    if "next" not in found.model_fields_set:
        filled["next"] = next_for(call.run)
    return answer(found.model_copy(update=filled))


def default_output_dir(model_id: str) -> str:
    return f"output/{config_module.short_name(model_id)}"


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
        if former := ledger.moved_from(run):
            snapshot.move(run, former)
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
    progress_log.update(run)


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
        state = jobs.inspect(run, job).state
        if state == "lost":
            if not await anyio.to_thread.run_sync(next(attempts, lambda: False)):
                raise killed(run, job, again)
        elif state != "running":
            report = await anyio.to_thread.run_sync(advance)
    return report


def killed(run: Run, job: str, again: NextCall) -> ToolFailure:
    """The refusal for a job that is gone without a result, or whose runner could not even start."""
    said = jobs.runner_error(run, job)
    why = f"could not run ({said})" if said else "was killed before it ended (out of memory, or by hand)"
    gate = gates.gate_of(gates.view(run), f"stages/{job}")
    return ToolFailure("stage_failed", f"{job} {why}: make the call again", gate=gate, next=again)


def next_for(run: Run) -> NextCall | None:
    return gates.next_call(gates.view(run))
