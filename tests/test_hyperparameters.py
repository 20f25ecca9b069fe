"""Hyperparameters with which nothing can be learned, and the honest ones beside them."""

from __future__ import annotations

import pytest

from tunegate import config, hyperparameters
from tunegate.errors import ToolFailure

BASE = {"model_id": "org/m", "n_train": 1000, "n_epochs": 2, "per_device_train_batch_size": 10}  # 200 steps


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"learning_rate": 1e3}, "learning_rate = 1000: .*set it between 1e-10 and 10"),
        ({"learning_rate": 1e-12}, "learning_rate = 1e-12"),
        ({"weight_decay": 1e6}, "weight_decay = 1e\\+06: .*between 0 and 10"),
        ({"learning_rate": 1.0, "weight_decay": 1.0}, "learning_rate x weight_decay = 1: "),
        ({"label_smoothing_factor": 0.95}, "label_smoothing_factor = 0.95"),
        ({"lora_dropout": 0.99}, "lora_dropout = 0.99"),
        ({"n_epochs": 1_000_000}, "n_epochs = 1e\\+06: the run would not end"),
        ({"warmup_steps": 1e9}, "warmup_steps = 1e\\+09: the training has 200 steps at most"),
        ({"warmup_steps": 200.0}, "warmup_steps = 200"),
        ({"training_arguments": {"adam_epsilon": 1e12}}, "training_arguments.adam_epsilon = 1e\\+12: .*and 1"),
        ({"training_arguments": {"adam_beta2": 1.0}}, "training_arguments.adam_beta2 = 1"),
        ({"training_arguments": {"max_grad_norm": 1e-9}}, "max_grad_norm = 1e-09: .*at least 1e-05, or 0 to switch it"),
        ({"training_arguments": {"optim_args": "eps=1e12,foo=1"}}, "optim_args.eps = 1e\\+12"),
        ({"training_arguments": {"lr_scheduler_kwargs": '{"power": 900}'}}, "lr_scheduler_kwargs.power = 900"),
        (
            {"training_arguments": {"lr_scheduler_kwargs": '{"num_stable_steps": 1, "num_decay_steps": 2}'}},
            "end the schedule at step 3 of up to 200",
        ),
    ],
)
def test_what_cannot_learn_is_refused_with_key_value_and_bound(given, says):
    with pytest.raises(ToolFailure, match=says) as failure:
        config.validate({**BASE, **given})
    assert failure.value.code == "invalid_config"


@pytest.mark.parametrize(
    "given",
    [
        {"learning_rate": 1.0},  # Prodigy and D-Adaptation
        {"learning_rate": 1e-7, "weight_decay": 0.0},
        {"weight_decay": 1.0, "learning_rate": 1e-2},
        {"n_epochs": 3000},  # a handful of images
        {"warmup_steps": 100.0},
        {"warmup_steps": 0.5},
        {"warmup_steps": 1.0, "n_epochs": 1, "n_train": 1},
        {"training_arguments": {"max_grad_norm": 0}},  # no clipping
        {"training_arguments": {"max_grad_norm": 1e9}},
        {"training_arguments": {"adam_epsilon": 0.1}},  # Inception's
        {"training_arguments": {"adam_beta1": 0.0, "adam_beta2": 0.999}},
        {"training_arguments": {"lr_scheduler_kwargs": '{"num_decay_steps": 40}', "optim_args": "eps=1e-6"}},
        {"training_arguments": {"lr_scheduler_kwargs": "not json", "bf16": False}},
    ],
)
def test_honest_values_are_not_refused(given):
    assert config.validate({**BASE, **given})


def test_a_warmup_is_held_against_the_rows_that_there_are():
    assert hyperparameters.schedule_problem(50.0, {}, 60) is None
    assert "has 50 steps at most" in hyperparameters.schedule_problem(50.0, {}, 50)
    assert hyperparameters.schedule_problem(0.9, {}, 1) is None


def test_every_key_of_the_table_is_a_number_that_a_bound_allows():
    for name, bound in hyperparameters.BOUNDS.items():
        assert bound.low < bound.high, name
        default = config.RunConfig.model_fields[name].default if name in config.RunConfig.model_fields else None
        assert default is None or bound.low <= default <= bound.high
