"""`python -m tunegate.runner JOBDIR`: the process beside a stage. Runs it, keeps its log, seals what it made.

Started detached by `jobs.start`. It trusts nothing in JOBDIR that the server did not seal, and it reports hashes taken
the moment the stage ended, so that what is written there later by anyone else is not taken for the stage's work.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from tunegate import seal
from tunegate.ledger import now
from tunegate.rundir import atomic_write, hash_files

MAX_LOG_BYTES = 20_000_000
MAX_LINE_BYTES = 65_536


def main(where: Path) -> int:
    spec = json.loads((where / "spec.json").read_bytes())
    signature = spec.pop("seal")
    if not seal.verify(spec, signature):
        print(f"{where / 'spec.json'} is not sealed by tunegate; nothing was run", file=sys.stderr)
        return 2
    run = Path(spec["run"])
    began = time.monotonic()
    exit_code = _run_logged(spec["argv"], run, run / "logs" / f"{spec['stage']}.log")
    result = {
        "id": spec["id"],
        "run": spec["run"],
        "exit_code": exit_code,
        "seconds": round(time.monotonic() - began, 1),
        "ended": now(),
        "made": hash_files(run, tuple(spec["makes"])),
    }
    atomic_write(where / "result.json", json.dumps({**result, "seal": seal.sign(result)}, indent=1))
    return 0


def _run_logged(argv: list[str], cwd: Path, log: Path) -> int:
    """Exit code; 128 + n for signal n, as a shell counts. close_fds=False hands the job's lock on to the child."""
    with log.open("wb") as out:
        try:
            child = subprocess.Popen(
                argv,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                close_fds=False,
            )
        except OSError as error:
            out.write(f"{argv[0]} could not be started: {error.strerror}\n".encode())
            return 127
        for line in iter(lambda: child.stdout.readline(MAX_LINE_BYTES), b""):
            if out.tell() > MAX_LOG_BYTES:  # keep the end, where the reason of a failure stands
                log.with_suffix(".old.log").write_bytes(log.read_bytes())
                out.truncate(0)
                out.seek(0)
            out.write(seal.redacted(line.decode(errors="replace")).encode())
            out.flush()
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
