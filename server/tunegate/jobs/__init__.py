"""Jobs: a stage's process, detached from the server, whose whole state lies on disk.

    meta/jobs/<stage>/spec.json     what was started, on which config values and files (sealed by the server)
    meta/jobs/<stage>/job.lock      held by the job's processes: the kernel says whether it is alive
    meta/jobs/<stage>/process.json  the runner's process id, for whoever wants to stop the job (sealed by the runner)
    meta/jobs/<stage>/reserve       space that the runner frees to write its result on a full disk
    meta/jobs/<stage>/result.json   exit code and the hashes of what it made (sealed by the runner)
    logs/<stage>.log                its output, secrets redacted

A job is `running` while its lock is held, `ended` once its own result is there, and `lost` if neither: it was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tunegate import nofollow
from tunegate.evidence import ledger, seal
from tunegate.evidence.ledger import now
from tunegate.rundir import Run

# -P: the run directory is the agent's, and a json.py or hmac.py in it must not be imported beside the seal key.
PYTHON_M = (sys.executable, "-P", "-m")

STOP_GRACE_S = 120  # from TERM to KILL: to finish a step and save a checkpoint
STOPPED = (75, 143)  # exit codes: train.py's after a stop, with everything saved; of a stage that TERM simply ended
RESERVE_BYTES = 65_536

JobState = Literal["none", "running", "ended", "lost"]

# What a stage's process inherits. Anything else in the server's environment is not the stage's business.
ENV_NAMES = {
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "TZ",
    "TMPDIR",
    "HF_ENDPOINT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "LD_LIBRARY_PATH",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "TUNEGATE_WHEELHOUSE",
}
ENV_PREFIXES = ("LC_", "XDG_", "PIP_", "HF_HUB_", "OMP_", "MKL_", "OPENBLAS_", "CUDA_", "NVIDIA_", "PYTORCH_")


@dataclass(frozen=True)
class Job:
    """A stage's latest job. `spec` and `result` are None when absent or not sealed by us."""

    stage: str
    state: JobState
    spec: dict[str, Any] | None = None
    result: dict[str, Any] | None = None


def directory(run: Run, stage: str) -> Path:
    return run.meta / "jobs" / stage


def inspect(run: Run, stage: str) -> Job:
    """The job's state, from disk alone."""
    where = directory(run, stage)
    sealed = spec(run, stage)
    if sealed is None:
        return Job(stage, "none")
    alive = _held(where / "job.lock")  # asked before the result is read: a job writes its result, then lets go
    result = _sealed(where / "result.json", run)
    if result and result["id"] == sealed["id"]:
        return Job(stage, "ended", sealed, result)
    return Job(stage, "running" if alive else "lost", sealed)


def spec(run: Run, stage: str) -> dict[str, Any] | None:
    """What the stage's latest job was started with; None when there is none, or it is not sealed by us for this run."""
    return _sealed(directory(run, stage) / "spec.json", run)


def start(
    run: Run,
    stage: str,
    argv: list[str],
    *,
    env: dict[str, str],
    makes: tuple[str, ...],
    resting_on: dict[str, Any],
    files: dict[str, str],
    container: str | None = None,
    given: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
) -> Job:
    """Start `argv` in the run's private folder (run.work), else in the run itself, and return at once. The caller holds the run's lock and saw no running job.

    makes: glob patterns of the files whose hashes the result must carry.
    resting_on, files: the config values and input files (sha256) at this moment, for the evidence.
    container: the name of its inputs, when `argv` only follows a container, which may be found again by that name.
    given: what that container gets (docker_stage.given): decided now, and read from the sealed spec when it is started.
    training: what a training begins from (checkpoints.begin).
    """
    where = directory(run, stage)
    nofollow.mkdir(where, nofollow.PRIVATE_FOLDER)
    nofollow.mkdir(run.path / "logs")
    for name in ("result.json", "process.json"):
        nofollow.unlink(where / name)
    made = {
        "id": secrets.token_hex(8),
        "run": str(run.path),
        "work": str(run.work or run.path),
        "stage": stage,
        "argv": argv,
        "makes": list(makes),
        "resting_on": resting_on,
        "files": files,
        "container": container,
        "given": given,
        **({"training": training} if training is not None else {}),
        "started": now(),
    }
    _launch(run, where, made, env)
    return Job(stage, "running", made)


def _launch(run: Run, where: Path, made: dict[str, Any], env: dict[str, str]) -> None:
    """Seal the spec and start the runner, which holds the job's lock from before anybody can read that spec."""
    _write(where / "reserve", os.urandom(RESERVE_BYTES))  # random: a filesystem may store zeros in no space
    # The job inherits this descriptor, and with it the lock: it is held until the last of its processes is gone.
    with (
        nofollow.create(where / "job.lock", nofollow.PRIVATE_FILE, nofollow.lock) as lock,
        nofollow.create(where / "runner.err", nofollow.PRIVATE_FILE) as errors,
    ):
        _write(where / "spec.json", json.dumps({**made, "seal": seal.sign(made)}, indent=1))
        subprocess.Popen(
            [*PYTHON_M, "tunegate.jobs.runner", str(where)],
            cwd=run.path,
            env=env,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            pass_fds=(lock.fileno(),),
        )


def _write(path: Path, data: str | bytes) -> None:
    nofollow.write(path, data, nofollow.PRIVATE_FILE, folder_mode=nofollow.PRIVATE_FOLDER)


def stop(run: Run, job: Job, patience_s: float = 10.0) -> None:
    """Ask a running job to stop: TERM to its runner, which passes it on once and sees to the end. Returns at once.

    A job that has just been started is waited for until it can be asked. Content when the job is over meanwhile.
    """
    where = directory(run, job.stage)
    deadline = time.monotonic() + patience_s
    while _held(where / "job.lock") and time.monotonic() < deadline:
        process = _sealed(where / "process.json", run)
        if process and process["id"] == job.spec["id"]:
            # Nobody else's: the lock is held by this process or by one of its session, whose number it is as well.
            with contextlib.suppress(ProcessLookupError):
                os.kill(process["pid"], signal.SIGTERM)
            return
        time.sleep(0.05)


def environment(extra: dict[str, str], secret_names: tuple[str, ...] = ()) -> dict[str, str]:
    """The environment of a stage: the allowed part of ours, the named secrets if we have them, and `extra`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ENV_NAMES or name.startswith(ENV_PREFIXES) or name in secret_names
    }
    return {**kept, "PYTHONUNBUFFERED": "1", **extra}


def log_path(run: Run, stage: str) -> Path:
    return run.path / "logs" / f"{stage}.log"


def log_tail(run: Run, stage: str, lines: int = 20, max_bytes: int = 4000) -> list[str]:
    """The last lines of a stage's log, redacted once more on the way out: a secret at the place where they begin is left out whole."""
    try:
        with log_path(run, stage).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - max_bytes - seal.LONGEST))
            data = file.read()
    except OSError:
        return []
    before = data[:-max_bytes].decode(errors="replace")
    text = before + data[-max_bytes:].decode(errors="replace")
    return seal.redacted(text[seal.safe_cut(text, len(before)) :]).splitlines()[-lines:]


def runner_error(run: Run, stage: str) -> str:
    """The last line that the runner itself complained in, if it did: it could not even start the stage."""
    try:
        return seal.redacted((directory(run, stage) / "runner.err").read_text()).strip().splitlines()[-1][:300]
    except (OSError, IndexError):
        return ""


def _sealed(path: Path, run: Run) -> dict[str, Any] | None:
    try:
        payload = json.loads(path.read_bytes())
        signature = payload.pop("seal")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return payload if ledger.is_this_run(run, payload.get("run")) and seal.verify(payload, signature) else None


def _held(path: Path) -> bool:
    try:
        with path.open("r+") as file:
            return not nofollow.lock(file)
    except OSError:
        return False
