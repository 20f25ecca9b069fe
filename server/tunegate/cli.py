"""The command line: serve, demo, gates, wheelhouse, skill install."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import get_args

from tunegate import __version__
from tunegate.config import PlatformName
from tunegate.errors import ToolFailure


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="tunegate", description="Fine-tune a Hugging Face model through gates that only evidence on disk can open."
    )
    top.add_argument("--version", action="version", version=f"tunegate {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the MCP server (stdio)")
    serve.add_argument("--http", metavar="HOST:PORT", help="serve streamable HTTP instead of stdio")
    serve.add_argument(
        "--root", type=Path, default=Path.cwd(), help="runs live below this directory (default: the current one)"
    )
    serve.add_argument(
        "--data-root",
        type=Path,
        action="append",
        default=[],
        help="local datasets may also come from here (repeatable, read only)",
    )

    demo = commands.add_parser("demo", help="take a small model through all six steps, on this machine")
    demo.add_argument(
        "--platform",
        choices=get_args(PlatformName),
        help="default: local-docker where an engine answers, else local-process",
    )
    demo.add_argument("--output-dir", type=Path, help="where the run goes (default: ./output/demo)")
    demo.add_argument("--seed", type=int, default=42)

    gates = commands.add_parser("gates", help="print the gates of a run")
    gates.add_argument("run", type=Path)
    gates.add_argument("--json", action="store_true", help="as gate_status answers")

    wheels = commands.add_parser(
        "wheelhouse", help="fetch the wheels that a run's image needs, so that it can be built without a network"
    )
    wheels.add_argument("run", type=Path)
    wheels.add_argument("to", type=Path, metavar="DIRECTORY", help="new; TUNEGATE_WHEELHOUSE then names it")

    skill = commands.add_parser("skill", help="the agent skill").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    install = skill.add_parser("install", help="copy the skill to DIR/tunegate")
    install.add_argument("--to", type=Path, required=True, metavar="DIR")
    return top


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        return SUBCOMMANDS[arguments.command](arguments)
    except ToolFailure as failure:
        print(f"tunegate: {failure}", file=sys.stderr)
        return 1


def _serve(arguments: argparse.Namespace) -> int:
    from tunegate.clients.network import LOOPBACK
    from tunegate.mcp_server import build
    from tunegate.tools.base import Workspace

    server = build(Workspace(arguments.root.resolve(), tuple(arguments.data_root)))
    if not arguments.http:
        server.run()
        return 0
    host, _, port = arguments.http.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ToolFailure("invalid_input", f"--http {arguments.http!r}: give HOST:PORT, e.g. 127.0.0.1:8000")
    if host not in LOOPBACK:
        raise ToolFailure(
            "invalid_input",
            f"--http {arguments.http!r}: there is no authentication, so only this machine is served: use 127.0.0.1:{port}, "
            "and a tunnel or a proxy that authenticates for others",
        )
    server.run(transport="streamable-http", host=host, port=int(port))
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from tunegate import demo

    return demo.main(
        output_dir=arguments.output_dir or Path("output/demo"), platform=arguments.platform, seed=arguments.seed
    )


def _gates(arguments: argparse.Namespace) -> int:
    from tunegate import gates, rundir
    from tunegate.tools.status import status

    path = arguments.run.resolve()
    found = status(gates.view(rundir.existing(path.parent, path.name)))
    if arguments.json:
        print(found.model_dump_json(indent=1))
        return 0
    for step in found.steps:
        print(f"{'open  ' if step.passed else 'closed'}  {step.step} {step.name}")
        for check in step.checks:
            print(f"          {'ok' if check.ok else '--'} {check.name}: {check.detail}")
    if found.next:
        print(f"next: {found.next.tool} {found.next.arguments}")
    return 0


def _wheelhouse(arguments: argparse.Namespace) -> int:
    from tunegate import rundir
    from tunegate.clients.docker import engine
    from tunegate.platforms.local_docker import wheelhouse

    path = arguments.run.resolve()
    run = rundir.existing(path.parent, path.name)
    count = wheelhouse.fill(engine.connect(), run, run.config(), arguments.to.resolve())
    print(f"{count} wheels in {arguments.to}: build with TUNEGATE_WHEELHOUSE={arguments.to.resolve()}")
    return 0


def _skill(arguments: argparse.Namespace) -> int:
    from tunegate import skill

    print(f"installed: {skill.install(arguments.to)}")
    return 0


SUBCOMMANDS = {"serve": _serve, "demo": _demo, "gates": _gates, "wheelhouse": _wheelhouse, "skill": _skill}

if __name__ == "__main__":
    sys.exit(main())
