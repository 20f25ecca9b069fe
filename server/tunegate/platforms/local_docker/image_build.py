"""The `build` stage on local-docker: the project's image, proved to hold its base's own torch, and what is in it.

Wheels come, in this order, from the directory TUNEGATE_WHEELHOUSE, from wheelhouse/ in the project (laid there by hand, as
for a `docker build` by hand), or from the index that the user's environment names; with any of them the build has no
network. Else pip asks its default index from within the build. They are no part of what `build` rests on: they are a
source, as an index is, and whatever it gave, requirements.txt pins it and build.json lists what was really installed.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from tunegate.clients import network
from tunegate.clients.docker import containers
from tunegate.clients.docker import engine as engines
from tunegate.clients.docker.containers import ContainerPlan
from tunegate.clients.docker.engine import Engine
from tunegate.config import RunConfig
from tunegate.errors import ToolFailure
from tunegate.platforms.local_docker import image_checks, wheelhouse
from tunegate.platforms.local_process.envs import LIST
from tunegate.project import render
from tunegate.rundir import Run, atomic_write, hash_files
from tunegate.stage_table import AS_RENDERED, MODULES


def image_tag(config: RunConfig) -> str:
    return f"run-{config.short_name}:latest"


def build(run: Run, config: RunConfig) -> int:
    """Build, prove, name the image; write reports/build.json. Returns 0. Raises ToolFailure, with nothing named or written.

    Where the Dockerfile or the requirements were edited, a second one as rendered: in that one is measured.
    """
    engine = engines.connect()
    report = _image(engine, run, config, {}, image_tag(config))
    if (rendered := run.at(AS_RENDERED)).is_dir():
        print("the Dockerfile or the requirements were edited: what measures gets an image as rendered", flush=True)
        texts = {path.name: path for path in rendered.iterdir()}
        report["measures"] = _image(engine, run, config, texts, f"{image_tag(config)}-as-rendered")
    atomic_write(run.at("reports/build.json"), json.dumps(report, indent=1) + "\n")
    return 0


def _image(engine: Engine, run: Run, config: RunConfig, instead: dict[str, Path], tag: str) -> dict[str, Any]:
    """What is to be reported of an image that was built and has proved good. instead: files in place of the run's own."""
    base = f"{config.ngc_image}@{config.ngc_image_digest}"
    labels = {"tunegate.run": str(run.path)}
    wheels = _wheels(engine, run, config)
    files = [name for name in ("Dockerfile", "requirements.txt") if run.at(name).is_file()]
    files += hash_files(run.at("."), MODULES)
    image_id = _built(
        engine,
        run,
        files,
        check=lambda texts: image_checks.problems(texts, base),
        elsewhere=instead | {f"wheelhouse/{path.name}": path for path in wheels},
        labels=labels,
        # predefined build arguments: an engine keeps them out of the image's history and of its cache's keys
        buildargs={} if wheels else {name: os.environ[name] for name in network.PROXIES if os.environ.get(name)},
        network="none" if wheels else _network(),
    )
    version, packages = _packages(engine, run, image_id)
    _prove(packages, _packages(engine, run, base)[1], base)
    engines.retag(engine, image_id, tag, labels)
    return {
        "python": "python",
        "python_version": version,
        "packages": dict(sorted(packages.items())),
        "image": tag,
        "image_id": image_id,
        "base": base,
        "wheels": len(wheels),
        **({"wheels_of_the_run": True} if wheels and wheels[0].parent == run.path / "wheelhouse" else {}),
    }


def _wheels(engine: Engine, run: Run, config: RunConfig) -> list[Path]:
    if folder := os.environ.get("TUNEGATE_WHEELHOUSE"):
        return wheelhouse.given(Path(folder))
    if own := sorted((run.path / "wheelhouse").glob("*.whl")):
        return own
    return wheelhouse.cached(engine, run, config) if wheelhouse.index_given() else []


def _network() -> str | None:
    return "host" if network.network_for(*network.PROXIES) == "host" else None


def _built(engine: Engine, run: Run, files: list[str], **options: Any) -> str:
    """The id of the image; its name is given only once it has proved good."""
    steps = engines.build(engine, run.at("."), None, files, **options)
    while True:
        try:
            print(next(steps), flush=True)
        except StopIteration as done:
            return done.value


def _packages(engine: Engine, run: Run, image: str) -> tuple[str, dict[str, str]]:
    """(Python's version, {package: version}) in an image. Raises ToolFailure(stage_failed) when python does not run there."""
    labels = {"tunegate.run": str(run.path), "tunegate.stage": "look", "tunegate.job": str(time.time_ns())}
    found = engines.image(engine, image)
    plan = ContainerPlan(
        image=image,
        argv=("python", "-I", "-c", LIST),
        name=f"tunegate-look-{labels['tunegate.job']}",
        labels=labels,
        output_dir=run.at("."),
        user=containers.user_for(engines.describe(engine)),
        path=found.env.get("PATH", "") if found else "",
    )
    said = [line for line in containers.run_to_end(engine, plan) if line.strip()]
    try:
        version, packages = json.loads(said[-1])
    except (IndexError, ValueError):
        raise ToolFailure(
            "stage_failed", f"python does not run in {image} ({(said or ['no output'])[-1][:300]})"
        ) from None
    return version, packages


def _prove(packages: dict[str, str], base: dict[str, str], name: str) -> None:
    """The Dockerfile proves this too, at its own step; what a later line did, only the finished image shows."""
    changed = [
        f"{package} {base.get(package, '(none)')} -> {packages.get(package, '(none)')}"
        for package in render.FROZEN
        if packages.get(package) != base.get(package)
    ]
    if changed:
        raise ToolFailure(
            "stage_failed",
            f"the image would replace what {name} brings: {', '.join(changed)}. It was not named and counts for nothing: take "
            "what does this out of the Dockerfile or requirements.txt (or call render_project), then build again",
        )
