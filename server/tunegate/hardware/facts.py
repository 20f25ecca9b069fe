"""What an audit of a machine records."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class HostFacts(BaseModel):
    """gpu_count: what the run will use. gpu_source: who saw the GPUs: nvml, nvidia-smi, container or none. GB are 1e9 bytes."""

    gpu_count: int
    gpu_name: str | None = None
    driver_major: int | None = None
    vram_gb_per_gpu: float | None = None
    free_vram_gb: float | None = None
    compute_capability: str | None = None
    gpus: list[dict[str, Any]] = []
    gpu_source: str = "none"
    gpu_handover: str = "none"
    handover_image: str | None = None
    driver: str | None = None
    container_toolkit: str | None = None
    cuda_toolkit: str | None = None
    cpu_count: int
    memory_gb: float
    shm_gb: float | None = None
    free_disk_gb: float
    credentials: dict[str, bool]
    engine: dict[str, Any] | None = None
    hard_failures: list[str] = []
    install_plan: list[str] = []
    without: dict[str, Any] = {}  # arguments of probe_model with which the run needs nothing that is missing here
    warnings: list[str] = []
    notes: list[str] = []
