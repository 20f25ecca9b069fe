"""python benchmarks/build.py RUN: what building a local-docker run's image takes, by the server and by hand, side by side.

Builds copies of the run's project: with nothing in the cache, again, after one more line in train.py, after one more in
requirements.txt; each by the server's stage and by `docker build` (classic builder, no network). Wheels: TUNEGATE_WHEELHOUSE.
Prints seconds and ratios; nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tunegate.rundir import hash_files
from tunegate.stage_table import MODULES

FILES = ("Dockerfile", ".dockerignore", "requirements*.txt", "config.yaml", *MODULES)
CHANGES = {
    "cold": "Dockerfile",
    "unchanged": None,
    "one line of a script": "train.py",
    "requirements": "requirements.txt",
}


# The build stage itself; docker_stage would first ask for the job's sealed spec, which a copy of a project does not have.
BUILD_STAGE = """
import sys
from pathlib import Path
from tunegate.platforms.local_docker import image_build
from tunegate.rundir import Run
run = Run(Path(sys.argv[1]))
sys.exit(image_build.build(run, run.config()))
"""


def by_server(project: Path, tag: str) -> list[str]:
    return [sys.executable, "-P", "-c", BUILD_STAGE, str(project)]


def by_hand(project: Path, tag: str) -> list[str]:
    return ["docker", "build", "--network", "none", "--tag", tag, str(project)]


def copy(run: Path, to: Path) -> Path:
    """The run's project with its wheels, and a Dockerfile that no cache knows."""
    (to / "wheelhouse").mkdir(parents=True)
    for name in hash_files(run, FILES):
        (to / name).parent.mkdir(exist_ok=True)
        shutil.copy(run / name, to / name)
    for wheel in Path(os.environ["TUNEGATE_WHEELHOUSE"]).glob("*.whl"):
        shutil.copy(wheel, to / "wheelhouse")
    config = to / "config.yaml"  # a name of its own: the run's image keeps its name
    config.write_text(re.sub(r"^model_id:.*", f"model_id: tunegate/bench-{to.name}", config.read_text(), flags=re.M))
    return to


def change(path: Path) -> None:
    """One line that no build has seen: in the Dockerfile right below FROM, elsewhere at the end."""
    nonce = secrets.token_hex(8)
    text = path.read_text()
    if path.name == "Dockerfile":
        first = next(line for line in text.splitlines() if line.startswith("FROM "))
        path.write_text(text.replace(first, f"{first}\nLABEL tunegate.bench={nonce}"))
    else:
        path.write_text(f"{text}# {nonce}\n")


def measure(run: Path, command, where: Path) -> dict[str, float]:
    """{what changed: seconds}."""
    project, seconds = copy(run, where), {}
    tag = f"run-bench-{where.name}:latest"
    env = {name: value for name, value in os.environ.items() if name != "TUNEGATE_WHEELHOUSE"} | {
        "DOCKER_BUILDKIT": "0"
    }
    for what, file in CHANGES.items():
        if file:
            change(project / file)
        began = time.perf_counter()
        done = subprocess.run(command(project, tag), env=env, capture_output=True, text=True)
        seconds[what] = time.perf_counter() - began
        if done.returncode:
            sys.exit(f"{what}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    subprocess.run(["docker", "image", "rm", tag], capture_output=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the directory of a local-docker run")
    run = parser.parse_args().run.resolve()
    if not os.environ.get("TUNEGATE_WHEELHOUSE"):
        sys.exit(f"set TUNEGATE_WHEELHOUSE (`tunegate wheelhouse {run} DIRECTORY` fills one)")
    with tempfile.TemporaryDirectory() as where:
        server = measure(run, by_server, Path(where) / "server")
        hand = measure(run, by_hand, Path(where) / "hand")
    print(f"{'image build':24}{'server':>10}{'by hand':>10}{'ratio':>8}{'of cold':>9}")
    for what in CHANGES:
        ratios = f"{server[what] / hand[what]:8.2f}{server[what] / server['cold']:9.2f}"
        print(f"{what:24}{server[what]:8.1f} s{hand[what]:8.1f} s{ratios}")


if __name__ == "__main__":
    main()
