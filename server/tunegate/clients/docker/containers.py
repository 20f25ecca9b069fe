"""A stage's container: what it is made of, and its life on the engine. No more privilege than the stage needs.

Nothing here remembers anything: what runs is asked of the engine, by the labels that containers carry. The end of a log
stream never means the end of the job: the engine may just have gone away. Ask `find` or `state`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import stat
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tunegate import jobs, nofollow, paths
from tunegate.clients.docker import engine_errors
from tunegate.clients.docker.engine import Engine, EngineFacts, GpuHandover
from tunegate.errors import ToolFailure
from tunegate.evidence import seal
from tunegate.rundir import disk_failure

LOG_SILENCE_S = 120.0
SHM_BYTES = 16 * 2**30
MAX_PROCESSES = 16_384  # and threads: several times what eight GPUs' workers need, and no more than a machine survives
SYSTEM = (
    "/bin",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/opt/nvidia",
    "/opt/project",
    "/proc",
    "/sbin",
    "/sys",
    "/usr",
    "/workspace",
)
SECRETS = "/run/tunegate-secrets"  # in the container
HANDED_S = 600  # a start takes seconds
PARENTS = ("/", "/opt", "/root", "/run", "/tmp", "/var")  # these directories themselves; below them may lie data
ENV = {
    "HF_HOME": "/workspace/.cache/huggingface",
    "HOME": "/tmp",  # the container's own: startup files or packages in a home inside the run could change what a stage does
    "USER": "tunegate",  # a uid without a passwd entry: getpass.getuser() (torch calls it) would raise KeyError
    "PYTHONUNBUFFERED": "1",
    "PYTHONNOUSERSITE": "1",
    "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(jobs.STOP_GRACE_S),  # torchrun's own default, 30 s, ends a worker that saves
}
DEVICE_REQUESTS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "nvidia-runtime": [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}],
    "cdi": [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}],
}
# Images of NVIDIA's ask for all GPUs by themselves, which an engine whose default runtime is NVIDIA's obeys.
NO_GPU_BY_IMAGE = {"NVIDIA_VISIBLE_DEVICES": "void"}
_STATUS = {  # the engine's word -> ours; Podman's words too
    "created": "created",
    "configured": "created",
    "initialized": "created",
    "running": "running",
    "paused": "running",
    "restarting": "running",
    "stopping": "running",
    "exited": "exited",
    "stopped": "exited",
    "dead": "gone",
    "removing": "gone",
}


@dataclass(frozen=True)
class ContainerPlan:
    """One stage's container. Holds no secret: `secrets` are names, whose values `start` hands over from our environment."""

    image: str
    argv: tuple[str, ...]
    name: str
    labels: dict[str, str]  # tunegate.run, tunegate.stage, tunegate.job
    output_dir: Path  # what it sees as /workspace
    user: str  # "uid:gid", see user_for
    writable: tuple[str, ...] = (".",)  # the folders of it that it may write; the rest is read-only
    hub: Path | None = None  # the Hub client's cache
    gpus: GpuHandover = "none"
    network: Literal["none", "default", "host"] = "none"
    env: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    read_only: tuple[Path, ...] = ()  # local data, mounted at their own paths
    roots: tuple[Path, ...] = ()  # below which local data must lie
    memory: int | None = None  # bytes of the machine's memory; beyond it this container is ended, and nothing else
    path: str = ""  # the image's PATH (engine.image(...).env): a login shell forgets it where /etc/profile sets another


@dataclass(frozen=True)
class ContainerState:
    """exit_code is None until it exited. `created`, and not running: it never started, and `error` says why.

    The two times are the engine's, and out of order when it ran but a moment.
    """

    id: str
    status: Literal["created", "running", "exited", "gone"]
    exit_code: int | None = None
    oom_killed: bool = False
    started_at: str | None = None
    finished_at: str | None = None
    error: str = ""


class LogLine(NamedTuple):
    """at: the engine's own time of this piece of output, in a form that sorts. data: bytes as written, not redacted."""

    at: str
    data: bytes


def user_for(facts: EngineFacts) -> str:
    """Who a stage runs as: under rootless, the container's root *is* this user, and any other uid could not write."""
    return "0:0" if facts.rootless else f"{os.getuid()}:{os.getgid()}"


def container_spec(
    plan: ContainerPlan, environ: Mapping[str, str] = os.environ, secrets_file: Path | None = None
) -> dict[str, Any]:
    """ContainerPlan -> the body of `POST /containers/create`. Raises ToolFailure(invalid_input) on an unusable data path.

    No secret is in it: whoever may ask the engine could read it there (`docker inspect`) for as long as the container is
    kept. The command reads them from `secrets_file`, mounted read-only.
    """
    mounts = [_bind(plan.output_dir, "/workspace", read_only="." not in plan.writable)]
    mounts += [_bind(plan.output_dir / name, f"/workspace/{name}") for name in plan.writable if name != "."]
    mounts += [_bind(plan.hub, ENV["HF_HOME"])] if plan.hub else []
    for path in plan.read_only:
        _check_mountable(path, plan.roots)
        mounts.append(_bind(path, str(path), read_only=True))
    # one pipe for both outputs: the engine reads two at its own pace, so that their lines change places
    command = ""
    if secrets_file:
        mounts.append(_bind(secrets_file, SECRETS, read_only=True))
        command = f". {SECRETS} || exit 1; "
    command += (f"export PATH={shlex.quote(plan.path)}; " if plan.path else "") + f"exec {shlex.join(plan.argv)} 2>&1"
    by_image = {} if plan.gpus == "nvidia-runtime" else NO_GPU_BY_IMAGE
    env = {name: value for name, value in {**ENV, **by_image, **plan.env}.items() if name not in plan.secrets}
    return {
        "Image": plan.image,
        "Entrypoint": ["/bin/bash", "-lc"],  # NGC's own entrypoint would swallow the command
        "Cmd": [command],
        "Env": [f"{name}={value}" for name, value in sorted(env.items())],
        "User": plan.user,
        "WorkingDir": "/workspace",
        "Labels": dict(plan.labels),
        # What `docker stop`, an engine that stops, and one that starts again after a kill give a training to save itself.
        "StopSignal": "SIGTERM",
        "StopTimeout": jobs.STOP_GRACE_S,
        "HostConfig": {
            "Mounts": mounts,
            "ShmSize": SHM_BYTES,
            "NetworkMode": plan.network,
            "DeviceRequests": DEVICE_REQUESTS[plan.gpus],
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": MAX_PROCESSES,
            **({"Memory": plan.memory} if plan.memory else {}),
            "Init": True,  # a PID 1 without it ignores TERM, and a stopped training could not save
            "AutoRemove": False,  # an engine that removes it takes the exit code along
            # whatever the engine's default: a log that can be read back and cannot fill the disk
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "50m", "max-file": "2"}},
        },
    }


def _bind(source: Path, target: str, read_only: bool = False) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": read_only}


def _check_mountable(path: Path, roots: tuple[Path, ...]) -> None:
    """A directory or a file below one of the roots, with no link on the way. Raises ToolFailure: invalid_input, outside_root, not_found."""
    _check_place(path)
    if not any(path.is_relative_to(root) for root in roots):
        raise ToolFailure(
            "outside_root",
            f"local_dataset_path = {str(path)!r} lies in none of the directories that local data may come from "
            f"({', '.join(map(str, roots)) or 'none'}): move it there, or restart the server with --data-root",
        )
    nofollow.check(path)
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        raise ToolFailure(
            "not_found", f"local_dataset_path = {str(path)!r} cannot be mounted ({error.strerror}): check the path"
        ) from None
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise ToolFailure(
            "invalid_input",
            f"local_dataset_path = {str(path)!r} is a socket, a pipe or a device: name a directory or a regular file",
        )


def _check_place(path: Path) -> None:
    hides = str(path) in PARENTS or any(path.is_relative_to(name) for name in SYSTEM)
    if path.is_absolute() and ".." not in path.parts and not hides:
        return
    raise ToolFailure(
        "invalid_input",
        f"local_dataset_path = {str(path)!r} cannot be mounted at its own path: it could hide the container's own files. "
        "Move or copy the dataset to a directory such as /data/my-dataset",
    )


def start(engine: Engine, plan: ContainerPlan) -> str:
    """Create and start; returns the container's id. A container that could not be started is removed again.

    Raises ToolFailure: unavailable (no GPU hand-over, no answer: then it may be starting, ask `find`), not_found (image),
    invalid_input (a mount), run_locked (its name is taken), stage_failed (the image cannot run it), disk_full.
    """
    import docker.errors

    doing = f"starting the container {plan.name} from {plan.image}"
    with _handed_over(plan) as secrets_file, engine_errors.mapped(doing, engine.host):
        spec = container_spec(plan, secrets_file=secrets_file)
        found = engine.api.create_container_from_config(spec, plan.name)["Id"]
        try:
            engine.api.start(found)
        except docker.errors.APIError:  # refused, so not running; a lost connection leaves it: it may be
            with contextlib.suppress(docker.errors.APIError):
                engine.api.remove_container(found, force=True)
            raise
        return found


@contextlib.contextmanager
def _handed_over(plan: ContainerPlan, environ: Mapping[str, str] = os.environ) -> Iterator[Path | None]:
    """A file of the user's own with the plan's secrets, None where there are none. It is removed when the container has
    been started: the mount keeps what it shows, and nothing else does."""
    lines = [f"export {name}={shlex.quote(environ[name])}\n" for name in plan.secrets if environ.get(name)]
    if not lines:
        yield None
        return
    folder = paths.state_dir() / "handed"
    path = folder / secrets.token_hex(8)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in folder.iterdir():  # of a process that was killed in between
            if time.time() - old.stat().st_mtime > HANDED_S:
                old.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.writelines(lines)
    except OSError as error:
        raise disk_failure(error, path) from None
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def find(engine: Engine, labels: dict[str, str]) -> ContainerState | None:
    """The newest container that carries all these labels, None when there is none. Raises ToolFailure(unavailable)."""
    wanted = [f"{name}={value}" for name, value in labels.items()]
    with engine_errors.mapped("asking the engine for the job's container", engine.host):
        listed = engine.api.containers(all=True, filters={"label": wanted})
        newest = max(listed, key=lambda row: row.get("Created") or 0, default=None)
        return state(engine, newest["Id"]) if newest else None


def state(engine: Engine, container: str) -> ContainerState:
    """`gone` when the engine knows no such container. Raises ToolFailure(unavailable)."""
    import docker.errors

    with engine_errors.mapped("asking the engine for the job's container", engine.host):
        try:
            found = engine.api.inspect_container(container)
        except docker.errors.NotFound:
            return ContainerState(container, "gone")
        said = found["State"]
        status = _STATUS[said["Status"]]
        return ContainerState(
            id=found["Id"],
            status=status,
            exit_code=said["ExitCode"] if status == "exited" else None,
            oom_killed=bool(said.get("OOMKilled")),
            started_at=_time(said.get("StartedAt")),
            finished_at=_time(said.get("FinishedAt")),
            error=seal.redacted(said.get("Error") or ""),
        )


def _time(value: str | None) -> str | None:
    return value if value and not value.startswith("0001-") else None


def follow_logs(
    engine: Engine, container: str, since: str | None = None, *, silence_s: float = LOG_SILENCE_S
) -> Iterator[LogLine]:
    """The container's output after `since` (the `at` of the last piece seen), as it comes.

    It ends when the container ends, when the engine goes away, and after silence_s without output: ask `state`, then
    follow again from the last `at` (of a line over 16 kB, which comes in pieces with one time, the rest is then lost).
    Raises ToolFailure(unavailable | not_found) when it cannot begin.
    """
    seconds = int(datetime.fromisoformat(since).timestamp()) if since else None
    with engine_errors.mapped("reading the job's output", engine.host):
        stream = engine.api.logs(container, stream=True, follow=True, timestamps=True, since=seconds)
        # struct.error: the engine went away in the middle of a frame's header, which is but another end of the stream
        with _watched(stream, silence_s) as heard, contextlib.suppress(struct.error):
            for frame in stream:
                heard()
                at, _, data = frame.partition(b" ")
                if (when := at.decode(errors="replace")) > (since or ""):
                    yield LogLine(when, data)


@contextlib.contextmanager
def _watched(stream, silence_s: float):
    """Close the stream when nothing was heard for silence_s: the SDK reads logs without a timeout, for ever if need be."""
    last, done = [time.monotonic()], threading.Event()

    def watch() -> None:
        while not done.wait(max(0.01, last[0] + silence_s - time.monotonic())):
            if time.monotonic() - last[0] >= silence_s:
                return _close(stream)

    def heard() -> None:
        last[0] = time.monotonic()

    threading.Thread(target=watch, daemon=True, name="log-watch").start()
    try:
        yield heard
    finally:
        done.set()
        _close(stream)


def _close(stream) -> None:
    with contextlib.suppress(OSError, AttributeError):  # ended already, or by the other side
        stream.close()


def stop(engine: Engine, container: str, grace_s: int = jobs.STOP_GRACE_S) -> None:
    """TERM, and KILL after grace_s. Content when it has ended, or is gone, already. Raises ToolFailure(unavailable)."""
    import docker.errors

    with (
        engine_errors.mapped("stopping the job's container", engine.host),
        contextlib.suppress(docker.errors.NotFound),
    ):
        engine.api.stop(container, timeout=grace_s)


def remove(engine: Engine, container: str) -> None:
    """Remove a container that has ended. Content when it is gone, or going. Raises ToolFailure(run_locked) while it runs."""
    import docker.errors

    with engine_errors.mapped("removing the job's container", engine.host):
        try:
            engine.api.remove_container(container, v=True)
        except docker.errors.NotFound:
            pass
        except docker.errors.APIError as error:
            if "already in progress" not in (error.explanation or ""):
                raise


def run_to_end(engine: Engine, plan: ContainerPlan) -> Iterator[str]:
    """A short command in a container of its own: yields the lines it prints, and leaves no container behind.

    Raises ToolFailure: stage_failed (with its last lines) when it fails, and as `start` and `follow_logs` do.
    """
    container, rest, tail = start(engine, plan), b"", []
    try:
        for piece in follow_logs(engine, container):
            *lines, rest = (rest + piece.data).split(b"\n")
            for line in lines:
                tail = [*tail, line.decode(errors="replace").rstrip("\r")][-12:]
                yield tail[-1]
        if rest:
            yield (tail := [*tail, rest.decode(errors="replace")])[-1]
        while (found := state(engine, container)).status == "running":  # its output may end before it does
            time.sleep(0.1)
    finally:
        stop(engine, container, grace_s=0)
        remove(engine, container)
    if found.exit_code != 0:
        said = seal.redacted("\n".join(tail) or "it printed nothing")[-1500:]
        raise ToolFailure("stage_failed", f"{plan.argv[0]} failed in {plan.image} (exit {found.exit_code}): {said}")
