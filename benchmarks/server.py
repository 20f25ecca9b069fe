"""`make bench`: what the server costs an agent, against a bare server of the same SDK, side by side in one run.

Prints medians and ratios: start-up (spawn -> tool list), latency of gate_status over stdio, size of the tool list and of
typical answers. Sizes are bytes of compact JSON; tokens are estimated as bytes / 4. Nothing here asserts a time.
"""

from __future__ import annotations

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
ROUNDS, CALLS = 7, 200


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


def main(run: Path | None) -> None:
    root = run.parent if run else Path(tempfile.mkdtemp())
    ours, bare = [sys.executable, "-m", "tunegate", "serve", "--root", str(root)], [sys.executable, "-c", BARE]
    pairs = [(start_up(ours), start_up(bare)) for _ in range(ROUNDS)][1:]  # the first warms the file cache
    mine, theirs = (statistics.median(pair[i][0] for pair in pairs) for i in (0, 1))
    ratio = statistics.median(a[0] / b[0] for a, b in pairs)
    print(
        f"start-up, spawn -> tool list   tunegate {mine * 1000:.0f} ms   bare SDK {theirs * 1000:.0f} ms   ratio {ratio:.2f}"
    )
    tools = pairs[0][0][1]["tools"]
    inputs = sum(size({key: tool.get(key) for key in ("name", "description", "inputSchema")}) for tool in tools)
    print(
        f"tool list                      {len(tools)} tools, {size(tools)} bytes (~{size(tools) // 4} tokens); names, descriptions and inputs alone "
        f"{inputs} bytes (~{inputs // 4} tokens, {inputs // 4 // len(tools)} a tool)"
    )
    if run is None:
        print("give the directory of a finished run (make bench RUN=output/demo) for latency and answer sizes")
        return
    server = Raw(ours)
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        status = server.call("tools/call", name="gate_status", arguments={"output_dir": str(run)})
        times.append((time.perf_counter() - began) * 1000)
    print(
        f"gate_status over stdio         p50 {statistics.median(times[5:]):.1f} ms, p95 {sorted(times[5:])[int(0.95 * CALLS) - 5]:.1f} ms"
    )
    print(
        f"answer of gate_status          {size(status['structuredContent'])} bytes (~{size(status['structuredContent']) // 4} tokens)"
    )
    for name, arguments in {"diagnose": {}, "docker_run": {"stage": "train"}, "docker_run ": {"stage": "eval"}}.items():
        answer = server.call("tools/call", name=name.strip(), arguments={"output_dir": str(run), **arguments})[
            "structuredContent"
        ]
        print(
            f"answer of {name.strip()} {arguments.get('stage', ''):8}    {size(answer)} bytes (~{size(answer) // 4} tokens)"
        )
    server.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None)
