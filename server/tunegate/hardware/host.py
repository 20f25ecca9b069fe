"""What this machine offers to a run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tunegate import paths
from tunegate.config import RunConfig
from tunegate.hardware import docker_audit, gpus
from tunegate.hardware.facts import HostFacts
from tunegate.project import extras

MIN_FREE_GB = 5.0  # the CPU stage environment and a small model's checkpoints; min_disk_gb speaks of container images


def audit(
    config: RunConfig,
    run_path: Path,
    audit_platform: Callable[[HostFacts, gpus.Gpus, RunConfig, Path], None],
    *,
    token_present: bool,
) -> HostFacts:
    """Facts of this machine now. `gpu_count` is what the run will use, as the platform says: 0 where it uses none.

    audit_platform: adds what the run's platform offers (platforms.base.Platform.audit).
    """
    seen = gpus.find()
    facts = HostFacts(
        gpu_count=0,
        gpus=[vars(gpu) for gpu in seen.gpus],
        gpu_source=seen.source,
        driver=seen.driver,
        container_toolkit=docker_audit.toolkit_version(),
        cuda_toolkit=docker_audit.cuda_toolkit(),
        cpu_count=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gb=_memory_gb(),
        shm_gb=_shm_gb(),
        free_disk_gb=round(shutil.disk_usage(run_path).free / 1e9, 1),
        credentials={"HF_TOKEN": token_present},
    )
    audit_platform(facts, seen, config, run_path)
    _audit_disk(facts, config, run_path)
    if extras.needs_wandb_key(config):
        facts.credentials["WANDB_API_KEY"] = bool(os.environ.get("WANDB_API_KEY"))
        if not facts.credentials["WANDB_API_KEY"]:
            facts.hard_failures.append(
                "monitoring is wandb and WANDB_API_KEY is not in the server's environment: the user sets it there, or WANDB_MODE=offline (or disabled); "
                "then call audit_gpu again"
            )
    if config.push_to_hub and not token_present:
        facts.hard_failures.append(
            "push_to_hub is true and no Hub token was found: set HF_TOKEN in the server's environment (or run `hf auth login`), "
            "then call audit_gpu again; or keep the model on this machine (probe_model with push_to_hub: false)"
        )
        facts.without["push_to_hub"] = False
    return facts


def _audit_disk(facts: HostFacts, config: RunConfig, run_path: Path) -> None:
    """The disk of the run, that of the private folders in which stages work, and, where containers run, that of the images."""
    disks = {f"the disk of {run_path}": facts.free_disk_gb}
    works = paths.work_dir()
    there = next(path for path in (works, *works.parents) if path.exists())
    name = f"the disk of {works}, where stages work (TUNEGATE_WORK_DIR names another place)"
    disks[name] = round(shutil.disk_usage(there).free / 1e9, 1)
    if facts.engine and facts.engine["free_disk_gb"] is not None:
        disks[f"the engine's disk ({facts.engine['image_dir']})"] = facts.engine["free_disk_gb"]
    facts.free_disk_gb = min(disks.values())
    where = min(disks, key=lambda name: disks[name])
    if facts.free_disk_gb < MIN_FREE_GB:
        facts.hard_failures.append(
            f"{facts.free_disk_gb} GB free on {where}, {MIN_FREE_GB} GB needed: free disk space, then call audit_gpu again"
        )
    elif facts.free_disk_gb < config.min_disk_gb:
        facts.warnings.append(
            f"{facts.free_disk_gb} GB free on {where}, below min_disk_gb = {config.min_disk_gb} (which allows for container images)"
        )


def _shm_gb() -> float | None:
    """/dev/shm of this machine. A container has its own, of 16 GB, whatever this says."""
    try:
        found = os.statvfs("/dev/shm")
    except OSError:
        return None
    return round(found.f_frsize * found.f_blocks / 1e9, 1)


def _memory_gb() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
