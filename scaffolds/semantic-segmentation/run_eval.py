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
"""Mean IoU on data/eval, of the tuned model or of the untuned one, with the masks in their own size.

    python run_eval.py --baseline    reports/baseline_results.json, reports/baseline_predictions.jsonl
    python run_eval.py               reports/eval_results.json, reports/eval_predictions.jsonl

The baseline is `zero-shot` when the published model knows every class by name, else `random-head`: the published body
under the new, seeded head that training starts from, which is about chance.
"""

import argparse
import time

import torch
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassJaccardIndex

from data import IGNORED, collate, eval_view
from harness import scoring
from harness.heads import own_columns
from harness.project import find_device, load_config, load_meta, load_split, tuned_folder
from model import class_map, load_model, load_processor, load_published, load_tuned, load_tuned_processor


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", action="store_true", help="evaluate the untuned model")
    options = parser.parse_args()
    cfg, meta = load_config(), load_meta()

    began = time.monotonic()
    model, processor, columns, kind = untuned(cfg, meta["class_names"]) if options.baseline else tuned()
    metric, rows = predict(model, processor, columns, meta["class_names"], cfg["per_device_eval_batch_size"])
    report("baseline" if options.baseline else "eval", meta, metric, rows, kind, time.monotonic() - began)


def untuned(cfg, class_names):
    """(model, processor, which outputs are our classes, kind of baseline)"""
    processor, published = load_processor(cfg), load_published(cfg)
    columns = own_columns(published, class_names) if published else None
    if columns is not None:
        return published, processor, columns, "zero-shot"
    return load_model(cfg, class_names), processor, None, "random-head"


def tuned():
    folder = tuned_folder()
    return load_tuned(folder), load_tuned_processor(folder), None, "fine-tuned"


@torch.inference_mode()
def predict(model, processor, columns, class_names, batch_size):
    """(the metric over all of data/eval, one row for each of its images)"""
    device = find_device(load_config())
    model.to(device).eval()
    metric, rows = MulticlassJaccardIndex(len(class_names), ignore_index=IGNORED, validate_args=False).to(device), []
    for batch in DataLoader(eval_view(load_split("eval"), processor), batch_size=batch_size, collate_fn=collate):
        logits = model(pixel_values=batch["pixel_values"].to(device)).logits
        for one, labels in zip(logits if columns is None else logits[:, columns], batch["labels"], strict=False):
            before = metric.confmat.clone()
            metric.update(class_map(one, tuple(labels.shape)), labels.to(device).long())
            rows.append({"index": len(rows), **overlap(metric.confmat - before, class_names)})
    return metric, rows


def overlap(confusion, class_names):
    """A confusion matrix (truth, prediction) -> the pixels of each class in both, and in either;
    classes in neither are left out."""
    both = confusion.diag()
    either = confusion.sum(0) + confusion.sum(1) - both
    return {
        part: {
            name: pixels
            for name, pixels, some in zip(class_names, values.tolist(), either.tolist(), strict=False)
            if some
        }
        for part, values in (("intersection", both), ("union", either))
    }


def report(name, meta, metric, rows, kind, seconds):
    """Write both files."""
    total = overlap(metric.confmat, meta["class_names"])
    scoring.report(
        name,
        metric.compute().item(),
        rows,
        kind,
        seconds,
        pixel_accuracy=(metric.confmat.diag().sum() / metric.confmat.sum()).item(),
        per_class_iou={label: total["intersection"][label] / pixels for label, pixels in total["union"].items()},
        controls={"majority_class": majority(meta)},
    )


def majority(meta):
    """The mean IoU of calling every pixel by the class that is most frequent in training:
    all others have no intersection."""
    truth = {label: pixels for label, pixels in meta["eval_histogram"].items() if pixels}
    guess = max(meta["train_histogram"], key=meta["train_histogram"].get)
    return truth.get(guess, 0) / sum(truth.values()) / len(truth.keys() | {guess})


if __name__ == "__main__":
    main()
