"""From the rows to the weights: prepare, smoke, train and merge."""

from __future__ import annotations

import math
from typing import Any

from tunegate import evidence, hyperparameters, jobs
from tunegate.config import RunConfig
from tunegate.errors import coded
from tunegate.hardware import fit
from tunegate.jobs import checkpoints
from tunegate.probe.model.safetensors import LENGTH_BYTES, header_length, parse_header
from tunegate.project import render
from tunegate.rundir import Run
from tunegate.stages.verdicts import moved, prepared, shown
from tunegate.stages.verdicts.ended import steps_done
from tunegate.stages.verdicts.read import is_positive, read_json, read_rows

MAX_SPEEDUP = 20  # of a training over the steps of its smoke test: compiled, warmed up, with the disk's cache filled
SMOKE_CHECKS = ("ran", "loss", "grad_norm", "labels", "parameters_changed", "checkpoint_reloads")


def prepare(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    meta = read_json(run, "data/meta.json")
    facts = {
        key: meta[key]
        for key in ("n_train", "n_eval", "class_names", "train_sha256", "eval_sha256", "seen_in_training")
        if key in meta
    }
    problems = []
    if not 0 < meta["n_train"] <= config.n_train or not 0 < meta["n_eval"] <= config.n_eval:
        problems.append(
            f"data/meta.json has {meta['n_train']} training and {meta['n_eval']} evaluation rows; "
            f"config.yaml asks for up to {config.n_train} and {config.n_eval}"
        )
    if config.class_names and meta["class_names"] != config.class_names:
        problems.append(
            coded("class-names-differ", "data/meta.json names other classes than config.yaml: call probe_dataset again")
        )
    for split, rows in (("train", meta["n_train"]), ("eval", meta["n_eval"])):
        if config.task == "image-classification" and sum(meta[f"{split}_histogram"].values()) != rows:
            problems.append(f"data/meta.json: {split}_histogram does not add up to {rows} rows")
        if not any(path.stat().st_size for path in run.at(f"data/{split}").glob("*.arrow")):
            problems.append(f"data/{split} holds no Arrow file")
    compared = prepared.reconcile(run, config, meta)
    page, notes, wrong = shown.data_page(run)
    facts |= compared.facts | page
    facts |= {"notes": compared.notes + notes} if compared.notes + notes else {}
    return facts, problems + compared.problems + wrong


def smoke(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    report = read_json(run, "reports/smoke.json")
    checks = {check["name"]: check for check in report["checks"]}
    problems = [
        coded(f"smoke-{name}", f"smoke check {name} failed: {checks[name]['detail']}")
        if name in checks
        else f"smoke check {name} did not run"
        for name in SMOKE_CHECKS
        if not checks.get(name, {}).get("ok")
    ]
    problems += [
        f"smoke check {name} failed: {check['detail']}"
        for name, check in checks.items()
        if name not in SMOKE_CHECKS and not check["ok"]
    ]
    facts = {key: report.get(key) for key in ("loss", "grad_norm", "step_seconds")} | {"checks": len(checks)}
    if config.training_method == "full":
        facts |= {key: report.get(key) for key in ("trained_parameters", "parameters")}
    if memory := _memory(run, config, report.get("memory")):
        facts["memory"] = memory
        problems += [coded("out-of-memory", memory["note"])] if memory["over"] else []
    steps = most_steps(config, read_json(run, "data/meta.json")["n_train"])
    late = hyperparameters.schedule_problem(config.warmup_steps, config.training_arguments, steps)
    problems += [late] if late else []
    loss_counts = config.training_method != "grpo"  # advantages add up to zero, so its first loss does
    if not problems and not ((is_positive(facts["loss"]) or not loss_counts) and is_positive(facts["grad_norm"])):
        problems.append(
            f"smoke loss = {facts['loss']}, grad_norm = {facts['grad_norm']}: both must be finite and above 0"
        )
    return facts, problems


def _memory(run: Run, config: RunConfig, found: Any) -> dict[str, Any] | None:
    """Predicted beside measured, in GB, and what follows; None where the stage measured nothing."""
    if not isinstance(found, dict) or not is_positive(found.get("peak_gb")):
        return None
    model, host = ((known.facts if (known := evidence.read(run, name)) else {}) for name in ("model", "host"))
    memory = {"device": found.get("device"), "measured_gb": round(found["peak_gb"], 2), "rows": found.get("rows")}
    plan, on_gpu = fit.plan_of(config, model, render.plan_defaults(config)), is_positive(found.get("room_gb"))
    fixed = None
    if model.get("parameters"):
        expected = fit.estimate(model, plan)
        memory["predicted_gb"] = round(expected.allocated_gb if on_gpu else expected.needed_gb, 2)
        if expected.per_sample_gb is not None:
            fixed = memory["predicted_gb"] - plan.batch * expected.per_sample_gb
    room = found["room_gb"] if on_gpu else host.get("memory_gb")
    says = fit.weigh(plan, found["peak_gb"], room, fixed) if is_positive(room) else fit.Measured()
    memory |= {"room_gb": round(room, 2) if is_positive(room) else None, "batch": plan.batch}
    return memory | {"over": says.over, "split": list(says.split) if says.split else None, "note": says.note}


def train(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    report = read_json(run, "reports/train.json")
    rows = [row for row in read_rows(run.at("logs/train.jsonl")) if "loss" in row]
    losses = [row["loss"] for row in rows]
    facts = {
        "global_step": report["global_step"],
        "max_steps": report["max_steps"],
        "resumed_from": report.get("resumed_from"),
        "samples_per_second": report.get("samples_per_second"),
        "logged_steps": len(losses),
        **steps_done(run),
    }
    if report.get("ended_for"):  # watch.py, in the project, saw that it does not learn
        return facts | {"ended": True}, [
            report["ended_for"],
            "where all of that is as it should be, docker_run(stage='train') goes on and does not end for this again",
        ]
    problems = []
    if report["global_step"] != report["max_steps"]:
        at = f"training stopped at step {report['global_step']} of {report['max_steps']}"
        problems.append(coded("training-cut-off", f"{at}: call docker_run(stage='train') to resume"))
    bad = [row["step"] for row in rows if not isinstance(row["loss"], (int, float)) or not math.isfinite(row["loss"])]
    if bad:
        at = f"the loss is not finite at step {bad[0]}"
        problems.append(coded("nan-loss", f"{at}: divide learning_rate by 10 and train again"))
    elif len(losses) >= 2:
        share = max(1, len(losses) // 10, min(5, len(losses) // 3))  # of few, one or two would be chance
        facts["first_loss"], facts["last_loss"] = (
            round(sum(part) / share, 4) for part in (losses[:share], losses[-share:])
        )
        if config.training_method == "grpo":
            problems += _reward_problems(rows, facts)
        elif not facts["last_loss"] < facts["first_loss"]:
            seen = f"the loss did not fall ({facts['first_loss']} -> {facts['last_loss']})"
            problems.append(coded("flat-loss", f"{seen}: inspect labels, collator and learning_rate"))
    else:
        problems.append(
            "logs/train.jsonl has fewer than two losses, so nothing shows that the loss fell: raise n_epochs or lower "
            "per_device_train_batch_size"
        )
    fewest = fewest_steps(config, read_json(run, "data/meta.json")["n_train"])
    if report["max_steps"] < fewest:
        problems.append(
            f"{report['max_steps']} steps were trained where n_epochs, n_train and the batch size make at least {fewest}"
        )
    wrong = _weights_problems(run)
    weights, still = ({}, []) if wrong else moved.of_training(run, config)
    return facts | weights, problems + wrong + still


def done_by_jobs(run: Run, job: jobs.Job, facts: dict[str, Any], problems: list[str]) -> tuple[dict, list[str]]:
    """The verdict, where the jobs of this training did the steps that it claims."""
    began = job.spec.get("training") or checkpoints.BEGINNING
    facts |= {"set_aside": began["set_aside"]} if began["set_aside"] else {}
    if not facts.get("ended") and (missing := checkpoints.undone(run, began, facts)):
        problems = [
            f"reports/train.json claims {facts['global_step']} steps, of which {missing} were done by no job of this run "
            "(logs/steps.jsonl): the model was not trained here; docker_run(stage='train') trains it",
            *problems,
        ]
    elif too_fast := _too_fast(run, job, facts, began):
        problems = [too_fast, *problems]
    return facts, problems


def _too_fast(run: Run, job: jobs.Job, facts: dict[str, Any], began: dict[str, Any]) -> str:
    """Where the job was over long before so many steps can be done, by what one took in the smoke test; "" otherwise."""
    smoke = evidence.read(run, "stages/smoke")
    one = smoke.facts.get("step_seconds") if smoke else None
    steps = 0 if began["finished"] or began.get("rejoined") else (facts.get("global_step") or 0) - began["step"]
    if not is_positive(one) or job.result["seconds"] * MAX_SPEEDUP >= steps * one:
        return ""
    return (
        f"{steps} steps are claimed of a job that took {job.result['seconds']} s, where the fastest step of the smoke test took "
        f"{one:.3g} s: the model was not trained here; look at train.py, then docker_run(stage='train') trains it"
    )


def _reward_problems(rows: list[dict], facts: dict[str, Any]) -> list[str]:
    """GRPO's loss tells nothing: its reward must rise."""
    rewards = [row["reward"] for row in rows if isinstance(row.get("reward"), (int, float))]
    if len(rewards) < 2:
        return ["logs/train.jsonl has fewer than two rewards, so nothing shows that the reward rose"]
    share = max(1, len(rewards) // 5)
    first, last = (round(sum(part) / share, 4) for part in (rewards[:share], rewards[-share:]))
    facts |= {"first_reward": first, "last_reward": last}
    if last > first or first == 1:
        return []
    return [f"the reward did not rise ({first} -> {last}): look at the answers, rewards.py and learning_rate"]


def fewest_steps(config: RunConfig, n_train: int) -> int:
    """Steps of the whole training, counted so that dropping incomplete batches on every device is still enough."""
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps * max(1, config.gpu_count or 0)
    samples = (
        n_train * (config.num_generations or 1) if config.training_method == "grpo" else n_train
    )  # its batches hold answers
    return config.n_epochs * max(1, samples // batch)


def most_steps(config: RunConfig, n_train: int) -> int:
    """Steps of the whole training on one device, an incomplete batch counted as one."""
    batch = (config.per_device_train_batch_size or 1) * (config.gradient_accumulation_steps or 1)
    samples = n_train * (config.num_generations or 1) if config.training_method == "grpo" else n_train
    return config.n_epochs * max(1, math.ceil(samples / batch))


def merge(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    """The adapter had an effect in every module, and the merged model, read back from disk, gave its logits."""
    report = read_json(run, "reports/merge.json")
    facts = {key: report[key] for key in ("modules", "effect", "difference", "dtype")}
    problems = (
        [f"{len(report['idle'])} adapted modules have no effect, such as {report['idle'][0]}"] if report["idle"] else []
    )
    if not (is_positive(facts["effect"]) and 0 <= facts["difference"] <= max(1e-3, 0.1 * facts["effect"])):
        problems.append(
            f"merged and adapted model differ by {facts['difference']} in a logit where the adapter moves one by {facts['effect']}: "
            "the merged weights are not the trained ones"
        )
    wrong = _weights_problems(run, "checkpoints/merged") or moved.of_folder(run, config, "checkpoints/merged")[1]
    return facts, problems + wrong


def _weights_problems(run: Run, folder: str = "checkpoints/final") -> list[str]:
    """Why the folder holds no model: no safetensors file, or one whose header does not describe its bytes."""
    files = sorted(run.at(folder).glob("*.safetensors"))
    if not files:
        return [f"{folder} holds no .safetensors weights"]
    wrong = []
    for path in files:
        with path.open("rb") as file:
            try:
                described = parse_header(file.read(header_length(file.read(LENGTH_BYTES))))
                if described.end != path.stat().st_size or not described.parameters:
                    wrong.append(f"{path.name} is not as long as its header says")
            except ValueError as error:
                wrong.append(f"{path.name} cannot be read: {error}")
    return wrong
