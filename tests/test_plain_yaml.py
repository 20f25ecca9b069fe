"""YAML of strangers: what takes minutes or gigabytes is refused or text, what people write is what it says."""

from __future__ import annotations

import time

import pytest
import yaml

from tunegate import config
from tunegate.errors import ToolFailure
from tunegate.plain_yaml import PlainLoader
from tunegate.recipe.card import front_matter

LONG = 200_000


@pytest.mark.parametrize(
    "value",
    [
        "9" * LONG,
        "1:" * (LONG // 2) + "1",
        "0x" + "f" * LONG,
        "1e" + "9" * LONG,
        "!!int " + "1:" * 40_000 + "1",
        "[" * LONG,
    ],
)
def test_a_long_number_takes_no_time(value):
    began = time.monotonic()
    with pytest.raises(ToolFailure) as refused:
        config.parse(f"model_id: org/m\nlearning_rate: {value}\n")
    assert refused.value.code == "invalid_config" and len(str(refused.value)) < 600
    front_matter(f"---\nmetrics: {value}\n---\n")
    assert time.monotonic() - began < 4


def test_numbers_that_people_write_are_numbers():
    text = "a: 12\nb: -1.5e-3\nc: 2026-11-27\nd: 1:30\ne: 0x1F\nf: " + "1" * 100
    found = yaml.load(text, Loader=PlainLoader)
    assert (found["a"], found["b"], str(found["c"]), found["d"], found["e"]) == (12, -1.5e-3, "2026-11-27", 90, 31)
    assert found["f"] == int("1" * 100)


def test_aliases_are_refused():
    with pytest.raises(yaml.YAMLError, match="aliases"):
        yaml.load("a: &x [1]\nb: *x\n", Loader=PlainLoader)
