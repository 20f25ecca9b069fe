"""The metric of baseline and eval, computed again from the predictions; the difference between the two; their intervals."""

from __future__ import annotations

import math
from collections import Counter

from tunegate import evidence, tasks
from tunegate.config import RunConfig
from tunegate.rundir import Run
from tunegate.stages.verdicts.read import read_json, read_rows
from tunegate.tasks import metrics

BASELINE_KINDS = ("zero-shot", "random-head", "format-limited")


def baseline(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    return _evaluation(run, config, "baseline")


def tuned(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    return _evaluation(run, config, "eval")


def _evaluation(run: Run, config: RunConfig, kind: str) -> tuple[dict, list[str]]:
    report = read_json(run, f"reports/{kind}_results.json")
    rows = read_rows(run.at(f"reports/{kind}_predictions.jsonl"))
    metric = tasks.metric(config.task, config.training_method)
    value, recomputed = report[metric], metrics.value(metric, rows)
    problems = []
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        problems.append(f"reports/{kind}_results.json: {metric} = {value!r} is not a number")
    elif abs(value - recomputed) > 1e-4:
        problems.append(
            f"reports/{kind}_results.json says {metric} = {value}, its own predictions give {recomputed:.4f}"
        )
    meta = read_json(run, "data/meta.json")
    n_eval = meta["n_eval"]
    if wrong := other_truth(metric, rows, meta):
        problems.append(f"reports/{kind}_predictions.jsonl holds other {wrong} than data/eval")
    if len(rows) != n_eval or len({row["index"] for row in rows}) != n_eval:
        problems.append(f"{len(rows)} predictions for {n_eval} evaluation rows: every row must be predicted once")
    problems += _labeled(report, kind, rows) + _of_these_rows(run, report, kind)
    facts = {metric: value, "metric": metric, "n": len(rows), "kind": report.get("kind")}
    facts |= {"seen_in_training": report["seen_in_training"]} if report.get("seen_in_training") else {}
    sure, unsure = _intervals(report, kind, value)
    if kind == "eval" and not problems and not unsure and not config.skip_baseline:
        unsure = _difference_problems(run, metric, report.get("difference"), value, rows)
    if not problems + unsure and (change := sure.get("difference")):
        sure["outcome"] = metrics.outcome_sentence(metric, change)
    also, wrong = _second_metric(report, kind, rows, metric)
    if kind == "eval" and not problems + unsure + wrong:
        also |= _no_better_than(metric, sure["interval"], also.get("controls", {}))
    return {**facts, **sure, **also}, problems + unsure + wrong


def other_truth(metric: str, rows: list[dict], meta: dict) -> str:
    """What of the truth in the predictions is not what prepare counted in data/eval; "" where it agrees or cannot be decided."""
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


def _labeled(report: dict, kind: str, rows: list[dict]) -> list[str]:
    """The kind is one that there is, and `format-limited` is what the predictions show."""
    label, allowed = report.get("kind"), BASELINE_KINDS if kind == "baseline" else ("fine-tuned",)
    if label not in allowed:
        return [f"reports/{kind}_results.json: kind = {label!r} is not one of {', '.join(allowed)}"]
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
    before = {row["index"]: row for row in read_rows(run.at("reports/baseline_predictions.jsonl"))}
    if not change or before.keys() != {row["index"] for row in rows}:
        return [
            "reports/eval_results.json has no difference to a baseline of the same rows: run baseline, then eval again"
        ]
    paired = [before[row["index"]] for row in rows]
    if paired == rows and _shows_a_difference(rows):
        return [
            "the model is unchanged: it answers every row as the untuned one does, to the last digit, so what was trained is not "
            "in what was saved; look at the end of train.py, then train again"
        ]
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


def _shows_a_difference(rows: list[dict]) -> bool:
    """Whether another model could hardly have the same rows: some hold a number that is at no end of its scale."""
    return any(isinstance(value, float) and 0.001 < abs(value) < 0.999 for row in rows for value in row.values())


def _second_metric(report: dict, kind: str, rows: list[dict], metric: str) -> tuple[dict, list[str]]:
    """What is reported beside the primary metric: the controls, and the exact match of a language model that was also asked."""
    facts = {"controls": report["controls"]} if report.get("controls") else {}
    if "exact_match" not in report or metric == "exact_match":
        return facts, []
    stated, recomputed = report["exact_match"], metrics.value("exact_match", rows)
    facts["exact_match"] = stated
    if abs(stated - recomputed) > 1e-4:
        said = f"reports/{kind}_results.json says exact_match = {stated}, its own predictions give {recomputed:.4f}"
        return facts, [said]
    if change := report.get("exact_match_difference"):
        facts["exact_match_difference"] = {key: change[key] for key in ("value", "low", "high")}
    return facts, []


def _no_better_than(metric: str, interval: list[float], controls: dict[str, float]) -> dict:
    """The controls, which see no input, that the model is not shown to beat. One in another unit is not compared."""
    same = {
        name: value for name, value in controls.items() if metric != "eval_loss" or not name.endswith("_exact_match")
    }
    found = {name: value for name, value in same.items() if not metrics.beats(metric, interval, value)}
    return {"no_better_than": found} if found else {}


def _intervals(report: dict, kind: str, value: float) -> tuple[dict, list[str]]:
    """The 95 % intervals of the metric and of its difference to the baseline; what is not ordered as intervals are is a problem."""
    low, high = report["interval"]
    facts, problems = {"interval": [low, high]}, []
    if not low <= high or not math.isfinite(high - low):
        problems.append(f"reports/{kind}_results.json: interval = [{low}, {high}] is not an interval")
    if change := report.get("difference"):
        facts["difference"] = {key: change[key] for key in ("value", "low", "high")}
        if not change["low"] <= change["high"]:
            problems.append(f"reports/{kind}_results.json: difference = {change} is no interval")
    return facts, problems
