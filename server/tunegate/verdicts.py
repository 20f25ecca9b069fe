"""The verdict on an ended stage: read what it left on disk, recompute what can be recomputed, decide.

One function a stage, each (Run, RunConfig, Job) -> Verdict. An exit code of 0 is necessary and never sufficient.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tunegate import evidence, fit, jobs, metrics
from tunegate.config import RunConfig
from tunegate.errors import CODES
from tunegate.probe.safetensors import PREFIX, header_length, parse_header
from tunegate.render import HEADER
from tunegate.rundir import Run, hash_files

SMOKE_CHECKS = ("ran", "loss", "grad_norm", "labels", "parameters_changed", "checkpoint_reloads")
N_SAMPLES = 5
OUTCOMES = {"failure": "failed", "error": "could not run", "skipped": "skipped"}  # JUnit's word -> ours
SKIPS = "too large for a unit test"  # how the only reason begins for which a rendered test may be skipped
BASELINE_KINDS = ("zero-shot", "random-head", "format-limited")


@dataclass
class Verdict:
    passed: bool
    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    stopped: bool = False  # it was asked to stop: neither passed nor failed


def judge(run: Run, config: RunConfig, job: jobs.Job) -> Verdict:
    """Never raises on what a stage wrote: a report that is missing, cut off or of another shape fails the stage."""
    problems = []
    if _was_stopped(run, job):
        return _stopped(run, job.stage)
    if job.result["exit_code"] != 0:
        problems.append(_last_error(run, job))
        problems += [_resumption(run)] if job.stage == "train" else []
    try:
        facts, more = JUDGES[job.stage](run, config)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
        SyntaxError,
    ) as error:
        facts, more = {}, [f"the stage left no usable report ({type(error).__name__}: {str(error)[:120]})"]
    if facts.pop("ended", False):
        problems = problems[1:]  # told already, in whole
    if problems and not facts:
        more = []  # the exit code's reason is the reason
    return Verdict(
        not (problems or more), facts, more + problems
    )  # what the report says is more telling than the exit code


def _was_stopped(run: Run, job: jobs.Job) -> bool:
    """By its exit code; torchrun's own tells nothing, so a training's report does (train.py deletes it when it begins)."""
    if job.result["exit_code"] in jobs.STOPPED:
        return True
    try:
        return (
            job.stage == "train"
            and job.result["exit_code"] != 0
            and _json(run, "reports/train.json")["stopped"] is True
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _stopped(run: Run, stage: str) -> Verdict:
    again = f"docker_run(stage={stage!r})"
    if stage != "train":
        return Verdict(False, {}, [f"{stage} was stopped: {again} runs it from its beginning"], stopped=True)
    kept = last_checkpoint(run)
    try:
        facts = {key: _json(run, "reports/train.json")[key] for key in ("global_step", "max_steps", "resumed_from")}
    except (OSError, ValueError, KeyError, TypeError):  # before its first step
        facts = {}
    facts |= steps_done(run)
    at = (
        f"at step {facts['global_step']} of {facts['max_steps']}" if "global_step" in facts else "before its first step"
    )
    how = f"{at}, with everything saved: {again} goes on with step {kept + 1}"
    if _last_step(run) > kept:  # an edited train.py that does not listen, or no time was left
        how = f"without saving: {_resumption(run)}"
    return Verdict(False, facts, [f"train was stopped {how}"], stopped=True)


def last_checkpoint(run: Run) -> int:
    """The step of the newest checkpoint that train.py would resume from; 0 where there is none."""
    found = [path.parent.name.split("-")[1] for path in run.path.glob("checkpoints/checkpoint-*/trainer_state.json")]
    return max((int(step) for step in found if step.isdigit()), default=0)


def steps_done(run: Run) -> dict[str, int]:
    """{sessions, steps_repeated}, counted in what train.py wrote down at each optimizer step; {} where it did not."""
    try:
        rows = [(row["session"], row["step"]) for row in _rows(run.path / "logs/steps.jsonl")]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {"sessions": len({row[0] for row in rows}), "steps_repeated": len(rows) - len({row[1] for row in rows})}


def _last_step(run: Run) -> int:
    """The last optimizer step that was ever done in this training; 0 where nothing tells."""
    try:
        return max((row["step"] for row in _rows(run.path / "logs/steps.jsonl")), default=0)
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _resumption(run: Run) -> str:
    """What a training that was killed, or failed, will do when it is run again."""
    kept, last = last_checkpoint(run), _last_step(run)
    where = f"it resumes from checkpoint-{kept}" if kept else "there is no checkpoint yet: it begins again"
    twice = f", and trains steps {kept + 1} to {last} a second time" if last > kept else ""
    return f"when it is run again, {where}{twice}"


def _last_error(run: Run, job: jobs.Job) -> str:
    """Our own refusal if the log holds one, else the line that names the exception, else the last line; with the exit code."""
    lines = [line.strip() for line in jobs.log_tail(run, job.stage, lines=60) if line.strip()]
    refused = [line for line in lines if line.partition(": ")[0] in CODES]  # its last lines of output follow it
    named = [line for line in lines if re.match(r"^[\w.]*(Error|Exception|Interrupt|Exit)\b", line)]
    return f"exit code {job.result['exit_code']}: {(refused or named or lines or ['no output'])[-1][:300]}"


def _json(run: Run, name: str) -> Any:
    return json.loads((run.path / name).read_text())


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _build(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    report = _json(run, "reports/build.json")
    # in a container, torch is the image's own
    names = ["requirements.txt", *(["requirements-local.txt"] if config.platform == "local-process" else [])]
    pins = dict(
        re.findall(
            r"^([A-Za-z0-9_-]+)==([^\s;]+)",
            "\n".join((run.path / name).read_text() for name in names),
            re.M,
        )
    )
    wrong = [
        f"{name}=={version} was asked for, {report['packages'].get(name.lower())} is installed"
        for name, version in pins.items()
        if report["packages"].get(name.lower(), "").split("+")[0] != version
    ]
    headless = [
        path.name for path in sorted(run.path.glob("*.py")) if not path.read_text(errors="replace").startswith(HEADER)
    ]
    return report, [f"{name} does not begin with the copyright header" for name in headless] + wrong


def _check_api(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    report = _json(run, "reports/check_api.json")
    found = {name: row["sha256"] for name, row in report["files"].items()}
    unchecked = sorted(name for name, digest in hash_files(run.path, ("*.py",)).items() if found.get(name) != digest)
    problems = [f"{p['file']}:{p['line']}: {p['message']}" for p in report["problems"]]
    problems += [f"{name} was not checked as it is now" for name in unchecked]
    if not report["passed"] and not problems:
        problems = ["check_api did not pass"]
    facts = {
        "checked": found,
        "keywords": sum(row["keywords"] for row in report["files"].values()),
        "unverified": sum(row["unverified"] for row in report["files"].values()),
        "versions": report["versions"],
    }
    return facts, problems


def _test(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    """Every test function of the project's tests/ was run and passed, by pytest's own report of each."""
    outcomes = _outcomes(run.path / "reports/tests.xml")
    wanted = _test_functions(run)
    problems = [f"{name} {why}" for name, why in outcomes.items() if why and not why.startswith(f"skipped: {SKIPS}")]
    ran = {name.partition("[")[0] for name in outcomes}
    problems += [f"{name} was not run" for name in sorted(wanted - ran)]
    passed, skipped = (
        [name for name, why in outcomes.items() if not why],
        [f"{n} {why}" for n, why in outcomes.items() if why],
    )
    if not passed or not wanted:
        problems.append("no unit test passed: tests/ is empty, or pytest found nothing in it")
    return {"tests": len(passed), "skipped": [] if problems else skipped}, problems


def _outcomes(path: Path) -> dict[str, str]:
    """tests.test_data::test_x -> "" where it passed, else what happened, from JUnit's XML."""
    text = path.read_text()
    if len(text) > 5_000_000 or "<!" in text.replace(
        "<![CDATA[", ""
    ):  # a document type could hold entities without end
        raise ValueError(f"{path.name} is not what pytest writes")
    found = {}
    for case in ElementTree.fromstring(text).iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}".removeprefix("tests.")
        worst = [(part.tag, (part.get("message") or "").splitlines()) for part in case if part.tag in OUTCOMES]
        said = [f"{OUTCOMES[tag]}: {(lines or ['?'])[0][:200]}" for tag, lines in worst]
        found[name] = found.get(name) or (said or [""])[0]
    return found


def _test_functions(run: Run) -> set[str]:
    """test_data::test_x for each test function that lies in the project's tests/."""
    found = set()
    for path in run.path.glob("tests/test_*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        found |= {
            f"{path.stem}::{n.name}" for n in nodes if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")
        }
    return found


def _prepare(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    meta = _json(run, "data/meta.json")
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
        problems.append("data/meta.json names other classes than config.yaml: call probe_dataset again")
    for split, rows in (("train", meta["n_train"]), ("eval", meta["n_eval"])):
        if config.task == "image-classification" and sum(meta[f"{split}_histogram"].values()) != rows:
            problems.append(f"data/meta.json: {split}_histogram does not add up to {rows} rows")
        if not any(path.stat().st_size for path in (run.path / "data" / split).glob("*.arrow")):
            problems.append(f"data/{split} holds no Arrow file")
    expected = _rows_there_are(run, config, meta)
    if expected is not None and meta["n_train"] < expected:
        problems.append(
            f"{meta['n_train']} training rows were prepared where the dataset has {expected} that could be used"
        )
    return facts, problems


def _rows_there_are(run: Run, config: RunConfig, meta: dict[str, Any]) -> int | None:
    """The training rows that prepare should have found, by the probe's count; None where the probe knows none."""
    probed = evidence.read(run, "dataset")
    known = (probed.facts.get("splits") or {}).get(config.train_split) if probed else None
    if not isinstance(known, int):
        return None
    held_out = 0 if config.eval_split else meta["n_eval"]
    return min(config.n_train, known - held_out - sum(meta.get("dropped", {}).values()))


def _smoke(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    report = _json(run, "reports/smoke.json")
    checks = {check["name"]: check for check in report["checks"]}
    problems = [
        f"smoke check {name} failed: {checks[name]['detail']}" if name in checks else f"smoke check {name} did not run"
        for name in SMOKE_CHECKS
        if not checks.get(name, {}).get("ok")
    ]
    problems += [
        f"smoke check {name} failed: {check['detail']}"
        for name, check in checks.items()
        if name not in SMOKE_CHECKS and not check["ok"]
    ]
    facts = {"loss": report.get("loss"), "grad_norm": report.get("grad_norm"), "checks": len(checks)}
    if memory := _memory(run, config, report.get("memory")):
        facts["memory"] = memory
        problems += [memory["note"]] if memory["over"] else []
    loss_counts = config.training_method != "grpo"  # advantages add up to zero, so its first loss does
    if not problems and not ((_positive(facts["loss"]) or not loss_counts) and _positive(facts["grad_norm"])):
        problems.append(
            f"smoke loss = {facts['loss']}, grad_norm = {facts['grad_norm']}: both must be finite and above 0"
        )
    return facts, problems


def _memory(run: Run, config: RunConfig, found: Any) -> dict[str, Any] | None:
    """Predicted beside measured, in GB, and what follows; None where the stage measured nothing."""
    if not isinstance(found, dict) or not _positive(found.get("peak_gb")):
        return None
    model, host = ((known.facts if (known := evidence.read(run, name)) else {}) for name in ("model", "host"))
    memory = {"device": found.get("device"), "measured_gb": round(found["peak_gb"], 2), "rows": found.get("rows")}
    plan, on_gpu = fit.plan_of(config, model, {}), _positive(found.get("room_gb"))
    fixed = None
    if model.get("parameters"):
        expected = fit.estimate(model, plan)
        memory["predicted_gb"] = round(expected.allocated_gb if on_gpu else expected.needed_gb, 2)
        if expected.per_sample_gb is not None:
            fixed = memory["predicted_gb"] - plan.batch * expected.per_sample_gb
    room = found["room_gb"] if on_gpu else host.get("memory_gb")
    says = fit.weigh(plan, found["peak_gb"], room, fixed) if _positive(room) else fit.Measured()
    memory |= {"room_gb": round(room, 2) if _positive(room) else None, "batch": plan.batch}
    return memory | {"over": says.over, "split": list(says.split) if says.split else None, "note": says.note}


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and value > 0


def _train(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    report = _json(run, "reports/train.json")
    rows = [row for row in _rows(run.path / "logs/train.jsonl") if "loss" in row]
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
        problems.append(
            f"training stopped at step {report['global_step']} of {report['max_steps']}: call docker_run(stage='train') to resume"
        )
    bad = [row["step"] for row in rows if not isinstance(row["loss"], (int, float)) or not math.isfinite(row["loss"])]
    if bad:
        problems.append(f"the loss is not finite at step {bad[0]}: divide learning_rate by 10 and train again")
    elif len(losses) >= 2:
        share = max(1, len(losses) // 10, min(5, len(losses) // 3))  # of few, one or two would be chance
        facts["first_loss"], facts["last_loss"] = (
            round(sum(part) / share, 4) for part in (losses[:share], losses[-share:])
        )
        if config.training_method == "grpo":
            problems += _reward_problems(rows, facts)
        elif not facts["last_loss"] < facts["first_loss"]:
            problems.append(
                f"the loss did not fall ({facts['first_loss']} -> {facts['last_loss']}): inspect labels, collator and learning_rate"
            )
    else:
        problems.append(
            "logs/train.jsonl has fewer than two losses, so nothing shows that the loss fell: raise n_epochs or lower "
            "per_device_train_batch_size"
        )
    fewest = _fewest_steps(config, _json(run, "data/meta.json")["n_train"])
    if report["max_steps"] < fewest:
        problems.append(
            f"{report['max_steps']} steps were trained where n_epochs, n_train and the batch size make at least {fewest}"
        )
    return facts, problems + _weights_problems(run)


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


def _fewest_steps(config: RunConfig, n_train: int) -> int:
    """Steps of the whole training, counted so that dropping incomplete batches on every device is still enough."""
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps * max(1, config.gpu_count or 0)
    samples = (
        n_train * (config.num_generations or 1) if config.training_method == "grpo" else n_train
    )  # its batches hold answers
    return config.n_epochs * max(1, samples // batch)


def _weights_problems(run: Run, folder: str = "checkpoints/final") -> list[str]:
    """Why the folder holds no model: no safetensors file, or one whose header does not describe its bytes."""
    files = sorted((run.path / folder).glob("*.safetensors"))
    if not files:
        return [f"{folder} holds no .safetensors weights"]
    wrong = []
    for path in files:
        with path.open("rb") as file:
            try:
                described = parse_header(file.read(header_length(file.read(PREFIX))))
                if described.end != path.stat().st_size or not described.parameters:
                    wrong.append(f"{path.name} is not as long as its header says")
            except ValueError as error:
                wrong.append(f"{path.name} cannot be read: {error}")
    return wrong


def _evaluation(kind: str):
    def judge_evaluation(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
        report = _json(run, f"reports/{kind}_results.json")
        rows = _rows(run.path / f"reports/{kind}_predictions.jsonl")
        metric = metrics.primary(config.task, config.training_method)
        value, recomputed = report[metric], metrics.value(metric, rows)
        problems = []
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            problems.append(f"reports/{kind}_results.json: {metric} = {value!r} is not a number")
        elif abs(value - recomputed) > 1e-4:
            problems.append(
                f"reports/{kind}_results.json says {metric} = {value}, its own predictions give {recomputed:.4f}"
            )
        meta = _json(run, "data/meta.json")
        n_eval = meta["n_eval"]
        if wrong := _other_truth(metric, rows, meta):
            problems.append(f"reports/{kind}_predictions.jsonl holds other {wrong} than data/eval")
        if len(rows) != n_eval or len({row["index"] for row in rows}) != n_eval:
            problems.append(f"{len(rows)} predictions for {n_eval} evaluation rows: every row must be predicted once")
        problems += _labelled(report, kind, rows) + _of_these_rows(run, report, kind)
        facts = {metric: value, "metric": metric, "n": len(rows), "kind": report.get("kind")}
        facts |= {"seen_in_training": report["seen_in_training"]} if report.get("seen_in_training") else {}
        sure, unsure = _intervals(report, kind, value)
        if kind == "eval" and not problems and not unsure and not config.skip_baseline:
            unsure = _difference_problems(run, metric, report.get("difference"), value, rows)
        if not problems + unsure and (said := metrics.outcome(metric, sure.get("difference"))):
            sure["outcome"] = said
        also, wrong = _second_metric(report, kind, rows, metric)
        return {**facts, **sure, **also}, problems + unsure + wrong

    return judge_evaluation


def _other_truth(metric: str, rows: list[dict], meta: dict) -> str:
    """What of the truth in the predictions is not what prepare counted in data/eval; "" where it agrees or cannot be told."""
    counted = {name: count for name, count in meta.get("eval_histogram", {}).items() if count}
    if metric == "accuracy":
        return "" if Counter(row["label"] for row in rows) == Counter(counted) else "labels"
    if metric == "mean_iou" and counted:
        sums = {part: Counter() for part in ("intersection", "union")}
        for row in rows:
            for part, total in sums.items():
                total.update(row[part])
        fits = all(sums["intersection"][name] <= pixels <= sums["union"][name] for name, pixels in counted.items())
        return "" if fits else "masks"
    if metric == "map" and counted:
        found = Counter()
        for row in rows:
            found.update({name: count for name, count in row["objects"].items() if count})
        return "" if found == Counter(counted) else "objects"
    return ""


def _labelled(report: dict, kind: str, rows: list[dict]) -> list[str]:
    """The kind is one that there is, and `format-limited` is what the predictions show."""
    label, allowed = report.get("kind"), BASELINE_KINDS if kind == "baseline" else ("fine-tuned",)
    if label not in allowed:
        return [f"reports/{kind}_results.json: kind = {label!r} is none of {', '.join(allowed)}"]
    if label != "random-head" and kind == "baseline" and (label == "format-limited") != metrics.format_limited(rows):
        return [f"reports/{kind}_results.json: kind = {label!r} is not what its predictions show"]
    return []


def _of_these_rows(run: Run, report: dict, kind: str) -> list[str]:
    """It was measured on the rows that prepare chose, which its evidence remembers."""
    prepared = evidence.read(run, "stages/prepare")
    chosen = prepared.facts.get("eval_sha256") if prepared else None
    if chosen and report.get("eval_sha256") != chosen:
        return [f"reports/{kind}_results.json is of other evaluation rows than prepare chose: run the stage again"]
    return []


def _difference_problems(run: Run, metric: str, change: dict | None, value: float, rows: list[dict]) -> list[str]:
    """The difference is that of the two sets of predictions, and where a textbook gives its interval, about that one."""
    before = {row["index"]: row for row in _rows(run.path / "reports/baseline_predictions.jsonl")}
    if not change or before.keys() != {row["index"] for row in rows}:
        return [
            "reports/eval_results.json has no difference to a baseline of the same rows: run baseline, then eval again"
        ]
    paired = [before[row["index"]] for row in rows]
    expected = value - metrics.value(metric, paired)
    if abs(change["value"] - expected) > 1e-4:
        return [
            f"reports/eval_results.json says {change['value']:+.4f} against the baseline, the predictions give {expected:+.4f}"
        ]
    if closed := metrics.mean_interval(metric, rows, paired):
        mean, error = closed
        wrong = [
            end
            for end, sign in (("low", -1), ("high", 1))
            if abs(change[end] - mean - sign * 1.96 * error) > error + 8 / len(rows)
        ]
        if wrong:
            return [
                f"reports/eval_results.json: difference {wrong[0]} = {change[wrong[0]]:+.4f} is not what the predictions give"
            ]
    return []


def _second_metric(report: dict, kind: str, rows: list[dict], metric: str) -> tuple[dict, list[str]]:
    """What is told beside the primary metric: the controls, and the exact match of a language model that was also asked."""
    facts = {"controls": report["controls"]} if report.get("controls") else {}
    if "exact_match" not in report or metric == "exact_match":
        return facts, []
    told, recomputed = report["exact_match"], metrics.value("exact_match", rows)
    facts["exact_match"] = told
    if abs(told - recomputed) > 1e-4:
        said = f"reports/{kind}_results.json says exact_match = {told}, its own predictions give {recomputed:.4f}"
        return facts, [said]
    if change := report.get("exact_match_difference"):
        facts["exact_match_difference"] = {key: change[key] for key in ("value", "low", "high")}
    return facts, []


def _intervals(report: dict, kind: str, value: float) -> tuple[dict, list[str]]:
    """The 95 % intervals of the metric and of its difference to the baseline; what is not ordered as intervals are is a problem."""
    low, high = report["interval"]
    facts, problems = {"interval": [low, high]}, []
    if not low <= high or not math.isfinite(high - low):
        problems.append(f"reports/{kind}_results.json: interval = [{low}, {high}] is none")
    if change := report.get("difference"):
        facts["difference"] = {key: change[key] for key in ("value", "low", "high")}
        if not change["low"] <= change["high"]:
            problems.append(f"reports/{kind}_results.json: difference = {change} is no interval")
    return facts, problems


def _infer(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    folder, suffix = run.path / "reports/inference_samples", "txt" if config.task == "text-generation" else "jpg"
    complete = [
        path.name.split("_")[0]
        for path in sorted(folder.glob("*_meta.json"))
        if all(
            (folder / path.name.replace("meta.json", end)).is_file() for end in (f"input.{suffix}", f"pred.{suffix}")
        )
        and "prediction" in json.loads(path.read_text())
    ]
    pictures = [path for path in folder.glob("*.jpg") if not _is_jpeg(path.read_bytes())]
    problems = [f"{path.name} is not a JPEG" for path in pictures[:1]]
    expected = min(N_SAMPLES, _json(run, "data/meta.json")["n_eval"])
    if len(complete) < expected:
        problems.append(f"{len(complete)} of {expected} inference samples have input, prediction and meta files")
    return {"samples": len(complete)}, problems


def _report(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    """Both files are whole, tell the numbers of the evaluations, and ask nothing of any other place."""
    page, paper = (run.path / "reports/report.html").read_text(), (run.path / "reports/report.pdf").read_bytes()
    problems, metric = [], metrics.primary(config.task, config.training_method)
    if not page.startswith("<!doctype html>") or not page.rstrip().endswith("</html>"):
        problems.append("reports/report.html is not a whole HTML page")
    if foreign := _Foreign(page).found:
        problems.append(f"reports/report.html holds {foreign[0]}: a report runs nothing and fetches nothing")
    if not paper.startswith(b"%PDF-") or b"%%EOF" not in paper[-64:]:
        problems.append("reports/report.pdf is not a whole PDF")
    subject = re.search(rb"/Subject \((.*?)\)\n?\s*(?:/|>>)", paper, re.S)
    for kind in ("eval", *(() if config.skip_baseline else ("baseline",))):
        number = f"{_json(run, f'reports/{kind}_results.json')[metric]:.4f}"
        problems += [f"reports/report.html does not tell {metric} {number} ({kind})"] if number not in page else []
        told = subject and re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)".encode(), subject[1])
        problems += [] if told else [f"reports/report.pdf does not tell {metric} {number} ({kind})"]
    return {"html_kb": len(page) // 1000, "pdf_kb": len(paper) // 1000}, problems


class _Foreign(HTMLParser):
    """What a page holds beyond text, tables and pictures of its own."""

    TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "img", "table", "tr", "th", "td", "ul", "li", "a", "pre"}  # fmt: skip
    ATTRIBUTES = {
        "src": "data:image/",
        "href": "https://",
        "alt": "",
        "class": "",
        "lang": "",
        "charset": "",
    }  # and how its value begins

    def __init__(self, page: str):
        super().__init__()
        self.found: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [] if tag in self.TAGS else [f"<{tag}>"]
        for name, value in attrs:
            if name not in self.ATTRIBUTES or not (value or "").startswith(self.ATTRIBUTES[name]):
                self.found.append(f"{name}={(value or '')[:40]!r}")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "style" and re.search(r"@import|url\(", data, re.I):
            self.found.append("a stylesheet that fetches")


def _is_jpeg(content: bytes) -> bool:
    return content.startswith(b"\xff\xd8\xff") and content.endswith(b"\xff\xd9") and len(content) > 200


def _merge(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    """The adapter had an effect in every module, and the merged model, read back from disk, gave its logits."""
    report = _json(run, "reports/merge.json")
    facts = {key: report[key] for key in ("modules", "effect", "difference", "dtype")}
    problems = (
        [f"{len(report['idle'])} adapted modules have no effect, such as {report['idle'][0]}"] if report["idle"] else []
    )
    if not (_positive(facts["effect"]) and 0 <= facts["difference"] <= max(1e-3, 0.1 * facts["effect"])):
        problems.append(
            f"merged and adapted model differ by {facts['difference']} in a logit where the adapter moves one by {facts['effect']}: "
            "the merged weights are not the trained ones"
        )
    return facts, problems + _weights_problems(run, "checkpoints/merged")


JUDGES = {
    "build": _build,
    "check_api": _check_api,
    "test": _test,
    "prepare": _prepare,
    "smoke": _smoke,
    "baseline": _evaluation("baseline"),
    "train": _train,
    "merge": _merge,
    "eval": _evaluation("eval"),
    "infer": _infer,
    "report": _report,
}
