from __future__ import annotations

import os
import shutil
from types import SimpleNamespace

import pytest

from tests.sealed import CONFIG
from tunegate.hardware import gpus, host
from tunegate.hardware.facts import HostFacts
from tunegate.platforms.local_process.platform import NO_GPU, LocalProcess


def disk(monkeypatch, free_gb: float) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free_gb * 1e9))


def fake_gpu(tmp_path, monkeypatch, script: str) -> None:
    """A machine whose nvidia-smi is `script`."""
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture(autouse=True)
def no_gpu(tmp_path, monkeypatch):
    fake_gpu(tmp_path, monkeypatch, "exit 9")
    monkeypatch.setattr(gpus, "_from_child", gpus.Gpus)  # no library of this machine's
    disk(monkeypatch, 500)


def audit(tmp_path, token_present: bool = True, **changes) -> HostFacts:
    return host.audit(CONFIG.model_copy(update=changes), tmp_path, LocalProcess().audit, token_present=token_present)


def test_this_machine_passes_and_claims_no_gpu(tmp_path):
    facts = audit(tmp_path)
    assert facts.hard_failures == [] and facts.warnings == [] and facts.notes == [NO_GPU]
    assert (facts.gpu_count, facts.gpu_name, facts.driver_major, facts.vram_gb_per_gpu) == (0, None, None, None)
    assert facts.shm_gb > 0 and facts.gpu_handover == "none" and facts.install_plan == []
    assert facts.cpu_count == len(os.sched_getaffinity(0)) and facts.memory_gb > 0 and facts.free_disk_gb == 500


def test_a_gpu_that_is_there_is_told_and_not_counted(tmp_path, monkeypatch):
    line = "echo 'NVIDIA A100, 580.95.05, 81920, 81000, 8.0'"
    fake_gpu(tmp_path, monkeypatch, f"{line}; {line}")
    facts = audit(tmp_path)
    assert facts.gpu_count == 0 and [gpu["name"] for gpu in facts.gpus] == ["NVIDIA A100"] * 2
    assert "2x NVIDIA A100" in facts.warnings[0] and "not used" in facts.warnings[0]


def test_without_nvidia_smi(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    facts = audit(tmp_path)
    assert facts.gpus == [] and facts.container_toolkit is None and facts.cuda_toolkit is None


def test_disk_space(tmp_path, monkeypatch):
    disk(monkeypatch, 50)
    facts = audit(tmp_path)
    assert facts.hard_failures == [] and "min_disk_gb = 100" in facts.warnings[0]
    assert audit(tmp_path, min_disk_gb=20).warnings == []
    disk(monkeypatch, 1.5)
    assert "1.5 GB free" in audit(tmp_path).hard_failures[0] and "audit_gpu" in audit(tmp_path).hard_failures[0]


def test_a_push_needs_a_token_and_only_its_presence_is_kept(tmp_path):
    facts = audit(tmp_path, token_present=False)
    assert "HF_TOKEN" in facts.hard_failures[0] and "push_to_hub: false" in facts.hard_failures[0]
    assert facts.credentials == {"HF_TOKEN": False}
    assert audit(tmp_path, token_present=False, push_to_hub=False).hard_failures == []
