"""The seam to a Docker engine, through the `docker` SDK: the connection, what the engine is, its images and builds.

containers.py has the stages' containers, engine_errors.py what the user is shown when an engine refuses.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel

from tunegate.clients.docker import context, engine_errors
from tunegate.clients.docker.build_context import Checker, packed
from tunegate.clients.network import LOOPBACK
from tunegate.errors import ToolFailure

if TYPE_CHECKING:  # the SDK costs 150 ms: only a call that needs the engine imports it
    import docker

SOCKET = "/var/run/docker.sock"
MIN_API = (1, 40)  # Docker 19.03: the first with device requests, which is how GPUs are asked for
LISTS_CDI = (1, 50)  # Docker 28.2; since 1.44 the engine names the directories of its CDI specs
CONNECT_S = 5.0
ANSWER_S = 60.0  # creating or starting a container on a busy disk
BUILD_SILENCE_S = 1800.0  # committing a layer of many GB says nothing for minutes
GpuHandover = Literal["nvidia-runtime", "cdi", "none"]
_STEP = re.compile(r"step \d+/\d+ ?:", re.I)
_COLOR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Engine:
    """A connection that answered. host: a URL as in DOCKER_HOST."""

    api: docker.APIClient
    host: str


class EngineFacts(BaseModel):
    """What the engine says of itself. free_disk_gb: where it keeps its images, None when that is not on this machine.

    gpu_handovers: the ways that it declares, best first. That one works is known when a container has been started so:
    gpu_handover.py. memory_gb: what containers can have, less than this machine's when the engine is in a VM.
    """

    host: str
    version: str
    api_version: str
    kind: Literal["docker", "podman"]
    rootless: bool
    remote: bool
    root_dir: str
    image_dir: str
    free_disk_gb: float | None
    runtimes: list[str]
    default_runtime: str
    cdi: bool
    cdi_devices: list[str]
    gpu_handovers: list[GpuHandover]
    memory_gb: float | None
    live_restore: bool
    storage_driver: str
    security_options: list[str]


@dataclass(frozen=True)
class EngineImage:
    id: str
    size: int
    repo_digests: list[str]
    labels: dict[str, str]
    env: dict[str, str]


# -- connection and facts


def connect() -> Engine:
    """The engine at DOCKER_HOST, else of the chosen docker context, else at the default socket, else at this user's rootless one.

    Raises ToolFailure(unavailable) when there is none, when we may not use it, when it is too old or does not answer.
    """
    import docker
    from docker.utils import kwargs_from_env

    host = address()
    with engine_errors.mapped(_called(host), host):
        settings = kwargs_from_env(environment={**os.environ, "DOCKER_HOST": host})
        api = docker.APIClient(**settings, timeout=CONNECT_S)
    if _parsed(api.api_version) < MIN_API:
        raise ToolFailure(
            "unavailable",
            f"the engine at {host} speaks API {api.api_version}, and 1.40 (Docker 19.03) is the oldest that can be asked "
            "for GPUs: update Docker (https://docs.docker.com/engine/install/), then call again",
        )
    api.timeout = ANSWER_S
    return Engine(api, host)


def _parsed(api_version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", api_version)[:2])


def address() -> str:
    """The engine's URL, as in DOCKER_HOST, without asking whether it answers. Raises ToolFailure(unavailable): a context's."""
    if given := os.environ.get("DOCKER_HOST"):
        return given
    chosen = context.chosen()
    return chosen[1] if chosen else _default_host()


def _called(host: str) -> str:
    """The engine in words, with the docker context that chose it."""
    chosen = None if os.environ.get("DOCKER_HOST") else context.chosen()
    return f"the Docker engine of context {chosen[0]!r}" if chosen else f"the Docker engine at {host}"


def is_remote(host: str) -> bool:
    """An engine on another machine, whose bind mounts are that machine's directories. A loopback address counts as here."""
    return not host.startswith(("unix://", "npipe://")) and (
        host.startswith("ssh://") or urlsplit(host).hostname not in LOOPBACK
    )


def _default_host() -> str:
    rootless = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent") / "docker.sock"
    return f"unix://{rootless}" if not Path(SOCKET).exists() and rootless.exists() else f"unix://{SOCKET}"


def describe(engine: Engine) -> EngineFacts:
    """Raises ToolFailure(unavailable)."""
    with engine_errors.mapped("asking the engine what it is", engine.host):
        info, version = engine.api.info(), engine.api.version()
        names = [part.get("Name", "") for part in version.get("Components") or []]
        kind = "podman" if any("podman" in name.lower() for name in names) else "docker"
        remote = is_remote(engine.host)
        options = info.get("SecurityOptions") or []
        image_dir = _image_dir(info)
        devices = _cdi_devices(info, version["ApiVersion"], remote)
        return EngineFacts(
            host=engine.host,
            version=version["Version"],
            api_version=version["ApiVersion"],
            kind=kind,
            rootless=bool(info.get("Rootless")) or any("name=rootless" in option for option in options),
            remote=remote,
            root_dir=info["DockerRootDir"],
            image_dir=image_dir,
            free_disk_gb=None if remote else _free_gb(image_dir, info["DockerRootDir"]),
            runtimes=sorted(info.get("Runtimes") or {}),
            default_runtime=info.get("DefaultRuntime") or "",
            cdi=bool(info.get("CDISpecDirs")),
            cdi_devices=devices,
            gpu_handovers=_handovers(kind, info, devices, remote),
            memory_gb=round(info["MemTotal"] / 1e9, 1) if info.get("MemTotal") else None,
            live_restore=bool(info.get("LiveRestoreEnabled")),
            storage_driver=info["Driver"],
            security_options=options,
        )


def _image_dir(info: dict[str, Any]) -> str:
    """Engines with the containerd image store (the default since 29) keep images outside their root directory."""
    driver = dict(entry for entry in info.get("DriverStatus") or [] if len(entry) == 2).get("driver-type", "")
    if not driver.startswith("io.containerd.snapshotter"):
        return info["DockerRootDir"]
    own = "/docker/containerd/" in ((info.get("Containerd") or {}).get("Address") or "")
    return f"{info['DockerRootDir']}/containerd/daemon" if own else "/var/lib/containerd"


def _free_gb(*candidates: str) -> float | None:
    for path in candidates:
        with contextlib.suppress(OSError):
            return round(shutil.disk_usage(path).free / 1e9, 1)
    return None


def _cdi_devices(info: dict[str, Any], api_version: str, remote: bool) -> list[str]:
    """CDI device names. Engines before API 1.50 do not list them: then the spec files themselves, if we can see them."""
    if _parsed(api_version) >= LISTS_CDI:
        listed = info.get("DiscoveredDevices") or []
        return sorted(device["ID"] for device in listed if device.get("Source") == "cdi")
    if remote:
        return []
    for spec in (path for folder in info.get("CDISpecDirs") or [] for path in sorted(Path(folder).glob("*.[yj]*"))):
        with contextlib.suppress(OSError):
            if re.search(r"\bkind\"?: *\"?nvidia\.com/gpu\b", spec.read_text(errors="replace")):
                return ["nvidia.com/gpu=all"]
    return []


def _handovers(kind: str, info: dict[str, Any], cdi_devices: list[str], remote: bool) -> list[GpuHandover]:
    """Podman takes a GPU request over this API and silently ignores it: the job would run on the CPU."""
    if kind == "podman":
        return []
    # CDI first: with the runtime's hook, a `systemctl daemon-reload` can take the GPU from a running container
    # (https://github.com/NVIDIA/nvidia-container-toolkit/issues/48).
    found: list[GpuHandover] = ["cdi"] if "nvidia.com/gpu=all" in cdi_devices else []
    # Docker takes `--gpus` as soon as the toolkit's hook is installed, whether or not the runtime is configured.
    hook = not remote and shutil.which("nvidia-container-runtime-hook", path=f"{os.environ.get('PATH', '')}:/usr/bin")
    if "nvidia" in (info.get("Runtimes") or {}) or hook:
        found.append("nvidia-runtime")
    return found


# -- images


def image(engine: Engine, reference: str) -> EngineImage | None:
    """The image that the engine has under this name, digest or id; None when it has none. Never pulls."""
    import docker.errors

    with engine_errors.mapped(f"looking for the image {reference}", engine.host):
        try:
            found = engine.api.inspect_image(reference)
        except docker.errors.NotFound:
            return None
        config = found.get("Config") or {}
        return EngineImage(
            id=found["Id"],
            size=found.get("Size") or 0,
            repo_digests=found.get("RepoDigests") or [],
            labels=config.get("Labels") or {},
            env=dict(entry.partition("=")[::2] for entry in config.get("Env") or []),
        )


def build(
    engine: Engine,
    context_dir: Path,
    tag: str | None,
    files: list[str],
    *,
    check: Checker,
    elsewhere: dict[str, Path] | None = None,
    buildargs: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    network: Literal["none", "host"] | None = None,
) -> Iterator[str]:
    """Build exactly `files` (relative to context_dir, a Dockerfile among them). Yields log lines; *returns* the image id.

    check: {name: text} of what is about to be sent -> problems; any refuses the build. elsewhere: see build_context.
    tag: None leaves the image without a name, for `retag` once it has proved good.
    Raises ToolFailure: stage_failed (with the failing step and its last lines), disk_full, not_found, access_denied,
    unavailable (the engine went away: what it had built is in its cache), invalid_input.
    """
    tail: deque[str] = deque(maxlen=12)
    step, image_id = "", None
    doing = f"building {tag or 'the image'}"
    with packed(context_dir, files, check, elsewhere) as context, engine_errors.mapped(doing, engine.host):
        events = engine.api.build(
            fileobj=context,
            custom_context=True,
            decode=True,
            rm=True,
            forcerm=True,
            tag=tag,
            buildargs=buildargs or {},
            labels=labels or {},
            network_mode=network,
            timeout=BUILD_SILENCE_S,
        )
        for event in events:
            if error := event.get("error"):
                raise engine_errors.build_failure(doing, step, error, list(tail))
            image_id = (event.get("aux") or {}).get("ID") or image_id
            for line in _lines(event):
                step = line if _STEP.match(line) else step
                tail.append(line)
                yield line
    if image_id is None:
        raise ToolFailure(
            "unavailable",
            f"the engine stopped answering while {doing}, after {step or 'nothing'}: see that it runs "
            "(`docker info`), then build again: finished layers are in its cache",
        )
    return image_id


def pull(engine: Engine, reference: str) -> Iterator[str]:
    """Fetch an image from its registry; yields what the engine says. Raises ToolFailure as `build` does."""
    doing = f"pulling {reference}"
    with engine_errors.mapped(doing, engine.host):
        for event in engine.api.pull(reference, stream=True, decode=True):
            if error := event.get("error"):
                raise engine_errors.build_failure(doing, "the registry", error, [])
            yield from _lines(event)


def retag(engine: Engine, image_id: str, tag: str, labels: dict[str, str]) -> None:
    """Give the image its name, and remove the nameless images with the same labels that it replaces.

    One that a container uses, or that other images are built on, stays. Raises ToolFailure(unavailable).
    """
    import docker.errors

    repository, _, version = tag.rpartition(":")
    wanted = {"dangling": True, "label": [f"{name}={value}" for name, value in labels.items()]}
    with engine_errors.mapped(f"naming the image {tag}", engine.host):
        engine.api.tag(image_id, repository, version)
        for old in engine.api.images(filters=wanted):
            if old["Id"] != image_id:
                with contextlib.suppress(docker.errors.APIError):  # in use, or gone already: it is only tidied up
                    engine.api.remove_image(old["Id"])


def _lines(event: dict[str, Any]) -> list[str]:
    """A build event's text: output, or a pull's state (without the progress bars, which come by the thousand)."""
    text = event.get("stream") or ""
    if "status" in event and not event.get("progressDetail"):
        text = f"{event['id']}: {event['status']}" if event.get("id") else event["status"]
    return [line for line in _COLOR.sub("", text).replace("\r", "\n").splitlines() if line.strip()]
