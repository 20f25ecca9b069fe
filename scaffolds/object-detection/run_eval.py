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
"""COCO's mean average precision on data/eval, of the tuned model or of the untuned one.

    python run_eval.py --baseline    reports/baseline_results.json, reports/baseline_predictions.jsonl
    python run_eval.py               reports/eval_results.json, reports/eval_predictions.jsonl

The baseline is `zero-shot` when the published model knows every class by name, else `random-head`: the published body
under the new, seeded head that training starts from.
"""

import argparse
import contextlib
import io
import random
import time
from collections import Counter

import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from data import model_inputs
from harness import scoring
from harness.heads import own_columns
from harness.project import find_device, load_config, load_meta, load_split, tuned_folder
from model import load_model, load_processor, load_published, load_tuned, load_tuned_processor

MOST = 100  # detections of an image that count, as in COCO


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", action="store_true", help="evaluate the untuned model")
    options = parser.parse_args()
    cfg, names = load_config(), load_meta()["class_names"]

    began = time.monotonic()
    model, processor, columns, kind = untuned(cfg, names) if options.baseline else tuned()
    dataset = load_split("eval")
    blind = training_boxes(load_split("train"), dataset)
    found = predict(
        model.to(find_device(cfg)).eval(), processor, columns, dataset["image"], cfg["per_device_eval_batch_size"]
    )
    value, rows, more = evaluate(dataset, found, names)
    scoring.report(
        "baseline" if options.baseline else "eval",
        value,
        rows,
        kind,
        time.monotonic() - began,
        **more,
        controls={"training_boxes": evaluate(dataset, blind, names)[0]},
    )


def untuned(cfg, class_names):
    """(model, processor, its class ids -> ours, kind of baseline)"""
    processor, published = load_processor(cfg), load_published(cfg)
    columns = own_columns(published, class_names)
    if columns is not None:
        return published, processor, {number: i for i, number in enumerate(columns)}, "zero-shot"
    return load_model(cfg, class_names), processor, None, "random-head"


def tuned():
    folder = tuned_folder()
    return load_tuned(folder), load_tuned_processor(folder), None, "fine-tuned"


@torch.inference_mode()
def predict(model, processor, columns, pictures, batch_size):
    """For each picture its detections, the surest first: [(class id, score, [x, y, width, height] in pixels)]."""
    found = []
    for start in range(0, len(pictures), batch_size):
        images = pictures[start : start + batch_size]
        inputs = {name: value.to(model.device) for name, value in model_inputs(images, processor, model).items()}
        sizes = [(image.height, image.width) for image in images]
        for image in processor.post_process_object_detection(model(**inputs), threshold=0.0, target_sizes=sizes):
            rows = sorted(
                zip(
                    image["labels"].tolist(),
                    image["scores"].float().tolist(),
                    image["boxes"].float().tolist(),
                    strict=False,
                ),
                key=lambda row: -row[1],
            )
            rows = [
                (label if columns is None else columns.get(label), score, (left, top, right - left, bottom - top))
                for label, score, (left, top, right, bottom) in rows
            ]
            found.append([row for row in rows if row[0] is not None][:MOST])
    return found


def training_boxes(train, dataset):
    """The control: for every picture the same boxes, up to a hundred of those in the training rows, as shares of a
    picture; the likelier classes first. What it scores is what the data's own habits give away."""
    boxes, labels = [], []
    for i in random.Random(0).sample(range(len(train)), len(train)):
        if len(boxes) >= MOST:
            break
        row = train[i]
        width, height = row["image"].size
        boxes += [(x / width, y / height, w / width, h / height) for x, y, w, h in row["boxes"]]
        labels += row["categories"]
    share = Counter(labels)
    found = sorted(
        ((label, share[label] / len(labels), box) for label, box in zip(labels, boxes, strict=False)),
        key=lambda one: -one[1],
    )[:MOST]
    sizes = [image.size for image in dataset["image"]]
    return [
        [(label, score, (x * width, y * height, w * width, h * height)) for label, score, (x, y, w, h) in found]
        for width, height in sizes
    ]


def evaluate(dataset, found, names):
    """(mAP, its rows, further numbers), by pycocotools."""
    truth = {
        "images": [{"id": i} for i in range(len(dataset))],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
        "annotations": [],
    }
    for i, (boxes, categories) in enumerate(zip(dataset["boxes"], dataset["categories"], strict=False)):
        for box, category in zip(boxes, categories, strict=False):
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1,
                    "image_id": i,
                    "category_id": category,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    detections = [
        {"image_id": i, "category_id": label, "score": score, "bbox": list(box)}
        for i, image in enumerate(found)
        for label, score, box in image
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools tells its progress
        wanted = COCO()
        wanted.dataset = truth
        wanted.createIndex()
        evaluation = COCOeval(wanted, wanted.loadRes(detections) if detections else COCO(), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # (thresholds, recalls, classes), -1 where a class has no object
    each = evaluation.eval["precision"][:, :, :, 0, -1]
    per_class = {name: float(each[:, :, i].mean()) for i, name in enumerate(names) if each[:, :, i].max() > -1}
    value, at_50, at_75 = (max(0.0, float(number)) for number in evaluation.stats[:3])
    return (
        value,
        matches(evaluation, dataset, names),
        {
            "map_50": at_50,
            "map_75": at_75,
            "recall_100": max(0.0, float(evaluation.stats[8])),
            "per_class_map": per_class,
        },
    )


def matches(evaluation, dataset, names):
    """What the metric is made of: the objects of each row, and which of its detections are right at each threshold."""
    rows = [{"index": i, "objects": {}, "detections": []} for i in range(len(dataset))]
    for row, categories in zip(rows, dataset["categories"], strict=False):
        for category in categories:
            row["objects"][names[category]] = row["objects"].get(names[category], 0) + 1
    for image in evaluation.evalImgs:
        if image is None or image["aRng"] != evaluation.params.areaRng[0]:
            continue
        for k, score in enumerate(image["dtScores"]):
            matched = "".join("1" if number else "0" for number in image["dtMatches"][:, k])
            rows[image["image_id"]]["detections"].append([names[image["category_id"]], score, matched])
    return rows


if __name__ == "__main__":
    main()
