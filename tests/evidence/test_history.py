"""The models that were measured on the same data: told wherever the run's folder is, and whatever was done to it."""

from __future__ import annotations

import pytest

from tests.sealed import CONFIG
from tunegate import paths
from tunegate.errors import ToolFailure
from tunegate.evidence import history
from tunegate.rundir import Run

FACTS = {"metric": "accuracy", "accuracy": 0.9, "n": 60}


def weights(name: str) -> dict[str, str]:
    return {"checkpoints/final/model.safetensors": name, "data/meta.json": "the same"}


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def add(tmp_path, name, value=0.9, folder="run", **changes):
    config = CONFIG.model_copy(update=changes)
    history.add(Run(tmp_path / folder), config, {**FACTS, "accuracy": value}, weights(name))


def test_another_seed_in_another_folder_is_another_try(tmp_path):
    add(tmp_path, "one", 0.95, seed=42)
    add(tmp_path, "two", 0.97, folder="elsewhere", seed=7)
    (other,) = history.others(CONFIG, weights("two"))
    assert (other["value"], other["config"]["seed"]) == (0.95, 42)
    said = history.sentence([other])
    assert "1 other model trained" in said and "accuracy 0.9500 on 60 rows (seed 42;" in said


def test_the_same_weights_measured_again_and_other_data_are_no_other_try(tmp_path):
    add(tmp_path, "one", 0.95)
    add(tmp_path, "one", 0.94)
    add(tmp_path, "two", dataset_id="org/other")
    assert history.others(CONFIG, weights("one")) == [] and history.sentence([]) == ""
    (seen,) = history.others(CONFIG, weights("three"))
    assert seen["value"] == 0.94  # as it was last measured


def test_what_is_measured_on_other_rows_is_another_subject(tmp_path):
    add(tmp_path, "one", local_dataset_path="/data", local_eval_path="/a")
    config = CONFIG.model_copy(update={"local_dataset_path": "/data", "local_eval_path": "/b"})
    assert history.others(config, weights("two")) == []


def test_what_differs_between_the_tries_is_told_and_only_the_newest_ten(tmp_path):
    for number in range(12):
        add(tmp_path, str(number), number / 100, learning_rate=(1 + number) * 1e-5)
    said = history.sentence(history.others(CONFIG, weights("mine")))
    assert "12 other models" in said and "the newest 10 of them" in said
    assert "learning_rate 0.00012" in said and "n_epochs" not in said and "0.0100" not in said


def test_a_line_that_was_edited_or_cut_off_counts_for_nothing(tmp_path):
    add(tmp_path, "one", 0.5), add(tmp_path, "two", 0.6)
    path = paths.state_dir() / "measured.jsonl"
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.1")[:-40] + b"\n{\n[]")
    assert history.others(CONFIG, weights("mine")) == []
    add(tmp_path, "three", 0.7)
    assert [one["value"] for one in history.others(CONFIG, weights("mine"))] == [0.7]
    assert path.stat().st_mode & 0o077 == 0


def test_a_state_directory_that_cannot_be_written_says_what_to_do(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(history.seal, "line_of", full)
    with pytest.raises(ToolFailure) as failure:
        add(tmp_path, "one")
    assert failure.value.code == "disk_full" and "measured.jsonl" in str(failure.value)
