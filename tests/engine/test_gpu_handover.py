"""How GPUs get into containers, on real engines: one that has no way, one with the toolkit's hook (a fake one), and Podman."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import docker
import pytest

from tests import sealed
from tests.engine.conftest import STANDIN, _standin
from tunegate import evidence
from tunegate.clients.docker import containers
from tunegate.clients.docker import engine as engines
from tunegate.hardware import docker_audit, gpu_handover, gpus, host
from tunegate.hardware.facts import HostFacts
from tunegate.platforms import registry
from tunegate.rundir import Run

FAKE = STANDIN / "fake-nvidia"
CONFIG = sealed.CONFIG.model_copy(update={"platform": "local-docker", "push_to_hub": False, "min_disk_gb": 0})
IMAGE = "tunegate-test/gpu-tools:1"
NO_ENGINE_WORDS = re.compile(r"select device driver|\[\[gpu\]\]|OCI runtime|Traceback|APIError")


def load_image(host_url: str, folder: Path) -> None:
    """A few programs of this machine as an image: no registry, no package."""
    root = folder / "rootfs"
    for name in ("bin", "usr/bin", "tmp", "proc", "dev", "sys", "etc", "workspace"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for name in ("bash", "sh", "ls", "sleep"):
        program = shutil.which(name)
        shutil.copy(program, root / "bin" / name)
        for library in re.findall(r"(/\S+)", subprocess.run(["ldd", program], capture_output=True, text=True).stdout):
            (root / library.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, root / library.lstrip("/"))
    with tarfile.open(folder / "root.tar", "w") as tar:
        tar.add(root, ".")
    api = docker.APIClient(base_url=host_url)
    api.import_image(src=str(folder / "root.tar"), repository=IMAGE.split(":")[0], tag="1")
    api.close()


@pytest.fixture
def run(tmp_path) -> Run:
    (tmp_path / "run").mkdir()
    return sealed.build(Run(tmp_path / "run"), until="project", config=CONFIG)


@pytest.fixture
def two_gpus(tmp_path, monkeypatch):
    """This machine seems to have two GPUs, by nvidia-smi; the hook stays out of our own PATH."""
    (tmp_path / "driver").mkdir()
    (tmp_path / "driver/nvidia-smi").symlink_to(FAKE / "nvidia-smi")
    monkeypatch.setenv("PATH", f"{tmp_path / 'driver'}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_GPUS", "2")


def audit(run: Run) -> HostFacts:
    config = run.config()
    return host.audit(config, run.path, registry.of(config).audit, token_present=True)


def left_behind() -> list[str]:
    listed = engines.connect().api.containers(all=True, filters={"label": "tunegate.stage=audit"})
    return [row["Id"] for row in listed]


# -- an engine without a way


@pytest.fixture
def plain(engine, tmp_path_factory):
    load_image(os.environ["DOCKER_HOST"], tmp_path_factory.mktemp("plain"))
    yield engine
    engine.images.remove(IMAGE, force=True)


def test_without_a_gpu_the_containers_run_on_the_cpu(plain, run, monkeypatch):
    monkeypatch.setattr(gpus, "find", gpus.Gpus)
    facts = audit(run)
    assert facts.hard_failures == [] and docker_audit.NO_GPU_HERE in facts.warnings and facts.gpu_count == 0
    assert facts.handover_image and facts.gpu_handover == "none" and facts.engine["free_disk_gb"] > 0
    assert left_behind() == []


def test_gpus_that_no_container_gets_are_a_hard_failure_with_a_plan(plain, run, two_gpus):
    if engines.describe(engines.connect()).gpu_handovers:
        pytest.skip("this engine does hand GPUs over")
    facts = audit(run)
    assert facts.gpu_count == 0 and facts.gpu_handover == "none" and len(facts.gpus) == 2
    (said,) = facts.hard_failures
    assert "2x NVIDIA H100" in said and "nvidia-runtime" in said and not NO_ENGINE_WORDS.search(said), said
    assert "sudo nvidia-ctk runtime configure --runtime=docker" in facts.install_plan
    assert left_behind() == []  # a refused start leaves a container in `created`


# -- an engine with the toolkit's hook in its PATH, and no runtime listed


@pytest.fixture(scope="module")
def hooked(tmp_path_factory):
    """(docker host, the directory that its hook obeys) of an engine of our own."""
    state = tmp_path_factory.mktemp("fake-nvidia")
    home = tmp_path_factory.mktemp("engine")
    own = {
        "TUNEGATE_ENGINE_DIR": str(home / "data"),
        "TUNEGATE_ENGINE_SUBNET": "78",
        "TUNEGATE_STANDIN_PORT": "5078",
        "FAKE_NVIDIA_STATE": str(state),
        "PATH": f"{FAKE}:{os.environ['PATH']}",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        address = _standin("engine.sh", "start").removeprefix("export DOCKER_HOST=")
    try:
        load_image(address, home)
        yield address, state
    finally:
        subprocess.run([STANDIN / "engine.sh", "stop", "--purge"], env={**os.environ, **own}, check=True)


@pytest.fixture
def with_hook(hooked, monkeypatch):
    address, state = hooked
    monkeypatch.setenv("DOCKER_HOST", address)
    (state / "fail").unlink(missing_ok=True)
    (state / "gpus").write_text("2")
    return state


def test_the_hook_is_found_by_trying(with_hook, run, monkeypatch):
    monkeypatch.setattr(gpus, "find", lambda: gpus.Gpus([gpus.Gpu("H100", 85.5, 85.5, "9.0")] * 2, "580.82.07", "nvml"))
    assert engines.describe(engines.connect()).gpu_handovers == []  # nothing declares it
    facts = audit(run)
    assert facts.hard_failures == [] and facts.gpu_handover == "nvidia-runtime", facts
    assert (facts.gpu_count, facts.driver_major, facts.vram_gb_per_gpu) == (2, 580, 85.5)
    assert facts.compute_capability == "9.0" and left_behind() == []


def test_what_was_proven_starts_a_stage_with_the_gpus(with_hook, run, two_gpus):
    config = CONFIG.model_copy(update={"gpu_count": 2})
    sealed.build(run, until="host", config=config, facts={"host": audit(run).model_dump(mode="json")})
    assert evidence.read(run, "host").facts["gpu_handover"] == "nvidia-runtime"
    connected = engines.connect()
    plan = containers.ContainerPlan(
        image=IMAGE,
        argv=("sh", "-c", "nvidia-smi -L; ls /dev"),
        name="tunegate-gpu-stage",
        labels={"tunegate.run": str(run.path), "tunegate.stage": "train"},
        output_dir=run.path,
        user=containers.user_for(engines.describe(connected)),
        gpus=gpu_handover.proven(evidence.read(run, "host").facts, config),
    )
    started = containers.start(connected, plan)
    try:
        said = b"".join(line.data for line in containers.follow_logs(connected, started)).decode()
    finally:
        connected.api.remove_container(started, force=True)
    assert "GPU 1: NVIDIA H100" in said and "nvidia0" in said.split(), said


def test_a_container_that_gets_fewer_gpus_than_the_machine_has(with_hook, run, two_gpus):
    (with_hook / "gpus").write_text("1")
    facts = audit(run)
    assert facts.gpu_count == 1 and any("gets 1 of this machine's 2" in warning for warning in facts.warnings)


def test_gpus_that_only_a_container_sees(with_hook, run, monkeypatch, tmp_path):
    """As when the server itself runs in a container, beside an engine that declares the runtime."""
    monkeypatch.setattr(gpus, "find", gpus.Gpus)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nvidia-container-runtime-hook").touch(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    facts = audit(run)
    assert facts.hard_failures == [] and facts.gpu_source == "container" and facts.gpu_count == 2
    assert facts.gpu_name == "NVIDIA H100 80GB HBM3" and facts.driver == "580.82.07"


@pytest.mark.parametrize(
    ("fail", "words"),
    [
        ("nvidia-container-cli: initialization error: nvml error: driver not loaded", "driver does not answer"),
        ("nvidia-container-cli: device error: 0: unknown device", "could not be handed over"),
    ],
)
def test_a_hook_that_fails(with_hook, run, two_gpus, fail, words):
    (with_hook / "fail").write_text(fail)
    facts = audit(run)
    (said,) = facts.hard_failures
    assert words in said and not NO_ENGINE_WORDS.search(said) and facts.gpu_count == 0, said
    assert left_behind() == []


def test_a_container_that_starts_without_a_gpu(with_hook, run, two_gpus):
    (with_hook / "gpus").write_text("0")
    (said,) = audit(run).hard_failures
    assert "the container starts, and sees no GPU (No devices were found)" in said


# -- Podman's compatible socket


@pytest.fixture(scope="module")
def podman(tmp_path_factory):
    if not shutil.which("podman") or os.getuid() != 0:
        pytest.skip("podman is not installed, or this is not root")
    home = tmp_path_factory.mktemp("podman")
    runtime = f'runtime = "runc"\n[engine.runtimes]\nrunc = ["{STANDIN / "runc-clamp"}"]\n'  # see standin/README.md
    (home / "containers.conf").write_text(f'[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n{runtime}')
    options = ["--root", home / "root", "--runroot", home / "run", "--storage-driver", "vfs"]
    address = f"unix://{home}/podman.sock"
    log = (home / "log").open("w")
    env = {**os.environ, "CONTAINERS_CONF": str(home / "containers.conf"), "TMPDIR": str(home)}
    argv = ["podman", *options, "--log-level", "warn", "system", "service", "--time", "0", address]
    service = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
    try:
        for _ in range(100):
            if (home / "podman.sock").exists():
                break
            time.sleep(0.1)
        else:
            pytest.skip(f"podman does not serve: {(home / 'log').read_text()[-300:]}")
        load_image(address, home)
        yield address
    finally:
        service.terminate()
        service.wait(20)
        log.close()


def test_podman_is_refused_where_there_are_gpus(podman, run, two_gpus, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", podman)
    facts = audit(run)
    (said,) = facts.hard_failures
    assert "ignores it" in said and "DOCKER_HOST" in said and facts.gpu_count == 0
    assert facts.engine["kind"] == "podman" and facts.install_plan == []


def test_podman_may_serve_a_run_on_the_cpu(podman, run, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", podman)
    monkeypatch.setattr(gpus, "find", gpus.Gpus)
    facts = audit(run)
    assert facts.hard_failures == [], facts.hard_failures
    assert any("Podman" in warning for warning in facts.warnings) and facts.handover_image
    assert left_behind() == []
