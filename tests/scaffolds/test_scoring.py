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
scoring.REPORTS, scoring.load_meta = Path("reports"), lambda: {"eval_sha256": "e"}
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
from harness import overlap
picture = lambda i: {"bytes": bytes([i]) * 50, "path": None}
Dataset.from_dict({"image": [picture(i) for i in range(8)], "label": [0] * 8}).save_to_disk("data/train")
Dataset.from_dict({"image": [picture(i) for i in (3, 20, 7, 21)], "label": [1] * 4}).save_to_disk("data/eval")
print(json.dumps(overlap.found()))
"""
    assert python("image-classification", code) == {"rows": 2, "anew": 0}
    text = """
from datasets import Dataset
from harness import overlap
turn = lambda text: [{"role": "user", "content": text}]
train = ["What is 3-4?", "What is 3.5 + 1?", "The quick brown fox", "\\ufb01ne \\u201cquoted\\u201d", "rust", "???"]
asked = ["What is 3-4?", "what  is 3-4", "What is 3*4?", "What is 35 + 1?", "fine quoted.", "THE QUICK, BROWN FOX!", "!!!", "What is 3+4?"]
Dataset.from_dict({"prompt": [turn(t) for t in train], "completion": [turn(t) for t in "uvwxyz"]}).save_to_disk("data/train")
Dataset.from_dict({"prompt": [turn(t) for t in asked], "completion": [turn(t) for t in "stuvwxyz"]}).save_to_disk("data/eval")
print(json.dumps(overlap.found()))
"""
    assert python("text-generation", text) == {"rows": 4, "anew": 3}


PICTURES = """
import io, random
import numpy as np
from PIL import Image, ImageDraw
from datasets import Dataset, Features, Image as Pictures, Value
from harness import overlap
rng = random.Random(3)
def encoded(picture, form="PNG", **options):
    file = io.BytesIO()
    picture.save(file, form, **options)
    return {"bytes": file.getvalue(), "path": None}
def scene(side=96):  # a drawn shape on a background, as in the demo
    picture = Image.new("RGB", (side, side), tuple(rng.randrange(200, 256) for _ in range(3)))
    x, y, r = rng.randrange(side // 2), rng.randrange(side // 2), rng.randrange(side // 6, side // 2)
    draw = ImageDraw.Draw(picture)
    color = tuple(rng.randrange(160) for _ in range(3))
    rng.choice([draw.ellipse, draw.rectangle])((x, y, x + r, y + r), fill=color)
    return picture
def found(train, evaluation):
    features = Features({"image": Pictures(), "label": Value("int64")})
    for split, rows in (("train", train), ("eval", evaluation)):
        Dataset.from_dict({"image": rows, "label": [0] * len(rows)}, features=features).save_to_disk(f"data/{split}")
    return overlap.found()
"""


def test_pictures_written_anew_are_found(python):
    code = """
out = {}
for side in (28, 96, 300):
    scenes = [scene(side) for _ in range(12)]
    train = [encoded(one) for one in scenes]
    turned = Image.Exif()
    turned[0x0112] = 6
    anew = {
        "jpeg": [encoded(one, "JPEG", quality=92) for one in scenes],
        "webp": [encoded(one, "WEBP", quality=92) for one in scenes],
        "palette": [encoded(one.quantize(64)) for one in scenes],
        "smaller": [encoded(one.resize((side * 3 // 4, side * 3 // 4), Image.Resampling.BICUBIC)) for one in scenes],
        "exif": [encoded(one.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=turned) for one in scenes],
    }
    out[side] = {name: found(train, rows)["anew"] for name, rows in anew.items()}
plain = [Image.new("RGB", (40, 40), (i, i, 200)) for i in range(6)]
out["plain"] = found([encoded(one) for one in plain], [encoded(one, "WEBP", lossless=True, exact=True) for one in plain[2:4]])
print(json.dumps(out))
"""
    every = {name: 12 for name in ("jpeg", "webp", "palette", "smaller", "exif")}
    assert python("image-classification", PICTURES + code) == {
        "28": every,
        "96": every,
        "300": every,
        "plain": {"rows": 2, "anew": 2},
    }


@pytest.mark.slow
def test_other_pictures_of_a_kind_are_not_the_same(python):
    code = """
out = {}
for side in (28, 64, 300):
    out[side] = found([encoded(scene(side)) for _ in range(400)], [encoded(scene(side)) for _ in range(100)])["rows"]
plain = [encoded(Image.new("RGB", (32, 32), (i, 128, 128))) for i in range(200)]
out["plain"] = found(plain[:100], plain[100:])["rows"]
white = []
for i in range(100):  # small things on a white ground
    picture = Image.new("RGB", (128, 128), "white")
    ImageDraw.Draw(picture).ellipse((*((i * 37) % 100, (i * 53) % 100),) + ((i * 37) % 100 + 9, (i * 53) % 100 + 9), fill="black")
    white.append(encoded(picture))
out["small"] = found(white[:50], white[50:])["rows"]
noise = np.random.default_rng(0)
flat = [encoded(Image.fromarray(noise.integers(100, 110, (64, 64, 3), np.uint8))) for _ in range(60)]
out["flat"] = found(flat[:40], flat[40:])["rows"]
print(json.dumps(out))
"""
    assert python("image-classification", PICTURES + code) == {
        name: 0 for name in ("28", "64", "300", "plain", "small", "flat")
    }


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
