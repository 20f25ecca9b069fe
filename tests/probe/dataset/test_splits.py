from __future__ import annotations

import pytest

from tunegate.errors import ToolFailure
from tunegate.probe.dataset.splits import choose_splits


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ({"train": 9, "test": 1, "validation": 1}, ("train", "validation")),
        ({"train": 9, "test": 1}, ("train", "test")),
        ({"train": 9}, ("train", None)),
        ({"everything": 9}, ("everything", None)),
        ({"train": 9, "validation": 0, "test": 2}, ("train", "test")),
        ({"test": None, "train": None}, ("train", "test")),
        ({"train": 9, "extra": 5}, ("train", None)),
        ({"train_sft": 9, "test_sft": 2, "test_gen": 2}, ("train_sft", "test_sft")),
        ({"partial-train": 9, "partial-validation": 2}, ("partial-train", None)),
    ],
)
def test_splits_are_chosen(splits, expected):
    assert choose_splits(splits, None, None)[:2] == expected


@pytest.mark.parametrize(
    ("splits", "code"),
    [
        ({"a": 1, "b": 2}, "ambiguous"),
        ({"test": 9}, "ambiguous"),
        ({"evaluation": None}, "ambiguous"),
        ({"train_sft": 9, "train_prefs": 9, "test_sft": 2}, "ambiguous"),
        ({}, "rejected"),
        ({"train": 0}, "rejected"),
    ],
)
def test_splits_that_cannot_be_chosen(splits, code):
    with pytest.raises(ToolFailure) as caught:
        choose_splits(splits, None, None)
    assert caught.value.code == code
