"""The MCP server: the declared tools with strict arguments and structured refusals, the run's files as resources, the skill as a prompt."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp.types import CallToolResult
from pydantic import ValidationError

from tunegate import __version__, evidence, jobs, rundir, skill
from tunegate.errors import Failure, ToolFailure
from tunegate.evidence import seal
from tunegate.rundir import Run
from tunegate.stage_table import STAGES
from tunegate.tools import generate, hardware, onward, publish, qualify, research, stage, status
from tunegate.tools.answer import refusal
from tunegate.tools.base import TOOLS, Workspace

DOMAINS = (
    qualify,
    hardware,
    research,
    generate,
    stage,
    publish,
    status,
)  # importing declares; this is the order in which an agent reads them
log = logging.getLogger("tunegate")  # stderr: stdout is the protocol's
INSTRUCTIONS = (
    "Fine-tunes a Hugging Face model through six gates. Begin with probe_model, then follow each answer's `next`. "
    "A refusal names the gate, what is missing and the next call; never work around it. Never `confirm` what the user did not agree to."
)


class Server(MCPServer):
    """MCPServer whose refusals are JSON, `{error: {code, message, gate, missing, next, ask_user}}` with is_error."""

    root: Path

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Context | None = None):
        try:
            result = await super().call_tool(name, arguments, context)
        except ToolError as error:
            result = refusal(_failure(name, error))
        # what is no result asks the client first (for the user's approval)
        return onward.checked(result, name, arguments, self.root) if isinstance(result, CallToolResult) else result


def _failure(name: str, error: ToolError) -> Failure:
    cause = error.__cause__
    if isinstance(cause, ToolFailure):
        return cause.failure
    if isinstance(cause, ValidationError):
        return Failure(code="invalid_input", message=f"{name}: " + "; ".join(_readable(e) for e in cause.errors()[:5]))
    if cause is None:
        return Failure(
            code="invalid_input", message=f"{error}; tools: {', '.join(sorted(d.function.__name__ for d in TOOLS))}"
        )
    log.error("%s failed unexpectedly", name, exc_info=cause)
    return Failure(
        code="internal",
        message=f"{name} failed unexpectedly ({type(cause).__name__}): a defect of tunegate; its trace is on the server's stderr",
    )


def _readable(error: dict[str, Any]) -> str:
    field = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown argument {field!r}: leave it out"
    if error["type"] == "missing":
        return f"argument {field!r} is required"
    return f"{field} = {str(error.get('input'))[:80]!r}: {error['msg'][0].lower() + error['msg'][1:]}"


def build(workspace: Workspace) -> Server:
    @asynccontextmanager
    async def lifespan(server: MCPServer):
        yield workspace

    server = Server(
        "tunegate",
        title="tunegate",
        version=__version__,
        instructions=INSTRUCTIONS,
        lifespan=lifespan,
        log_level="WARNING",
    )
    server.root = workspace.root
    names = [domain.__name__ for domain in DOMAINS]
    for declared in sorted(TOOLS, key=lambda declared: names.index(declared.function.__module__)):
        server.add_tool(declared.function, title=declared.title, annotations=declared.annotations)
        _make_strict(server, declared.function.__name__)
    _add_resources(server, workspace)
    server.prompt(
        name="tunegate",
        title="Fine-tune with tunegate",
        description="The skill: how to take a model through the six steps.",
    )(skill.text)
    return server


def _make_strict(server: Server, name: str) -> None:
    """The SDK drops unknown arguments and turns "yes" into True; a gate wants neither."""
    tool = server._tool_manager.get_tool(name)
    model = tool.fn_metadata.arg_model
    model.model_config = {**model.model_config, "extra": "forbid", "strict": True}
    model.model_rebuild(force=True)
    tool.parameters = model.model_json_schema(by_alias=True)


def _add_resources(server: Server, workspace: Workspace) -> None:
    """`{run}` is the run's directory relative to the root, with `/` written as `~` (a template's segment holds no slash)."""

    def run_of(name: str) -> Run:
        try:
            return rundir.existing(workspace.root, name.replace("~", "/"))
        except ToolFailure as failure:
            raise ResourceNotFoundError(str(failure)) from None

    def inside(run: Run, name: str) -> Path:
        try:
            return rundir.contained(run, run.path / name)
        except ToolFailure as failure:
            raise ResourceNotFoundError(str(failure)) from None

    @server.resource("run://{run}/config", title="config.yaml", mime_type="application/yaml")
    def config(run: str) -> str:
        """Every value of the run."""
        return seal.redacted(inside(run_of(run), "config.yaml").read_text())

    @server.resource("run://{run}/evidence/{name}", title="Evidence", mime_type="application/json")
    def evidence_file(run: str, name: str) -> str:
        """One evidence file: model, dataset, host, image, recipe, project, push, rerun, or a stage's name."""
        known = name if name in evidence.KINDS else f"stages/{name}"
        path = inside(run_of(run), f"meta/{known}.json")
        if known not in evidence.KINDS or not path.is_file():
            raise ResourceNotFoundError(f"no evidence {name!r} in this run: gate_status lists what there is")
        return path.read_text()

    @server.resource("run://{run}/log/{stage}", title="Stage log", mime_type="text/plain")
    def stage_log(run: str, stage: str) -> str:
        """The end of a stage's log, secrets redacted."""
        if stage not in (*STAGES, "rerun"):
            raise ResourceNotFoundError(f"no stage {stage!r}: {', '.join(STAGES)}")
        inside(run_of(run), f"logs/{stage}.log")
        return "\n".join(jobs.log_tail(run_of(run), stage, lines=400, max_bytes=60_000))

    @server.resource("run://{run}/recipe", title="recipe.md", mime_type="text/markdown")
    def recipe(run: str) -> str:
        """What research found, with its sources."""
        path = inside(run_of(run), "meta/recipe.md")
        if not path.is_file():
            raise ResourceNotFoundError("no recipe yet: call fetch_recipe")
        return path.read_text()
