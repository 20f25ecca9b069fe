"""`make bench`: what the server costs an agent, against a bare server of the same SDK, side by side in one run.

Prints medians and ratios: start-up (spawn -> tool list), latency of gate_status over stdio, size of the tool list and of
typical answers. Sizes are bytes of compact JSON; tokens are estimated as bytes / 4. Nothing here asserts a time.
`--rounds 1 --calls 2` tries it out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARE = """
from mcp.server import MCPServer
server = MCPServer("bare")
@server.tool()
def echo(text: str) -> str:
    "Trivial tool."
    return text
server.run()
"""
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "0"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Raw:
    """JSON-RPC over stdio with nothing else in between, so that the client's own cost stays out of the numbers."""

    def __init__(self, argv: list[str]):
        self.began = time.perf_counter()
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.number = 0

    def call(self, method: str, **params):
        self.number += 1
        request = {"jsonrpc": "2.0", "id": self.number, "method": method, "params": {**params, "_meta": META}}
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        while True:
            answer = json.loads(self.process.stdout.readline())
            if answer.get("id") == self.number:
                return answer["result"]

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


def start_up(argv: list[str]) -> tuple[float, dict]:
    """Seconds from spawn to the answered tool list, and the list."""
    server = Raw(argv)
    server.call("server/discover")
    tools = server.call("tools/list")
    seconds = time.perf_counter() - server.began
    server.close()
    return seconds, tools


def size(value) -> int:
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def tokens(value) -> str:
    return f"{size(value)} bytes (~{size(value) // 4} tokens)"


def started(ours: list[str], bare: list[str], rounds: int) -> list[dict]:
    """Prints what starting costs. -> the server's tools"""
    pairs = [(start_up(ours), start_up(bare)) for _ in range(rounds + 1)][1:]  # the first warms the file cache
    mine, theirs = (statistics.median(pair[i][0] for pair in pairs) for i in (0, 1))
    ratio = statistics.median(a[0] / b[0] for a, b in pairs)
    print(
        f"start-up, spawn -> tool list   tunegate {mine * 1000:.0f} ms   bare SDK {theirs * 1000:.0f} ms   ratio {ratio:.2f}"
    )
    return pairs[0][0][1]["tools"]


def listed(tools: list[dict]) -> None:
    inputs = sum(size({key: tool.get(key) for key in ("name", "description", "inputSchema")}) for tool in tools)
    print(
        f"tool list                      {len(tools)} tools, {tokens(tools)}; names, descriptions and inputs alone "
        f"{inputs} bytes (~{inputs // 4} tokens, {inputs // 4 // len(tools)} a tool)"
    )


def called(server: Raw, name: str, arguments: dict) -> tuple[float, dict]:
    """(milliseconds, what the tool answered: its structured content, or the refusal that is in its text)."""
    began = time.perf_counter()
    answer = server.call("tools/call", name=name, arguments=arguments)
    seconds = time.perf_counter() - began
    return seconds * 1000, answer.get("structuredContent") or json.loads(answer["content"][0]["text"])


def answered(ours: list[str], bare: list[str], run: Path, calls: int) -> None:
    """Prints the latency of gate_status beside that of a bare server's tool, call by call, and the size of some answers."""
    server, other = Raw(ours), Raw(bare)
    pairs = []
    for number in range(calls + 5):  # the first five warm up
        took, status = called(server, "gate_status", {"output_dir": str(run)})
        pairs.append((took, called(other, "echo", {"text": str(number)})[0]))
    times, theirs = (sorted(pair[i] for pair in pairs[5:]) for i in (0, 1))
    ratio = statistics.median(a / b for a, b in pairs[5:])
    print(
        f"gate_status over stdio         p50 {statistics.median(times):.1f} ms, p95 {times[int(0.95 * calls)]:.1f} ms   "
        f"bare SDK's echo p50 {statistics.median(theirs):.1f} ms   ratio {ratio:.2f}"
    )
    print(f"answer of gate_status          {tokens(status)}")
    for name, arguments in (("diagnose", {}), ("docker_run", {"stage": "train"}), ("docker_run", {"stage": "eval"})):
        answer = called(server, name, {"output_dir": str(run), **arguments})[1]
        print(f"answer of {name} {arguments.get('stage', ''):8}    {tokens(answer)}")
    server.close()
    other.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="the directory of a finished run")
    parser.add_argument("--rounds", type=int, default=6, help="starts of each server")
    parser.add_argument("--calls", type=int, default=200, help="of gate_status")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as empty:
        run = options.run and options.run.resolve()
        root = run.parent if run else empty
        ours = [sys.executable, "-m", "tunegate", "serve", "--root", str(root)]
        bare = [sys.executable, "-c", BARE]
        listed(started(ours, bare, options.rounds))
        if run:
            answered(ours, bare, run, options.calls)
        else:
            print("give the directory of a finished run (make bench RUN=output/demo) for latency and answer sizes")


if __name__ == "__main__":
    main()
