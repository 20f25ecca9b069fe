"""Step 1: probe_model and probe_dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context, Elicit, ElicitationResult, Resolve
from pydantic import Field

from tunegate import evidence, rundir, tasks
from tunegate.config import LocalDatasetFormat, PlatformName, RunConfig, Task, keys_asking
from tunegate.errors import ToolFailure
from tunegate.evidence import approvals
from tunegate.evidence.approvals import Approval
from tunegate.knowledge import workarounds
from tunegate.platforms import registry
from tunegate.probe.request import DatasetRequest, ProbeContainer
from tunegate.project import listed
from tunegate.rundir import Run
from tunegate.tasks.methods import check_method
from tunegate.tools.base import Call, Confirm, OutputDir, Result, Workspace, default_output_dir, tool, workspace

UNKEPT = {"sources", "bytes_fetched"}  # of a probe's facts: evidence has its sources beside them


class ModelReport(Result):
    model_id: str
    model_revision: str = Field(description="commit SHA that every later stage uses")
    task: str
    auto_class: str
    architectures: list[str]
    parameters: int | None = Field(description="exact count from the safetensors headers")
    parameters_by_part: dict[str, int] = Field(description="vision, connector, language, audio, head")
    bytes: int | None
    licence: str | None
    gated: str | None
    warnings: list[str]
    applicable_workarounds: list[str]


class DatasetReport(Result):
    dataset: str
    dataset_revision: str | None
    splits: dict[str, int | None] = Field(description="rows")
    train_split: str
    eval_split: str | None = Field(description="null: held out of the training split")
    column_map: dict[str, str] = Field(description="task column -> dataset column or column.field")
    column_reshape: str | None = Field(description="null: a rename only")
    class_names: list[str] = Field(description="the first 40; config.yaml has all")
    label_histogram: dict[str, int] = Field(description="the 12 most frequent")
    findings: list[str]
    warnings: list[str]


def approve_model(
    ctx: Context,
    model_id: str,
    output_dir: str | None,
    task: str | None,
    training_method: str | None,
    push_to_hub: bool | None,
    skip_baseline: bool | None,
    confirm: str | None,
) -> Approval | Elicit[Approval]:
    wanted = {"model_id": model_id, "task": task, "training_method": training_method}
    wanted |= {"push_to_hub": push_to_hub, "skip_baseline": skip_baseline}
    return approvals.ask(ctx, lambda: _model_substitution(workspace(ctx), output_dir, wanted), confirm)


def _push_after_all(before: RunConfig | None, value: bool | None) -> str | None:
    off = before is not None and not before.push_to_hub
    return "push the model to the Hub after all (push_to_hub was false)" if value and off else None


def _no_baseline(before: RunConfig | None, value: bool | None) -> str | None:
    on = before is None or not before.skip_baseline
    asks = "measure no baseline (skip_baseline: true): nothing will show what the training changed"
    return asks if value and on else None


DECISIONS = {"push_to_hub": _push_after_all, "skip_baseline": _no_baseline}  # of one direction only


def _model_substitution(ws: Workspace, output_dir: str | None, wanted: dict[str, Any]) -> str | None:
    """What of the call is the user's to decide: another model, task or method, a run without a baseline, a push after all."""
    run = rundir.locate(ws.root, output_dir or default_output_dir(wanted["model_id"]))
    before = run.config() if run.config_path.exists() else None
    asked = [
        DECISIONS[key](before, wanted[key])
        if key in DECISIONS
        else approvals.substitution(run, "model", "probe_model", {key: wanted[key]})
        for key in keys_asking("probe_model")
    ]
    return "; ".join(filter(None, asked)) or None


@tool("Probe a model", begins_run=True, open_world=True)
def probe_model(
    call: Call,
    model_id: Annotated[str, Field(description="Hugging Face model id, org/name")],
    output_dir: Annotated[str | None, Field(description="default: ./output/<model short name>")] = None,
    task: Annotated[Task | None, Field(description="only when the probe asks for it")] = None,
    training_method: Annotated[
        Literal["full", "lora", "qlora", "dpo", "grpo"] | None, Field(description="default: by task")
    ] = None,
    platform: Annotated[PlatformName | None, Field(description="where the stages run")] = None,
    push_to_hub: Annotated[
        bool | None, Field(description="false: the user wants the model kept on this machine (default true)")
    ] = None,
    skip_baseline: Annotated[
        bool | None, Field(description="true, only with the user's approval: no metric of the untuned model")
    ] = None,
    min_disk_gb: Annotated[
        int | None, Field(ge=0, description="free disk below which audit_gpu warns (default 100)")
    ] = None,
    revision: str = "main",
    deep: Annotated[bool, Field(description="also ask the real AutoConfig, in a CPU container; needs Docker")] = False,
    confirm: Confirm = None,
    approval: Annotated[ElicitationResult[Approval], Resolve(approve_model)] = None,
) -> ModelReport:
    """Start a run: identify the model from headers and configs alone (no weights, no remote code), detect its task, write config.yaml."""
    wanted = {"model_id": model_id, "task": task, "training_method": training_method}
    decided = {
        "platform": platform,
        "push_to_hub": push_to_hub,
        "skip_baseline": skip_baseline,
        "min_disk_gb": min_disk_gb,
    }
    ws, run = call.workspace, call.run
    notes = call.settle(approval, _model_substitution(ws, output_dir, wanted | decided))
    facts = _probe(ws, run, model_id, task, revision, training_method, deep)
    config = _model_config(run, facts, training_method, decided, notes)
    run.save_config(config)
    call.record_evidence("model", facts.model_dump(mode="json", exclude=UNKEPT), config, sources=facts.sources)
    same = ("model_id", "task", "auto_class", "architectures", "parameters", "parameters_by_part")
    return ModelReport(
        notes=notes,
        model_revision=facts.revision,
        bytes=facts.weights_bytes,
        applicable_workarounds=config.applicable_workarounds,
        **{key: getattr(facts, key) for key in (*same, "licence", "gated", "warnings")},
        **({"next": call.again("the deep probe is still at work")} if deep and facts.deep is None else {}),
    )


def _probe(ws: Workspace, run: Run, model_id: str, task: str | None, revision: str, method: str | None, deep: bool):
    from tunegate.probe import model  # loads the Hub client: not at start-up

    if method is None and run.config_path.exists():
        method = run.config().training_method
    facts = model.probe_model(
        ws.hub, model_id, task=task, revision=revision, method=method or "full", deep_in=run.path if deep else None
    )
    if facts.verdict != "accept":  # no run begins, so the refusal tells what was found
        raise ToolFailure("rejected", f"model_id = {model_id!r} ({model.summary(facts)}): " + "; ".join(facts.reasons))
    return facts


def _model_config(
    run: Run, facts: Any, training_method: str | None, decided: dict[str, Any], notes: list[str]
) -> RunConfig:
    """The run's config with what the probe found and the user decided; a first call begins it."""
    found = {
        "model_id": facts.model_id,
        "model_revision": facts.revision,
        "task": facts.task,
        **{key: value for key, value in decided.items() if value is not None},
    }
    if run.config_path.exists():
        config = run.config().model_copy(update=found)
        method = training_method or config.training_method or tasks.TASKS[facts.task].methods[0]
    else:
        method = training_method or tasks.TASKS[facts.task].methods[0]
        config = RunConfig(**found, output_dir=f"./{run.path.name}")
    check_method(facts.task, method)
    config = config.model_copy(update={"training_method": method})
    config = config.model_copy(update={"notes": [*config.notes, *notes]})
    return workarounds.review(run, config, registry.of(config).versions, model=facts.model_dump(mode="json"))


def approve_dataset(
    ctx: Context,
    output_dir: str,
    dataset_id: str | None,
    local_dataset_path: str | None,
    local_eval_path: str | None,
    confirm: str | None,
) -> Approval | Elicit[Approval]:
    named = (dataset_id, local_dataset_path, local_eval_path)
    return approvals.ask(ctx, lambda: _dataset_substitution(workspace(ctx), output_dir, *named), confirm)


def _chosen(
    ws: Workspace, config: RunConfig, dataset_id: str | None, local: str | None, evaluation: str | None
) -> dict[str, str | None]:
    """The dataset that is named, else the one that the run has; what is measured on stays with its dataset."""
    local, evaluation = _contained(ws, local), _contained(ws, evaluation, "local_eval_path")
    if not dataset_id and not local:
        dataset_id, local = config.dataset_id, _contained(ws, config.local_dataset_path)
    if evaluation is None and local is not None and local == config.local_dataset_path:
        evaluation = _contained(ws, config.local_eval_path, "local_eval_path")
    return {"dataset_id": dataset_id, "local_dataset_path": local, "local_eval_path": evaluation}


def _dataset_substitution(
    ws: Workspace, output_dir: str, dataset_id: str | None, local_dataset_path: str | None, local_eval_path: str | None
) -> str | None:
    """Another dataset than the one this run has settled on, whichever of the two kinds either is, or another one to measure on."""
    run = ws.run(output_dir)
    chosen = _chosen(ws, run.config(), dataset_id, local_dataset_path, local_eval_path)
    wanted, measured = chosen["dataset_id"] or chosen["local_dataset_path"], chosen["local_eval_path"]
    for known in approvals.settled(run, "dataset", "probe_dataset", tuple(chosen)):
        old = known["dataset_id"] or known["local_dataset_path"]
        if old and wanted and old != wanted:
            return f"replace dataset {old!r} with {wanted!r}"
        if (before := known["local_eval_path"]) and before != measured:
            return f"evaluate on {measured or 'a part of the training data'!r} instead of {before!r}"
    return None


@tool("Probe a dataset", open_world=True)
def probe_dataset(
    call: Call,
    output_dir: OutputDir,
    dataset_id: Annotated[
        str | None, Field(description="Hugging Face dataset id; or give local_dataset_path; neither: recommendations")
    ] = None,
    local_dataset_path: Annotated[
        str | None, Field(description="read-only folder or file on the server's machine")
    ] = None,
    local_eval_path: Annotated[
        str | None,
        Field(description="a second folder or file, to evaluate on; else a split of the one, or held-out rows"),
    ] = None,
    local_dataset_format: LocalDatasetFormat = "auto",
    dataset_config: str | None = None,
    train_split: str | None = None,
    eval_split: str | None = None,
    column_map: Annotated[
        dict[str, str] | None, Field(description="task column -> dataset column, when the probe asks")
    ] = None,
    box_format: Annotated[
        Literal["xywh", "xyxy", "cxcywh"] | None, Field(description="only when the probe asks")
    ] = None,
    mask_codes: Annotated[
        list[int] | None, Field(description="mask values in order of their classes, when the probe asks")
    ] = None,
    n_train: Annotated[int | None, Field(ge=1, description="at most this many training rows (default 10000)")] = None,
    n_eval: Annotated[int | None, Field(ge=1, description="at most this many held-out rows (default 1000)")] = None,
    confirm: Confirm = None,
    approval: Annotated[ElicitationResult[Approval], Resolve(approve_dataset)] = None,
) -> DatasetReport:
    """Verify the dataset without downloading it: splits, columns, classes, and how they map on the task."""
    ws, run = call.workspace, call.run
    call.require_evidence("model")
    config = run.config()
    chosen = _chosen(ws, config, dataset_id, local_dataset_path, local_eval_path)
    call.line.update({key: value for key, value in chosen.items() if value})
    notes = call.settle(
        approval, _dataset_substitution(ws, output_dir, dataset_id, local_dataset_path, local_eval_path)
    )
    request = DatasetRequest(
        task=config.task,
        method=config.training_method,
        model_facts=_model_facts(run),
        dataset_id=chosen["dataset_id"],
        local_path=chosen["local_dataset_path"],
        local_eval_path=chosen["local_eval_path"],
        local_format=local_dataset_format,
        config=dataset_config,
        train_split=train_split,
        eval_split=eval_split,
        column_map=column_map,
        caption_prompt=config.caption_prompt,
        box_format=box_format,
        mask_codes=mask_codes,
        container=ProbeContainer(run.path, call.again("a container is still reading the dataset")),
    )
    facts = _probe_data(ws, request)
    config = _dataset_config(config, chosen, facts, n_train, n_eval, notes)
    run.save_config(config)
    listed.keep(run, facts.manifest)
    files = {listed.PATH: facts.manifest_sha256}
    call.record_evidence(
        "dataset", facts.model_dump(mode="json", exclude=UNKEPT), config, sources=facts.sources, files=files
    )
    return _dataset_report(config, facts, notes)


def _dataset_config(
    config: RunConfig, chosen: dict[str, Any], facts: Any, n_train: int | None, n_eval: int | None, notes: list[str]
) -> RunConfig:
    """The run's config with what the probe found."""
    found = {
        **chosen,
        "local_dataset_format": facts.local_format or "auto",
        "dataset_revision": facts.revision,
        "dataset_config": facts.config,
        "n_train": n_train or config.n_train,
        "n_eval": n_eval or config.n_eval,
        "notes": [*config.notes, *notes],
        **{
            key: getattr(facts, key)
            for key in ("train_split", "eval_split", "column_map", "column_reshape", "class_names")
        },
        **facts.for_config(),
    }
    return RunConfig.model_validate({**config.model_dump(), **found})


def _dataset_report(config: RunConfig, facts: Any, notes: list[str]) -> DatasetReport:
    same = ("splits", "train_split", "eval_split", "column_map", "column_reshape", "warnings")
    return DatasetReport(
        notes=notes,
        dataset=config.dataset_id or config.local_dataset_path,
        dataset_revision=facts.revision,
        class_names=facts.class_names[:40],
        label_histogram=dict(list(facts.label_histogram.items())[:12]),
        findings=facts.described(),
        **{key: getattr(facts, key) for key in same},
    )


def _model_facts(run: Run) -> Any:
    from tunegate.probe.model import ModelFacts  # loads the Hub client: not at start-up

    return ModelFacts(**evidence.read(run, "model").facts, sources=[], bytes_fetched=0)


def _probe_data(ws: Workspace, request: DatasetRequest) -> Any:
    from tunegate.probe import dataset  # loads the Hub client: not at start-up
    from tunegate.probe.dataset import apart

    facts = apart.probe(request) if request.local_path else dataset.probe_dataset(ws.hub, request)
    if facts.verdict != "accept":
        name = request.dataset_id or request.local_path
        raise ToolFailure("rejected", f"dataset {name!r}: " + "; ".join(facts.reasons))
    return facts


def _contained(ws: Workspace, local: str | None, key: str = "local_dataset_path") -> str | None:
    """The real path of a local dataset, which must lie below the root or a --data-root. Raises ToolFailure(outside_root)."""
    if local is None:
        return None
    path = (ws.root / Path(local).expanduser()).resolve()
    if not any(path.is_relative_to(root) for root in ws.local_roots):
        raise ToolFailure(
            "outside_root",
            f"{key} = {local!r} lies outside the server's root {ws.root}: move it there, "
            "or restart the server with --data-root",
        )
    return str(path)
