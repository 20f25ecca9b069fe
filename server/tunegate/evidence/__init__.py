"""Evidence: one sealed JSON file for each fact that a gate rests on.

A file counts only while all of this holds: the seal is ours (this user, this machine, this run); the ledger names this
very version as the newest; the config values it rests on are unchanged; the evidence it rests on says the same; the
files it speaks of have the same bytes. `problems` says which of these fails, and nothing else decides.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunegate import __version__, nofollow
from tunegate.config import Basis, RunConfig, keys_resting
from tunegate.evidence import ledger, seal
from tunegate.rundir import Run, canonical, file_sha256
from tunegate.stage_table import ON_RUN, STAGES


@dataclass(frozen=True)
class Kind:
    """What one piece of evidence rests on (words of config.Basis, other evidence), and the tool that writes it."""

    tool: str
    rests: tuple[Basis, ...]
    after: tuple[str, ...] = ()
    arguments: tuple[tuple[str, str], ...] = ()  # of the tool, beside output_dir

    @property
    def config(self) -> tuple[str, ...]:
        """The config keys it rests on."""
        return keys_resting(*self.rests)


KINDS: dict[str, Kind] = {
    "model": Kind("probe_model", ("model",)),
    "dataset": Kind("probe_dataset", ("dataset",), ("model",)),
    "host": Kind("audit_gpu", ("platform", "hardware", "monitoring")),
    "image": Kind("pick_ngc_image", ("model", "platform", "hardware", "image"), ("model", "host")),
    "recipe": Kind("fetch_recipe", ("model", "recipe"), ("model",)),
    "project": Kind(
        "render_project",
        (*ON_RUN, "image", "workarounds", "unit_tests", "report"),
        ("model", "dataset", "recipe", "image"),
    ),
    **{f"stages/{name}": Kind("docker_run", row.rests, row.after, (("stage", name),)) for name, row in STAGES.items()},
    "push": Kind("push_hub", (*ON_RUN, "push", "baseline")),
    "rerun": Kind("emit_rerun_skill", (*ON_RUN, "baseline")),
}


class Source(BaseModel):
    """Where a fact was read."""

    model_config = ConfigDict(extra="ignore")
    url: str
    sha256: str | None = None
    time: str


class Evidence(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    tool: str
    tunegate: str = __version__
    run: str = Field(description="absolute path of the run it was written for")
    created: str
    facts: dict[str, Any]
    sources: list[Source] = []
    config: dict[str, Any] = Field(default={}, description="the config values it rests on")
    after: dict[str, str] = Field(default={}, description="evidence it rests on -> digest of its facts")
    files: dict[str, str] = Field(default={}, description="files it speaks of -> sha256")
    seal: str = ""

    def payload(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={"seal"})

    @property
    def digest(self) -> str:
        return hashlib.sha256(canonical(self.payload())).hexdigest()

    @property
    def facts_digest(self) -> str:
        return hashlib.sha256(canonical(self.facts)).hexdigest()


def values(config: RunConfig, keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: getattr(config, key) for key in keys}


def make(
    run: Run,
    name: str,
    facts: dict[str, Any],
    *,
    config: RunConfig,
    sources: list[Any] = (),
    files: dict[str, str] | None = None,
    resting_on: dict[str, Any] | None = None,
) -> Evidence:
    """Sealed evidence, not yet written. `resting_on`: the config values when a job began, if they are not today's."""
    kind = KINDS[name]
    upstream = {other: read(run, other) for other in kind.after}
    evidence = Evidence(
        name=name,
        tool=kind.tool,
        run=str(run.path),
        created=ledger.now(),
        facts=seal.redacted(facts),
        sources=[Source.model_validate(s if isinstance(s, dict) else s.model_dump()) for s in sources],
        config=resting_on if resting_on is not None else values(config, kind.config),
        after={other: found.facts_digest for other, found in upstream.items() if found},
        files=files or {},
    )
    return evidence.model_copy(update={"seal": seal.sign(evidence.payload())})


def write(run: Run, evidence: Evidence) -> dict[str, str]:
    """Write the file; returns {name: digest} for the ledger line of this call, without which it does not count."""
    text = json.dumps(evidence.model_dump(mode="json"), indent=1, ensure_ascii=False)
    nofollow.write(
        run.meta / f"{evidence.name}.json", text + "\n", nofollow.PRIVATE_FILE, folder_mode=nofollow.PRIVATE_FOLDER
    )
    return {evidence.name: evidence.digest}


def read(run: Run, name: str) -> Evidence | None:
    """The file as it lies there, verified by nobody: see `problems`."""
    try:
        return Evidence.model_validate_json((run.meta / f"{name}.json").read_bytes())
    except (OSError, ValidationError, ValueError):
        return None


def is_ours(run: Run, name: str, evidence: Evidence, anywhere: bool = False) -> bool:
    """Sealed by tunegate here, under this name, for this run (or, with `anywhere`, for any run of this user)."""
    return (
        evidence.name == name
        and (anywhere or ledger.is_this_run(run, evidence.run))
        and seal.verify(evidence.payload(), evidence.seal)
    )


def restricted(*found: Evidence | None) -> bool:
    """Whether any of these, of a model or a dataset, is gated or private: a stage that reads it must show a token."""
    return any(e and (e.facts.get("gated") or e.facts.get("private")) for e in found)


def problems(run: Run, name: str, config: RunConfig, newest: dict[str, str]) -> list[str]:
    """Why this evidence does not count now; empty when it does. `newest` is `ledger.latest(run)`."""
    evidence = read(run, name)
    if evidence is None:
        exists = (run.meta / f"{name}.json").exists()
        return ["is not a file that a tool writes (unreadable)"] if exists else ["has not been written yet"]
    if not is_ours(run, name, evidence, anywhere=True):
        return ["is not sealed by tunegate on this machine: it was edited, made by hand or brought from elsewhere"]
    if not ledger.is_this_run(run, evidence.run):
        return [f"was sealed for another run ({evidence.run}): it must be verified again here"]
    if name not in newest:
        return ["is not recorded in the ledger"]
    if newest[name] != evidence.digest:
        return ["is not the newest version that the ledger records: an older one was put back"]
    return [*_changed_values(evidence, config), *_changed_upstream(run, evidence), *_changed_files(run, evidence)]


def _changed_values(evidence: Evidence, config: RunConfig) -> list[str]:
    now = {key: getattr(config, key, None) for key in evidence.config}
    return [
        f"is stale: {key} was {_short(old)}, is now {_short(now[key])}"
        for key, old in evidence.config.items()
        if now[key] != old
    ]


def _changed_upstream(run: Run, evidence: Evidence) -> list[str]:
    missing = [other for other in KINDS[evidence.name].after if other not in evidence.after]
    found = {other: read(run, other) for other in evidence.after}
    changed = [
        other for other, digest in evidence.after.items() if not found[other] or found[other].facts_digest != digest
    ]
    return [f"is stale: {other} evidence has changed since" for other in [*missing, *changed]]


def _changed_files(run: Run, evidence: Evidence) -> list[str]:
    result = []
    for name, digest in evidence.files.items():
        found = file_sha256(run.path / name)
        if found != digest:
            result.append(f"is stale: {name} {'was changed' if found else 'is missing'}")
    return result[:3] + ([f"and {len(result) - 3} more files"] if len(result) > 3 else [])


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
