"""Step 4, first half: render_project."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any

from mcp.server.mcpserver import Context, Elicit, ElicitationResult, Resolve
from pydantic import Field

from tunegate import config as config_module
from tunegate import evidence, gates
from tunegate.config import RunConfig, keys_asking, keys_resting, keys_said_in
from tunegate.errors import NextCall, ToolFailure
from tunegate.evidence import approvals
from tunegate.evidence.approvals import Approval
from tunegate.hardware import fit
from tunegate.knowledge import fixes, workarounds
from tunegate.platforms import registry
from tunegate.project import adopt, adopt_training, listed, render
from tunegate.publish import progress_log
from tunegate.recipe import renames
from tunegate.rundir import Run, atomic_write, file_sha256
from tunegate.tasks.methods import check_method
from tunegate.tools.base import Call, Confirm, OutputDir, Result, Workspace, tool, workspace

# What may be said here. Everything else is found by a tool, or is a substitution that the user decides.
OVERRIDES = keys_said_in("render_project")


class ProjectReport(Result):
    files: list[str]
    settings: dict[str, Any] = Field(description="the training values that the scripts will read from config.yaml")
    preflight: dict[str, str]


def approve_render(
    ctx: Context, output_dir: str, overrides: dict[str, Any] | None, confirm: str | None
) -> Approval | Elicit[Approval]:
    return approvals.ask(ctx, lambda: _substitution(workspace(ctx), output_dir, overrides), confirm)


def _substitution(ws: Workspace, output_dir: str, overrides: dict[str, Any] | None) -> str | None:
    run = ws.run(output_dir)
    _overridden(run.config(), overrides or {})  # nobody is asked to approve what would be refused anyway
    wanted = {key: (overrides or {}).get(key) for key in keys_asking("render_project")}
    return approvals.substitution(run, "project", "render_project", wanted)


@tool("Render the project", destructive=True, open_world=True)
def render_project(
    call: Call,
    output_dir: OutputDir,
    overrides: Annotated[
        dict[str, Any] | None,
        Field(
            description="config keys to set, e.g. {'n_epochs': 2}; also emit_unit_tests, emit_report, emit_progress_log, monitoring"
        ),
    ] = None,
    overwrite: Annotated[bool, Field(description="replace files that were edited since the last rendering")] = False,
    confirm: Confirm = None,
    approval: Annotated[ElicitationResult[Approval], Resolve(approve_render)] = None,
) -> ProjectReport:
    """Write the training project from the recipe and the scaffold: scripts, Dockerfile, pinned requirements. It runs without this server."""
    call.require_gate(3)
    run, overrides = call.run, overrides or {}
    notes = call.settle(approval, _substitution(call.workspace, output_dir, overrides))
    planned = _planned(call, overrides, notes)
    files = render.render_files(
        planned.config, render.slot_values(evidence.read(run, "recipe")), listed.places(run, planned.config)
    ) | _manifest(run)
    if not overwrite:
        _refuse_to_lose_edits(run, files, planned.config)
    for name, text in files.items():
        atomic_write(run.path / name, text)
    atomic_write(run.meta / "recipe.md", _recipe_page(planned.before, evidence.read(run, "recipe").facts))
    run.save_config(planned.config)
    call.record_evidence("project", _facts(planned, files), planned.config)
    return lambda seen: ProjectReport(
        notes=planned.notes,
        next=gates.next_call(seen),
        files=sorted(files),
        settings=evidence.values(planned.config, keys_resting("training")),
        preflight=gates.preflight(seen),
    )


@dataclass(frozen=True)
class Planned:
    """What a rendering writes down, before any file of it is made."""

    before: RunConfig  # with what the user, the workarounds and earlier calls have said
    config: RunConfig  # and with what the recipe and the scaffold add
    workarounds: dict[str, Any]
    reported: list[str]  # what it says of each value that the recipe stated
    notes: list[str]


def _planned(call: Call, overrides: dict[str, Any], approved: list[str]) -> Planned:
    run = call.run
    last = _rendered(run)
    before = _overridden(_unfilled(run.config(), overrides, last), overrides)
    before, renamed = adopt.current_arguments(before, overrides)
    reviewed = workarounds.review(run, before, registry.of(before).versions)
    before, settings = fixes.with_settings(reviewed, last.get("workarounds", {}))
    found = adopt.from_recipe(before, evidence.read(run, "recipe").facts, evidence.read(run, "model").facts)
    config = render.with_defaults(before, found.values)
    reported = adopt.report(found, before, config)
    config, folded = _in_fewer_passes(run, before, config)
    reported += folded
    notes = [*approved, *renamed, *reported]
    kept = [note for note in config.notes if note not in last.get("reported", [])]
    config = config.model_copy(
        update={"notes": _with(kept, notes), "hf_model_repo": _push_target(call.workspace, config)}
    )
    return Planned(before, config, settings, reported, notes)


def _facts(planned: Planned, files: dict[str, str]) -> dict[str, Any]:
    return {
        "files": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()},
        "guarded": render.guarded(files),
        "workarounds": planned.workarounds,
        "filled": render.filled(planned.before, planned.config),
        "reported": planned.reported,
    }


def _manifest(run: Run) -> dict[str, str]:
    """Raises ToolFailure(gate_closed) where an older version probed the dataset."""
    if found := listed.in_project(run):
        return found
    raise ToolFailure(
        "gate_closed",
        f"{listed.PATH} is missing, in which probe_dataset writes down what is read: probe the dataset again",
        gate=1,
        next=NextCall(tool="probe_dataset", arguments={"output_dir": str(run.path)}, why="it writes the manifest"),
    )


def _recipe_page(config: RunConfig, recipe: dict[str, Any]) -> str:
    """meta/recipe.md with what this rendering adopted of it, and why not the rest."""
    from tunegate.recipe.markdown import recipe_markdown
    from tunegate.recipe.slots import RecipeFacts

    return recipe_markdown(RecipeFacts.model_validate(recipe), adopt_training.judged(config, recipe))


def _in_fewer_passes(run: Run, before: RunConfig, config: RunConfig) -> tuple[RunConfig, list[str]]:
    """Accumulation that this GPU does not need, undone; never where the user set one of the two values."""
    keys = ("per_device_train_batch_size", "gradient_accumulation_steps")
    if any(getattr(before, key) is not None for key in keys):
        return config, []
    model, host = (evidence.read(run, name).facts for name in ("model", "host"))
    found = fit.in_fewer_passes(model, host, fit.plan_of(config, model, render.plan_defaults(config)))
    return (config.model_copy(update=dict(zip(keys, found, strict=False))), [found[2]]) if found else (config, [])


def _overridden(config: RunConfig, overrides: dict[str, Any]) -> RunConfig:
    unknown = sorted(set(overrides) - set(OVERRIDES))
    if unknown:
        row = renames.find(unknown[0], *renames.OF_TRAINER)
        hint = f" (since {row.since}: {renames.advice(row)})" if row else ""
        raise ToolFailure(
            "invalid_input",
            f"overrides: {unknown[0]!r} cannot be set here{hint}; keys that can: {', '.join(OVERRIDES)}",
        )
    if method := overrides.get("training_method"):
        check_method(config.task, method)
    if "lora_r" in overrides and not config.adapted:
        raise ToolFailure(
            "invalid_input", f"overrides: lora_r means nothing with training_method = {config.training_method!r}"
        )
    return config_module.validate({**config.model_dump(), **overrides}, "overrides")


def _unfilled(config: RunConfig, overrides: dict[str, Any], last: dict[str, Any]) -> RunConfig:
    """config without what the last rendering filled in by itself, so that newer research counts; what the call sets stays."""
    return fixes.taken_back(
        config, {key: value for key, value in last.get("filled", {}).items() if key not in overrides}
    )


def _with(notes: list[str], more: list[str]) -> list[str]:
    return list(dict.fromkeys([*notes, *more]))


def _rendered(run: Run) -> dict[str, Any]:
    """What the last rendering wrote down."""
    return found.facts if (found := evidence.read(run, "project")) else {}


def _push_target(ws: Workspace, config: RunConfig) -> str | None:
    """`<whoami>/<short>-finetuned` unless the user named one."""
    if not config.push_to_hub or config.hf_model_repo:
        return config.hf_model_repo
    return f"{ws.hub.whoami()}/{config.short_name}-finetuned"


def _refuse_to_lose_edits(run: Run, files: dict[str, str], config: RunConfig) -> None:
    """Raises ToolFailure(ambiguous) for an edited file, and for one that lay there before the first rendering."""
    rendered = _rendered(run).get("files", {})
    edited = [
        name
        for name, text in files.items()
        if file_sha256(run.path / name) not in (None, rendered.get(name), hashlib.sha256(text.encode()).hexdigest())
    ]
    if config.emit_progress_log and not run.config().emit_progress_log and progress_log.is_foreign(run):
        edited.append(progress_log.PROGRESS_FILE)
    if edited:
        raise ToolFailure(
            "ambiguous",
            f"rendering would overwrite {', '.join(edited)}, which is not as it was rendered: pass overwrite=true to drop them, or keep the files and go on "
            "with docker_run(stage='check_api')",
        )
