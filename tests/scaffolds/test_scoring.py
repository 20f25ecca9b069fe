"""scoring.py as rendered: its intervals beside scipy's and a textbook's, what it adds to shares, what it says of leaks and of form."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.scaffolds.conftest import environment
from tunegate.config import RunConfig
from tunegate.project import render
from tunegate.tasks import metrics

SETUP = """
import json, sys
import numpy as np
from harness import scoring
rng = np.random.default_rng(0)
def weights(n, resamples):
    return np.random.default_rng(1).multinomial(n, np.full(n, 1 / n), resamples)
"""


@pytest.fixture
def python(stage_python, tmp_path):
    """python(task, code, method): what the code prints last, as JSON, run beside the modules of a project of this task."""

    def run(task: str, code: str, method: str = "full"):
        values = {"model_id": "local/tiny", "task": task, "training_method": method, "platform": "local-process"}
        files = render.render_files(render.with_defaults(RunConfig.model_validate(values), {}), {})
        for name in (name for name in files if name.startswith("harness/")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(files[name])
        (tmp_path / "config.yaml").write_text(f"seed: 1\ntask: {task}\ntraining_method: {method}\n")
        done = subprocess.run(
            [stage_python, "-c", SETUP + code], cwd=tmp_path, env=environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


SCIPY = """
from scipy.stats import bootstrap
def theirs(statistics, axis):
    parts = tuple(np.moveaxis(statistics, axis, 0))
    index = np.arange(len(parts))
    def value(chosen):
        return scoring.resampled(statistics, np.bincount(chosen, minlength=len(parts))[None].astype(float))[0]
    found = bootstrap((index,), value, vectorized=False, n_resamples=2000, method="percentile", rng=2).confidence_interval
    return [found.low, found.high]
def ours(statistics, axis):
    return scoring.percentile_interval(scoring.resampled(statistics, weights(statistics.shape[axis], 2000)))
print(json.dumps([ours(statistics, axis), theirs(statistics, axis)]))
"""
DRAWN = {
    "depth-estimation": "statistics, axis = scoring.collect([{'abs_rel': float(x)} for x in rng.gamma(2, 0.1, 80)]), 0",
    "text-generation": "statistics, axis = scoring.collect([{'loss': float(t * rng.gamma(3, 0.5)), 'tokens': int(t)} for t in rng.integers(1, 30, 80)]), 0",
    "semantic-segmentation": "rows = [{'intersection': {'a': int(i), 'b': int(i // 3)}, 'union': {'a': 100, 'b': 60}} for i in rng.integers(0, 100, 80)]\n"
    "statistics, axis = scoring.collect(rows), 1",
}


@pytest.mark.parametrize("task", DRAWN)
def test_intervals_are_scipy_s(python, task):
    ours, theirs = python(task, DRAWN[task] + SCIPY)
    width = theirs[1] - theirs[0]
    assert width > 0 and ours == pytest.approx(theirs, abs=0.08 * width)


DIFFERENCE = """
rows = [{"index": i, "label": "a", "prediction": "a" if right else "b"} for i, right in enumerate(after)]
earlier = [{**row, "prediction": "a" if right else "b"} for row, right in zip(rows, before)]
from pathlib import Path
scoring.REPORTS, scoring.load_meta, scoring.seen_in_training = Path("reports"), lambda: {"eval_sha256": "e"}, lambda: 0
scoring.report("baseline", float(np.mean(before)), earlier, "random-head", 1.0)
scoring.report("eval", float(np.mean(after)), rows, "fine-tuned", 1.0)
print(Path("reports/eval_results.json").read_text().replace("\\n", ""))
"""


def test_a_paired_difference_is_the_textbook_s(python):
    """McNemar's: 400 rows, 60 gained, 20 lost: 0.1 +- 1.96 sqrt(80 - 40 ** 2 / 400) / 400."""
    code = "after = np.r_[np.ones(60), np.zeros(20), np.tile([1, 0], 160)]\nbefore = np.r_[np.zeros(60), np.ones(20), np.tile([1, 0], 160)]\n"
    change = python("image-classification", code + DIFFERENCE)["difference"]
    error = 1.96 * (80 - 40**2 / 400) ** 0.5 / 400
    assert change["value"] == pytest.approx(0.1)
    assert [change["low"], change["high"]] == pytest.approx([0.1 - error, 0.1 + error], abs=0.2 * error)


def test_all_right_is_not_certain(python):
    """Of 50 right answers, Clopper and Pearson say: at least 0.929."""
    result = python("image-classification", "after, before = np.ones(50), np.ones(50)\n" + DIFFERENCE)
    assert 0.88 < result["interval"][0] < 0.96 and result["interval"][1] == 1
    assert result["difference"]["low"] < 0 < result["difference"]["high"] and result["difference"]["value"] == 0
    assert metrics.outcome("accuracy", result["difference"]) == "not_shown"


@pytest.mark.slow
def test_shares_near_one_are_covered(python):
    """95 % intervals of 60 samples of 50 rows with a share of 0.98: plain resampling would hold it in two thirds of them."""
    code = """
held = 0
chances = np.append(np.ones(50), np.full(4, 0.5))
for _ in range(200):
    scores = np.append((rng.random(50) < 0.98) * 1.0, scoring.ADDED["after"])
    drawn = scoring.resampled(scores, rng.multinomial(52, chances / chances.sum(), 1000))
    low, high = scoring.percentile_interval(drawn)
    held += low <= 0.98 <= high
print(held / 200)
"""
    assert python("image-classification", code) > 0.93


def test_rows_that_are_in_both_splits_are_counted(python):
    code = """
from datasets import Dataset
picture = lambda i: {"bytes": bytes([i]) * 50, "path": None}
Dataset.from_dict({"image": [picture(i) for i in range(8)], "label": [0] * 8}).save_to_disk("data/train")
Dataset.from_dict({"image": [picture(i) for i in (3, 20, 7, 21)], "label": [1] * 4}).save_to_disk("data/eval")
print(scoring.seen_in_training())
"""
    assert python("image-classification", code) == 2
    text = """
from datasets import Dataset
turn = lambda text: [{"role": "user", "content": text}]
Dataset.from_dict({"prompt": [turn(t) for t in "abc"], "completion": [turn(t) for t in "xyz"]}).save_to_disk("data/train")
Dataset.from_dict({"prompt": [turn(t) for t in "cd"], "completion": [turn(t) for t in "qz"]}).save_to_disk("data/eval")
print(scoring.seen_in_training())
"""
    assert python("text-generation", text) == 1


FORMS = [
    [{"answer": ["red"], "prediction": "It is red."}] * 3 + [{"answer": ["red"], "prediction": "red"}],
    [{"answer": "red", "prediction": "bored of reds"}] * 4,
    [{"answer": ["A red car"], "prediction": "I see a red car!"}]
    + [{"answer": ["no"], "prediction": "cannot know"}] * 19,
    [{"answer": ["red"], "prediction": "red"}] * 3 + [{"answer": ["red"], "prediction": "It is red."}],
    [{"loss": 1.0, "tokens": 2}] * 3,
]


def test_project_and_server_agree_on_what_is_format_limited(python):
    code = f"print(json.dumps([scoring.format_limited(rows) for rows in {FORMS!r}]))"
    found = python("image-text-to-text", code, method="lora")
    assert found == [metrics.format_limited(rows) for rows in FORMS] == [True, False, True, False, False]
