"""harness/fast_trainer.py beside the plain Trainer: the same weights, and the plain Trainer's ways where transformers differs."""

from __future__ import annotations

import json

import pytest

from tests.scaffolds.conftest import make_project

TRAIN = """
import importlib, json
import torch
from transformers import Trainer, TrainingArguments, set_seed
from harness import fast_trainer

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.1), torch.nn.Linear(8, 2))
        self.layers[0].bias.requires_grad_(False)
        self.walks = 0

    def train(self, mode=True):
        self.walks += 1
        return super().train(mode)

    def forward(self, x, labels):
        return {"loss": torch.nn.functional.cross_entropy(self.layers(x), labels)}

def train(cls):
    set_seed(3)
    rows = [{"x": torch.randn(4) * 9, "labels": torch.tensor(i % 2)} for i in range(40)]
    args = TrainingArguments(
        output_dir="out", per_device_train_batch_size=4, gradient_accumulation_steps=2, max_grad_norm=0.1, save_strategy="no",
        report_to="none", disable_tqdm=True, use_cpu=True, num_train_epochs=2, learning_rate=0.05, remove_unused_columns=False,
    )
    model = Model()
    trainer = cls(model=model, args=args, train_dataset=rows)
    trainer.train()
    return {
        "weights": [parameter.flatten().tolist() for parameter in model.parameters()],
        "walks": model.walks, "fast": getattr(trainer, "trained", None) is not None,
    }

found = {"plain": train(Trainer), "fast": train(fast_trainer.FastTrainer)}
kept = {name: getattr(Trainer, name) for name in fast_trainer.SEEN}

def changed(name, method):
    setattr(Trainer, name, method)
    importlib.reload(fast_trainer)
    seen = train(fast_trainer.FastTrainer)
    setattr(Trainer, name, kept[name])
    return seen

clip, prepare = kept["_clip_grad_norm"], kept["_prepare_for_training"]
found["another signature"] = changed("_clip_grad_norm", lambda self, model, norm_type=2.0: clip(self, model))
found["one argument more"] = changed("_prepare_for_training", lambda self, a, b, c, more=None: prepare(self, a, b, c))
def as_list(self, max_steps, train_dataloader, resume_from_checkpoint):
    return list(prepare(self, max_steps, train_dataloader, resume_from_checkpoint))
found["another return"] = changed("_prepare_for_training", as_list)
print(json.dumps({"gone": fast_trainer.as_seen(object), **found}))
"""


@pytest.fixture(scope="module")
def found(stage_python, tmp_path_factory) -> dict:
    project = make_project(tmp_path_factory.mktemp("fast"), stage_python)
    return json.loads(project.ok("-c", TRAIN).splitlines()[-1])


def test_it_trains_as_the_plain_trainer_does_with_fewer_walks(found):
    assert found["fast"]["fast"] and found["fast"]["weights"] == found["plain"]["weights"]
    assert found["fast"]["walks"] < found["plain"]["walks"]


@pytest.mark.parametrize("case", ["another signature", "one argument more", "another return"])
def test_where_transformers_differs_it_is_the_plain_trainer(found, case):
    assert not found[case]["fast"] and found[case]["weights"] == found["plain"]["weights"]
    assert found[case]["walks"] == found["plain"]["walks"]


def test_a_method_that_is_gone_is_not_as_seen(found):
    assert found["gone"] is False
