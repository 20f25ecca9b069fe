"""audit_gpu on local-docker, with the real SDK against a fake engine: every way in which a machine can fall short."""

from __future__ import annotations

import json

import pytest

from tests import fake_engine, sealed
from tests.fake_engine import Container, FakeEngine
from tunegate.hardware import docker_audit, gpu_handover, gpus, host, install_plan, machine_kind
from tunegate.hardware.facts import HostFacts
from tunegate.hardware.gpus import Gpu, Gpus
from tunegate.platforms import registry
from tunegate.rundir import Run

NGC = "nvcr.io/nvidia/pytorch:26.03-py3"
CONFIG = sealed.CONFIG.model_copy(update={"platform": "local-docker", "push_to_hub": False, "min_disk_gb": 0})
H100 = Gpu("NVIDIA H100", 85.5, 85.0, "9.0")
ROW = "NVIDIA H100, 580.95.05, 81559, 81000, 9.0\n"
ENGINE_WORDS = ("could not select device driver", "OCI runtime", "[[gpu]]", "500 Server Error")


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """An engine with one image that has a shell. `gives`: what a GPU container prints, and its exit code, by way."""
    with FakeEngine(tmp_path / "docker.sock") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        monkeypatch.setenv("PATH", str(tmp_path))  # no toolkit of this machine's
        server.images = {
            NGC: {"Id": fake_engine.IMAGE_ID, "Size": 20_000_000_000, "Config": {"Env": ["CUDA_VERSION=13.2"]}}
        }
        server.mount = 0
        server.gives = {"nvidia-runtime": (ROW, 0), "cdi": (ROW, 0)}
        server.on_start = lambda container: answer(server, container)
        yield server


def way_of(container: Container) -> str:
    requests = container.config["HostConfig"]["DeviceRequests"]
    return "none" if not requests else "cdi" if requests[0]["Driver"] == "cdi" else "nvidia-runtime"


def answer(server: FakeEngine, container: Container) -> None:
    way = way_of(container)
    text, code = ("", server.mount) if way == "none" else server.gives[way]
    for line in text.splitlines(keepends=True):
        server.write(container, line)
    server.end(container, code)


def tried(fake: FakeEngine) -> list[str]:
    """The ways that containers were created in, in order."""
    return [way_of(Container("", "", body, 0, {})) for body in created(fake)]


def created(fake: FakeEngine) -> list[dict]:
    return [json.loads(request.body) for request in fake.asked("POST", "^/containers/create$")]


@pytest.fixture
def run(tmp_path) -> Run:
    (tmp_path / "run").mkdir()
    return sealed.build(Run(tmp_path / "run"), until="project", config=CONFIG)


@pytest.fixture
def audit(run, monkeypatch):
    def look(found: Gpus | None = None, config=CONFIG) -> HostFacts:
        monkeypatch.setattr(gpus, "find", lambda: found or Gpus())
        return host.audit(config, run.path, registry.of(config).audit, token_present=True)

    return look


def here(count: int = 1, gpu: Gpu = H100, driver: str = "580.95.05") -> Gpus:
    return Gpus([gpu] * count, driver, "nvml", card=True)


def only(facts: HostFacts) -> str:
    (failure,) = facts.hard_failures
    assert not any(word in failure for word in ENGINE_WORDS), failure
    assert facts.gpu_count == 0 and facts.vram_gb_per_gpu is None
    return failure


# -- the way in


def test_the_declared_runtime_is_proven_and_recorded(fake, audit):
    fake.info["Runtimes"]["nvidia"] = {}
    fake.gives["nvidia-runtime"] = (ROW * 2, 0)
    facts = audit(here(2))
    assert facts.hard_failures == facts.warnings == facts.install_plan == []
    assert (facts.gpu_count, facts.gpu_name, facts.driver_major, facts.vram_gb_per_gpu) == (2, "NVIDIA H100", 580, 85.5)
    assert (facts.gpu_handover, facts.compute_capability, facts.free_vram_gb) == ("nvidia-runtime", "9.0", 85.0)
    assert tried(fake) == ["none", "nvidia-runtime"] and fake.containers == {}


def test_cdi_is_preferred_where_the_engine_lists_it(fake, audit):
    fake.version["ApiVersion"] = "1.51"
    fake.info |= {"CDISpecDirs": ["/etc/cdi"], "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]}
    fake.info["Runtimes"]["nvidia"] = {}
    assert audit(here()).gpu_handover == "cdi" and tried(fake) == ["none", "cdi"]


def test_a_cdi_spec_older_than_the_driver_falls_back_to_the_runtime(fake, audit):
    fake.version["ApiVersion"] = "1.51"
    fake.info |= {"CDISpecDirs": ["/etc/cdi"], "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]}
    fake.gives["cdi"] = ("Failed to initialize NVML: Driver/library version mismatch\n", 18)
    facts = audit(here())
    assert facts.gpu_handover == "nvidia-runtime" and facts.hard_failures == []
    assert tried(fake) == ["none", "cdi", "nvidia-runtime"]


def test_the_runtime_is_tried_even_where_nothing_declares_it(fake, audit):
    assert audit(here()).gpu_handover == "nvidia-runtime"


def test_a_container_with_device_files_and_no_nvidia_smi(fake, audit):
    fake.gives["nvidia-runtime"] = ("/dev/nvidia0\n/dev/nvidia1\n", 0)
    assert audit(here(2)).gpu_count == 2


def test_fewer_gpus_inside_than_outside(fake, audit):
    facts = audit(here(4))
    assert facts.gpu_count == 1 and "gets 1 of this machine's 4 GPUs" in facts.warnings[0]


def test_gpus_that_only_a_container_sees(fake, audit):
    assert audit().gpu_count == 0 and tried(fake) == ["none"]  # nothing declared: nothing tried
    fake.info["Runtimes"]["nvidia"] = {}
    facts = audit()
    assert (facts.gpu_count, facts.gpu_source, facts.driver, facts.vram_gb_per_gpu) == (
        1,
        "container",
        "580.95.05",
        85.5,
    )
    fake.gives["nvidia-runtime"] = ("the container has no GPU device\n", 73)
    facts = audit()
    assert facts.gpu_count == 0 and facts.hard_failures == [] and docker_audit.NO_GPU_HERE in facts.warnings


def test_the_container_is_a_stages_in_everything_but_its_command(fake, audit, run):
    audit(here())
    asked = created(fake)[-1]
    made = asked["HostConfig"]
    assert made["CapDrop"] == ["ALL"] and made["NetworkMode"] == "none" and made["ShmSize"] == 16 * 2**30
    assert made["Mounts"] == [{"Type": "bind", "Source": str(run.path), "Target": "/workspace", "ReadOnly": False}]
    assert asked["Labels"] == {"tunegate.run": str(run.path), "tunegate.stage": "audit"}


# -- no way in


def test_no_way_is_a_hard_failure_with_a_plan(fake, audit):
    fake.refuse("POST", "0002/start$", 500, fake_engine.NO_GPU)  # the first container asks for no GPU
    facts = audit(here(2))
    said = only(facts)
    assert "2x NVIDIA H100" in said and "no way to hand a GPU" in said and "local-process" in said
    assert facts.install_plan == install_plan.steps(["toolkit", "configure"])
    assert fake.containers == {}  # the refused one too


def test_a_toolkit_that_is_there_only_wants_configuring(fake, audit, monkeypatch):
    monkeypatch.setattr(docker_audit, "toolkit_version", lambda: "1.19.0")
    fake.gives["nvidia-runtime"] = ("the container has no GPU device\n", 73)
    facts = audit(here())
    assert "sees no GPU (the container has no GPU device)" in only(facts)
    assert facts.install_plan == install_plan.steps(["configure"])


def test_rootless_is_told_what_it_needs(fake, audit):
    fake.info["SecurityOptions"] = ["name=rootless"]
    fake.gives["nvidia-runtime"] = ("Failed to initialize NVML: Unknown Error\n", 255)
    facts = audit(here())
    assert "rootless" in only(facts) and any("no-cgroups" in line for line in facts.install_plan)


def test_the_reason_is_the_drivers_when_it_is(fake, audit):
    fake.refuse("POST", "0002/start$", 500, fake_engine.NO_DRIVER)
    assert "driver does not answer the container toolkit" in only(audit(here()))


# -- the driver


def test_a_card_without_a_driver(fake, audit):
    facts = audit(Gpus(card=True))
    assert "no NVIDIA driver" in only(facts) and facts.install_plan[-1] == install_plan.steps(["configure"])[-1]
    assert any("580" in line for line in facts.install_plan)


def test_a_driver_that_does_not_answer(fake, audit):
    facts = audit(Gpus(problem="NVML: Driver/library version mismatch", card=True))
    assert "version mismatch" in only(facts) and "reboot" in facts.hard_failures[0]


@pytest.mark.parametrize(
    ("driver", "image", "hard", "warns"),
    [
        ("580.95.05", None, "", ""),
        ("610.10.01", None, "", ""),
        ("570.86.10", None, "", "only images with CUDA 12"),
        ("570.86.10", "CUDA_VERSION=12.8.0", "", "only images with CUDA 12"),
        ("570.86.10", "CUDA_VERSION=13.2", "needs 580", ""),
        ("570.86.10", "OTHER=1", "", "only images with CUDA 12"),
        ("470.57.02", None, "525 or newer", ""),
    ],
)
def test_what_counts_is_the_oldest_driver_of_an_image(fake, audit, driver, image, hard, warns):
    config = CONFIG.model_copy(update={"ngc_image": NGC if image else None})
    fake.images[NGC]["Config"]["Env"] = [image or "CUDA_VERSION=13.2"]
    facts = audit(here(driver=driver), config)
    assert bool(facts.hard_failures) == bool(hard) and hard in "".join(facts.hard_failures), facts
    assert bool(facts.warnings) == bool(warns) and warns in "".join(facts.warnings), facts
    assert bool(facts.install_plan) == bool(hard)


# -- the GPUs


def test_someone_elses_work_on_a_gpu(fake, audit):
    facts = audit(here(gpu=Gpu("NVIDIA H100", 85.5, 20.0, "9.0", processes=2)))
    assert "GPU 0: 20.0 of 85.5 GB free, 2 other process(es)" in facts.warnings[0] and facts.free_vram_gb == 20.0


def test_unequal_gpus(fake, audit):
    fake.gives["nvidia-runtime"] = (ROW * 2, 0)
    facts = audit(Gpus([H100, Gpu("NVIDIA T4", 16.1, 16.0, "7.5")], "580.95.05", "nvml", card=True))
    assert (facts.vram_gb_per_gpu, facts.compute_capability, facts.gpu_count) == (16.1, "7.5", 2)
    assert "NVIDIA H100 and NVIDIA T4" in facts.warnings[0]


def test_mig(fake, audit):
    fake.gives["nvidia-runtime"] = (ROW * 2, 0)
    facts = audit(here(2, Gpu("NVIDIA H100", 10.7, 10.7, "9.0", mig_slices=7)))
    assert facts.gpu_count == 1 and facts.vram_gb_per_gpu == 10.7 and "one slice" in facts.warnings[0]
    assert "no slice" in only(audit(here(gpu=Gpu("NVIDIA H100", 85.5, 85.5, "9.0", mig_slices=0))))


def test_an_old_toolkit_that_works_is_a_warning(fake, audit, monkeypatch):
    monkeypatch.setattr(docker_audit, "toolkit_version", lambda: "1.17.8")
    facts = audit(here())
    assert facts.hard_failures == [] and "1.17.8" in facts.warnings[0]


# -- the engine


def test_no_engine(audit, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    monkeypatch.setenv("PATH", str(tmp_path))
    facts = audit(here())
    assert "nobody.sock" in only(facts) and facts.engine is None
    assert facts.install_plan == install_plan.steps(["engine", "toolkit", "configure"])
    assert audit().install_plan == install_plan.steps(["engine"])  # no GPU: no toolkit
    (tmp_path / "dockerd").touch(0o755)
    assert audit().install_plan == []  # installed, not started


@pytest.mark.parametrize("address", ["tcp://gpu-box:2376", "ssh://me@gpu-box"])
def test_an_engine_on_another_machine_is_not_even_asked(audit, monkeypatch, address):
    monkeypatch.setenv("DOCKER_HOST", address)
    facts = audit(here())
    assert address in only(facts) and "unset DOCKER_HOST" in facts.hard_failures[0] and facts.install_plan == []


def test_podman(fake, audit):
    fake.version["Components"] = [{"Name": "Podman Engine", "Version": "4.3.1"}]
    facts = audit(here())
    assert "ignores it" in only(facts) and facts.install_plan == [] and tried(fake) == []
    facts = audit()
    assert facts.hard_failures == [] and "Podman" in facts.warnings[0] and tried(fake) == ["none"]


def test_an_engine_that_does_not_see_the_run(fake, audit):
    fake.mount = 71
    assert "does not see the run's directory" in only(audit())
    fake.info["SecurityOptions"] = ["name=seccomp,profile=default", "name=selinux"]
    assert "chcon" in only(audit())
    fake.mount = 72
    assert "may not write" in only(audit(here()))


def test_an_image_without_a_shell_is_passed_over(fake, audit):
    fake.images["scratch:1"] = {"Id": "sha256:" + "1" * 64, "Size": 1, "Config": {}}
    fake.on(
        "POST", "0001/start$", status=400, body={"message": 'exec: "/bin/sh": stat /bin/sh: no such file or directory'}
    )
    facts = audit(here())
    assert facts.handover_image == "sha256:" + "1" * 64 and facts.gpu_count == 1  # NGC's was asked first
    assert tried(fake) == ["none", "none", "nvidia-runtime"] and fake.containers == {}


def test_without_an_image_the_engine_is_believed_and_nothing_is_pulled(fake, audit):
    fake.images.clear()
    fake.info["Runtimes"]["nvidia"] = {}
    facts = audit(here())
    assert facts.gpu_handover == "nvidia-runtime" and facts.gpu_count == 1 and facts.handover_image is None
    assert "call audit_gpu again" in facts.warnings[0] and not fake.asked("POST", "/images/create")
    del fake.info["Runtimes"]["nvidia"]
    facts = audit(here())
    assert "declares no way" in only(facts) and facts.install_plan == install_plan.steps(["toolkit", "configure"])


def test_what_an_audit_left_when_it_was_killed_is_removed(fake, audit, run):
    left = fake.create("tunegate-audit-1", {"Labels": {"tunegate.run": str(run.path), "tunegate.stage": "audit"}})
    stranger = fake.create("other", {"Labels": {"tunegate.run": "/elsewhere", "tunegate.stage": "audit"}})
    audit(here())
    assert left.id not in fake.containers and stranger.id in fake.containers


def test_a_container_that_hangs_is_ended(fake, audit, monkeypatch):
    monkeypatch.setattr(gpu_handover, "TRY_S", 0.3)
    fake.on_start = lambda container: answer(fake, container) if way_of(container) == "none" else None
    said = only(audit(here()))
    assert "does not answer in time" in said and fake.containers == {}


def test_the_engines_memory_and_disk_count(fake, audit, monkeypatch):
    fake.info["MemTotal"] = 500_000_000
    assert audit().memory_gb == 0.5
    fake.info["DockerRootDir"] = "/nonexistent/docker"
    facts = audit()
    assert facts.engine["free_disk_gb"] is None and any("free disk unknown" in note for note in facts.notes)


def test_wsl_is_told_and_gets_no_linux_driver(fake, audit, monkeypatch, tmp_path):
    (tmp_path / "osrelease").write_text("5.15.167.4-microsoft-standard-WSL2\n")
    monkeypatch.setattr(machine_kind, "RELEASE", tmp_path / "osrelease")
    assert machine_kind.WSL_NOTE in audit(here()).notes
    assert machine_kind.WSL_NO_GPU in audit(Gpus()).notes
    facts = audit(Gpus(problem="NVML: Unknown Error", card=True))
    assert facts.hard_failures and not any("driver" in line for line in facts.install_plan)


def test_a_jetson_shares_its_memory(fake, audit, monkeypatch, tmp_path):
    (tmp_path / "model").write_text("NVIDIA Jetson AGX Orin Developer Kit\0")
    monkeypatch.setattr(machine_kind, "DEVICE_TREE_MODEL", tmp_path / "model")
    assert any("Jetson AGX Orin Developer Kit: GPU and CPU share" in warning for warning in audit(here()).warnings)


def test_this_machine_is_of_no_such_kind():
    assert machine_kind.find() == (None, "")
