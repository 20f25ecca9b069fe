"""The six gates. Each is a list of checks; a check is a name, the evidence it reads, and what it finds wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, PrivateAttr

from tunegate import evidence, jobs, stages
from tunegate.config import RunConfig
from tunegate.errors import NextCall, ToolFailure
from tunegate.evidence import ledger
from tunegate.hardware import fit
from tunegate.knowledge import fixes
from tunegate.platforms import registry
from tunegate.project import added, extras, listed
from tunegate.project.render import HEADER
from tunegate.recipe.slots import RecipeFacts, gate_problems
from tunegate.rundir import Run, file_sha256, hash_files
from tunegate.stage_table import MODULES
from tunegate.stages import summary
from tunegate.stages.verdicts import moved
from tunegate.tasks import metrics

NAMES = {1: "qualify", 2: "hardware", 3: "research", 4: "generate", 5: "train", 6: "publish"}


class Remedy(NamedTuple):
    """The call that fixes what a check found wrong; output_dir is added to its arguments."""

    tool: str
    arguments: tuple[tuple[str, str], ...] = ()


class Check(BaseModel):
    name: str
    ok: bool
    detail: str
    evidence: str | None = None
    _remedy: Remedy = PrivateAttr()


def _check(name: str, remedy: Remedy, wrong: list[str], holds: str, evidence: str | None = None) -> Check:
    """wrong: what the check found, `holds`: what is said where it found nothing."""
    check = Check(name=name, ok=not wrong, detail="; ".join(wrong) or holds, evidence=evidence)
    check._remedy = remedy
    return check


class Step(BaseModel):
    step: int
    name: str
    passed: bool
    checks: list[Check]


@dataclass
class View:
    """Everything that the gates look at, read once."""

    run: Run
    config: RunConfig
    newest: dict[str, str]
    ledger_problem: str | None = None
    remote: list[str] = field(default_factory=list)  # what is no longer in the repository as it was pushed
    _problems: dict[str, list[str]] = field(default_factory=dict)
    _facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    _steps: list[Step] = field(default_factory=list)

    def problems(self, name: str) -> list[str]:
        if name not in self._problems:
            self._problems[name] = evidence.problems(self.run, name, self.config, self.newest)
        return self._problems[name]

    def facts(self, name: str) -> dict[str, Any]:
        """Of evidence that is ours; stale facts are facts still, forged ones are none."""
        if name not in self._facts:
            found = evidence.read(self.run, name)
            self._facts[name] = found.facts if found and evidence.is_ours(self.run, name, found) else {}
        return self._facts[name]


def view(run: Run) -> View:
    try:
        return View(run, run.config(), ledger.latest(run))
    except ToolFailure as failure:
        if failure.code != "gate_closed":
            raise
        return View(run, run.config(), {}, str(failure))


def _held(view: View, name: str, wrong: Callable[[dict], list[str]] = lambda facts: []) -> Check:
    """The evidence counts, and its facts say what they should."""
    problems = view.problems(name) or wrong(view.facts(name))
    if problems and view.ledger_problem and evidence.read(view.run, name):
        problems = [view.ledger_problem]
    label, kind = name.removeprefix("stages/"), evidence.KINDS[name]
    holds = "" if problems else _summary(label, view.facts(name))
    return _check(label, Remedy(kind.tool, kind.arguments), problems, holds, f"meta/{name}.json")


def _summary(label: str, facts: dict[str, Any]) -> str:
    if label == "smoke":
        return f"PASSED (loss {facts['loss']:.4g}, grad_norm {facts['grad_norm']:.4g}{f', {part}' if (part := frozen(facts)) else ''})"
    if label in ("baseline", "eval"):
        said = f"; {facts['outcome']}" if facts.get("outcome") else ""
        said += f"; {metrics.controls_sentence(facts['no_better_than'])}" if facts.get("no_better_than") else ""
        said += f"; {facts['tries']} models of these data were measured" if facts.get("tries", 1) > 1 else ""
        return f"{facts['metric']} {facts[facts['metric']]:.4f} on {facts['n']} rows ({facts['kind']}){said}"
    if label == "test":
        return f"{facts['tests']} unit tests passed" + (
            f", {len(facts['skipped'])} skipped" if facts["skipped"] else ""
        )
    if label == "train":
        said = f"; {moved.sentence(facts)}" if moved.sentence(facts) else ""
        said += "".join(f"; {sentence}" for sentence in facts.get("set_aside", []))
        return f"{facts['global_step']} steps, loss {facts.get('first_loss')} -> {facts.get('last_loss')}{said}"
    if label == "build":
        return own_wheels(facts) or "holds"
    return "holds"


def own_wheels(built: dict) -> str:
    """Where an image's packages came from a place that the agent writes in; "" otherwise."""
    return "its packages were installed from wheelhouse/ in the run's folder" if built.get("wheels_of_the_run") else ""


def frozen(smoke: dict) -> str:
    """What of a model that is trained in full does not train, where that is most of it; "" otherwise."""
    trained, whole = smoke.get("trained_parameters"), smoke.get("parameters")
    if not trained or trained >= whole / 2:
        return ""
    return f"{trained:,} of {whole:,} parameters are trained ({trained / whole:.2%}), the rest is frozen"


def _keys(view: View, tool: str, *keys: str) -> Check:
    """`tool` sets these config keys."""
    blank = ", ".join(key for key in keys if getattr(view.config, key) is None)
    return _check("config", Remedy(tool), [f"config.yaml has no {blank}"] if blank else [], "holds", "config.yaml")


def _verdict(facts: dict) -> list[str]:
    return [] if facts.get("verdict") == "accept" else facts.get("reasons") or ["the probe did not accept it"]


def _stage(facts: dict) -> list[str]:
    if asks := unanswered(facts):
        return [f"only the user can decide: {asks}. docker_run of this stage with confirm={asks!r}"]
    return [] if facts.get("passed") else facts.get("problems") or ["it did not pass"]


def unanswered(facts: dict) -> str | None:
    """What the user is asked about a stage that passed (a large loss of rows), and has not answered yet."""
    asks = facts.get("asks") if facts.get("passed") else None
    return asks if asks != facts.get("accepted") else None


def _stages(view: View, step: int) -> list[Check]:
    """The stages that the gate of this step asks for."""
    rows = stages.STAGES.items()
    names = [name for name, row in rows if row.gate == step - 1 and row.applies(view.config)]
    return [_held(view, f"stages/{name}", _stage) for name in names]


def _qualify(view: View) -> list[Check]:
    dataset = view.config.dataset_id or view.config.local_dataset_path
    none = [] if dataset else ["neither dataset_id nor local_dataset_path is set"]
    chosen = _check("dataset_chosen", Remedy("probe_dataset"), none, dataset or "", "config.yaml")
    return [
        _keys(view, "probe_model", "model_revision", "task", "applicable_workarounds"),
        chosen,
        _held(view, "model", _verdict),
        _held(view, "dataset", _verdict),
        _dataset_files(view),
    ]


def _dataset_files(view: View) -> Check:
    """The files of a local dataset are as the probe read them, until prepare has made of them what is trained on."""
    prepared = view.facts("stages/prepare").get("passed") and not view.problems("stages/prepare")
    if prepared:
        return _check("dataset_files", Remedy("probe_dataset"), [], "prepared: data/ is what is trained on")
    wrong = [] if view.problems("dataset") else listed.changes(view.run, view.config)
    wrong = [f"the dataset changed since it was probed: {change}" for change in wrong]
    return _check("dataset_files", Remedy("probe_dataset"), wrong, "as they were probed", listed.PATH)


def _fit(facts: dict) -> list[str]:
    code = facts.get("fit")
    if facts.get("workarounds") is None:
        return ["the workarounds that depend on hardware or image were not evaluated"]
    if code not in get_args(fit.Code):
        return [f"fit = {code!r} in its evidence is no verdict on the memory: call pick_ngc_image again"]
    asks = overruling(facts)
    if asks is None or facts.get("overruled") == estimate(facts):
        return []
    return [f"{facts['model_fit']}. Only the user can decide to go on: pick_ngc_image with confirm={asks!r}"]


def estimate(facts: dict) -> dict[str, Any]:
    """What the user overrules: the verdict with its numbers, however it is worded. Another estimate is another question."""
    return {key: facts.get(key) for key in ("fit", "needed_gb", "room_gb")}


def overruling(facts: dict) -> str | None:
    """What the user is asked where the estimate says that no batch fits: smoke then measures the truth. Else None."""
    return f"train although the model {facts['model_fit']}" if facts.get("fit") == "too_large" else None


def _hardware(view: View) -> list[Check]:
    keys = ["gpu_count", *(["gpu_name", "driver_major", "vram_gb_per_gpu"] if view.config.gpu_count else [])]
    keys += registry.of(view.config).config_keys
    return [
        _held(view, "host", lambda facts: facts.get("hard_failures", ["no audit"])),
        _held(view, "image", _fit),
        _keys(view, "audit_gpu", *keys),
    ]


def _research(view: View) -> list[Check]:
    return [_held(view, "recipe", lambda facts: gate_problems(RecipeFacts.model_validate(facts)))]


def _generate(view: View) -> list[Check]:
    checks = [_held(view, "project"), _project_files(view), _added_code(view)]
    checks += _stages(view, 4)
    blank = ", ".join(key for key, value in preflight(view).items() if not value)
    wrong = [f"blank: {blank}"] if blank else []
    return [*checks, _check("preflight", Remedy("render_project"), wrong, "every field is filled")]


def _project_files(view: View) -> Check:
    """Every rendered file is there, every .py has its header, and what measures is as rendered."""
    facts = view.facts("project")
    wrong = [*guarded_edits(view), *_forbidden(view)] if facts else ["nothing rendered"]
    for name in facts.get("files", {}):
        path = view.run.path / name
        if not path.is_file():
            wrong.append(f"{name} is missing: render again")
        elif name.endswith(".py") and not path.read_text(errors="replace").startswith(HEADER):
            wrong.append(f"{name} does not begin with the copyright header")
    edited = edited_files(view)
    note = f"edited since rendering: {', '.join(edited)}" if edited else "as rendered"
    return _check("project_files", Remedy("render_project"), wrong, note, "meta/project.json")


def _forbidden(view: View) -> list[str]:
    """What a workaround's rule refuses in the files as they lie there, whoever wrote them."""
    names = hash_files(view.run.path, ("Dockerfile", *MODULES))
    return fixes.forbidden(view.config, {n: (view.run.path / n).read_text(errors="replace") for n in names})


def edited_files(view: View) -> list[str]:
    """Rendered files that are no longer as rendered. Allowed, but reported: here, in the model card, in the rerun skill."""
    rendered = view.facts("project").get("files", {})
    return [name for name, digest in rendered.items() if file_sha256(view.run.path / name) not in (None, digest)]


def guarded_edits(view: View) -> list[str]:
    """Why the project may not run as it lies there: an edit of what measures, or a link, whose target nobody hashes."""
    facts = view.facts("project")
    links = [name for name in facts.get("files", {}) if (view.run.path / name).is_symlink()]
    edited = [name for name in edited_files(view) if name in facts.get("guarded", [])]
    return [
        *(f"{name} is a link and not the file that was rendered: render again with overwrite=true" for name in links),
        *(f"{name} measures the rest and may not be edited: render again with overwrite=true" for name in edited),
    ]


def _added_code(view: View) -> Check:
    """What a script could import and check_api has not seen; anything else in the run is said, and not part of the project."""
    found = _added(view)
    wrong = list(found.shadows)
    if found.unchecked:
        wrong.append(
            f"{', '.join(found.unchecked[:3])} added since: docker_run(stage='check_api') checks it, or remove it"
        )
    more = f", and {len(found.ignored) - 5} more" if len(found.ignored) > 5 else ""
    ignored = f"not part of the project: {', '.join(found.ignored[:5])}{more}" if found.ignored else "none"
    return _check("added_code", Remedy("docker_run", (("stage", "check_api"),)), wrong[:3], ignored)


def _added(view: View) -> added.Added:
    rendered = view.facts("project").get("files", {})
    known = {name: "" for name in rendered if name.endswith(".py")} if not view.facts("stages/check_api") else {}
    return added.inspect(view.run, rendered, known | view.facts("stages/check_api").get("checked", {}))


def added_modules(view: View) -> list[str]:
    """The modules beside the scripts for which check_api must run again, although it passed."""
    return _added(view).unchecked


def _train(view: View) -> list[Check]:
    return _stages(view, 5)


def _publish(view: View) -> list[Check]:
    push = (
        _check("push", Remedy("push_hub"), [], "skipped: push_to_hub is false", "config.yaml")
        if not view.config.push_to_hub
        else _held(
            view, "push", lambda facts: view.remote if facts.get("verified") else ["the repository was not read back"]
        )
    )
    return [push, _held(view, "rerun", lambda facts: [] if facts.get("valid") else ["the skill is not valid"])]


GATES: dict[int, Callable[[View], list[Check]]] = {
    1: _qualify,
    2: _hardware,
    3: _research,
    4: _generate,
    5: _train,
    6: _publish,
}


def steps(view: View) -> list[Step]:
    """All six, in order. A gate is open only if the one before it is: what closes one closes all behind it."""
    if view._steps:
        return view._steps
    found = view._steps
    for number, checks_of in GATES.items():
        checks = checks_of(view)
        if found and not found[-1].passed:
            first = next(check for check in found[-1].checks if not check.ok)
            checks.append(_check("before", first._remedy, [f"gate {number - 1} ({NAMES[number - 1]}) is closed"], ""))
        found.append(Step(step=number, name=NAMES[number], passed=all(check.ok for check in checks), checks=checks))
    return found


def preflight(view: View) -> dict[str, str]:
    """What a person reads before training starts; a blank field keeps gate 4 closed."""
    config, recipe, smoke = view.config, view.facts("recipe"), view.facts("stages/smoke")
    capability = view.facts("host").get("compute_capability")
    hardware = (
        f"{config.gpu_count}x {config.gpu_name}" + (f" (compute capability {capability})" if capability else "")
        if config.gpu_count
        else f"CPU only ({config.platform})"
        if config.gpu_count == 0
        else ""
    )
    passed = not view.problems("stages/smoke") and smoke.get("passed")
    return {
        "reference_implementation": next((s["url"] for s in recipe.get("sources", []) if s.get("priority") == 2), "")
        or ("scaffold (no live source)" if recipe else ""),
        "dataset_columns": ", ".join(f"{ours} <- {theirs}" for ours, theirs in config.column_map.items())
        if view.facts("dataset") and not view.problems("dataset")
        else "",
        "rows": "" if view.problems("stages/prepare") else summary.kept(view.facts("stages/prepare")),
        "data": _data_page(view),
        "push_to_hub": (config.hf_model_repo or "") if config.push_to_hub else "off (push_to_hub: false)",
        "monitoring": extras.monitoring(config),
        "image": registry.of(config).preflight(config, view.facts("image")),
        "hardware": hardware,
        "smoke": _summary("smoke", smoke) if passed else "",
    }


def _data_page(view: View) -> str:
    """Where the user sees the rows that will be trained on, and what has changed since they were drawn."""
    facts = view.facts("stages/prepare")
    if view.problems("stages/prepare") or not facts.get("page"):
        return ""
    drawn = facts.get("drawn_with", {}).items()
    changed = [f"{key} {value}" for key, value in drawn if getattr(view.config, key, value) != value]
    since = f" (drawn with {', '.join(changed)})" if changed else ""
    return f"{view.run.path / facts['page']}{since}: to be looked at"


def require(run: Run, number: int, tool: str) -> None:
    """Raises ToolFailure(gate_closed) with what is missing and the next call, unless gates 1..number all hold."""
    seen = view(run)
    for found in steps(seen)[:number]:
        if not found.passed:
            missing = [f"{check.name}: {check.detail}" for check in found.checks if not check.ok]
            message = f"{tool} refuses: gate {found.step} ({found.name}) is closed"
            raise ToolFailure("gate_closed", message, gate=found.step, missing=missing, next=next_call(seen))


def next_call(view: View) -> NextCall | None:
    """The first call that would open the first closed gate; None when the run is complete."""
    closed = next((found for found in steps(view) if not found.passed), None)
    if closed is None:
        return None
    check = next(check for check in closed.checks if not check.ok)
    arguments = {"output_dir": str(view.run.path), **dict(check._remedy.arguments)}
    if check._remedy.tool == "probe_model":
        arguments["model_id"] = view.config.model_id
    why = f"gate {closed.step}: {check.name} {check.detail}"[:300]
    return NextCall(tool=check._remedy.tool, arguments=arguments, why=why)


def gate_of(view: View, name: str) -> int:
    """The gate that reads this evidence; the last one for evidence that none reads in this run."""
    path = f"meta/{name}.json"
    return next((found.step for found in steps(view) if any(c.evidence == path for c in found.checks)), max(GATES))


def job_states(run: Run) -> dict[str, str]:
    """Stage -> running | ended (not yet collected) | lost, for the stages that have a job to follow."""
    found = {stage: jobs.inspect(run, stage) for stage in stages.STAGES}
    return {
        stage: job.state
        for stage, job in found.items()
        if job.state in ("running", "lost") or (job.state == "ended" and not stages.collected(run, job))
    }
