"""deep=true: the same question to the real AutoConfig, in a container that has no GPU, no token, no weights and, unless pip
must fetch transformers, no network. Everything it writes stays in the run's .probe/.

The engine remembers the container: a call that ends before it does is followed by the same call later.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunegate import nofollow
from tunegate.clients.docker import containers, engine_errors
from tunegate.clients.docker import engine as engines
from tunegate.clients.docker.containers import ContainerPlan, ContainerState
from tunegate.clients.docker.engine import Engine
from tunegate.errors import ToolFailure
from tunegate.evidence import seal
from tunegate.tasks import architectures

PROBE_IMAGE = "python:3.12-slim"  # TUNEGATE_PROBE_IMAGE names another one, which may have transformers already
SCRIPT = Path(__file__).parents[1] / "scripts" / "deep_probe.py"
WAIT_S = 60.0
POLL_S = 0.2
MAX_RESULT = 100_000
NO_TRANSFORMERS = 3  # the script's exit code
WITHOUT = "; or leave deep out: what the headers tell is complete without it"


class Seen(BaseModel):
    """What AutoConfig said. `error`: why it did not load the config; then the fields on the model are empty."""

    model_config = ConfigDict(extra="ignore")
    image: str
    python: str
    transformers: str
    config_class: str | None = None
    model_type: str | None = None
    auto: dict[str, list[str]] = Field(default_factory=dict, description="auto class -> classes for this type")
    error: str | None = None

    def contradiction(self, auto_class: str, names: list[str]) -> str | None:
        """Why the model cannot be loaded as the headers promised; None when both ways agree."""
        where = f"transformers {self.transformers} in {self.image}"
        if self.error:
            return f"{where} cannot load its config.json ({self.error}): choose another model"
        classes = self.auto.get(auto_class)
        if not classes:
            return f"{where} has no {auto_class} for model_type {self.model_type!r}: choose another model"
        if names and not any(names[0] in found for found in self.auto.values()):
            return f"{where} knows no {names[0]} for model_type {self.model_type!r}: choose another model"
        return None


def inspect(run_dir: Path, config_json: bytes, wait_s: float = WAIT_S) -> Seen | None:
    """What AutoConfig makes of these bytes; None while the container is still at work: call again.

    Raises ToolFailure: unavailable, access_denied, not_found (no engine, no image), stage_failed (it did not run there).
    """
    image = os.environ.get("TUNEGATE_PROBE_IMAGE") or PROBE_IMAGE
    script = SCRIPT.read_bytes()
    key = hashlib.sha256(
        b"\0".join([script, config_json, image.encode(), architectures.version().encode()])
    ).hexdigest()
    folder = run_dir / ".probe" / key[:16]
    if seen := _result(folder, key, image):
        return seen
    nofollow.write(folder / "repo" / "config.json", config_json)
    nofollow.write(folder / SCRIPT.name, SCRIPT.read_bytes())
    try:
        engine = engines.connect()
        have_image(engine, image)
        seen = _run(engine, folder, image, key, time.monotonic() + wait_s)
    except ToolFailure as failure:
        raise ToolFailure(failure.code, f"{failure}{WITHOUT}") from None
    if seen:
        nofollow.rmtree(folder / "site")  # what pip installed there: 100 MB
    return seen


def have_image(engine: Engine, image: str) -> None:
    """Pull it if need be. Raises ToolFailure, naming TUNEGATE_PROBE_IMAGE."""
    if engines.image(engine, image) is None:
        try:
            with engine_errors.mapped(f"pulling {image} for the probe", engine.host):
                engine.api.pull(image)
        except ToolFailure as failure:
            remedy = "set TUNEGATE_PROBE_IMAGE to an image with Python >= 3.11 that the engine has"
            raise ToolFailure(failure.code, f"{failure}; or {remedy}") from None


def _run(engine: Engine, folder: Path, image: str, key: str, deadline: float) -> Seen | None:
    """First without a network; if the image has no transformers, once more with pip."""
    for kind in ("look", "install"):
        labels = {"tunegate.probe": f"{key[:32]}-{kind}", "tunegate.probe.dir": str(folder)}
        found = containers.find(engine, labels)
        container = found.id if found else containers.start(engine, _plan(engine, folder, image, key, kind, labels))
        state = wait(engine, container, deadline)
        if state.status == "running":
            return None
        said = last_line(engine, state)
        containers.remove(engine, container)
        if state.exit_code == 0 and (seen := _result(folder, key, image)):
            return seen
        if state.exit_code != NO_TRANSFORMERS or kind == "install":
            break
    pip = f" (pip could not install transformers=={architectures.version()})" if kind == "install" else ""
    raise ToolFailure(
        "stage_failed",
        f"the deep probe did not run in {image}{pip}: {said}. Set TUNEGATE_PROBE_IMAGE to an image that has transformers, "
        "or TUNEGATE_WHEELHOUSE to a directory with its wheels",
    )


def _plan(engine: Engine, folder: Path, image: str, key: str, kind: str, labels: dict[str, str]) -> ContainerPlan:
    argv, wheels = ["python", "-I", SCRIPT.name, key], wheelhouse()
    if kind == "install":
        argv += ["--install", f"transformers=={architectures.version()}"]
        argv += ["--no-index", "--find-links", wheels] if wheels else []
    nofollow.mkdir(folder / "home")
    found = engines.image(engine, image)
    return ContainerPlan(
        image=image,
        argv=tuple(argv),
        name=f"tunegate-probe-{kind}-{key[:12]}-{time.time_ns()}",
        labels=labels,
        output_dir=folder,  # all that it sees of this machine
        user=containers.user_for(engines.describe(engine)),
        network="default" if kind == "install" and not wheels else "none",
        env={"HOME": "/workspace/home", "HF_HOME": "/workspace/cache", "HF_HUB_OFFLINE": "1"},
        read_only=(Path(wheels),) if kind == "install" and wheels else (),
        roots=(Path(wheels),) if wheels else (),
        path=found.env.get("PATH", "") if found else "",
    )


def wait(engine: Engine, container: str, deadline: float) -> ContainerState:
    """Its state at its end, or at the deadline (of time.monotonic)."""
    while True:
        state = containers.state(engine, container)
        if state.status in ("exited", "gone") or time.monotonic() > deadline:
            return state
        time.sleep(POLL_S)


def last_line(engine: Engine, state: ContainerState) -> str:
    """The last thing that an ended container said, redacted."""
    if state.status != "exited":
        return "it was removed by someone else"
    text = b"".join(line.data for line in containers.follow_logs(engine, state.id)).decode(errors="replace")
    return seal.redacted((text.strip().splitlines() or [f"exit code {state.exit_code}"])[-1][:300])


def _result(folder: Path, key: str, image: str) -> Seen | None:
    """result.json, if it is the answer to this very question. What the container wrote is read with suspicion."""
    try:
        with (folder / "result.json").open("rb") as file:
            raw: Any = json.loads(file.read(MAX_RESULT))
        return Seen(**{**raw, "image": image}) if raw.get("key") == key else None
    except (OSError, ValueError, RecursionError, TypeError, AttributeError, ValidationError):
        return None


def wheelhouse() -> str | None:
    """The directory of wheels that a probe's container may read, without links: it is mounted at its own path."""
    folder = os.environ.get("TUNEGATE_WHEELHOUSE")
    return os.path.realpath(folder) if folder else None
