# Copyright (c) 2026, NVIDIA CORPORATION.  All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The result of an evaluation: its number, every prediction behind it, and how sure it is. A check: leave this file as
it is.

    reports/<name>_results.json         the metric with a 95 % interval, and with one for the difference to the
                                        baseline
    reports/<name>_predictions.jsonl    one row for each evaluation row

The results also say how many evaluation rows the model was trained on (`seen_in_training`): 0, unless the dataset
holds them twice. Both intervals are bootstrapped over the evaluation rows: they tell what other rows of the same kind
would have given, not what another seed of the training would. The difference is paired: baseline and tuned model are
compared on the same rows.

50 right answers of 50 do not make certain, which resampling alone would conclude. So where the metric is a share, two
rows are added, of which each model has one right, in all four combinations to equal parts (Agresti and Min, 2005).
Simulated with 20 to 200 rows and shares of 0.5 to 0.995, the 95 % interval then holds the truth in 95 to 100 % of the
cases (else 12 to 97 %), that of the difference in 94 to 100 % (else 20 to 96 %); only where one row in a hundred
differs it is 85 %.
"""

import json

import numpy as np

from harness import RENDERED
from harness.metrics import METRICS, is_accepted
from harness.project import REPORTS, load_config, load_meta, write_json, write_jsonl
from harness.texts import words

RESAMPLES = 1000
ADDED = {"before": [1, 1, 0, 0], "after": [1, 0, 1, 0]}  # half a row each
METRIC = RENDERED["metric"]
collect, resampled = METRICS[METRIC]


def report(name, value, rows, kind, seconds, **more):
    """Write both files. name: "baseline" or "eval"; value: the metric as its library gave it; rows:
    what it comes from."""
    cfg, meta, statistics = load_config(), load_meta(), collect(rows)
    if kind == "zero-shot" and METRIC in ("exact_match", "eval_loss") and format_limited(rows):
        kind = "format-limited"
    own = whole(statistics, rows)
    if abs(own - value) > 1e-4:
        library = f"{METRIC} is {value:.6f} by its library and {own:.6f} by its predictions"
        raise SystemExit(f"{name}: {library}: one of them is wrong")
    share = METRIC in ("accuracy", "exact_match") or cfg["training_method"] == "dpo"
    weights = resamples(len(rows), share, cfg["seed"])
    drawn = resampled(np.append(statistics, ADDED["after"]) if share else statistics, weights)
    results = {
        "task": cfg["task"],
        "primary_metric": METRIC,
        METRIC: value,
        "n": len(rows),
        "kind": kind,
        "interval": percentile_interval(drawn),
        **more,
        "seen_in_training": meta.get("seen_in_training", 0),  # counted by prepare_data.py, which made these rows
        "eval_sha256": meta["eval_sha256"],
        "seconds": round(seconds, 1),
    }
    before = baseline_rows(rows, meta) if name == "eval" else None
    if before is not None:
        statistics = collect(before)
        drawn -= resampled(np.append(statistics, ADDED["before"]) if share else statistics, weights)
        results["difference"] = difference(value - whole(statistics, rows), drawn)
        if METRIC == "eval_loss" and all("answer" in row for row in (*rows, *before)):  # the model was asked, too
            gained = matches(rows) - matches(before)
            results["exact_match_difference"] = difference(float(gained.mean()), weights @ gained / len(rows))
    write_jsonl(REPORTS / f"{name}_predictions.jsonl", rows)
    write_json(REPORTS / f"{name}_results.json", results)
    say_result(name, value, results)


def whole(statistics, rows):
    """The metric of all rows, each once."""
    return float(resampled(statistics, np.ones((1, len(rows))))[0])


def resamples(count, share, seed):
    """How often each row is drawn, in each of RESAMPLES; where `share`, with the four that are added."""
    chances = np.append(np.ones(count), np.full(4 if share else 0, 0.5))
    return np.random.default_rng(seed).multinomial(round(chances.sum()), chances / chances.sum(), RESAMPLES)


def difference(value, drawn):
    low, high = percentile_interval(drawn)
    return {"value": value, "low": low, "high": high, "resamples": RESAMPLES}


def say_result(name, value, results):
    low, high = results["interval"]
    said = f"{name}: {METRIC} {value:.4f} [{low:.4f}, {high:.4f}] on {results['n']} rows ({results['kind']})"
    if change := results.get("difference"):
        said += f"; {change['value']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}] against the baseline"
    print(said)


def baseline_rows(rows, meta):
    """The baseline's predictions of the same evaluation rows; None where there is no baseline of these."""
    results, predictions = REPORTS / "baseline_results.json", REPORTS / "baseline_predictions.jsonl"
    if not results.exists() or not predictions.exists():
        return None
    if json.loads(results.read_text())["eval_sha256"] != meta["eval_sha256"]:
        return None
    before = {row["index"]: row for row in map(json.loads, predictions.read_text().splitlines())}
    return [before[row["index"]] for row in rows] if before.keys() == {row["index"] for row in rows} else None


def format_limited(rows):
    """Whether the model usually knows the answer where it does not give it in the form that counts:
    as words among others."""
    exact = hidden = asked = 0
    for row in rows:
        if "prediction" not in row or "answer" not in row:
            continue
        said, accepted = words(row["prediction"]), row["answer"]
        answers = [words(answer) for answer in ([accepted] if isinstance(accepted, str) else accepted)]
        asked += 1
        exact += said in answers
        hidden += said not in answers and any(answer in said for answer in answers)
    return hidden > exact and hidden >= max(1, asked / 20)


def percentile_interval(values):
    """The middle 95 % of the resamples: [low, high]."""
    return [float(value) for value in np.nanpercentile(values, (2.5, 97.5))]


def matches(rows):
    """1 for each row whose prediction is an accepted answer, else 0: (rows)."""
    return np.array([float(is_accepted(row)) for row in rows])
