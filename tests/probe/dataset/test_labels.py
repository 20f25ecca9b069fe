from __future__ import annotations

import re

import pytest

from tunegate.errors import ToolFailure
from tunegate.probe.dataset.columns import Feature
from tunegate.probe.dataset.labels import count_labels, count_some, judge_labels

CLASSES, TEXT = Feature("class", "ClassLabel(2)", ("a", "b")), Feature("string", "string")
NUMBER = Feature("int", "int")


def test_labels_are_counted_by_name_and_minus_one_is_none():
    labels = count_labels([0, 1, 1, -1, None, 7], CLASSES, complete=True)
    assert (labels.counts, labels.unlabeled, labels.seen) == ({"a": 1, "b": 2}, 3, 6)
    assert count_labels(["", "x", True], TEXT, complete=True).counts == {"x": 1, "true": 1}


def test_a_long_column_is_counted_in_part(monkeypatch):
    from tunegate.probe.dataset import labels

    monkeypatch.setattr(labels, "MAX_LABELS", 3)
    assert count_some(iter("aab"), TEXT).complete and not count_some(iter("aabb"), TEXT).complete
    assert count_some(iter("aabb"), TEXT).seen == 3 and not count_some(iter(["a", "a", "b", None]), TEXT).complete


@pytest.mark.parametrize(
    ("names", "says"), [(["0.5", "2.0"], "fractions (0.5)"), (["x" * 300, "y"], "texts of up to 300")]
)
def test_what_is_no_class_is_refused(names, says):
    labels = count_labels(names, Feature("float", "float") if "." in names[0] else TEXT, complete=True)
    with pytest.raises(ToolFailure, match=re.escape(says)):
        judge_labels(labels, Feature("float", "float"), "train", [])


def test_classes_that_may_be_one_or_none_are_named():
    warnings: list[str] = []
    names = judge_labels(count_labels([-1, 1, 1.0, None], NUMBER, complete=True), NUMBER, "train", warnings)
    assert names == ["1", "-1"] and any("-1 is trained as a class" in one for one in warnings)
    judge_labels(count_labels(["Cat", "cat ", "dog"], TEXT, complete=True), TEXT, "train", warnings)
    assert any("'Cat' and 'cat' differ only in case" in one for one in warnings)
