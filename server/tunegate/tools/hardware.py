"""Step 2: audit_gpu and pick_ngc_image."""

from __future__ import annotations

import json
from typing import Annotated, Any

from mcp.server.mcpserver import Context, Elicit, ElicitationResult, Resolve
from pydantic import Field

from tunegate import evidence, gates
from tunegate.config import RunConfig
from tunegate.errors import ToolFailure
from tunegate.evidence import approvals
from tunegate.evidence.approvals import Approval
from tunegate.hardware import fit as model_fit
from tunegate.hardware import host
from tunegate.hardware.facts import HostFacts
from tunegate.knowledge import workarounds
from tunegate.platforms import registry
from tunegate.project import render
from tunegate.rundir import Run
from tunegate.tools.base import Call, Confirm, OutputDir, Result, tool, workspace


class HostReport(Result):
    platform: str
    gpu_count: int
    gpu_name: str | None
    driver_major: int | None
    vram_gb_per_gpu: float | None
    free_vram_gb: float | None = Field(description="of the fullest GPU")
    compute_capability: str | None
    gpu_handover: str = Field(description="how containers get the GPUs: cdi, nvidia-runtime or none")
    engine: str | None
    cpu_count: int
    memory_gb: float
    free_disk_gb: float
    hard_failures: list[str]
    install_plan: list[str] = Field(description="commands for the user to run, in order; never run by the server")
    warnings: list[str]


class ImageReport(Result):
    ngc_image: str | None = Field(
        description="null on local-process: stages run in a virtual environment, not a container"
    )
    ngc_image_digest: str | None
    model_fit: str
    terms_gb: dict[str, float] = Field(description="each part of the estimate")


@tool("Audit the hardware")
def audit_gpu(call: Call, output_dir: OutputDir) -> HostReport:
    """Record what this machine offers to the run: GPUs, how containers get them (tried), memory, disk, credentials needed (presence only)."""
    call.require_gate(1)
    config = call.run.config()
    token = call.workspace.hub.token_present()
    facts = host.audit(config, call.run.path, registry.of(config).audit, token_present=token)
    found = {key: getattr(facts, key) for key in ("gpu_count", "gpu_name", "driver_major", "vram_gb_per_gpu")}
    config = config.model_copy(update=found)
    call.run.save_config(config)
    call.record_evidence("host", facts.model_dump(mode="json"), config)
    return HostReport(
        notes=facts.notes,
        ask_user=_question(call.run, config, facts),
        platform=config.platform,
        engine=_engine(facts),
        **facts.model_dump(include=set(HostReport.model_fields) - {"notes", "engine"}),
        **({"next": None} if facts.hard_failures else {}),
    )


def _question(run: Run, config: RunConfig, facts: HostFacts) -> str | None:
    """What the user decides after a hard failure: to fix it, or to go on without what is missing, by exactly which call."""
    if not facts.hard_failures:
        return None
    if not facts.without:
        return f"{'; '.join(facts.hard_failures)}. Please fix this; shall audit_gpu be called again then?"
    given = {"model_id": config.model_id, "output_dir": str(run.path), **facts.without}
    call = f"probe_model({', '.join(f'{name}={json.dumps(value)}' for name, value in given.items())})"
    return f"{'; '.join(facts.hard_failures)}. Will you fix this (then: audit_gpu), or go on without it (then: {call})?"


def _engine(facts: HostFacts) -> str | None:
    if not (known := facts.engine):
        return None
    return f"{known['kind']} {known['version']}{', rootless' if known['rootless'] else ''} at {known['host']}"


def approve_fit(ctx: Context, output_dir: str, confirm: str | None) -> Approval | Elicit[Approval]:
    return approvals.ask(ctx, lambda: _overruling(workspace(ctx).run(output_dir)), confirm)


def _overruling(run: Run) -> str | None:
    """What the user would have to decide, and has not yet."""
    seen = gates.view(run)
    if not (seen.facts("model") and seen.facts("host")):
        return None
    facts = _fit_facts(_judged(run))
    return None if seen.facts("image").get("overruled") == gates.estimate(facts) else gates.overruling(facts)


def _judged(run: Run) -> model_fit.Fit:
    config = run.config()
    model, audit = (evidence.read(run, name).facts for name in ("model", "host"))
    return model_fit.judge(model, audit, config, render.plan_defaults(config))


def _fit_facts(fit: model_fit.Fit) -> dict[str, Any]:
    return {
        "fit": fit.code,
        "model_fit": fit.verdict,
        "terms_gb": fit.terms_gb,
        "needed_gb": fit.needed_gb,
        "room_gb": fit.room_gb,
        "recommend": fit.recommend,
        "would_fit": fit.would_fit,
    }


def _overruled(
    call: Call, facts: dict[str, Any], answer: ElicitationResult[Approval]
) -> tuple[dict[str, Any] | None, list[str]]:
    """(the estimate that the user has overruled, notes on it). Undecided is no failure: gate 2 stays closed and says so."""
    asks, estimate = gates.overruling(facts), gates.estimate(facts)
    if asks is None:
        return None, []
    if gates.view(call.run).facts("image").get("overruled") == estimate:
        return estimate, []
    try:
        return estimate, call.settle(answer, asks)
    except ToolFailure as undecided:
        return None, [str(undecided)]


@tool("Pick the NGC image", open_world=True)
def pick_ngc_image(
    call: Call,
    output_dir: OutputDir,
    image: Annotated[
        str | None,
        Field(description="only if the user asks for one: its release, e.g. '26.03'; kept until a call with 'newest'"),
    ] = None,
    confirm: Confirm = None,
    approval: Annotated[ElicitationResult[Approval], Resolve(approve_fit)] = None,
) -> ImageReport:
    """Choose what the stages run in and whether the model fits. On local-process: no container, and the evidence says so."""
    call.require_gate(1)
    call.require_evidence("host")
    run, config = call.run, call.run.config()
    audit = evidence.read(run, "host").facts
    fit = _judged(run)
    overruled, decided = _overruled(call, _fit_facts(fit), approval)
    wanted = _wanted(run, image, config.platform)
    chosen = registry.of(config).choose_environment(call.workspace.web, audit, wanted)
    known, notes = dict(chosen.facts), chosen.notes
    sources = known.pop("sources", [])
    facts = {
        **known,
        "platform": config.platform,
        "ngc_image": chosen.image,
        "ngc_image_digest": chosen.digest,
        "asked_for": wanted,
        **_fit_facts(fit),
        "overruled": overruled,
        "why": notes[0],
    }
    logged = notes[:1] if chosen.is_fallback and notes[0] not in config.notes else []
    before, config = _with_image(run, config, facts, [*logged, *(decided if overruled else [])])
    run.save_config(config)
    call.record_evidence("image", facts, config, sources=sources)
    notes = [*notes, *config.notes[len(before.notes) :]]  # what the workarounds have to say
    return ImageReport(
        notes=[*notes, *decided, *(f"would fit: {change}" for change in fit.would_fit), *fit.notes],
        ngc_image=chosen.image,
        ngc_image_digest=chosen.digest,
        model_fit=fit.verdict,
        terms_gb=fit.terms_gb,
    )


def _with_image(run: Run, config: RunConfig, facts: dict[str, Any], notes: list[str]) -> tuple[RunConfig, RunConfig]:
    """(the config with the image, the same with the workarounds that hardware and image ask for). They are added to `facts`."""
    image = {key: facts[key] for key in ("ngc_image", "ngc_image_digest")}
    before = config.model_copy(update={**image, "notes": [*config.notes, *notes]})
    config = workarounds.review(run, before, registry.of(before).versions, image=facts)
    facts["workarounds"] = config.applicable_workarounds
    return before, config


def _wanted(run: Run, image: str | None, platform: str) -> str | None:
    """The image that the user named, now or in an earlier call on this platform: a second audit must not undo a choice of theirs."""
    if image is None:
        before = evidence.read(run, "image")
        return before.facts.get("asked_for") if before and before.facts.get("platform") == platform else None
    return None if image.strip() == "newest" else image
