"""Two local datasets: one to train on and one to measure on, named by the user."""

from __future__ import annotations

import json

import pytest

from tests.probe.dataset import probe_dataset
from tests.probe.dataset.local.test_coco import probe
from tests.readers.test_formats import put
from tunegate.clients.hub import Hub
from tunegate.errors import ToolFailure

CHAT = "text-generation"


def lines(root, name: str, *rows: dict) -> str:
    put(root, name, content="".join(json.dumps(row) + "\n" for row in rows))
    return str(root / name)


def pairs(root, name: str, numbers) -> str:
    return lines(root, name, *({"prompt": f"double {i}", "completion": f"it is {2 * i}"} for i in numbers))


def test_two_files(tmp_path):
    train, evaluation = pairs(tmp_path, "a.jsonl", range(9)), pairs(tmp_path, "b.jsonl", range(7, 12))
    facts = probe(train, CHAT, local_eval_path=evaluation)
    assert (facts.splits, facts.train_split, facts.eval_split) == ({"train": 9, "validation": 5}, "train", "validation")
    assert (facts.local_path, facts.local_eval_path) == (train, evaluation)
    assert facts.duplicates.exact_overlap == 2 and facts.rows_read == {"train": 9, "validation": 5}
    found = json.loads(facts.manifest)
    assert found["files"] == {"": {"a.jsonl": (tmp_path / "a.jsonl").stat().st_size}}
    assert list(found["evaluation"]["files"][""]) == ["b.jsonl"] and found["taken"] == {
        "train": "train",
        "validation": "train",
    }


def test_folders_of_classes_and_their_splits(tmp_path):
    put(
        tmp_path,
        "mine/train/cat/1.png",
        "mine/train/dog/1.png",
        "mine/test/cat/2.png",
        "theirs/dog/1.png",
        "theirs/emu/1.png",
    )
    facts = probe(tmp_path / "mine", "image-classification", local_eval_path=str(tmp_path / "theirs"))
    assert facts.splits == {"train": 2, "validation": 2} and facts.class_names == ["cat", "dog"]
    assert dict(facts.class_counts["validation"].counts) == {"dog": 1, "emu": 1}
    assert any("split 'test' of local_dataset_path is not used" in warning for warning in facts.warnings)
    assert any("classes of split 'validation' are not in 'train': emu" in warning for warning in facts.warnings)
    put(tmp_path, "both/train/cat/1.png", "both/test/cat/1.png", "both/val/dog/1.png")
    for asked, count in ((None, {"dog": 1}), ("test", {"cat": 1})):
        facts = probe(
            tmp_path / "mine", "image-classification", local_eval_path=str(tmp_path / "both"), eval_split=asked
        )
        assert facts.class_counts["validation"].counts == count


@pytest.mark.parametrize(
    ("evaluation", "code", "says"),
    [
        ("no-such.jsonl", "not_found", "local_eval_path"),
        ("a.jsonl", "invalid_input", "lie in each other"),
        (".", "invalid_input", "lie in each other"),
        ("b.csv", "rejected", "in jsonl format and local_eval_path in csv"),
        ("c.jsonl", "rejected", "has no column 'completion'"),
        ("d.jsonl", "rejected", "'completion' is string in local_dataset_path and"),
        ("e.jsonl", "rejected", "local_eval_path"),
    ],
)
def test_two_that_do_not_go_together(tmp_path, evaluation, code, says):
    train = pairs(tmp_path, "a.jsonl", range(9))
    put(tmp_path, "b.csv", content="prompt,completion\na,b\n")
    lines(tmp_path, "c.jsonl", {"prompt": "a", "response": "b"})
    lines(tmp_path, "d.jsonl", {"prompt": "a", "completion": {"text": 2}})
    lines(tmp_path, "e.jsonl")
    lines(tmp_path, "f.jsonl", {"prompt": "a", "completion": "4"})  # text that looks like a number is text
    assert probe(train, CHAT, local_eval_path=str(tmp_path / "f.jsonl")).splits["validation"] == 1
    with pytest.raises(ToolFailure, match=says) as caught:
        probe(train, CHAT, local_eval_path=str((tmp_path / evaluation).resolve()))
    assert caught.value.code == code


def test_a_dataset_to_measure_on_needs_one_to_train_on(tmp_path):
    with pytest.raises(ToolFailure, match="without local_dataset_path"):
        probe_dataset(Hub("http://127.0.0.1:9"), dataset_id="me/text", task=CHAT, local_eval_path=str(tmp_path))
