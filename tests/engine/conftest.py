"""A real Docker engine and the stand-in image, both through standin/. Without them these tests are skipped, loudly; in CI
(CI=true) they fail instead."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

from tests.engine.lease import STANDIN, leased
from tunegate.paths import data_dir
from tunegate.project import extras

IMAGES_OWN = re.compile(
    r"(torch|torchvision|numpy|triton|pytorch-triton)$|nvidia|cuda"
)  # in the image already, and not to be replaced
_missing = []  # why the engine's tests did not run


class Image(NamedTuple):
    name: str  # nvcr.io/nvidia/pytorch:26.03-py3: config.yaml's ngc_image
    digest: str  # sha256:…: its ngc_image_digest


@pytest.fixture(scope="session")
def engine():
    """docker.DockerClient of a real engine; DOCKER_HOST names it for as long as the session runs."""
    import docker

    users = Path(tempfile.gettempdir()) / f"tunegate-engine-tests-{os.getuid()}.lock"
    with leased(users, lambda: _standin("engine.sh", "start")) as printed, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", printed.removeprefix("export DOCKER_HOST="))
        client = docker.from_env()
        yield client
        client.close()


@pytest.fixture(scope="session")
def ngc_image(engine) -> Image:
    """The stand-in of NVIDIA's image, built on first use (a minute or two) and kept by the engine."""
    return Image(*_standin("build.sh").split("@"))


@pytest.fixture(scope="session")
def wheelhouse(ngc_image, engine, tmp_path_factory) -> Path:
    """Wheels for the image's Python: TUNEGATE_WHEELHOUSE, else downloaded with pip."""
    if given := os.environ.get("TUNEGATE_WHEELHOUSE"):
        return Path(given)
    show = "import sys; print('%d.%d' % sys.version_info[:2])"
    options = {"entrypoint": ["python"], "network_mode": "none", "remove": True}
    version = engine.containers.run("@".join(ngc_image), ["-c", show], **options).decode().strip()
    folder = tmp_path_factory.mktemp("wheelhouse")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    platform = ["--python-version", version, "--only-binary", ":all:"]
    wanted = ["-r", str(data_dir("scaffolds") / "_shared/requirements.txt")]
    wanted += [pin for _, value, pins in extras.PINS if value in (True, "tensorboard") for pin in pins]
    look = ["install", "--dry-run", "--ignore-installed", "--target", folder / "none", "--report", folder / "all.json"]
    try:
        subprocess.run([*pip, *look, *platform, *wanted], check=True, capture_output=True, timeout=600)
        found = [item["metadata"] for item in json.loads((folder / "all.json").read_text())["install"]]
        pins = [f"{p['name']}=={p['version']}" for p in found if not IMAGES_OWN.match(p["name"].lower())]
        load = ["download", "--no-deps", "--dest", folder]
        subprocess.run([*pip, *load, *platform, *pins], check=True, capture_output=True, timeout=600)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        why = (error.stderr or b"").decode(errors="replace").strip().splitlines() or [str(error)]
        _not_tested(f"no wheels for the image: set TUNEGATE_WHEELHOUSE, or let pip reach an index ({why[-1]})")
    return folder


def _standin(script: str, *arguments: str) -> str:
    """The last line that the script prints. A script that fails skips the test, or fails it in CI."""
    done = subprocess.run([STANDIN / script, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode == 0:
        return done.stdout.strip().splitlines()[-1]
    reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    _not_tested(f"standin/{script}: {reason}", done.stderr[-4000:])


def _not_tested(why: str, more: str = "") -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{why}\n{more}", pytrace=False)
    _missing.append(why)
    pytest.skip(why)


def pytest_terminal_summary(terminalreporter):
    if _missing:
        terminalreporter.section("NOT TESTED: no real Docker engine", sep="!", red=True)
        terminalreporter.write_line("\n".join(dict.fromkeys(_missing)))
