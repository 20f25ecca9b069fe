"""The stand-in has the habits of NVIDIA's image that tunegate has to cope with."""

from __future__ import annotations

import io
import json
import re
import subprocess

import pytest

from tests.engine.conftest import STANDIN

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def run(engine, ngc_image):
    """run(command, **options) -> stdout and stderr of a one-shot container without network, as uid 1234."""

    def run(command, **options):
        options = {"user": "1234:1234", "network_mode": "none", **options}
        return engine.containers.run("@".join(ngc_image), command, remove=True, stderr=True, **options).decode()

    return run


def test_engine_script_is_idempotent(engine):
    again = subprocess.run([STANDIN / "engine.sh", "start"], check=True, capture_output=True, text=True).stdout
    other = subprocess.run([STANDIN / "engine.sh", "status"], check=True, capture_output=True, text=True).stdout
    assert again == other != ""
    assert engine.ping()


def test_is_tagged_as_an_ngc_release_and_says_what_it_is(engine, ngc_image):
    assert re.fullmatch(r"(nvcr\.io|127\.0\.0\.1:\d+)/nvidia/pytorch:\d\d\.\d\d-py3", ngc_image.name)
    assert engine.images.get(ngc_image.name).labels["org.tunegate.standin"]


def test_dockerfile_pinned_by_digest_builds_without_a_registry(engine, ngc_image):
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", ngc_image.digest)
    dockerfile = f"FROM {ngc_image.name}@{ngc_image.digest}\nRUN python --version\n"
    image, log = engine.images.build(fileobj=io.BytesIO(dockerfile.encode()), network_mode="none", rm=True)
    try:
        assert image.attrs["Parent"], "built upon another image"
        assert any("Python 3." in line.get("stream", "") for line in log)
    finally:
        engine.images.remove(image.id)


def test_second_build_reuses_the_first(engine, ngc_image):
    before = engine.images.get(ngc_image.name).id
    done = subprocess.run([STANDIN / "build.sh"], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "@".join(ngc_image)
    assert engine.images.get(ngc_image.name).id == before


def test_entrypoint_wraps_the_command(run):
    assert "== PyTorch ==" in run(["echo", "hello"])
    assert run(["-lc", "echo hello"], entrypoint=["/bin/bash"]) == "hello\n"


def test_entrypoint_is_nvidias(engine, ngc_image):
    config = engine.images.get(ngc_image.name).attrs["Config"]
    assert config["Entrypoint"] == ["/opt/nvidia/nvidia_entrypoint.sh"]
    env = dict(line.split("=", 1) for line in config["Env"])
    assert env["NVIDIA_PYTORCH_VERSION"] == ngc_image.name.split(":")[-1].removesuffix("-py3")
    assert env["PIP_CONSTRAINT"] == "/etc/pip/constraint.txt"
    assert {"PYTORCH_VERSION", "CUDA_VERSION", "TORCH_CUDA_ARCH_LIST"} <= env.keys()


def test_cpu_torch_runs_for_a_user_that_the_image_does_not_know(run):
    code = (
        "import json, os, torch; print(json.dumps([os.getuid(), torch.__version__, torch.version.cuda,"
        " os.environ['PYTORCH_VERSION'], os.path.exists(torch.__cached__), float(torch.ones(8, 8).sum())]))"
    )
    uid, version, cuda, named, compiled, total = json.loads(run(["python", "-c", code], entrypoint=[]).splitlines()[-1])
    assert (uid, version, cuda, compiled, total) == (1234, "2.13.0+cpu", None, True, 64.0)
    assert named == version


def test_frozen_packages_match_what_is_installed(run):
    code = (
        "import importlib.metadata as m, json; print(json.dumps([open('/etc/pip/constraint.txt').read().split(),"
        " {d.name.lower(): d.version for d in m.distributions()}]))"
    )
    constraints, installed = json.loads(run(["python", "-c", code], entrypoint=[]).splitlines()[-1])
    frozen = dict(line.split("==") for line in constraints)
    assert set(frozen) == {"torch", "torchvision", "triton", "numpy"}
    assert (frozen["torch"], frozen["numpy"]) == (installed["torch"], installed["numpy"])


def test_nothing_of_the_building_machines_configuration_is_inside(run):
    assert run(["-c", "ls -d /etc/apt/sources.list* /etc/pip.conf /wheels 2>/dev/null; true"], entrypoint=["sh"]) == ""
    assert "index" not in run(["pip", "config", "list"], entrypoint=[])


def test_raised_limits_do_not_stop_a_container(run):
    from docker.types import Ulimit

    limits = [Ulimit(name="memlock", soft=-1, hard=-1), Ulimit(name="stack", soft=67108864, hard=67108864)]
    assert run(["echo", "hello"], entrypoint=[], ulimits=limits) == "hello\n"
