"""The metrics that a run is judged by: which one a task has, and its value recomputed from the predictions of an evaluation.

run_eval.py gets its number from a library (torchmetrics, pycocotools); this is a second, plain computation of the same from
the rows of reports/*_predictions.jsonl, so that a number and its predictions cannot disagree unnoticed. One row an evaluation row:

    accuracy         {index, label, prediction}
    exact_match      {index, answer: [accepted answers], prediction}
    mean_iou         {index, intersection: {class: pixels}, union: {class: pixels}}
    abs_rel          {index, abs_rel}                      mean of |depth - truth| / truth over the image's valid pixels
    map              {index, objects: {class: count}, detections: [[class, score, "1110000000"], ...]}
                                                           one digit for each IoU threshold .50, .55, ... .95: 1 = a true positive;
                                                           - in its place: on a crowd, neither right nor wrong
    eval_loss        {index, loss, tokens}                 cross-entropy in nats, summed over the row's `tokens` answer tokens
                                                           where the model was also asked: exact_match's keys beside them
    reward_accuracy  {index, reward}                       dpo: 1 where the chosen answer is the likelier one; grpo: the reward
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

LOWER_IS_BETTER = ("abs_rel", "eval_loss")
RECALLS = [
    *(k * 0.01 for k in range(100)),
    1.0,
]  # where COCO reads the precision: numpy.linspace(0, 1, 101), bit for bit
N_THRESHOLDS = 10
PredictionRow = dict[str, Any]


def value(metric: str, rows: list[PredictionRow]) -> float:
    """The metric over these rows. Raises KeyError, TypeError, ValueError or ZeroDivisionError for rows of another shape."""
    return VALUES[metric](rows)


Outcome = Literal["improved", "worse", "not_shown"]


def outcome(metric: str, change: dict[str, float]) -> Outcome:
    """What the 95 % interval of a difference to the baseline shows."""
    low, high = (-change["high"], -change["low"]) if metric in LOWER_IS_BETTER else (change["low"], change["high"])
    return "improved" if low > 0 else "worse" if high < 0 else "not_shown"


def beats(metric: str, interval: list[float], control: float) -> bool:
    """Whether the whole 95 % interval of a value is better than what a control reached."""
    low, high = interval
    return high < control if metric in LOWER_IS_BETTER else low > control


def controls_sentence(found: dict[str, float]) -> str:
    """found: control -> what it reached, of those that are not beaten."""
    shown = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in found.items())
    return f"not shown to be better than a control that sees no input: {shown}"


def outcome_sentence(metric: str, change: dict[str, float]) -> str:
    """The same in words, with the difference and its interval."""
    span = f"{metric} {change['value']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}] against the baseline"
    return {
        "improved": f"improved: {span}",
        "worse": f"worse than the baseline: {span}",
        "not_shown": f"no improvement shown: {span}, which includes no change",
    }[outcome(metric, change)]


def format_limited(rows: list[PredictionRow]) -> bool:
    """As scoring.py in the project: does the model usually have the right answer among other words where it misses the form?"""
    exact = hidden = asked = 0
    for row in rows:
        if "prediction" in row and "answer" in row:
            answers = [
                _words(answer) for answer in ([row["answer"]] if isinstance(row["answer"], str) else row["answer"])
            ]
            text = _words(row["prediction"])
            asked += 1
            exact += text in answers
            hidden += text not in answers and any(answer in text for answer in answers)
    return hidden > exact and hidden >= max(1, asked / 20)


def _words(text: str) -> str:
    return f" {' '.join(''.join(letter if letter.isalnum() else ' ' for letter in text.lower()).split())} "


def mean_interval(metric: str, rows: list[PredictionRow], before: list[PredictionRow]) -> tuple[float, float] | None:
    """(mean, standard error) of the paired difference, by the textbook; None for metrics that are no mean over rows."""
    if metric not in ("accuracy", "exact_match", "abs_rel", "reward_accuracy") or len(rows) < 2:
        return None
    each = [VALUES[metric]([now]) - VALUES[metric]([then]) for now, then in zip(rows, before, strict=True)]
    mean = sum(each) / len(each)
    return mean, math.sqrt(sum((one - mean) ** 2 for one in each) / (len(each) - 1) / len(each))


def _mean(score: Callable[[PredictionRow], float]) -> Callable[[list[PredictionRow]], float]:
    return lambda rows: sum(float(score(row)) for row in rows) / len(rows)


def normalize_answer(text: str) -> str:
    """Without case, outer space, final punctuation and articles: "A red car." -> "red car"."""
    words = " ".join(text.lower().split()).strip(" .,!?;:\"'").split()
    return " ".join(word for word in words if word not in ("a", "an", "the"))


def _mean_iou(rows: list[PredictionRow]) -> float:
    """Mean over the classes that occur of all rows' intersection by all rows' union."""
    union: dict[str, float] = {}
    intersection: dict[str, float] = {}
    for row in rows:
        for name, pixels in row["union"].items():
            union[name] = union.get(name, 0) + pixels
            intersection[name] = intersection.get(name, 0) + row["intersection"].get(name, 0)
    shares = [intersection[name] / pixels for name, pixels in union.items() if pixels]
    return sum(shares) / len(shares)


def _loss(rows: list[PredictionRow]) -> float:
    return sum(row["loss"] for row in rows) / sum(row["tokens"] for row in rows)


def _mean_average_precision(rows: list[PredictionRow]) -> float:
    """COCO's mAP: mean over the classes that have objects, and over the ten thresholds."""
    objects: dict[str, int] = {}
    found: dict[str, list[tuple[float, str]]] = {}
    for row in rows:
        for name, count in row["objects"].items():
            objects[name] = objects.get(name, 0) + count
        for name, score, matched in row["detections"]:
            found.setdefault(name, []).append((score, matched))
    classes = [name for name, count in objects.items() if count]
    each = []
    for name in classes:
        ranked = sorted(found.get(name, []), key=lambda detection: -detection[0])
        for k in range(N_THRESHOLDS):
            each.append(average_precision([m[k] == "1" for _, m in ranked if m[k] != "-"], objects[name]))
    return sum(each) / len(each)


def average_precision(right: list[bool], objects: int) -> float:
    """Detections, best first, true or false -> the mean over 101 recalls of the best precision at that recall or beyond."""
    precisions, recalls, hits = [], [], 0
    for rank, hit in enumerate(right, 1):
        hits += hit
        precisions.append(hits / rank)
        recalls.append(hits / objects)
    for i in range(len(precisions) - 2, -1, -1):
        precisions[i] = max(precisions[i], precisions[i + 1])
    total, i = 0.0, 0
    for wanted in RECALLS:
        while i < len(recalls) and recalls[i] < wanted:
            i += 1
        total += precisions[i] if i < len(recalls) else 0.0
    return total / len(RECALLS)


VALUES: dict[str, Callable[[list[PredictionRow]], float]] = {
    "accuracy": _mean(lambda row: row["label"] == row["prediction"]),
    "exact_match": _mean(
        lambda row: normalize_answer(row["prediction"]) in {normalize_answer(answer) for answer in row["answer"]}
    ),
    "mean_iou": _mean_iou,
    "abs_rel": _mean(lambda row: row["abs_rel"]),
    "map": _mean_average_precision,
    "eval_loss": _loss,
    "reward_accuracy": _mean(lambda row: row["reward"]),
}
