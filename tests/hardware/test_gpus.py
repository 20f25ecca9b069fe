"""What is told of GPUs: by a stand-in of NVIDIA's library (compiled here) and of its program."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tunegate.hardware import gpus
from tunegate.hardware.gpus import Gpu

FAKE = Path(__file__).resolve().parents[2] / "standin/fake-nvidia"
H100 = "NVIDIA H100 80GB HBM3"


@pytest.fixture(scope="session")
def library(tmp_path_factory) -> Path:
    """The directory of a libnvidia-ml.so.1."""
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed: the stand-in of NVML cannot be compiled")
    folder = tmp_path_factory.mktemp("nvml")
    argv = ["gcc", "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", FAKE / "nvml.c"]
    subprocess.run(argv, check=True)
    return folder


@pytest.fixture(autouse=True)
def no_driver(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setattr(gpus, "PCI", tmp_path / "pci")
    for name in [name for name in os.environ if name.startswith("FAKE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def nvml(library, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library))

    def ask(**environment: int | str) -> gpus.Gpus:
        for name, value in environment.items():
            monkeypatch.setenv(f"FAKE_{name}", str(value))
        return gpus.find()

    return ask


@pytest.fixture
def smi(tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").symlink_to(FAKE / "nvidia-smi")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return monkeypatch


def test_without_a_driver_there_is_nothing_and_no_problem():
    if gpus._from_nvml().source == "nvml":
        pytest.skip("this machine has a driver")
    assert gpus.find() == gpus.Gpus()


def test_nvml(nvml):
    found = nvml(GPUS=2, PROCESSES=3, FREE_MIB=1000, DRIVER="575.57.08")
    assert found.gpus == [Gpu(H100, 85.5, 1.0, "9.0", processes=3)] * 2
    assert (found.driver, found.driver_major, found.source, found.problem, found.card) == (
        "575.57.08",
        575,
        "nvml",
        None,
        True,
    )


def test_a_gpu_with_mig_counts_as_its_slice(nvml):
    (gpu,) = nvml(MIG=2).gpus
    assert gpu.mig_slices == 2 and gpu.memory_gb == 10.7
    (gpu,) = nvml(MIG=0).gpus
    assert gpu.mig_slices == 0 and gpu.memory_gb == 85.5


def test_a_gpu_that_shares_the_machines_memory(nvml):
    (gpu,) = nvml(SHARED=1).gpus
    assert gpu.memory_gb == gpus._shared_memory_gb("MemTotal") > gpu.free_gb > 0


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"NVML_ERROR": 9}, "NVML: "),
        ({"NVML_ERROR": 18}, "version mismatch"),
        ({"GPUS": 2, "LOST": 1}, "NVML: GPU 1: GPU is lost"),
        ({"GPUS": 0}, "has no GPU"),
    ],
)
def test_a_driver_that_does_not_answer(nvml, environment, says):
    found = nvml(**environment)
    assert found.gpus == [] and says in found.problem and found.source == "none"


def test_a_driver_that_hangs_is_given_up(nvml, monkeypatch):
    monkeypatch.setattr(gpus, "ASK_S", 0.5)
    found = nvml(HANG=1)
    assert found.gpus == [] and "the driver hangs" in found.problem


def test_a_program_that_answers_where_the_library_does_not(nvml, smi):
    found = nvml(NVML_ERROR=18, GPUS=1)
    assert found.source == "nvidia-smi" and found.gpus == [Gpu(H100, 85.5, 85.5, "9.0")] and found.problem is None


def test_nvidia_smi_alone(smi):
    smi.setenv("FAKE_GPUS", "2")
    found = gpus.find()
    assert found.source == "nvidia-smi" and len(found.gpus) == 2 and found.driver == "580.82.07"
    smi.setenv("FAKE_SMI_ERROR", "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.")
    found = gpus.find()
    assert found.gpus == [] and "couldn't communicate" in found.problem and found.source == "none"


def test_lines_of_nvidia_smi(tmp_path, monkeypatch):
    text = "\n".join(
        [
            "WARNING: infoROM is corrupted at gpu 0000:01:00.0",
            "NVIDIA GB10, 580.95.05, [N/A], [N/A], 12.1",
            "Tesla V100, 580.95.05, 16384, 16000, [N/A]",
            "a, b, c, d, e",
        ]
    )
    (tmp_path / "meminfo").write_text("MemTotal:  125000000 kB\nMemFree:  1 kB\nMemAvailable:  80000000 kB\n")
    monkeypatch.setattr(gpus, "MEMINFO", tmp_path / "meminfo")
    found = gpus.from_csv(text)
    assert found.gpus == [Gpu("NVIDIA GB10", 128.0, 81.9, "12.1"), Gpu("Tesla V100", 17.2, 16.8, None)]
    assert gpus.from_csv("No devices were found\n") == gpus.Gpus()


@pytest.mark.parametrize(
    "word", ["[Unknown Error]", "[GPU requires reset]", "[Insufficient Permissions]", "[GPU is lost]"]
)
@pytest.mark.parametrize("row", ["580.65.06, {0}, {0}, 8.6", "580.65.06, 49140, {0}, 8.6", "{0}, 49140, 48500, 8.6"])
def test_a_word_of_trouble_is_no_shared_memory(word, row):
    found = gpus.from_csv(f"NVIDIA RTX A6000, 580.65.06, 49140, 48500, 8.6\nNVIDIA RTX A6000, {row.format(word)}\n")
    assert found.gpus == [] and f"GPU 1 (NVIDIA RTX A6000) answers {word}" in found.problem


@pytest.mark.parametrize(("driver", "major"), [("580.95.05", 580), ("540.4.0", 540), ("[N/A]", None), (None, None)])
def test_the_drivers_branch(driver, major):
    assert gpus.Gpus(driver=driver).driver_major == major


def test_a_card_without_a_driver(tmp_path):
    def device(name: str, vendor: str, kind: str) -> None:
        (tmp_path / "pci" / name).mkdir(parents=True)
        (tmp_path / "pci" / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / "pci" / name / "class").write_text(f"{kind}\n")

    device("0000:00:02.0", "0x8086", "0x030000")  # another maker's
    device("0000:01:00.1", "0x10de", "0x040300")  # the audio function of a card
    assert not gpus._card()
    device("0000:01:00.0", "0x10de", "0x030200")
    assert gpus._card()


def test_nothing_in_the_working_directory_is_run(tmp_path, monkeypatch):
    for name in ("pynvml", "tunegate"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    gpus.find()
    assert not (tmp_path / "ran").exists()


def test_a_server_that_starts_does_not_load_nvml():
    code = "import sys, tunegate.mcp_server, tunegate.tools.hardware; print('pynvml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
