# Copyright (c) 2026, NVIDIA CORPORATION.  All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Each metric from single predictions: METRICS[name] = (collect, resampled).

collect(rows)                     what is needed of each row
resampled(statistics, weights)    the metric of each resample; weights: (resamples, rows), how often a row was drawn
"""

import numpy as np

from harness.texts import normalize_answer

RECALLS = np.linspace(0, 1, 101)  # where COCO reads the precision


def mean_of(score):
    """The metric that is the mean of each row's score."""
    return lambda rows: np.array([float(score(row)) for row in rows]), mean_score


def mean_score(scores, weights):
    return weights @ scores / weights.sum(1)


def is_accepted(row):
    """Whether the prediction is an accepted answer."""
    return normalize_answer(row["prediction"]) in map(normalize_answer, row["answer"])


def loss_and_tokens(rows):
    """(summed loss, tokens) of each row: (rows, 2)."""
    return np.array([(row["loss"], row["tokens"]) for row in rows], float)


def token_loss(sums, weights):
    """The loss of a token in each resample."""
    loss, tokens = (weights @ sums).T
    return loss / tokens


def class_pixels(rows):
    """Intersections and unions in pixels: (2, rows, classes)."""
    names = sorted({name for row in rows for name in row["union"]})
    parts = ("intersection", "union")
    return np.array([[[row[part].get(name, 0) for name in names] for row in rows] for part in parts], float)


def mean_iou(pixels, weights):
    """The mean over the classes that occur, in each resample."""
    intersection, union = weights @ pixels[0], weights @ pixels[1]
    return np.nanmean(np.where(union > 0, intersection / np.maximum(union, 1), np.nan), axis=1)


def detections(rows):
    """For each class: its objects in each row (rows), and its detections, best first: their rows, and whether they
    match, and miss, at each of the ten thresholds (detections, 10). What lies on a crowd does neither."""
    statistics = []
    for name in sorted({name for row in rows for name in row["objects"]}):
        objects = np.array([row["objects"].get(name, 0) for row in rows], float)
        every = [(i, *detection) for i, row in enumerate(rows) for detection in row["detections"]]
        found = [(score, i, matched) for i, label, score, matched in every if label == name]
        found.sort(key=lambda detection: -detection[0])
        digits = np.array([list(matched) for *_, matched in found], "<U1").reshape(-1, 10)
        statistics.append((objects, np.array([i for _, i, _ in found], int), digits == "1", digits == "0"))
    return statistics


def mean_average_precision(statistics, weights):
    """The mean over classes and thresholds of the average precision in each resample."""
    return np.array(
        [np.nanmean([precision(*of_class, drawn) for of_class in statistics] or [np.nan]) for drawn in weights]
    )


def precision(objects, where, matches, misses, drawn):
    """COCO's average precision of one class, mean over the thresholds:
    the best precision at or beyond each of 101 recalls."""
    total, times = drawn @ objects, drawn[where][:, None]
    if not total:
        return np.nan
    right, wrong = np.cumsum(matches * times, 0), np.cumsum(misses * times, 0)
    precisions = right / np.maximum(right + wrong, 1e-9)
    precisions = np.maximum.accumulate(precisions[::-1], 0)[::-1]
    reached = [np.searchsorted(right[:, k] / total, RECALLS) for k in range(matches.shape[1])]
    return float(np.mean([np.append(precisions[:, k], 0)[found].mean() for k, found in enumerate(reached)]))


METRICS = {
    "accuracy": mean_of(lambda row: row["label"] == row["prediction"]),
    "exact_match": mean_of(is_accepted),
    "abs_rel": mean_of(lambda row: row["abs_rel"]),
    "reward_accuracy": mean_of(lambda row: row["reward"]),
    "eval_loss": (loss_and_tokens, token_loss),
    "mean_iou": (class_pixels, mean_iou),
    "map": (detections, mean_average_precision),
}
