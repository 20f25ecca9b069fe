"""`python -m tunegate.jobs.runner JOBDIR`: the process beside a stage. Runs it, keeps its log, seals what it made.

Started detached by `jobs.start`. It trusts nothing in JOBDIR that the server did not seal, and it reports hashes taken
in its private folder the moment the stage ended, then copies what it made into the run.

TERM asks it to stop the stage: it passes TERM on, once, and sees the stage to its end. Where the stage is a container, the
child only follows it: a follower that was killed is started again, and finds the container as it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunegate import jobs, nofollow
from tunegate.errors import ToolFailure
from tunegate.evidence import seal
from tunegate.evidence.ledger import now
from tunegate.jobs import checkpoints, snapshot
from tunegate.rundir import Run, hash_files

MAX_LOG_BYTES = 20_000_000
MAX_LINE_BYTES = 65_536
PIECE_BYTES = 16_384
SHOW_S = 2.0
TAIL_LINES = 40  # kept in memory, for a log that a full disk would not take
DEATHS, WITHIN_S = 5, 60.0  # a follower that is killed more often than this is not started again
PR_SET_PDEATHSIG = 1  # prctl(2), Linux


def main(where: Path, stopping: threading.Event | None = None) -> int:
    """0 when a result was sealed; 2 when the spec is not ours; 1 when the follower of a container could not stay alive."""
    stopping = stopping or threading.Event()
    spec = json.loads((where / "spec.json").read_bytes())
    signature = spec.pop("seal")
    if not seal.verify(spec, signature):
        print(f"{where / 'spec.json'} is not sealed by tunegate; nothing was run", file=sys.stderr)
        return 2
    run = Run(Path(spec["run"]), Path(spec["work"]) if spec["work"] != spec["run"] else None)
    _write_sealed(where / "process.json", {"id": spec["id"], "run": spec["run"], "pid": os.getpid()})
    began, cpu_began = time.monotonic(), _cpu_seconds()
    with _shown_meanwhile(run) if spec["stage"] == "train" else contextlib.nullcontext():
        code = _run_to_the_end(spec, run, where, stopping)
    if code is None:
        print("what followed the container was killed again and again", file=sys.stderr)
        return 1
    result = {
        "id": spec["id"],
        "run": spec["run"],
        "exit_code": code if code >= 0 else 128 - code,  # as a shell counts
        "seconds": round(time.monotonic() - began, 1),
        **({} if spec.get("container") else {"cpu_seconds": round(_cpu_seconds() - cpu_began, 1)}),
        "ended": now(),
        **_published(run, tuple(spec["makes"])),
    }
    _write_sealed(where / "result.json", result)
    return 0


def _published(run: Run, makes: tuple[str, ...]) -> dict[str, Any]:
    """made: path -> sha256. unpublished: why the run does not show it, if so."""
    if run.work is None:
        return {"made": hash_files(run.path, makes)}
    try:
        return {"made": snapshot.publish(run, makes)}
    except (ToolFailure, OSError) as failure:
        return {"made": {}, "unpublished": str(failure)}


@contextlib.contextmanager
def _shown_meanwhile(run: Run) -> Iterator[None]:
    """A training's logs grow in its private folder: the run shows them while it lasts."""
    over, seen = threading.Event(), {}

    def show() -> None:
        while not over.wait(SHOW_S):
            snapshot.show(run, checkpoints.SHOWN_MEANWHILE, seen)

    shower = threading.Thread(target=show, daemon=True, name="log-shower")
    if run.work:
        shower.start()
    try:
        yield
    finally:
        over.set()
        if run.work:
            shower.join()
            snapshot.show(run, checkpoints.SHOWN_MEANWHILE, seen)


def _cpu_seconds() -> float:
    """What the processes that ended below this one took of the cores. Of a container, whose process is the daemon's, it tells nothing."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _write_sealed(path: Path, payload: dict[str, Any]) -> None:
    text = json.dumps({**payload, "seal": seal.sign(payload)}, indent=1)
    nofollow.write(path, text, nofollow.PRIVATE_FILE, folder_mode=nofollow.PRIVATE_FOLDER)


def _run_to_the_end(spec: dict[str, Any], run: Run, where: Path, stopping: threading.Event) -> int | None:
    """The child's return code, negative for a signal. None when a container's follower was killed too often."""
    log, argv, deaths = run.path / "logs" / f"{spec['stage']}.log", spec["argv"], deque(maxlen=DEATHS)
    while True:
        code, unwritten = _run_logged(argv, Path(spec["work"]), log, stopping, bool(spec.get("container")))
        if not spec.get("container") or code >= 0:
            break
        deaths.append(time.monotonic())
        if len(deaths) == DEATHS and deaths[-1] - deaths[0] < WITHIN_S:
            return None
        if stopping.is_set():
            argv = [*spec["argv"], "stop"]
        time.sleep(0.5)
    nofollow.unlink(where / "reserve")
    if unwritten:
        with (
            contextlib.suppress(ToolFailure),
            os.fdopen(nofollow.open_file(log, os.O_WRONLY | os.O_APPEND), "ab") as out,
        ):
            out.write(b"".join(unwritten))
    return code


def _run_logged(
    argv: list[str], cwd: Path, log: Path, stopping: threading.Event, follows: bool
) -> tuple[int, list[bytes]]:
    """(return code, last lines that did not fit on the disk). close_fds=False hands the job's lock on to the child."""
    with nofollow.create(log) as out:
        try:
            child = _child(argv, cwd, follows)
        except OSError as error:
            out.write(f"{argv[0]} could not be started: {error.strerror}\n".encode())
            return 127, []
        over = threading.Event()
        watch = threading.Thread(target=_stop_when_asked, args=(child, stopping, over), daemon=True)
        watch.start()
        unwritten = _pump(child, out, log)
        code = child.wait()
        over.set()
        watch.join()
    return code, unwritten


def _child(argv: list[str], cwd: Path, follows: bool) -> subprocess.Popen:
    """In a process group of its own, and not left alone: if this process is killed, a stage gets TERM, so that a training
    saves itself; a follower gets KILL, so that its container is free for the next one."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    last = signal.SIGKILL if follows else signal.SIGTERM
    if (
        follows
    ):  # it unblocks TERM when it is ready to act upon it; a script that knows nothing of this gets it as it is
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        return subprocess.Popen(
            argv,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            close_fds=False,
            process_group=0,
            preexec_fn=(lambda: prctl(PR_SET_PDEATHSIG, last)) if prctl else None,
        )
    finally:
        if follows:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _stop_when_asked(child: subprocess.Popen, stopping: threading.Event, over: threading.Event) -> None:
    while not over.wait(0.2):
        if stopping.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
                if not over.wait(jobs.STOP_GRACE_S + 30):  # the engine's own grace for a container goes first
                    os.killpg(child.pid, signal.SIGKILL)
            return


def _pump(child: subprocess.Popen, out, log: Path) -> list[bytes]:
    """Keep the child's output, redacted across the pieces in which it comes. Returns the last lines, if a full disk did not take them."""
    tail, full, redactor = deque(maxlen=TAIL_LINES), False, seal.Redactor(MAX_LINE_BYTES - PIECE_BYTES)
    pieces = iter(lambda: child.stdout.read1(PIECE_BYTES), b"")
    for piece in itertools.chain(pieces, [None]):
        for line in (redactor.close() if piece is None else redactor.feed(piece)).splitlines(keepends=True):
            tail.append(line[:1000])
            full |= not _written(line, out, log)
    return list(tail) if full else []


def _written(line: bytes, out, log: Path) -> bool:
    """False when there is no space left: the stage goes on, and will say so itself if it needs any."""
    try:
        if out.tell() > MAX_LOG_BYTES:  # keep the end, where the reason of a failure stands
            log.with_suffix(".old.log").write_bytes(log.read_bytes())
            out.truncate(0)
            out.seek(0)
        out.write(line)
    except OSError:
        return False
    return True


def _complain(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """What Python would print of an error that nothing caught goes into runner.err: without secrets, too."""
    print(seal.redacted("".join(traceback.format_exception(kind, error, trace))), file=sys.stderr, end="")


if __name__ == "__main__":
    sys.excepthook = _complain
    threading.excepthook = lambda found: _complain(found.exc_type, found.exc_value, found.exc_traceback)
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    sys.exit(main(Path(sys.argv[1]), asked))
