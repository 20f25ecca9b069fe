"""watch.py: silent on the curves of real trainings that learned, and on planted failures as loud as it should be."""

from __future__ import annotations

import json
import math
import random
import types
from pathlib import Path

import pytest

from tests.scaffolds.conftest import CLASSES, Project, draw, make_project
from tunegate import hyperparameters
from tunegate.paths import data_dir

# {name: {task, training_method, learning_rate, max_steps, keys, rows}}: logs/train.jsonl of real trainings of tiny models; `permuted`
# had labels that were drawn at random, `demo` is the one of `tunegate demo`.
CURVES = json.loads(Path(__file__).with_name("curves.json").read_text())
LEARNED = sorted(set(CURVES) - {"resnet-permuted"})
META = {"train_histogram": {"a": 333, "b": 333, "c": 334}}


class watch:
    """harness/watch.py, asked by a project of this task."""

    module = types.ModuleType("watch")
    exec((data_dir("scaffolds") / "harness/watch.py").read_text(), module.__dict__)

    def __init__(self, task: str, method: str = "full"):
        self.cfg, self.not_finite = {"task": task, "training_method": method}, self.module.not_finite

    def inspect(self, rows, max_steps, learning_rate, meta):
        return self.module.inspect(rows, max_steps, {**self.cfg, "learning_rate": learning_rate}, meta)


def seen(name: str) -> list[tuple]:
    """(step, rule, whether to end) wherever watch.py said something in this curve, row after row."""
    curve = CURVES[name]
    rows = [dict(zip(curve["keys"], row, strict=True)) for row in curve["rows"]]
    module, found = watch(curve["task"], curve["training_method"]), []
    meta = {"train_histogram": {str(i): 200 for i in range(10)}} if name == "demo" else META
    for end in range(1, len(rows) + 1):
        assert module.not_finite(rows[:end], fp16=False) is None
        if said := module.inspect(rows[:end], curve["max_steps"], curve["learning_rate"], meta):
            found.append((rows[end - 1]["step"], said[0], said[2]))
    return found


@pytest.mark.parametrize("name", LEARNED)
def test_no_training_that_learned_is_ended(name):
    assert not [step for step, _, ends in seen(name) if ends]


def test_wrong_labels_are_noted_early_and_end_it_when_half_is_done():
    found = seen("resnet-permuted")
    assert found[0][0] <= 40 and not found[0][2]
    ended = next(step for step, rule, ends in found if ends)
    assert CURVES["resnet-permuted"]["max_steps"] / 2 <= ended < CURVES["resnet-permuted"]["max_steps"]


def curve(losses, learning_rate=1e-3, warmup=0, **more):
    return [
        {"step": i + 1, "loss": loss, "learning_rate": learning_rate * min(1, i / warmup if warmup else 1), **more}
        for i, loss in enumerate(losses)
    ]


def noisy(start: float, fall: float, noise: float, steps: int, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [start * (1 - fall * i / steps + rng.gauss(0, noise)) for i in range(steps)]


def ends(module, rows, **meta) -> int | None:
    """The step after which the training would be ended."""
    for end in range(1, len(rows) + 1):
        said = module.inspect(rows[:end], len(rows), 1e-3, META | meta)
        if said and said[2]:
            return end
    return None


HEALTHY = {
    "a language model that improves by a hundredth": (
        "text-generation",
        lambda seed: noisy(2.0, 0.01, 0.03, 200, seed),
    ),
    "a language model that is as good as it gets": ("text-generation", lambda seed: noisy(1.2, 0.0, 0.01, 200, seed)),
    "a classifier that is good already": (
        "image-classification",
        lambda seed: [random.Random(seed * 999 + i).expovariate(30) for i in range(200)],
    ),
    "a classifier that learns slowly": ("image-classification", lambda seed: noisy(1.15, 0.15, 0.03, 200, seed)),
    "a detector whose loss falls by a twentieth": ("object-detection", lambda seed: noisy(5.0, 0.05, 0.05, 200, seed)),
    "depth that is good already": ("depth-estimation", lambda seed: noisy(0.05, 0.0, 0.4, 200, seed)),
    "fewer than twenty steps": ("semantic-segmentation", lambda seed: noisy(1.4, 0.0, 0.001, 18, seed)),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_false_alarms_are_rarer_than_one_in_twenty(name):
    task, draw_losses = HEALTHY[name]
    module = watch(task, "lora" if task == "text-generation" else "full")
    assert sum(ends(module, curve(draw_losses(seed))) is not None for seed in range(40)) <= 1


def test_a_warm_up_that_moves_nothing_is_not_flat():
    """100 steps of warm-up, in which the loss stands still: they are worth 20 steps at the 64th, and not before."""
    module = watch("object-detection")
    rows = curve(noisy(5.0, 0.0, 0.01, 100, 1), warmup=100)
    said = [row["step"] for end, row in enumerate(rows, 1) if module.inspect(rows[:end], 1000, 1e-3, META)]
    assert said and said[0] >= 60


def test_what_is_clearly_flat_ends_after_half_and_not_before():
    assert ends(watch("object-detection"), curve(noisy(5.0, 0.0, 0.005, 200, 2))) >= 100


@pytest.mark.parametrize("task", ["image-classification", "text-generation", "object-detection"])
def test_divergence(task):
    module = watch(task)
    rising = [2.0 - 0.01 * i for i in range(20)] + [9.0] * 30
    assert ends(module, curve(rising)) == 30
    spikes = [9.0 if i % 7 == 3 and i > 5 else 2.0 - 0.005 * i for i in range(50)]
    assert ends(module, curve(spikes)) is None
    small = [0.01] * 10 + [0.2] * 20 + [0.01] * 20  # a good model that the first steps disturb
    assert ends(module, curve(small), train_histogram={"a": 1, "b": 1}) is None


def test_not_finite():
    module = watch("image-classification")
    fine = curve([2.0] * 12, grad_norm=1.0)
    for loss in (math.nan, math.inf):
        assert "the loss is not finite" in module.not_finite([*fine, {**fine[-1], "loss": loss}], fp16=False)
    broken = {**fine[-1], "grad_norm": math.nan}
    assert "grad_norm nan" in module.not_finite([*fine, broken], fp16=False)
    assert module.not_finite([*fine, broken], fp16=True) is None  # an overflow: the step is skipped, the scale halved
    assert module.not_finite([*fine, *[broken] * 10], fp16=True)
    assert module.not_finite([*fine, {**fine[-1], "grad_norm": None}], fp16=False) is None


def test_rewards_that_tell_nothing_apart_are_noted():
    module = watch("text-generation", "grpo")
    # The answers to one prompt earn the same, those to another one something else: TRL's reward_std, of the batch, is not 0.
    same = curve([0.0] * 25, reward=0.4, reward_std=0.5, frac_reward_zero_std=1.0)
    assert module.inspect(same[:19], 100, 1e-3, {}) is None
    rule, said, ends_it = module.inspect(same, 100, 1e-3, {})
    assert rule == "flat-loss" and "rewards.py" in said and not ends_it
    assert module.inspect([*same, {**same[-1], "step": 26, "frac_reward_zero_std": 0.9}], 100, 1e-3, {}) is None
    assert (
        module.inspect(curve([0.0] * 25, reward=1.0, frac_reward_zero_std=1.0), 100, 1e-3, {}) is None
    )  # all right already


# -- real trainings


def drawn(folder: Path, permuted: bool) -> Path:
    rng = random.Random(1)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for i in range(300):
        for name in CLASSES:
            draw(name, rng).save(folder / (rng.choice(list(CLASSES)) if permuted else name) / f"{name}-{i}.png")
    return folder


def project(path: Path, python: str, model: Path, data: Path, **values) -> Project:
    given = {
        "local_dataset_path": str(data),
        "local_dataset_format": "imagefolder",
        "n_train": 700,
        "n_eval": 30,
        "n_epochs": 3,
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 1,
        "horizontal_flip": False,
    }
    made = make_project(path, python, model_id=str(model), **{**given, **values})
    made.ok("prepare_data.py")
    return made


@pytest.mark.slow
def test_permuted_labels_end_a_real_training_once(stage_python, tiny_model, tmp_path):
    made = project(tmp_path / "project", stage_python, tiny_model, drawn(tmp_path / "data", permuted=True))
    ended = made.run("train.py")
    report, rows = made.json("reports/train.json"), made.rows("logs/train.jsonl")
    assert ended.returncode == 1 and "did not fall below that of guessing" in report["ended_for"] in ended.stdout
    step = report["global_step"]
    assert report["max_steps"] / 2 <= step < report["max_steps"] and not report["stopped"]
    assert (made.path / f"checkpoints/checkpoint-{step}/trainer_state.json").exists()
    assert not (made.path / "checkpoints/final").exists() and rows[-1]["note"] == report["ended_for"]
    assert next(row["step"] for row in rows if "note" in row) <= 45  # said long before
    made.ok("train.py")  # whoever looked may go on
    report = made.json("reports/train.json")
    assert report["resumed_from"] == f"checkpoint-{step}" and report["global_step"] == report["max_steps"]
    assert report["steps_repeated"] == 0 and report["ended_for"] is None


def test_a_learning_rate_far_too_high_ends_a_real_training_at_once(
    stage_python, tiny_model, tmp_path, shapes, monkeypatch
):
    anything = hyperparameters.Bound(0, math.inf, "")  # within the bounds, a tiny model breaks at no rate
    monkeypatch.setitem(hyperparameters.BOUNDS, "learning_rate", anything)
    values = {"learning_rate": 1e30, "weight_decay": 0, "n_train": 200}
    made = project(tmp_path / "project", stage_python, tiny_model, shapes, **values)
    ended = made.run("train.py")
    assert ended.returncode == 1 and "is not finite" in ended.stdout.splitlines()[-1]
    rows = made.rows("logs/train.jsonl")
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1)) and len(rows) <= 5
    assert "is not finite" in rows[-1]["note"] and not (made.path / "reports/train.json").exists()


def test_each_of_the_first_steps_is_logged_with_the_mean_of_its_parts(stage_python, tiny_model, tmp_path, shapes):
    """The same 16 images in one part or in four: the same loss; and 250 steps are logged as 20, then every other."""
    logged = {}
    for batch, parts in ((16, 1), (4, 4)):
        values = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": parts, "crop_scale_min": 1.0}
        made = project(tmp_path / f"{parts}", stage_python, tiny_model, shapes, n_train=80, n_epochs=50, **values)
        made.ok("train.py", "--max_steps", "24")
        logged[parts] = made.rows("logs/train.jsonl")
    assert [row["step"] for row in logged[1]] == [*range(1, 21), 22, 24] == [row["step"] for row in logged[4]]
    assert logged[1][0]["loss"] == pytest.approx(
        logged[4][0]["loss"], rel=0.05
    )  # batch normalization sees other batches
    for row in logged[1]:
        assert row["samples_per_second"] > 0 and row["grad_norm"] > 0 and row["max_steps"] == 250
