"""A real Docker engine and the stand-in image, both through standin/. Without them these tests are skipped, loudly; in CI
(CI=true) they fail instead."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

STANDIN = Path(__file__).resolve().parents[2] / "standin"
_missing = []  # why the engine's tests did not run


class Image(NamedTuple):
    name: str  # nvcr.io/nvidia/pytorch:26.03-py3: config.yaml's ngc_image
    digest: str  # sha256:…: its ngc_image_digest


@pytest.fixture(scope="session")
def engine():
    """docker.DockerClient of a real engine; DOCKER_HOST names it for as long as the session runs."""
    import docker

    with open(Path(tempfile.gettempdir()) / f"tunegate-engine-tests-{os.getuid()}.lock", "w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        running = subprocess.run([STANDIN / "engine.sh", "status"], capture_output=True).returncode == 0
        host = _standin("engine.sh", "start").removeprefix("export DOCKER_HOST=")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", host)
            client = docker.from_env()
            yield client
            client.close()
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)  # another session may still use the engine we started
        except BlockingIOError:
            return
        if not running:
            subprocess.run([STANDIN / "engine.sh", "stop"], check=True)


@pytest.fixture(scope="session")
def ngc_image(engine) -> Image:
    """The stand-in of NVIDIA's image, built on first use (a minute or two) and kept by the engine."""
    return Image(*_standin("build.sh").split("@"))


def _standin(script: str, *arguments: str) -> str:
    """The last line that the script prints. A script that fails skips the test, or fails it in CI."""
    done = subprocess.run([STANDIN / script, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode == 0:
        return done.stdout.strip().splitlines()[-1]
    reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    if os.environ.get("CI") == "true":
        pytest.fail(f"standin/{script}: {reason}\n{done.stderr[-4000:]}", pytrace=False)
    _missing.append(f"standin/{script}: {reason}")
    pytest.skip(_missing[-1])


def pytest_terminal_summary(terminalreporter):
    if _missing:
        terminalreporter.section("NOT TESTED: no real Docker engine", sep="!", red=True)
        terminalreporter.write_line("\n".join(dict.fromkeys(_missing)))
