"""Vision and language: an Idefics3 of 1.1 M from scratch learns to name two colors (all weights), then in the other order (LoRA).

The control asks the same questions with other rows' pictures: what is right then was not seen. The settings were chosen on pictures
composed with another seed than those that are reported.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.proofs import packages
from tests.proofs.path import SEED, prove
from tests.proofs.test_vision import PHOTOS
from tunegate import evidence
from tunegate.rundir import Run

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).with_name("vision_language.py")
N_TRAIN, N_EVAL = 4000, 300
COMMON = {
    "per_device_train_batch_size": 32,
    "gradient_accumulation_steps": 1,
    "per_device_eval_batch_size": 50,
    "max_new_tokens": 3,
    "warmup_steps": 0.1,
}
# At a rate of 1e-3, warmed up half as long, it goes on longer answering without looking: 0.61 after 375 steps instead of 0.82.
FULL = {"n_epochs": 4, "learning_rate": 5e-4}
LORA = {"n_epochs": 2, "learning_rate": 2e-3, "lora_r": 8, "lora_alpha": 16.0, "lora_dropout": 0.0}


@pytest.fixture
def make(stage_python, tmp_path):
    """make(what, name, ...) -> the files of a model's or a dataset's repository"""

    def run(what: str, name: str, *options: object) -> Path:
        arguments = [str(option) for option in options]
        subprocess.run([stage_python, SCRIPT, what, tmp_path / name, *arguments], check=True, stdout=subprocess.DEVNULL)
        return tmp_path / name

    return run


@pytest.fixture
def questions(make):
    """questions(start) -> a dataset whose answers begin on that side. The pictures of the two differ as well."""
    fashion = packages.debian("dataset-fashion-mnist") / "usr/share/datasets/fashion-mnist"
    photos = [packages.pypi(name) / folder for name, folder in PHOTOS.items()]
    amount = ("--train", N_TRAIN, "--eval", N_EVAL)

    def run(start: str) -> Path:
        seed = ("left", "right").index(start)
        options = ("--start", start, "--seed", seed, "--fashion", fashion, "--photos", *photos)
        return make("questions", start, *options, *amount)

    return run


def asked(method: str, model: Path, data: Path, overrides: dict) -> tuple[dict, dict]:
    """(repositories, choices) of one run"""
    return {"proof/model": model, "proof/questions": data}, {
        "probe_model": {"model_id": "proof/model", "training_method": method},
        "probe_dataset": {"dataset_id": "proof/questions", "n_train": N_TRAIN, "n_eval": N_EVAL},
        "render_project": {"overrides": {**COMMON, **overrides}},
    }


def test_all_weights_then_an_adapter(make, questions, server_env, tmp_path):
    full, lora, control = tmp_path / "root/full", tmp_path / "root/lora", "shuffled_images"
    model = make("idefics3", "model", "--seed", SEED)
    found = prove(full, server_env, *asked("full", model, questions("left"), FULL), control)
    assert found.improved and found.gain > 0.4
    found = prove(lora, server_env, *asked("lora", full / "checkpoints/final", questions("right"), LORA), control)
    assert found.improved and found.gain > 0.4
    # Two of a color are named alike in either order: the untuned model saw them, and it is not the form of answers that is learned.
    assert found.before > found.control_value + 0.05
    assert evidence.read(Run(lora), "stages/merge").facts["passed"]
