"""The container that shows whether GPUs arrive, and what the stages make of it. All the ways are in test_docker_audit.py."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests import fake_engine, sealed
from tests.fake_engine import FakeEngine
from tunegate.clients.docker import engine as engines
from tunegate.errors import ToolFailure
from tunegate.hardware import gpu_handover, gpus
from tunegate.hardware.gpus import Gpu, Gpus
from tunegate.rundir import Run

FAKE = Path(__file__).resolve().parents[2] / "standin/fake-nvidia"
CONFIG = sealed.CONFIG.model_copy(update={"platform": "local-docker", "gpu_count": 2})


@pytest.fixture
def fake(tmp_path, monkeypatch):
    with FakeEngine(tmp_path / "docker.sock") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        server.on_start = lambda container: server.end(container, 0)
        yield server


@pytest.fixture
def run(tmp_path) -> Run:
    (tmp_path / "run").mkdir()
    return sealed.build(Run(tmp_path / "run"), until="project", config=CONFIG)


def prove(run: Run, ways=("nvidia-runtime",)) -> gpu_handover.Proof:
    engine = engines.connect()
    return gpu_handover.prove(engine, engines.describe(engine), CONFIG, run.path, list(ways))


# -- what runs in the container


@pytest.fixture
def inside(tmp_path):
    """inside(FAKE_GPUS=2): (exit code, output) of the script, with the stand-in of nvidia-smi unless there is to be none."""

    def execute(program: bool = True, **environment: str) -> tuple[int, str]:
        (tmp_path / "bin").mkdir()
        for name in ("ls", "sh"):
            (tmp_path / "bin" / name).symlink_to(f"/bin/{name}")
        if program:
            (tmp_path / "bin/nvidia-smi").symlink_to(FAKE / "nvidia-smi")
        env = {"PATH": str(tmp_path / "bin"), **environment}
        done = subprocess.run(["/bin/sh", "-c", gpu_handover.SEES_GPU], capture_output=True, text=True, env=env)
        return done.returncode, done.stdout

    return execute


def test_the_script_names_every_gpu(inside):
    code, said = inside(FAKE_GPUS="2")
    assert code == 0 and len(gpus.from_csv(said).gpus) == 2


def test_the_script_fails_where_nvidia_smi_does(inside):
    code, said = inside(FAKE_SMI_ERROR="Failed to initialize NVML: Unknown Error")
    assert code != 0 and "Unknown Error" in said


def test_the_script_finds_no_device(inside):
    if list(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists():
        pytest.skip("this machine has a GPU")
    assert inside(program=False) == (73, "the container has no GPU device\n")


# -- prove


def test_an_image_that_is_removed_meanwhile_is_passed_over(fake, run):
    fake.refuse("POST", "/containers/create$", 404, "No such image: run:1")
    assert prove(run).image is None and fake.containers == {}


def test_an_engine_that_can_start_nothing_says_why(fake, run):
    fake.refuse("POST", "/start$", 500, fake_engine.NO_SPACE)
    with pytest.raises(ToolFailure) as caught:
        prove(run)
    assert caught.value.code == "disk_full" and fake.containers == {}


def test_a_full_disk_is_no_missing_gpu(fake, run):
    fake.refuse("POST", "0002/start$", 500, fake_engine.NO_SPACE)
    with pytest.raises(ToolFailure) as caught:
        prove(run)
    assert caught.value.code == "disk_full" and fake.containers == {}


def test_the_order_in_which_images_are_tried(fake, run):
    sizes = {
        "pause:3": 700_000,
        "debian:12": 75_000_000,
        "big:1": 9_000_000_000,
        "nvcr.io/nvidia/pytorch:26.03-py3": 20_000_000_000,
    }
    fake.images = {name: {"Id": name, "Size": size, "Config": {}} for name, size in sizes.items()}
    fake.on_start = lambda container: fake.end(container, 127)
    prove(run)
    asked = [json.loads(request.body)["Image"] for request in fake.asked("POST", "/containers/create$")]
    assert asked == ["nvcr.io/nvidia/pytorch:26.03-py3", "debian:12", "big:1", "pause:3"]


def test_at_most_a_few_images_are_tried(fake, run):
    fake.images = {f"i:{n}": {"Id": f"sha256:{n:064x}", "Size": n, "Config": {}} for n in range(9)}
    fake.on_start = lambda container: fake.end(container, 127)
    assert prove(run).image is None
    assert len(fake.asked("POST", "/start$")) == gpu_handover.IMAGES_TRIED


# -- what the stages use


@pytest.fixture
def recorded():
    def record(**facts) -> dict:
        return {"hard_failures": [], "gpu_count": 2, **facts}

    return record


def test_a_stage_gets_the_gpus_as_they_were_proven(recorded, monkeypatch):
    host = recorded(gpu_handover="cdi", gpu_source="nvml")
    monkeypatch.setattr(gpus, "find", lambda: Gpus([Gpu("NVIDIA H100", 85.5, 85.0)] * 2, "580.95.05", "nvml"))
    assert gpu_handover.proven(host, CONFIG) == "cdi"


def test_a_gpu_that_vanished_since_the_audit(recorded, monkeypatch):
    host = recorded(gpu_handover="cdi", gpu_source="nvml")
    monkeypatch.setattr(gpus, "find", lambda: Gpus(problem="NVML: GPU 1: GPU is lost"))
    with pytest.raises(
        ToolFailure, match=r"saw 2 GPU\(s\), and now there are 0 \(NVML: GPU 1: GPU is lost\).*audit_gpu"
    ):
        gpu_handover.proven(host, CONFIG)


def test_gpus_that_this_process_never_saw_are_not_missed(recorded, monkeypatch):
    monkeypatch.setattr(gpus, "find", Gpus)
    assert (
        gpu_handover.proven(recorded(gpu_handover="nvidia-runtime", gpu_source="container"), CONFIG) == "nvidia-runtime"
    )


def test_a_run_with_gpus_and_no_way_to_get_them(recorded):
    with pytest.raises(ToolFailure, match="call audit_gpu again"):
        gpu_handover.proven(recorded(), CONFIG)
