"""Work on a stranger's bytes in a process of its own, bounded in memory and in time: what a library unpacks cannot be foreseen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tunegate

# Memory that is written to; files that are mapped only to be read do not count.
PREAMBLE = """
import json, resource, sys
given = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_DATA, (given["memory"], given["memory"]))
resource.setrlimit(resource.RLIMIT_CPU, (given["seconds"], given["seconds"] + 1))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
sys.path.insert(0, given["package"])
"""
OUT_OF_MEMORY_LINE = ("MemoryError", "bad_alloc", "Cannot allocate memory")


class Ended(NamedTuple):
    """value: what the code printed last, as JSON; None where it did not end well, and why."""

    value: Any
    why: Literal["", "memory", "time", "failed"] = ""


def run(code: str, given: dict[str, Any], memory: int, seconds: int) -> Ended:
    """Python code that finds `given` and prints one line of JSON. memory: bytes; seconds: of one core, and twice that in all.

    It has none of our environment but PATH, and starts isolated from the user's packages.
    """
    limits = {"memory": memory, "seconds": seconds, "package": str(Path(tunegate.__file__).parents[1])}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", PREAMBLE + code],
            input=json.dumps({**given, **limits}).encode("utf-8", "surrogatepass"),
            capture_output=True,
            timeout=2 * seconds + 5,
            env={"PATH": os.environ.get("PATH", "")},
        )
    except subprocess.TimeoutExpired:
        return Ended(None, "time")
    except OSError:
        return Ended(None, "failed")
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return Ended(None, "time")
    said = done.stderr[-2000:].decode(errors="replace")
    if done.returncode:
        return Ended(None, "memory" if any(word in said for word in OUT_OF_MEMORY_LINE) else "failed")
    try:
        return Ended(json.loads(done.stdout.splitlines()[-1]))
    except (ValueError, IndexError, RecursionError):
        return Ended(None, "failed")
