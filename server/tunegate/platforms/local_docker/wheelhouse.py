"""Wheels for an image that is built without a network: what requirements.txt needs beyond what the base image has.

They are resolved and fetched in a throwaway container of the base, by its own pip for its own Python, outside of any build:
so the index, its credentials and its CA bundle never come near a layer, a history or an `inspect`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from tunegate.clients import network
from tunegate.clients.docker import containers
from tunegate.clients.docker import engine as engines
from tunegate.clients.docker.containers import ContainerPlan
from tunegate.clients.docker.engine import Engine
from tunegate.config import RunConfig
from tunegate.errors import ToolFailure
from tunegate.evidence import seal
from tunegate.paths import cache_dir
from tunegate.project import render
from tunegate.rundir import Run, disk_failure

INDEX = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_TRUSTED_HOST")
CA_BUNDLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")  # in the order in which pip takes them
# What the base has already is not fetched: a dry run first, then exactly what it would have installed.
FILL = f"""
import importlib.metadata as m, json, os, subprocess, sys
os.environ["PIP_CONSTRAINT"] = "frozen.txt"  # as in the Dockerfile: an NGC image's own list names every package's version
def pip(*arguments):
    common = ["--disable-pip-version-check", "--no-input", "--no-cache-dir"]
    if code := subprocess.call([sys.executable, "-m", "pip", *common, *arguments]):
        sys.exit(code)  # pip has said why
have = {{d.name.lower(): d.version for d in reversed(list(m.distributions())) if d.name}}
with open("frozen.txt", "w") as file:
    file.writelines(f"{{n}}=={{have[n]}}\\n" for n in {render.FROZEN!r} if n in have)
pip("install", "--quiet", "--dry-run", "--report", "report.json", "-r", "requirements.txt")
with open("report.json") as file:
    found = [item["metadata"] for item in json.load(file)["install"]]
pins = [f"{{package['name']}}=={{package['version']}}" for package in found]
if pins:
    pip("wheel", "--progress-bar=off", "--no-deps", "--wheel-dir", "wheels", *pins)
"""


def index_given() -> bool:
    """Whether the user's environment says where packages come from, or whom to trust: then a build fetches none itself."""
    return any(os.environ.get(name) for name in (*INDEX, *CA_BUNDLES))


def given(folder: Path) -> list[Path]:
    """The wheels of a directory that the user named. Raises ToolFailure(invalid_input) when there are none."""
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise ToolFailure(
            "invalid_input",
            f"TUNEGATE_WHEELHOUSE = {str(folder)!r} (here {folder.resolve()}) holds no wheels: fill it with "
            "`tunegate wheelhouse RUN DIRECTORY` on a machine that reaches a package index, or unset it",
        )
    return wheels


def cached(engine: Engine, run: Run, config: RunConfig) -> list[Path]:
    """The wheels for this base and these requirements, fetched once from the index of the user's environment."""
    base = f"{config.ngc_image}@{config.ngc_image_digest}"
    key = hashlib.sha256(f"{base}\0{(run.path / 'requirements.txt').read_text()}".encode()).hexdigest()[:16]
    home = cache_dir() / "wheels" / key
    if not home.is_dir():
        try:
            fill(engine, run, config, home)
        except ToolFailure:
            if not home.is_dir():  # another build was first: its wheels are as good
                raise
    return sorted(home.glob("*.whl"))


def fill(engine: Engine, run: Run, config: RunConfig, dest: Path) -> int:
    """Put the wheels that the run's image needs into `dest`, which must not exist or be empty. -> their number.

    Raises ToolFailure: invalid_input (dest, no image chosen), stage_failed (pip found no solution; its words are printed),
    unavailable, not_found, access_denied (the base image), disk_full.
    """
    if not config.ngc_image:
        raise ToolFailure("invalid_input", "ngc_image is not set: call pick_ngc_image (platform local-docker)")
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise ToolFailure("invalid_input", f"{dest} is not an empty directory: name a new one, or empty it")
    base = f"{config.ngc_image}@{config.ngc_image_digest}"
    if engines.image(engine, base) is None:
        for line in engines.pull(engine, base):
            print(line, flush=True)
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{dest.name}.", dir=dest.parent) as work:
            _prepare(Path(work), run)
            _in_base(engine, run, base, Path(work))
            wheels = Path(work) / "wheels"
            count = len(list(wheels.glob("*.whl")))
            wheels.replace(dest)  # over an empty directory too: all of them or none
    except OSError as error:
        raise disk_failure(error, dest) from None
    return count


def _prepare(work: Path, run: Run) -> None:
    """What the container reads: requirements, and pip's settings as a file, so that they are in no environment."""
    (work / "wheels").mkdir()
    shutil.copyfile(run.path / "requirements.txt", work / "requirements.txt")
    lines = ["[global]"]
    for name in INDEX:
        if value := os.environ.get(name, "").split():
            lines.append(f"{name.removeprefix('PIP_').lower().replace('_', '-')} = " + "\n    ".join(value))
    if bundle := next((os.environ[name] for name in CA_BUNDLES if os.environ.get(name)), ""):
        if not Path(bundle).is_file():
            raise ToolFailure(
                "invalid_input", f"the CA bundle {bundle} ({', '.join(CA_BUNDLES)}) is no file: correct it"
            )
        shutil.copyfile(bundle, work / "ca.pem")
        lines.append("cert = /workspace/ca.pem")
    with os.fdopen(os.open(work / "pip.conf", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write("\n".join(lines) + "\n")


def _in_base(engine: Engine, run: Run, base: str, work: Path) -> None:
    labels = {"tunegate.run": str(run.path), "tunegate.stage": "wheelhouse", "tunegate.job": str(time.time_ns())}
    plan = ContainerPlan(
        image=base,
        argv=("python", "-I", "-c", FILL),
        name=f"tunegate-wheelhouse-{labels['tunegate.job']}",
        labels=labels,
        output_dir=work,
        user=containers.user_for(engines.describe(engine)),
        network=network.network_for(*INDEX, *network.PROXIES),
        env={"PIP_CONFIG_FILE": "/workspace/pip.conf"},
        secrets=tuple(name for name in network.PROXIES if os.environ.get(name)),
        path=engines.image(engine, base).env.get("PATH", ""),
    )
    tail = []
    for line in containers.run_to_end(engine, plan):
        tail = [*tail, seal.redacted(line)][-5:]
        print(tail[-1], flush=True)
