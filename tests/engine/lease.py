"""The Docker engine of a test session, which ends with the last session that uses it, however that one ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

STANDIN = Path(__file__).resolve().parents[2] / "standin"


@contextlib.contextmanager
def leased(users: Path, start: Callable[[], str]) -> Iterator[str]:
    """The engine that `start` finds or starts, for as long as the block runs. users: the file that all its users lock.

    The kernel releases the lock of a session that is killed. A guardian in a session of its own waits for the last of
    them, then stops the engine; it is there only where the engine was not running before.
    """
    with users.open("w") as file:  # Python's files are closed on exec: no child of the session holds the lock
        fcntl.flock(file, fcntl.LOCK_SH)
        if subprocess.run([STANDIN / "engine.sh", "status"], capture_output=True).returncode:
            _guardian(users)
        yield start()


def _guardian(users: Path) -> None:
    nothing = subprocess.DEVNULL
    argv = ["flock", "--exclusive", users, STANDIN / "engine.sh", "stop"]
    subprocess.Popen(argv, start_new_session=True, stdin=nothing, stdout=nothing, stderr=nothing, env={**os.environ})
