"""The stage environments of `local-process`: a virtual environment for each set of requirements, made once and reused.

    python -m tunegate.platforms.local_process.envs REPORT RENDERED REQUIREMENTS...   makes or finds it and writes REPORT (JSON): the `build` stage;
                                                                             with a folder RENDERED, a second one of its requirements, to measure in
    python -m tunegate.platforms.local_process.envs --task TASK              the same for a task's scaffold; prints its interpreter

The server itself needs none of torch, transformers or datasets.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tunegate import nofollow
from tunegate.paths import cache_dir
from tunegate.project import render

# Prints [Python's version, {package: version}]. Of two copies of a package, Python imports the one that comes first.
LIST = (
    "import importlib.metadata as m, json, platform; print(json.dumps([platform.python_version(), "
    "{d.name.lower(): d.version for d in reversed(list(m.distributions())) if d.name}]))"
)


def ensure(requirements: list[str]) -> dict:
    """Requirement texts, in the order of installation -> {python, packages: {name: version}, reused, python_version}.

    Raises CalledProcessError when pip fails; pip's own words are on stdout.
    """
    key = hashlib.sha256(
        "\0".join([platform.python_version(), platform.machine(), *requirements]).encode()
    ).hexdigest()[:16]
    home = cache_dir() / "envs" / key
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        nofollow.lock(lock, wait=True)  # two runs that need the same environment: the second waits and reuses it
        python, ready = home / "bin/python", home / "ready"
        reused = ready.is_file() and python.exists()  # a link whose interpreter was uninstalled is no python
        if not reused:
            _create(home, python, requirements)
            ready.touch()
        listed = subprocess.run([python, "-c", LIST], check=True, capture_output=True, text=True).stdout
        version, packages = json.loads(listed)
    return {
        "python": str(python),
        "packages": dict(sorted(packages.items())),
        "reused": reused,
        "python_version": version,
    }


def _create(home: Path, python: Path, requirements: list[str]) -> None:
    print(f"creating the stage environment {home}", flush=True)
    shutil.rmtree(home, ignore_errors=True)
    venv.create(home, with_pip=True, symlinks=True)  # as `python -m venv`: a copied interpreter may miss its libpython
    # one after the other: torch first, so that nothing else chooses its build
    for number, text in enumerate(requirements):
        path = home / f"requirements-{number}.txt"
        path.write_text(text)
        subprocess.run(
            [
                python,
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                "--no-input",
                "--progress-bar=off",
                "-r",
                path,
            ],
            check=True,
            stdout=sys.stdout,
        )


def for_task(task: str) -> dict:
    """The environment that every run of this task shares, because its scaffold's requirements are the same."""
    return ensure(list(render.requirements(task).values()))


def main(report: Path, rendered: Path, *requirements: Path) -> int:
    try:
        found = ensure([path.read_text() for path in requirements])
        if rendered.is_dir():
            found["measures"] = ensure([(rendered / path.name).read_text() for path in requirements])
    except subprocess.CalledProcessError as error:
        print(f"installing the stage environment failed: {error}", flush=True)
        return 1
    nofollow.write(report, json.dumps(found, indent=1) + "\n")
    print(f"stage environment {'reused' if found['reused'] else 'ready'}: {found['python']}")
    return 0


def _print_for_task(task: str) -> int:
    with contextlib.redirect_stdout(sys.stderr):
        found = for_task(task)
    print(found["python"])
    return 0


if __name__ == "__main__":
    sys.exit(_print_for_task(sys.argv[2]) if sys.argv[1] == "--task" else main(*map(Path, sys.argv[1:])))
