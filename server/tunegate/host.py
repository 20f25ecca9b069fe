"""What this machine offers to a run on `local-process`, and whether the model fits it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from pydantic import BaseModel

from tunegate.config import RunConfig

NO_CONTAINER = (
    "platform local-process: stages run in a virtual environment on this machine, without a container; "
    "there is no image digest to pin, so the package lock in meta/stages/build.json stands in for it"
)
NO_GPU = "platform local-process trains on the CPU: expect hours where a GPU takes minutes; fit for small models and for trying a run out"
MIN_FREE_GB = 5.0  # the CPU stage environment and a small model's checkpoints; min_disk_gb speaks of container images


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
    hard_failures: list[str] = []
    warnings: list[str] = []
    notes: list[str] = []


class Fit(BaseModel):
    verdict: str
    terms_gb: dict[str, float]
    notes: list[str] = []


def audit(config: RunConfig, run_path: Path, *, token_present: bool) -> HostFacts:
    """Facts of this machine now. `gpu_count` is what the run will use, which on local-process is 0, whatever is installed."""
    free_gb = round(shutil.disk_usage(run_path).free / 1e9, 1)
    facts = HostFacts(
        gpu_count=0,
        gpus_seen=_nvidia_smi(),
        cpu_count=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gb=_memory_gb(),
        free_disk_gb=free_gb,
        credentials={"HF_TOKEN": token_present},
        notes=[NO_GPU],
    )
    if facts.gpus_seen:
        facts.warnings.append(
            f"{len(facts.gpus_seen)} GPU(s) here ({facts.gpus_seen[0]}) are not used by local-process"
        )
    if free_gb < MIN_FREE_GB:
        facts.hard_failures.append(
            f"{free_gb} GB free on the disk of {run_path}, {MIN_FREE_GB} GB needed: free disk space, then call audit_gpu again"
        )
    elif free_gb < config.min_disk_gb:
        facts.warnings.append(
            f"{free_gb} GB free, below min_disk_gb = {config.min_disk_gb} (which allows for container images)"
        )
    if config.push_to_hub and not token_present:
        facts.hard_failures.append(
            "push_to_hub is true and no Hub token was found: set HF_TOKEN in the server's environment (or run `hf auth login`), "
            "or set push_to_hub: false in config.yaml; then call audit_gpu again"
        )
    return facts


def _nvidia_smi() -> list[str]:
    try:
        found = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return found.stdout.split("\n")[:-1] if found.returncode == 0 else []


def _memory_gb() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def model_fit(model: dict, audit_facts: dict) -> Fit:
    """Full fine-tuning in float32 with AdamW: weights 4 B, gradients 4 B, two moments 8 B a parameter; activations come on top."""
    parameters = model.get("parameters") or 0
    terms = {"weights": parameters * 4 / 1e9, "gradients": parameters * 4 / 1e9, "optimizer": parameters * 8 / 1e9}
    needed, memory = sum(terms.values()), audit_facts["memory_gb"]
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
