"""The seam to the engine, with the real SDK against a fake engine on a socket."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from tests import fake_engine
from tests.fake_engine import FakeEngine
from tunegate.clients.docker import engine
from tunegate.errors import ToolFailure


@pytest.fixture
def fake(tmp_path, monkeypatch):
    with FakeEngine(tmp_path / "docker.sock") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        monkeypatch.setenv("PATH", str(tmp_path))  # no toolkit hook of this machine's
        yield server


@pytest.fixture
def context(tmp_path) -> Path:
    where = tmp_path / "project"
    where.mkdir()
    (where / "Dockerfile").write_text("FROM base:1\nCOPY *.py ./\n")
    (where / "train.py").write_text("print(1)\n")
    (where / "secret.env").write_text("HF_TOKEN=x\n")
    return where


def refusal(call, *arguments, **keywords) -> tuple[str, str]:
    with pytest.raises(ToolFailure) as caught:
        result = call(*arguments, **keywords)
        list(result)
    return caught.value.code, str(caught.value)


def built(lines) -> tuple[list[str], str]:
    """The lines of a build and what it returned."""
    seen = []
    while True:
        try:
            seen.append(next(lines))
        except StopIteration as end:
            return seen, end.value


def build(context: Path, files=("Dockerfile", "train.py"), check=lambda texts: [], **more):
    return engine.build(engine.connect(), context, "run:1", list(files), check=check, **more)


# -- connect


def test_no_engine_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    code, text = refusal(engine.connect)
    assert code == "unavailable" and "start Docker" in text and "none.sock" in text


def test_a_socket_that_nobody_serves(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/dead.sock")
    assert "start Docker" in refusal(engine.connect)[1]


def test_a_socket_that_we_may_not_use(fake, monkeypatch):
    def refused(self, address):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refused)  # root may use any socket
    code, text = refusal(engine.connect)
    assert code == "unavailable" and "docker group" not in text and "usermod -aG docker" in text and "rootless" in text


def test_an_engine_that_stalls_is_given_up(fake, monkeypatch):
    monkeypatch.setattr(engine, "CONNECT_S", 0.1)
    fake.on("GET", "/version", stall_s=5)
    code, text = refusal(engine.connect)
    assert code == "unavailable" and "does not answer in time" in text


def test_an_engine_that_hangs_up(fake):
    fake.on("GET", "/version", cut=True)
    assert "connection was lost" in refusal(engine.connect)[1]


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"{}", b"[]"])
def test_something_else_on_the_socket(fake, body):
    fake.on("GET", "/version", body=body)
    code, text = refusal(engine.connect)
    assert code == "unavailable" and "DOCKER_HOST" in text


@pytest.mark.parametrize("version", ["1.18", "1.39"])
def test_an_engine_too_old(fake, version):
    fake.version["ApiVersion"] = version
    code, text = refusal(engine.connect)
    assert code == "unavailable"
    assert "Docker" in text


def test_the_rootless_socket_is_found_without_docker_host(fake, tmp_path, monkeypatch):
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setattr(engine, "SOCKET", str(tmp_path / "absent.sock"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert engine.connect().host == fake.host


def test_a_host_that_is_no_url(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:relative nonsense://")
    assert refusal(engine.connect)[0] == "unavailable"


# -- describe


def test_a_plain_engine(fake, tmp_path):
    fake.info["MemTotal"] = 8_000_000_000
    facts = engine.describe(engine.connect())
    assert (facts.kind, facts.rootless, facts.remote, facts.gpu_handovers) == ("docker", False, False, [])
    assert facts.version == "20.10.24+dfsg1" and facts.storage_driver == "overlay2" and facts.runtimes == ["runc"]
    assert facts.root_dir == str(tmp_path) and facts.free_disk_gb > 0 and facts.memory_gb == 8.0


def test_the_ways_to_hand_over_gpus_that_an_engine_declares(fake, tmp_path):
    def handovers() -> list[str]:
        return engine.describe(engine.connect()).gpu_handovers

    fake.info["Runtimes"]["nvidia"] = {"path": "nvidia-container-runtime"}
    assert handovers() == ["nvidia-runtime"]
    del fake.info["Runtimes"]["nvidia"]
    fake.version["ApiVersion"] = "1.51"
    fake.info["CDISpecDirs"] = ["/etc/cdi", "/var/run/cdi"]
    assert handovers() == []  # CDI is on, and there is no NVIDIA spec
    fake.info["DiscoveredDevices"] = [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]
    assert handovers() == []
    fake.info["DiscoveredDevices"] += [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]
    assert handovers() == ["cdi"]
    (tmp_path / "nvidia-container-runtime-hook").touch(0o755)
    assert handovers() == ["cdi", "nvidia-runtime"]


def test_cdi_before_the_engine_listed_its_devices(fake, tmp_path):
    fake.version["ApiVersion"] = "1.45"
    fake.info["CDISpecDirs"] = [str(tmp_path / "cdi"), "/nonexistent"]
    (tmp_path / "cdi").mkdir()
    assert engine.describe(engine.connect()).gpu_handovers == []
    (tmp_path / "cdi/nvidia.yaml").write_text('cdiVersion: "0.5.0"\nkind: nvidia.com/gpu\ndevices:\n- name: all\n')
    facts = engine.describe(engine.connect())
    assert facts.cdi and facts.gpu_handovers == ["cdi"]
    (tmp_path / "cdi/nvidia.yaml").rename(tmp_path / "cdi/nvidia.json")
    (tmp_path / "cdi/nvidia.json").write_text(json.dumps({"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu"}))
    assert engine.describe(engine.connect()).gpu_handovers == ["cdi"]


def test_podman_is_recognized_and_gets_no_gpu_job(fake):
    fake.version["Components"] = [{"Name": "Podman Engine", "Version": "4.3.1"}]
    fake.info |= {"Runtimes": {"nvidia": {}}, "Rootless": True}
    facts = engine.describe(engine.connect())
    assert (facts.kind, facts.rootless, facts.gpu_handovers) == ("podman", True, [])


@pytest.mark.parametrize(
    ("host", "remote"),
    [
        ("unix:///var/run/docker.sock", False),
        ("npipe:////./pipe/docker_engine", False),
        ("tcp://127.0.0.1:2375", False),
        ("tcp://localhost:2375", False),
        ("tcp://gpu-box:2376", True),
        ("https://192.0.2.7:2376", True),
        ("ssh://me@localhost", True),
        ("ssh://me@gpu-box", True),
    ],
)
def test_an_engine_on_another_machine(host, remote):
    assert engine.is_remote(host) == remote


def test_rootless_docker(fake):
    fake.info["SecurityOptions"] = ["name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"]
    assert engine.describe(engine.connect()).rootless


def test_where_the_containerd_store_keeps_images(fake, tmp_path):
    fake.info["DriverStatus"] = [["driver-type", "io.containerd.snapshotter.v1"]]
    assert engine.describe(engine.connect()).image_dir == "/var/lib/containerd"
    fake.info["Containerd"] = {"Address": "/var/run/docker/containerd/containerd.sock"}
    assert engine.describe(engine.connect()).image_dir == f"{tmp_path}/containerd/daemon"


def test_an_image_store_on_another_machine_has_no_free_space_here(fake):
    fake.info["DockerRootDir"] = "/nonexistent/docker"
    assert engine.describe(engine.connect()).free_disk_gb is None


def test_an_engine_whose_facts_are_missing(fake):
    fake.info.clear()
    code, text = refusal(engine.describe, engine.connect())
    assert code == "unavailable" and "not as a Docker engine does" in text


# -- image


def test_image(fake):
    found = engine.image(engine.connect(), "run:1")
    assert found.id == fake_engine.IMAGE_ID and found.env == {"PATH": "/bin"} and found.labels == {"a": "b"}
    assert engine.image(engine.connect(), "nvcr.io/nvidia/pytorch:99.99-py3") is None


# -- build


def test_build_streams_lines_and_returns_the_image(fake, context):
    lines, image = built(build(context, buildargs={"A": "1"}, labels={"l": "m"}, network="none"))
    assert image == fake_engine.IMAGE_ID
    assert lines[0] == "Step 1/2 : FROM base:1" and "WARNING: a newer pip" in lines and "" not in lines
    query = fake.asked("POST", "/build")[0].query
    assert query["t"] == "run:1" and json.loads(query["buildargs"]) == {"A": "1"} and query["networkmode"] == "none"
    assert json.loads(query["labels"]) == {"l": "m"} and query["pull"] == "False"


def test_the_context_holds_the_named_files_and_nothing_else(fake, context):
    built(build(context))
    assert fake.context().getnames() == ["Dockerfile", "train.py"]
    first = fake.asked("POST", "/build")[-1].body
    for name in ("train.py", "Dockerfile"):
        os.utime(context / name, (1, 1))
    built(build(context, files=("train.py", "Dockerfile", "train.py")))
    assert fake.asked("POST", "/build")[-1].body == first  # the same bytes, whenever written: the cache holds
    assert {(m.uid, m.gid, m.mode) for m in fake.context().getmembers()} == {(0, 0, 0o644)}


def test_large_files_are_sent_unread(fake, context):
    (context / "torch.whl").write_bytes(b"\0" * 1_500_000)
    (context / "small.whl").write_bytes(b"PK\xff\xfe")
    seen = {}
    files = ["Dockerfile", "torch.whl", "small.whl"]
    built(build(context, files, check=lambda texts: seen.update(texts) or []))
    assert fake.context().getmember("torch.whl").size == 1_500_000
    assert list(seen) == ["Dockerfile"]


def test_what_is_sent_is_what_was_checked(fake, context):
    def check(texts: dict[str, str]) -> list[str]:
        assert texts["train.py"] == "print(1)\n"
        (context / "train.py").write_text("print('changed after the check')\n")
        return []

    built(build(context, check=check))
    assert fake.context().extractfile("train.py").read() == b"print(1)\n"


def test_a_problem_in_the_context_builds_nothing(fake, context):
    code, text = refusal(build, context, check=lambda texts: ["train.py has no copyright header"])
    assert code == "stage_failed" and "train.py has no copyright header" in text
    (context / "train.py").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in refusal(build, context)[1]
    assert not fake.asked("POST", "/build")


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/etc/hostname", "absent.py", "link.py", "folder", "linked/x.py", "pipe"]
)
def test_only_regular_files_of_the_project_are_sent(fake, context, name):
    (context.parent / "outside.txt").touch()
    (context / "link.py").symlink_to("train.py")
    (context / "folder").mkdir()
    (context.parent / "elsewhere").mkdir()
    (context.parent / "elsewhere/x.py").touch()
    (context / "linked").symlink_to(context.parent / "elsewhere")
    os.mkfifo(context / "pipe")
    code, text = refusal(build, context, files=("Dockerfile", name))
    assert code == "invalid_input" and name in text
    assert not fake.asked("POST", "/build")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (fake_engine.RUN_FAILED, "stage_failed", ["Step 2/2 : RUN pip", "returned a non-zero code: 1", "installed"]),
        (fake_engine.NO_COPY, "stage_failed", ["nope.txt"]),
        (fake_engine.NO_BUILDKIT, "stage_failed", ["take it out"]),
        (fake_engine.NO_SPACE, "disk_full", ["docker system df"]),
        (fake_engine.NO_NETWORK, "unavailable", ["registry cannot be reached", "docker load"]),
        (fake_engine.NO_PULL, "access_denied", ["docker login"]),
        (
            "manifest for nvcr.io/nvidia/pytorch:1 not found: manifest unknown: manifest unknown",
            "not_found",
            ["digest"],
        ),
    ],
)
def test_a_build_that_fails(fake, context, error, code, words):
    fake.build_events = [*fake_engine.BUILD, {"errorDetail": {"message": error}, "error": error}]
    found, text = refusal(build, context)
    assert found == code and all(word in text for word in ["Step 2/2", *words]), text


def test_a_command_that_filled_the_disk(fake, context):
    full = {"stream": "OSError: [Errno 28] No space left on device\n"}
    fake.build_events = [*fake_engine.BUILD, full, {"error": fake_engine.RUN_FAILED}]
    assert refusal(build, context)[0] == "disk_full"


def test_secrets_do_not_leave_in_a_failure(fake, context, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnopqrstuvwxyz")
    leak = {"stream": "using hf_abcdefghijklmnopqrstuvwxyz\n"}
    fake.build_events = [*fake_engine.BUILD, leak, {"error": fake_engine.RUN_FAILED}]
    assert "hf_abc" not in refusal(build, context)[1]


@pytest.mark.parametrize(("status", "text"), [(400, fake_engine.BAD_SYNTAX), (500, fake_engine.NO_DOCKERFILE)])
def test_a_dockerfile_that_cannot_be_read(fake, context, status, text):
    fake.refuse("POST", "/build", status, text)
    code, said = refusal(build, context)
    assert code == "stage_failed" and text in said


def test_an_engine_that_dies_while_building(fake, context):
    fake.on("POST", "/build", body=json.dumps(fake_engine.BUILD[0]).encode(), cut=True)
    assert refusal(build, context)[0] == "unavailable"


def test_a_build_that_ends_without_an_image(fake, context):
    fake.build_events = fake_engine.BUILD
    code, text = refusal(build, context)
    assert code == "unavailable" and "after Step 2/2" in text


def test_a_build_stream_of_garbage(fake, context):
    fake.on("POST", "/build", body=b"}{ not json")
    assert refusal(build, context)[0] == "unavailable"
