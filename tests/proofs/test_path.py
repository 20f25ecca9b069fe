"""What counts as proved: better than the control, and better than before by more than chance, whichever way the metric points."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from tests.proofs import packages
from tests.proofs.path import Result, row

FOUND = Result(
    task="image-classification",
    metric="accuracy",
    before=0.1,
    after=0.9,
    kind="random-head",
    control="majority_class",
    control_value=0.2,
    interval=(0.7, 0.85),
    n=100,
    seed=1,
    training_seconds=60.0,
    training_cpu_seconds=55.0,
)


@pytest.mark.parametrize(
    ("changed", "improved", "gain"),
    [
        ({}, True, 0.7),
        ({"interval": (-0.01, 0.85)}, False, 0.7),
        ({"after": 0.15}, True, -0.05),
        (
            {"metric": "abs_rel", "before": 0.9, "after": 0.1, "control_value": 0.4, "interval": (-0.85, -0.7)},
            True,
            0.3,
        ),
        (
            {"metric": "abs_rel", "before": 0.1, "after": 0.9, "control_value": 0.4, "interval": (0.7, 0.85)},
            False,
            -0.5,
        ),
        ({"metric": "eval_loss", "after": 2.0, "control_value": 3.0, "interval": (-1.0, 0.1)}, False, 1.0),
    ],
)
def test_better_is_told_in_the_metrics_own_direction(changed, improved, gain):
    found = replace(FOUND, **changed)
    assert found.improved == improved and found.gain == pytest.approx(gain)


def test_the_row_that_is_printed():
    assert row(FOUND) == (
        "image-classification | accuracy 0.100 → 0.900 | majority_class 0.200 | [+0.700, +0.850] | 60 s, 55 s of CPU"
    )


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_package_that_cannot_be_had_skips_loudly_and_fails_in_ci(ci, outcome, tmp_path, monkeypatch):
    def refuse(command, **_):
        raise subprocess.CalledProcessError(1, command, stderr="no such package")

    monkeypatch.setattr(packages, "CACHE", tmp_path)
    monkeypatch.setattr(packages.subprocess, "run", refuse)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no-such-0.0.*no such package|no-such==0.0 could not be fetched"):
        packages.pypi("no-such==0.0")
    assert list(tmp_path.iterdir()) == []  # nothing half-fetched is taken for the package later
