"""audit_gpu on local-docker: the driver, the engine, and whether a container gets this machine's GPUs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

from tunegate.clients.docker import engine as engines
from tunegate.clients.docker.engine import Engine, EngineFacts
from tunegate.config import RunConfig
from tunegate.errors import ToolFailure
from tunegate.hardware import gpu_handover, install_plan, machine_kind
from tunegate.hardware.facts import HostFacts
from tunegate.hardware.gpu_handover import Proof
from tunegate.hardware.gpus import Gpus
from tunegate.hardware.ngc.rules import MIN_DRIVER

NO_GPU_HERE = "no NVIDIA GPU was found: the containers run on the CPU, where training takes hours instead of minutes; fit for trying a run out"
TO_CPU = "or choose platform: local-process (probe_model) to train on the CPU on purpose"
BASELINE_DRIVER, BASELINE_TOOLKIT = 580, (1, 19, 0)
BUSY_SHARE = 0.9  # less than this of a GPU's memory free: someone else uses it
TOOLKIT_PROGRAMS = ("nvidia-ctk", "nvidia-container-cli", "nvidia-container-runtime-hook")


def inspect(facts: HostFacts, seen: Gpus, config: RunConfig, run_path: Path) -> None:
    """What the engine is, and whether it hands this machine's GPUs to a container: shown by one that is started."""
    missing: set[install_plan.InstallPart] = set()
    known = None
    kind, name = machine_kind.find()
    if kind == "wsl":
        facts.notes.append(machine_kind.WSL_NOTE if seen.gpus else machine_kind.WSL_NO_GPU)
    elif kind == "jetson":
        facts.warnings.append(machine_kind.JETSON_WARNING.format(model=name))
    try:
        _check_driver(facts, seen, missing)
        engine, known = _engine(missing)
        _describe_engine(facts, known)
        _prove(facts, seen, engine, known, config, run_path, missing)
    except ToolFailure as failure:
        facts.hard_failures.append(str(failure))
    if kind == "wsl":
        missing.discard("driver")  # a Linux driver would hide the one that Windows lends
    if facts.hard_failures and missing:
        if (seen.gpus or seen.card) and not facts.container_toolkit and not (known and known.kind == "podman"):
            missing |= {"toolkit", "configure"}
        facts.install_plan = install_plan.steps(missing, rootless=bool(known and known.rootless))


def _check_driver(facts: HostFacts, seen: Gpus, missing: set[install_plan.InstallPart]) -> None:
    """A driver that is absent, does not answer, or is too old for every image."""
    major = seen.driver_major
    if seen.gpus and major and major < (oldest := min(MIN_DRIVER.values())):
        missing.add("driver")
        facts.hard_failures.append(
            f"NVIDIA driver {seen.driver}: every usable image needs {oldest} or newer, today's CUDA 13 images "
            f"{BASELINE_DRIVER}. Update the driver (install_plan), then call audit_gpu again"
        )
    elif seen.problem:
        missing.add("driver")
        facts.hard_failures.append(
            f"the NVIDIA driver does not answer ({seen.problem}): reboot if it was just updated or a GPU was lost, else "
            f"install it again (install_plan), then call audit_gpu again; {TO_CPU}"
        )
    elif seen.card and not seen.gpus:
        missing.add("driver")
        facts.hard_failures.append(
            "an NVIDIA card is in this machine, and no NVIDIA driver: install it (install_plan), then call audit_gpu again; "
            + TO_CPU
        )


def _engine(missing: set[install_plan.InstallPart]) -> tuple[Engine, EngineFacts]:
    """Raises ToolFailure(unavailable)."""
    host = engines.address()
    if engines.is_remote(host):
        raise ToolFailure(
            "unavailable",
            f"the Docker engine at {host} is on another machine, and the run's directory is on this one: a container there would "
            "not see it. Run tunegate on that machine, or unset DOCKER_HOST to use this one's engine; then call audit_gpu again",
        )
    try:
        engine = engines.connect()
    except ToolFailure:
        if not any(shutil.which(name) for name in ("dockerd", "docker", "podman")):
            missing.add("engine")
        raise
    return engine, engines.describe(engine)


def _describe_engine(facts: HostFacts, known: EngineFacts) -> None:
    facts.engine = known.model_dump()
    facts.memory_gb = min(facts.memory_gb, known.memory_gb or facts.memory_gb)
    if known.free_disk_gb is None:
        facts.notes.append(
            f"the engine keeps its images in {known.image_dir}, which is not on this machine: free disk unknown"
        )


def _prove(
    facts: HostFacts,
    seen: Gpus,
    engine: Engine,
    known: EngineFacts,
    config: RunConfig,
    run_path: Path,
    missing: set[install_plan.InstallPart],
) -> None:
    """Adds the GPUs that a container gets, or the hard failure. Raises ToolFailure when no container of this run can run."""
    if known.kind == "podman":
        if seen.gpus:
            raise ToolFailure(
                "unavailable",
                f"{known.host} is Podman's compatible socket, which takes a GPU request and ignores it: training would silently "
                f"run on the CPU. Use a Docker engine (DOCKER_HOST), then call audit_gpu again; {TO_CPU}",
            )
        facts.warnings.append(
            "the engine is Podman's compatible socket: good enough for the CPU, its GPUs cannot be used"
        )
    ways = list(known.gpu_handovers)
    if seen.gpus and known.kind == "docker" and "nvidia-runtime" not in ways:
        ways.append("nvidia-runtime")  # the toolkit's hook may be in the daemon's PATH, which only a try can tell
    proof = gpu_handover.prove(engine, known, config, run_path, [] if seen.problem else ways)
    facts.handover_image, facts.gpu_handover = proof.image, proof.handover
    if proof.handover == "none" and not seen.gpus:
        if not facts.hard_failures:
            facts.warnings.append(NO_GPU_HERE)
    elif proof.handover == "none" and proof.image is None:
        _unproven(facts, known, missing)
    elif proof.handover == "none":
        missing.add("configure")
        raise ToolFailure("unavailable", _no_way(seen, known, proof))
    if facts.gpu_handover != "none":
        _count(facts, seen, proof)
        _check_image_driver(facts, engine, config, missing)


def _unproven(facts: HostFacts, known: EngineFacts, missing: set[install_plan.InstallPart]) -> None:
    """No local image to try it with: believe what the engine declares, and say so."""
    if not known.gpu_handovers:
        missing.add("configure")
        raise ToolFailure(
            "unavailable",
            f"the engine at {known.host} declares no way to hand a GPU to a container, and has no image to try it with: install "
            "and configure the NVIDIA Container Toolkit (install_plan), then call audit_gpu again",
        )
    facts.gpu_handover = known.gpu_handovers[0]
    facts.warnings.append(
        f"GPUs by {facts.gpu_handover}, as the engine declares: it has no image with a shell to prove it with. Pull the NGC "
        "image, and call audit_gpu again"
    )


def _no_way(seen: Gpus, known: EngineFacts, proof: Proof) -> str:
    reasons: dict[str, list[str]] = {}
    for way, why in proof.refusals.items():
        reasons.setdefault(why, []).append(way)
    tried = "; ".join(f"{' and '.join(ways)}: {why}" for why, ways in reasons.items())
    rootless = " The engine is rootless: the toolkit needs no-cgroups (install_plan)." if known.rootless else ""
    return (
        f"{gpu_handover.describe_gpu(seen.gpus)} here, and no container on {known.host} gets them. Tried {tried}.{rootless} "
        f"Then call audit_gpu again; {TO_CPU}"
    )


def _count(facts: HostFacts, seen: Gpus, proof: Proof) -> None:
    """The config's hardware keys: of the GPUs that a container gets, which may be fewer than the machine has."""
    found = seen if seen.gpus else proof.gpus
    inside = len(proof.gpus.gpus) or proof.devices or len(found.gpus)
    if not seen.gpus:
        facts.gpus, facts.gpu_source, facts.driver = [vars(gpu) for gpu in found.gpus], "container", found.driver
    if not found.gpus:
        return facts.warnings.append(
            "a container sees a GPU device, and nvidia-smi tells nothing of it: it is not used"
        )
    if inside < len(found.gpus):
        facts.warnings.append(f"a container gets {inside} of this machine's {len(found.gpus)} GPUs: those are used")
    if any(gpu.mig_slices == 0 for gpu in found.gpus):
        raise ToolFailure(
            "unavailable",
            "MIG is on and a GPU has no slice: make one (`sudo nvidia-smi mig -cgi 0 -C`) or switch MIG off "
            "(`sudo nvidia-smi -mig 0`), then call audit_gpu again",
        )
    if any(gpu.mig_slices for gpu in found.gpus):
        facts.warnings.append("MIG is on: a process uses one slice only, so that the run counts on one slice's memory")
        inside = 1
    if len({gpu.name for gpu in found.gpus}) > 1:
        facts.warnings.append(
            f"unequal GPUs ({gpu_handover.describe_gpu(found.gpus)}): the smallest sets the pace and the memory"
        )
    facts.gpu_count, facts.gpu_name, facts.driver_major = inside, found.gpus[0].name, found.driver_major
    facts.vram_gb_per_gpu = min(gpu.memory_gb for gpu in found.gpus)
    facts.free_vram_gb = min(gpu.free_gb for gpu in found.gpus)
    known = [gpu.compute_capability for gpu in found.gpus if gpu.compute_capability]
    facts.compute_capability = min(known, key=float, default=None)
    for index, gpu in enumerate(found.gpus):
        if gpu.free_gb < BUSY_SHARE * gpu.memory_gb:
            facts.warnings.append(
                f"GPU {index}: {gpu.free_gb} of {gpu.memory_gb} GB free, {gpu.processes} other process(es) on it "
                "(`nvidia-smi` names them): training may run out of memory"
            )
    if not facts.cuda_toolkit:
        facts.notes.append("no CUDA toolkit on this machine: none is needed, the container brings its own")
    if facts.container_toolkit and _version(facts.container_toolkit) < BASELINE_TOOLKIT:
        facts.warnings.append(
            f"NVIDIA container toolkit {facts.container_toolkit}: it works; 1.19.0 or newer is what this was made for"
        )


def _check_image_driver(
    facts: HostFacts, engine: Engine, config: RunConfig, missing: set[install_plan.InstallPart]
) -> None:
    """The driver against the image that was picked, if there is one yet, else against today's images."""
    image = engines.image(engine, config.ngc_image) if config.ngc_image else None
    cuda = image.env.get("CUDA_VERSION", "") if image else ""
    oldest = MIN_DRIVER.get(int(cuda.split(".")[0])) if re.match(r"\d+\.", cuda) else None
    driver = facts.driver_major
    if driver is None or driver >= BASELINE_DRIVER or driver < min(MIN_DRIVER.values()):  # fine, or said already
        return
    if oldest and driver < oldest:
        missing.add("driver")
        raise ToolFailure(
            "unavailable",
            f"NVIDIA driver {facts.driver}: {config.ngc_image} (CUDA {cuda}) needs {oldest} or newer. Update the driver "
            "(install_plan) and call audit_gpu again, or pull an older image and call pick_ngc_image",
        )
    facts.warnings.append(
        f"NVIDIA driver {facts.driver} is older than {BASELINE_DRIVER}: only images with CUDA 12 can run, not today's with CUDA 13"
    )


def toolkit_version() -> str | None:
    """NVIDIA container toolkit, as its programs on this machine say; informative: what counts is that a container gets a GPU."""
    said = (_said(name, "--version") for name in TOOLKIT_PROGRAMS)
    return next((found[0] for text in said if (found := re.search(r"\d+\.\d+\.\d+", text))), None)


def cuda_toolkit() -> str | None:
    if found := re.search(r"release (\d+\.\d+)", _said("nvcc", "--version")):
        return found[1]
    try:
        return json.loads(Path("/usr/local/cuda/version.json").read_text())["cuda"]["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _said(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
