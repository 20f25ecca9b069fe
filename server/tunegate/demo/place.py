"""Where the demo's stages run: in containers when a Docker engine answers, else in a virtual environment, and why."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import NamedTuple

from tunegate.clients.docker import engine as engines
from tunegate.clients.docker.engine import Engine
from tunegate.errors import ToolFailure
from tunegate.hardware import ngc
from tunegate.paths import checkout
from tunegate.platforms.local_docker.platform import LocalDocker
from tunegate.platforms.local_process.platform import LocalProcess


class DemoPlatform(NamedTuple):
    platform: str
    why: str
    env: dict[str, str]  # for the server
    image: str | None = None  # in containers: what the engine has; the demo downloads none


def choose(wanted: str | None) -> DemoPlatform:
    """wanted: a platform, or None for containers if they can be had. Raises ToolFailure when `wanted` cannot."""
    if wanted and wanted not in PLACES:
        raise ToolFailure("invalid_input", f"--platform {wanted}: the demo runs on {' or '.join(PLACES)}")
    if wanted:
        return PLACES[wanted]()
    try:
        return _in_containers()
    except ToolFailure as failure:
        return _in_environment(f"not in containers: {failure}")


def _in_environment(why: str = "as asked for") -> DemoPlatform:
    return DemoPlatform(LocalProcess.name, f"the stages run in a virtual environment, {why}", {})


def _in_containers() -> DemoPlatform:
    engine = engines.connect()
    image = _image(engine)
    return DemoPlatform(
        LocalDocker.name, f"the stages run in containers of {image}", {"DOCKER_HOST": engine.host}, image
    )


PLACES: dict[str, Callable[[], DemoPlatform]] = {LocalProcess.name: _in_environment, LocalDocker.name: _in_containers}


def _image(engine: Engine) -> str:
    """The NGC image that the engine has, else the CPU stand-in, built now if this is a checkout."""
    try:
        return ngc.on_engine(engine).image
    except ToolFailure as failure:
        script = checkout() / "standin/build.sh"
        if failure.code != "not_found" or not script.is_file():
            raise
    print("no NGC PyTorch image on this engine: building the CPU stand-in of it (standin/README.md)", flush=True)
    env = {**os.environ, "DOCKER_HOST": engine.host}
    built = subprocess.run([script], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if built.returncode != 0:
        said = (built.stderr.strip().splitlines() or ["no output"])[-1]
        raise ToolFailure("unavailable", f"there is no NGC PyTorch image, and standin/build.sh failed: {said}")
    return ngc.on_engine(engine).image
