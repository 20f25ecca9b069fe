"""How a stage starts and how its end becomes evidence. One way for all of them: life.py takes the steps, stage_table.py has their rows."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any, Literal

from tunegate import config as config_module
from tunegate import evidence, jobs, nofollow
from tunegate.config import RunConfig
from tunegate.errors import NextCall, ToolFailure, coded
from tunegate.evidence import history, ledger
from tunegate.jobs import checkpoints, hub_cache, snapshot
from tunegate.platforms import registry
from tunegate.platforms.base import Platform
from tunegate.project import extras, harness, listed, render
from tunegate.rundir import Run, canonical, file_sha256, hash_files
from tunegate.stage_table import AS_RENDERED, SCRIPTS, STAGES, Stage
from tunegate.stages import verdicts

SAME_ERROR_LIMIT = 3
STANDSTILL_S = 300  # without an optimizer step
PROGRESS_KEYS = ("step", "max_steps", "epoch", "loss", "reward", "grad_norm", "samples_per_second", "eta_s")


def start(run: Run, config: RunConfig, stage: str, roots: tuple[Path, ...] = ()) -> jobs.Job:
    """Start the stage's job in its private folder. The caller has checked its gate and that it is neither running nor passed.

    config: as the gates were checked. roots: the directories that local data may come from, for a container.
    Raises ToolFailure.
    """
    row = STAGES[stage]
    _refuse_links(run)
    earlier, run = jobs.inspect(run, stage), snapshot.of(run, stage)
    resting_on = evidence.values(config, evidence.KINDS[f"stages/{stage}"].config)
    files = _inputs(run, stage, row)
    platform = registry.of(config)
    inputs = hashlib.sha256(canonical([str(run.path), resting_on, files])).hexdigest()[:16]
    launch = platform.launch(run, config, stage, inputs, roots, done=earlier.state == "ended")
    lives_on = launch.handle is not None and platform.goes_on(run, stage, launch.handle)
    training = (earlier.spec or {}).get("training")
    if not lives_on:  # else it has its folder, and works in it
        if stage == "train":
            training = checkpoints.begin(run, checkpoints.identity(resting_on, files))
        texts = code(run, config, row) | {"config.yaml": config_module.dump(config)}
        snapshot.lay(run, texts, files)
        if row.measures:
            _refresh_hub(run, config)
    return jobs.start(
        run,
        stage,
        launch.argv,
        env=_environment(run, config, stage),
        makes=row.makes,
        resting_on=resting_on,
        files=files,
        container=launch.handle,
        given=launch.given,
        training=training,
    )


def code(run: Run, config: RunConfig, row: Stage) -> dict[str, str]:
    """What the stage gets freshly rendered, path -> text: what measures, and where the stage does, every script and module.

    Raises ToolFailure(gate_closed) where that is not what render_project wrote: another version of tunegate did.
    """
    project, recipe = evidence.read(run, "project"), evidence.read(run, "recipe")
    texts = render.render_files(config, render.slot_values(recipe), listed.places(run, config)) | listed.in_project(run)
    known = project.facts["files"] if project else {}
    guarded = render.guarded(texts)
    for name in guarded:
        if known.get(name) != hashlib.sha256(texts[name].encode()).hexdigest():
            why = f"{name} was rendered by another version of tunegate, or for other values"
            arguments = {"output_dir": str(run.path), "overwrite": True}
            raise ToolFailure(
                "gate_closed",
                f"{why}: render the project again",
                gate=4,
                missing=[f"project: {why}"],
                next=NextCall(tool="render_project", arguments=arguments, why=why),
            )
    if row is STAGES["build"]:  # whose image holds the code as rendered: an edit of it is none of the environment
        return {name: texts[name] for name in texts if name.endswith(".py") or name in guarded} | _as_rendered(
            run, texts
        )
    if not row.measures:
        return {name: texts[name] for name in guarded}
    dataset = evidence.read(run, "dataset")
    return texts | {
        "meta/dataset.json": json.dumps({"facts": dataset.facts if dataset else {}})
    }  # data.html's warnings


def _refresh_hub(run: Run, config: RunConfig) -> None:
    """What measures reads the published model, whatever an edited script has written into the cache of downloads."""
    model = evidence.read(run, "model")
    hashes = model.facts.get("hashes") if model else None
    if hashes and config.model_revision:
        hub_cache.drop_changed(snapshot.hub(run), config.model_id, config.model_revision, hashes)


def _as_rendered(run: Run, texts: dict[str, str]) -> dict[str, str]:
    """What the environment is made of as rendered, where the run's own was edited: what measures gets one of its own."""
    names = [name for name in ("Dockerfile", *render.REQUIREMENTS) if name in texts]
    edited = [
        name for name in names if file_sha256(run.path / name) != hashlib.sha256(texts[name].encode()).hexdigest()
    ]
    return {f"{AS_RENDERED}/{name}": texts[name] for name in names if edited}


def reattach(run: Run, job: jobs.Job, mode: Literal["follow", "stop"]) -> jobs.Job:
    """A new follower for the container of a job that lost its own; it starts nothing. `stop`: it stops the container first."""
    container = job.spec["container"]
    run = snapshot.of(run, job.stage)
    return jobs.start(
        run,
        job.stage,
        _platform(job).follower(run, job.stage, container, mode),
        env=_environment(run, run.config(), job.stage),
        makes=tuple(job.spec["makes"]),
        resting_on=job.spec["resting_on"],
        files=job.spec["files"],
        container=container,
        given=job.spec.get("given"),
        # how long it has worked by now, this job cannot tell
        training=training | {"rejoined": True} if (training := job.spec.get("training")) else None,
    )


def _environment(run: Run, config: RunConfig, stage: str) -> dict[str, str]:
    secrets = STAGES[stage].secrets if needs_token(run) else ()
    hub = hub_environment(snapshot.hub(snapshot.of(run, stage)), bool(secrets))
    return jobs.environment(
        hub | harness.of_stage(config) | extras.environment(config, stage),
        (*secrets, *extras.secrets(config, stage)),
    )


def _platform(job: jobs.Job) -> Platform:
    """Of the job, whatever config.yaml says by now."""
    return registry.PLATFORMS[job.spec["resting_on"]["platform"]]


def _inputs(run: Run, stage: str, row: Stage) -> dict[str, str]:
    """{path: sha256} of what the stage reads. Where it measures, of the code only what may not be edited."""
    found = hash_files(run.path, row.uses)
    others = SCRIPTS - {*row.uses, *row.argv} if stage != "check_api" else set()
    if row.measures:
        others |= {name for name in found if name.endswith(".py")} - set(render.guarded(found))
    return {name: digest for name, digest in found.items() if name not in others}


def _refuse_links(run: Run) -> None:
    """Raises ToolFailure(outside_root) when a folder that stages write, or the server beside them, is a link."""
    makes = [pattern for row in STAGES.values() for pattern in row.makes]
    for folder in ("logs", "harness", *dict.fromkeys(pattern.split("*")[0].rpartition("/")[0] for pattern in makes)):
        nofollow.check(run.path / folder)


def needs_token(run: Run) -> bool:
    """Whether a stage that reads the Hub must show a token: the model or the dataset is gated or private."""
    return evidence.restricted(evidence.read(run, "model"), evidence.read(run, "dataset"))


def hub_environment(cache: Path, with_token: bool) -> dict[str, str]:
    """The Hub client's cache; if the token is to be used and lies in the user's store, that store's path."""
    env = {"HF_HOME": str(cache), "HF_HUB_CACHE": str(cache / "hub"), "TOKENIZERS_PARALLELISM": "false"}
    # the client's own store stays readable although HF_HOME is another place
    if with_token and "HF_TOKEN" not in os.environ:
        home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface")
        env["HF_TOKEN_PATH"] = os.environ.get("HF_TOKEN_PATH") or str(home / "token")
    return env


def collected(run: Run, job: jobs.Job) -> bool:
    """Whether it was judged; also where its evidence is gone: what it made can be judged once, then its folder is emptied."""
    if job.spec and job.spec["work"] != str(run.path) and not (Path(job.spec["work"]) / "config.yaml").exists():
        return True
    found = evidence.read(run, f"stages/{job.stage}")
    return bool(found and job.spec and found.facts.get("job") == job.spec["id"])


def collect(run: Run, config: RunConfig, job: jobs.Job) -> tuple[evidence.Evidence, dict[str, str]]:
    """An ended job -> its evidence, written. What the job made counts only if it still has the bytes it had at its end.

    `stopped` in its facts: it did not fail, it was asked to stop.
    """
    result, run = job.result, snapshot.of(run, job.stage)
    now = hash_files(run.path, tuple(job.spec["makes"]))
    tampered = sorted(name for name in {**now, **result["made"]} if now.get(name) != result["made"].get(name))
    verdict = verdicts.judge(run, config, job)
    if tampered and "unpublished" not in result:
        verdict = verdicts.Verdict(
            False,
            verdict.facts,
            [coded("outputs-changed", f"{tampered[0]} was changed after the stage ended: run the stage again")],
        )  # and no longer `stopped`, whatever it was
    facts = {
        "passed": verdict.passed,
        "job": job.spec["id"],
        "exit_code": result["exit_code"],
        "seconds": result["seconds"],
        **verdict.facts,
    }
    files = {**job.spec["files"], **result["made"]}
    if verdict.passed and job.stage == "eval":
        facts["tries"] = len(history.others(config, files)) + 1
        history.add(run, config, facts, files)
    if verdict.passed:
        facts["overcome"] = list(dict.fromkeys(_failures(run, job.stage, "overcome", "failures")))
    else:
        failed = [] if verdict.stopped else [signature(verdict.problems)]
        facts |= {"stopped": True} if verdict.stopped else {}
        facts["problems"] = verdict.problems
        facts["failures"] = [*_failures(run, job.stage, "failures"), *failed]
    found = evidence.make(
        run,
        f"stages/{job.stage}",
        facts,
        config=config,
        resting_on=job.spec["resting_on"],
        files=files,
    )
    wrote = evidence.write(run, found)
    if job.spec.get("container"):
        _platform(job).forget(run, job.stage)  # only now: until here the container was a second record of how it ended
    snapshot.clear(run)
    if job.stage == "train" and verdict.passed:
        checkpoints.forget(run)
    return found, wrote


def _failures(run: Run, stage: str, *keys: str) -> list[str]:
    """`failures`: what it has ended with since it last passed; `overcome`: what it ended with before that."""
    before = evidence.read(run, f"stages/{stage}")
    return [failure for key in keys for failure in before.facts.get(key, [])] if before else []


def repeated_failure(run: Run, stage: str) -> str | None:
    """The error that this stage has ended with SAME_ERROR_LIMIT times in a row, if so: by the ledger, which nobody edits."""
    failed = []
    for entry in ledger.entries(run):
        given = entry["arguments"]
        if entry["tool"] == "docker_run" and given.get("stage") == stage and entry["wrote"] and "stopped" not in given:
            failed = [*failed, given["failed"]] if "failed" in given else []
    last = failed[-SAME_ERROR_LIMIT:]
    return last[0] if len(last) == SAME_ERROR_LIMIT and len(set(last)) == 1 else None


def signature(problems: list[str]) -> str:
    """The first problem without its numbers: what makes two failures the same one."""
    return re.sub(r"\d+", "#", (problems or ["?"])[0])[:200]


def progress(run: Run, stage: str) -> dict[str, Any]:
    """Of a training in progress: the last row that it logged, and a `note` where it seems not to learn, or stands still. Else the log's last line."""
    if stage == "train":
        try:
            with snapshot.of(run, stage).at("logs/train.jsonl").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 4000))
                last = json.loads(file.read().splitlines()[-1])
            row = {key: last[key] for key in PROGRESS_KEYS if key in last}
            return row | ({"note": note} if (note := _standstill(run, row) or last.get("note")) else {})
        except (OSError, ValueError, IndexError):
            pass
    tail = jobs.log_tail(run, stage, lines=1)
    return {"last_line": tail[0][:200]} if tail else {}


def _standstill(run: Run, row: dict[str, Any]) -> str | None:
    """What is to be said of a training whose last step was done long ago; a checkpoint of a large model may take minutes, too."""
    try:
        each = row["eta_s"] / max(1, row["max_steps"] - row["step"])
        quiet = time.time() - snapshot.of(run, "train").at("logs/steps.jsonl").stat().st_mtime
    except (OSError, KeyError, TypeError):
        return None
    if quiet < max(STANDSTILL_S, 20 * each):
        return None
    return (
        f"no step was done for {quiet / 60:.0f} minutes after step {row['step']}, where one takes {each:.2g} s: look at the end of the "
        "log; if a data loader or another GPU is waited for, call with stop: true, then again: it resumes from its last checkpoint"
    )


def passed(run: Run, config: RunConfig, stage: str, newest: dict[str, str]) -> bool:
    name = f"stages/{stage}"
    found = evidence.read(run, name)
    return bool(found and found.facts.get("passed")) and not evidence.problems(run, name, config, newest)


def missing_before(run: Run, config: RunConfig, stage: str) -> list[str]:
    """The stages whose evidence this one needs and that does not hold."""
    newest = ledger.latest(run)
    needs = [name for name in STAGES[stage].needs if STAGES[name].applies(config)]
    return [name for name in needs if not passed(run, config, name, newest)]
