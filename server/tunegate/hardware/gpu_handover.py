"""Which way this engine really hands this machine's GPUs to a container: found out by starting one, kept as evidence.

What an engine declares is a hint. A runtime can be listed and broken, a CDI spec older than the driver, and `--gpus` works
with no runtime listed at all when the toolkit's hook is in the daemon's PATH.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunegate.clients.docker import containers, engine_errors
from tunegate.clients.docker.engine import Engine, EngineFacts, GpuHandover
from tunegate.config import RunConfig
from tunegate.errors import ToolFailure
from tunegate.evidence import seal
from tunegate.hardware import gpus
from tunegate.hardware.gpus import Gpu
from tunegate.hardware.ngc.local import NGC_TAG

TRY_S = 40.0  # the first container after a boot wakes the GPUs
IMAGES_TRIED = 6
NO_SHELL_BYTES = 20_000_000  # what is smaller is often one program and nothing else
CDI_FLAGS = "--device nvidia.com/gpu=all"  # of `docker run`; that of the runtime is --gpus all
SEES_RUN = "[ -f /workspace/config.yaml ] || exit 71; [ -w /workspace ] || exit 72"
SEES_GPU = f"""PATH=$PATH:/usr/local/nvidia/bin:/usr/lib/wsl/lib
if command -v nvidia-smi >/dev/null; then {" ".join(gpus.SMI_ARGV)} && exit; nvidia-smi -L; exit; fi
ls -d /dev/nvidia[0-9]* /dev/dxg 2>/dev/null || {{ echo 'the container has no GPU device'; exit 73; }}"""


@dataclass
class Proof:
    """image: what was started, None when the engine has none that could be. handover: the way that worked, or "none".

    gpus: as the container saw them; empty when it only saw device files, then `devices` counts those.
    """

    image: str | None = None
    handover: GpuHandover = "none"
    gpus: gpus.Gpus = field(default_factory=gpus.Gpus)
    devices: int = 0
    refusals: dict[str, str] = field(default_factory=dict)


def prove(engine: Engine, facts: EngineFacts, config: RunConfig, run_path: Path, ways: list[GpuHandover]) -> Proof:
    """Start a container on a local image without GPUs, then in each way until one shows a GPU. Never pulls, leaves nothing.

    Raises ToolFailure: invalid_input (the container does not see the run, or may not write it), unavailable, and what
    containers.start raises, when the engine cannot run this run's containers at all.
    """
    labels = {"tunegate.run": str(run_path), "tunegate.stage": "audit"}
    _remove_left(engine, labels)
    proof = Proof()
    for image in _images(engine, config):
        spec = _spec(image, facts, run_path, labels, "none", SEES_RUN)
        code, said = _run(engine, spec)
        if code in (0, 71, 72):
            _check_mount(code, facts, run_path)
            proof.image = image
            break
    for way in ways if proof.image else ():
        try:
            code, said = _run(engine, _spec(proof.image, facts, run_path, labels, way, SEES_GPU))
        except ToolFailure as failure:
            if failure.code not in ("unavailable", "invalid_input"):
                raise
            # what was being done, and whom to call next, is said by the audit, once
            proof.refusals[way] = str(failure).partition(": ")[2].removesuffix(", then call audit_gpu")
            continue
        seen = gpus.from_csv(said)
        devices = len([line for line in said.splitlines() if line.startswith(("/dev/", "GPU "))])
        if code == 0 and (seen.gpus or devices):
            proof.handover, proof.gpus, proof.devices = way, seen, devices
            break
        why = (said.strip().splitlines() or [f"exit code {code}"])[-1][:200]
        proof.refusals[way] = f"the container starts, and sees no GPU ({seal.redacted(why)})"
    return proof


def _images(engine: Engine, config: RunConfig) -> Iterator[str]:
    """Ids of local images: the run's own, NGC images, then the smallest that may have a shell: that is found out by trying."""
    with engine_errors.mapped("listing the engine's images", engine.host):
        listed = engine.api.images()

    def rank(image: dict[str, Any]) -> tuple[bool, bool, bool, int]:
        tags, size = image.get("RepoTags") or [], image.get("Size") or 0
        ngc = any(NGC_TAG.fullmatch(tag) for tag in tags)
        return config.ngc_image not in tags, not ngc, size < NO_SHELL_BYTES, size

    for image in sorted(listed, key=rank)[:IMAGES_TRIED]:
        yield image["Id"]


def _spec(
    image: str, facts: EngineFacts, run_path: Path, labels: dict[str, str], way: GpuHandover, script: str
) -> dict[str, Any]:
    """The container of a stage in everything but its command: what works here works there."""
    plan = containers.ContainerPlan(
        image=image,
        argv=(),
        name="",
        labels=labels,
        output_dir=run_path,
        user=containers.user_for(facts),
        gpus=way,
    )
    return {**containers.container_spec(plan), "Entrypoint": ["/bin/sh", "-c"], "Cmd": [script]}


def _run(engine: Engine, spec: dict[str, Any]) -> tuple[int, str]:
    """(exit code, what it printed). The container is removed whatever happens. Raises ToolFailure."""
    import docker.errors

    name = f"tunegate-audit-{secrets.token_hex(4)}"
    with engine_errors.mapped("starting a container", engine.host):
        try:
            found = engine.api.create_container_from_config(spec, name)["Id"]
        except docker.errors.ImageNotFound:  # removed meanwhile
            return 127, ""
        try:
            engine.api.start(found)
            code = engine.api.wait(found, timeout=TRY_S)["StatusCode"]
            return code, engine.api.logs(found, tail=50).decode(errors="replace")
        except docker.errors.APIError as error:
            if _no_shell(str(error.explanation)):
                return 127, ""
            raise
        finally:  # a start that was refused leaves it in `created`
            with contextlib.suppress(docker.errors.APIError):
                engine.api.remove_container(found, force=True, v=True)


def _no_shell(said: str) -> bool:
    return '"/bin/sh"' in said or "exec format error" in said or "/bin/sh: no such file" in said


def _remove_left(engine: Engine, labels: dict[str, str]) -> None:
    """Containers of an audit that was killed half-way."""
    while found := containers.find(engine, labels):
        with engine_errors.mapped("removing an audit's container", engine.host):
            engine.api.remove_container(found.id, force=True, v=True)


def _check_mount(code: int, facts: EngineFacts, run_path: Path) -> None:
    selinux = any("selinux" in option for option in facts.security_options)
    if code == 71:
        raise ToolFailure(
            "invalid_input",
            f"a container on {facts.host} does not see the run's directory {run_path}: "
            + (
                f"SELinux forbids it: `chcon -Rt container_file_t {run_path}`"
                if selinux
                else "the engine runs on another machine, in a VM that does not share this directory, or beside the container "
                "that tunegate runs in. Run tunegate where the engine runs, or set DOCKER_HOST to an engine of this machine"
            ),
        )
    if code == 72:
        raise ToolFailure(
            "invalid_input",
            f"a container on {facts.host} may not write to {run_path}: give this user write permission there, or choose "
            "another output_dir",
        )


# -- what the stages use


def proven(facts: dict[str, Any], config: RunConfig) -> GpuHandover:
    """The way that audit_gpu recorded; facts: of the host. Raises ToolFailure(unavailable) when there is none, or fewer GPUs than it saw."""
    way = facts.get("gpu_handover") or "none"
    if way == "none":
        raise ToolFailure(
            "unavailable",
            f"gpu_count = {config.gpu_count}, and no way to hand GPUs to a container is recorded: call audit_gpu again",
        )
    if facts.get("gpu_source") in ("nvml", "nvidia-smi"):  # else only a container sees them
        now = gpus.find()
        if len(now.gpus) < (config.gpu_count or 0):
            raise ToolFailure(
                "unavailable",
                f"audit_gpu saw {config.gpu_count} GPU(s), and now there are {len(now.gpus)}"
                + (f" ({now.problem})" if now.problem else "")
                + ": see `nvidia-smi` and the kernel's log (`dmesg | grep -i nvrm`), reboot if a GPU was lost, "
                "then call audit_gpu again",
            )
    return way


def describe_gpu(found: list[Gpu]) -> str:
    """One line: `2x NVIDIA H100 80GB HBM3`."""
    names = list(dict.fromkeys(gpu.name for gpu in found))
    return f"{len(found)}x {' and '.join(names)}"
