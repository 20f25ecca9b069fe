"""What this machine offers to a run, and whether the model fits it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from tunegate import engine as engines
from tunegate.config import RunConfig
from tunegate.errors import ToolFailure

NO_CONTAINER = (
    "platform local-process: stages run in a virtual environment on this machine, without a container; "
    "there is no image digest to pin, so the package lock in meta/stages/build.json stands in for it"
)
NO_GPU = "platform local-process trains on the CPU: expect hours where a GPU takes minutes; fit for small models and for trying a run out"
MIN_FREE_GB = 5.0  # the CPU stage environment and a small model's checkpoints; min_disk_gb speaks of container images


class Gpu(NamedTuple):
    name: str
    driver_major: int
    memory_gb: float


class HostFacts(BaseModel):
    gpu_count: int
    gpu_name: str | None = None
    driver_major: int | None = None
    vram_gb_per_gpu: float | None = None
    gpus_seen: list[str] = []
    cpu_count: int
    memory_gb: float
    free_disk_gb: float
    credentials: dict[str, bool]
    engine: dict[str, Any] | None = None
    hard_failures: list[str] = []
    warnings: list[str] = []
    notes: list[str] = []


class Fit(BaseModel):
    verdict: str
    terms_gb: dict[str, float]
    notes: list[str] = []


def audit(config: RunConfig, run_path: Path, *, token_present: bool) -> HostFacts:
    """Facts of this machine now. `gpu_count` is what the run will use: on local-process 0, whatever is installed."""
    gpus = _nvidia_smi()
    facts = HostFacts(
        gpu_count=0,
        gpus_seen=[gpu.name for gpu in gpus],
        cpu_count=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gb=_memory_gb(),
        free_disk_gb=round(shutil.disk_usage(run_path).free / 1e9, 1),
        credentials={"HF_TOKEN": token_present},
    )
    if config.platform == "local-docker":
        _audit_engine(facts, gpus)
    else:
        facts.notes.append(NO_GPU)
        if gpus:
            facts.warnings.append(f"{len(gpus)} GPU(s) here ({gpus[0].name}) are not used by local-process")
    _audit_disk(facts, config, run_path)
    if config.push_to_hub and not token_present:
        facts.hard_failures.append(
            "push_to_hub is true and no Hub token was found: set HF_TOKEN in the server's environment (or run `hf auth login`), "
            "or set push_to_hub: false in config.yaml; then call audit_gpu again"
        )
    return facts


def _audit_engine(facts: HostFacts, gpus: list[Gpu]) -> None:
    """What the Docker engine offers, and whether it can hand this machine's GPUs to a container."""
    try:
        engine = engines.describe(engines.connect())
    except ToolFailure as failure:
        facts.hard_failures.append(str(failure))
        return
    facts.engine = engine.model_dump()
    if engine.free_disk_gb is not None:
        facts.free_disk_gb = min(facts.free_disk_gb, engine.free_disk_gb)
    if not gpus:
        facts.notes.append("no GPU was found: the containers run on the CPU, which is for trying a run out")
    elif engine.gpu_handover == "none":
        facts.hard_failures.append(
            f"this machine has {len(gpus)} GPU(s) ({gpus[0].name}), but the engine at {engine.host} ({engine.kind} {engine.version}) "
            "cannot hand them to a container: install the NVIDIA Container Toolkit, run `nvidia-ctk runtime configure "
            "--runtime=docker` (or `nvidia-ctk cdi generate`), restart the engine, then call audit_gpu again"
        )
    else:
        facts.gpu_count, facts.gpu_name = len(gpus), gpus[0].name
        facts.driver_major = gpus[0].driver_major
        facts.vram_gb_per_gpu = min(gpu.memory_gb for gpu in gpus)


def _audit_disk(facts: HostFacts, config: RunConfig, run_path: Path) -> None:
    free = facts.free_disk_gb
    if free < MIN_FREE_GB:
        facts.hard_failures.append(
            f"{free} GB free on the disk of {run_path}, {MIN_FREE_GB} GB needed: free disk space, then call audit_gpu again"
        )
    elif free < config.min_disk_gb:
        facts.warnings.append(
            f"{free} GB free, below min_disk_gb = {config.min_disk_gb} (which allows for container images)"
        )


def _nvidia_smi() -> list[Gpu]:
    """The GPUs that the driver lists; none where there is no driver."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in found.stdout.splitlines() if found.returncode == 0]
    return [
        Gpu(name, int(driver.split(".")[0]), round(float(memory) * 2**20 / 1e9, 1))
        for name, driver, memory in (row for row in rows if len(row) == 3)
    ]


def _memory_gb() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def model_fit(model: dict, audit_facts: dict) -> Fit:
    """Full fine-tuning in float32 with AdamW: weights 4 B, gradients 4 B, two moments 8 B a parameter; activations come on top."""
    parameters = model.get("parameters") or 0
    terms = {"weights": parameters * 4 / 1e9, "gradients": parameters * 4 / 1e9, "optimizer": parameters * 8 / 1e9}
    needed, memory = sum(terms.values()), audit_facts.get("vram_gb_per_gpu") or audit_facts["memory_gb"]
    terms = {name: round(value, 3) for name, value in terms.items()}
    if not parameters:
        return Fit(
            verdict="unknown: the repository declares no parameter count; smoke will show whether it fits",
            terms_gb=terms,
        )
    if needed > memory:
        return Fit(
            verdict=f"does not fit: {needed:.1f} GB of states against {memory} GB of memory: choose a smaller model, or a "
            "machine with more memory",
            terms_gb=terms,
        )
    if needed > 0.6 * memory:
        return Fit(
            verdict=f"tight: {needed:.1f} GB of states against {memory} GB of memory",
            terms_gb=terms,
            notes=["activations come on top: if smoke runs out of memory, choose a smaller model or a larger machine"],
        )
    return Fit(verdict=f"fits: {needed:.2f} GB of states against {memory} GB of memory", terms_gb=terms)
