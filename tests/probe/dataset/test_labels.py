from __future__ import annotations

from tunegate.probe.dataset.columns import Feature
from tunegate.probe.dataset.labels import count_labels, count_some

CLASSES, TEXT = Feature("class", "ClassLabel(2)", ("a", "b")), Feature("string", "string")


def test_labels_are_counted_by_name_and_minus_one_is_none():
    labels = count_labels([0, 1, 1, -1, None, 7], CLASSES, complete=True)
    assert (labels.counts, labels.unlabeled, labels.seen) == ({"a": 1, "b": 2}, 3, 6)
    assert count_labels(["", "x", True], TEXT, complete=True).counts == {"x": 1, "True": 1}


def test_a_long_column_is_counted_in_part(monkeypatch):
    from tunegate.probe.dataset import labels

    monkeypatch.setattr(labels, "MAX_LABELS", 3)
    assert count_some(iter("aab"), TEXT).complete and not count_some(iter("aabb"), TEXT).complete
    assert count_some(iter("aabb"), TEXT).seen == 3 and not count_some(iter(["a", "a", "b", None]), TEXT).complete
