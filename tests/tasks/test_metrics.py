from __future__ import annotations

import pytest

from tunegate import tasks
from tunegate.tasks import metrics


def test_every_task_has_a_metric_that_can_be_recomputed():
    assert {tasks.metric(*key.partition("/")[::2]) for key in tasks.VARIANTS} == set(metrics.VALUES)
    assert tasks.metric("text-generation", "dpo") == "reward_accuracy"
    assert tasks.metric("text-generation", "lora") == tasks.metric("text-generation", None) == "eval_loss"
    assert tasks.metric("image-classification", "full") == "accuracy"


def test_exact_match_takes_any_accepted_answer_whatever_its_case_and_articles():
    rows = [
        {"answer": ["a red car", "car"], "prediction": "The red car."},
        {"answer": ["blue"], "prediction": "bluish"},
    ]
    assert metrics.value("exact_match", rows) == 0.5


def test_mean_iou_sums_pixels_over_rows_before_it_divides():
    rows = [
        {"intersection": {"a": 1}, "union": {"a": 2, "b": 4}},
        {"intersection": {"a": 8}, "union": {"a": 8}},
    ]
    assert metrics.value("mean_iou", rows) == pytest.approx((9 / 10 + 0 / 4) / 2)


def test_losses_are_weighed_by_tokens_and_errors_by_rows():
    assert metrics.value("eval_loss", [{"loss": 6.0, "tokens": 3}, {"loss": 1.0, "tokens": 1}]) == 7 / 4
    assert metrics.value("abs_rel", [{"abs_rel": 0.1}, {"abs_rel": 0.3}]) == pytest.approx(0.2)
    assert metrics.value("reward_accuracy", [{"reward": 1}, {"reward": 0.5}]) == 0.75


def test_average_precision_reads_the_best_precision_at_or_beyond_each_recall():
    """Two objects; true, false, true: precision 1 up to recall 0.5 (51 points), then 2/3 (50 points)."""
    assert metrics.average_precision([True, False, True], 2) == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert metrics.average_precision([], 3) == 0


def test_map_is_the_mean_over_classes_with_objects_and_thresholds():
    rows = [
        {"objects": {"a": 1}, "detections": [["a", 0.9, "1111100000"], ["b", 0.8, "0000000000"]]},
        {"objects": {"a": 0, "c": 1}, "detections": []},
    ]
    assert metrics.value("map", rows) == pytest.approx((0.5 + 0) / 2)


@pytest.mark.parametrize("metric", metrics.VALUES)
def test_no_rows_are_no_value(metric):
    with pytest.raises(ArithmeticError):
        metrics.value(metric, [])


def test_what_a_difference_shows_depends_on_which_way_is_better():
    change = {"value": 0.1, "low": 0.02, "high": 0.2}
    assert metrics.outcome("accuracy", change) == "improved" and metrics.outcome("eval_loss", change) == "worse"
    assert "accuracy +0.1000 [+0.0200, +0.2000]" in metrics.outcome_sentence("accuracy", change)
    assert metrics.outcome("abs_rel", {"value": -0.1, "low": -0.2, "high": -0.02}) == "improved"
    for low, high in ((-0.1, 0.2), (0.0, 0.2), (-0.1, 0.0)):
        assert metrics.outcome("map", {**change, "low": low, "high": high}) == "not_shown"
