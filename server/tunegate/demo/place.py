"""Where the demo's stages run: in containers when a Docker engine answers, else in a virtual environment, and why."""

from __future__ import annotations

import os
import subprocess
from typing import NamedTuple

from tunegate.clients.docker import engine as engines
from tunegate.clients.docker.engine import Engine
from tunegate.errors import ToolFailure
from tunegate.hardware import ngc
from tunegate.paths import checkout


class DemoPlatform(NamedTuple):
    platform: str
    why: str
    env: dict[str, str]  # for the server
    image: str | None = None  # on local-docker: what the engine has; the demo downloads none


def choose(wanted: str | None) -> DemoPlatform:
    """wanted: a platform, or None for local-docker if it can be had. Raises ToolFailure when `wanted` cannot."""
    if wanted == "local-process":
        return DemoPlatform(wanted, "the stages run in a virtual environment, as asked for", {})
    try:
        engine = engines.connect()
        image = _image(engine)
    except ToolFailure as failure:
        if wanted:
            raise
        return DemoPlatform(
            "local-process", f"the stages run in a virtual environment, not in containers: {failure}", {}
        )
    return DemoPlatform("local-docker", f"the stages run in containers of {image}", {"DOCKER_HOST": engine.host}, image)


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
