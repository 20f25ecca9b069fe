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
"""Accuracy on data/eval, of the tuned model or of the untuned one.

    python run_eval.py --baseline    reports/baseline_results.json, reports/baseline_predictions.jsonl
    python run_eval.py               reports/eval_results.json, reports/eval_predictions.jsonl

The baseline is `zero-shot` when the published model knows every class by name, else `random-head`: the published body
under the new, seeded head that training starts from, which is about chance.
"""

import argparse
import time
from collections import Counter

import torch
from torch.utils.data import DataLoader
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

from data import collate, eval_view
from harness import scoring
from harness.heads import own_columns
from harness.project import find_device, load_config, load_meta, load_split, tuned_folder
from model import load_model, load_processor, load_published, load_tuned, load_tuned_processor


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", action="store_true", help="evaluate the untuned model")
    options = parser.parse_args()
    cfg, meta = load_config(), load_meta()

    began = time.monotonic()
    model, processor, columns, kind = untuned(cfg, meta["class_names"]) if options.baseline else tuned()
    probabilities, labels = predict(model, processor, columns, cfg["per_device_eval_batch_size"])
    report(
        "baseline" if options.baseline else "eval",
        meta["class_names"],
        probabilities,
        labels,
        kind,
        time.monotonic() - began,
    )


def untuned(cfg, class_names):
    """(model, processor, which outputs are our classes, kind of baseline)"""
    processor, published = load_processor(cfg), load_published(cfg)
    columns = own_columns(published, class_names)
    if columns is not None:
        return published, processor, columns, "zero-shot"
    return load_model(cfg, class_names), processor, None, "random-head"


def tuned():
    folder = tuned_folder()
    return load_tuned(folder), load_tuned_processor(folder), None, "fine-tuned"


@torch.inference_mode()
def predict(model, processor, columns, batch_size):
    """Probabilities (rows, classes) and labels (rows) of data/eval, in its order."""
    device = find_device(load_config())
    model.to(device).eval()
    logits, labels = [], []
    for batch in DataLoader(eval_view(load_split("eval"), processor), batch_size=batch_size, collate_fn=collate):
        logits.append(model(pixel_values=batch["pixel_values"].to(device)).logits.float().cpu())
        labels.append(batch["labels"])
    logits = torch.cat(logits)
    return (logits if columns is None else logits[:, columns]).softmax(-1), torch.cat(labels)


def report(name, class_names, probabilities, labels, kind, seconds):
    """Write the results and every single prediction behind them."""
    scores, predictions = probabilities.max(-1)
    rows = [
        {"index": i, "label": class_names[label], "prediction": class_names[prediction], "score": round(score, 4)}
        for i, (label, prediction, score) in enumerate(
            zip(labels.tolist(), predictions.tolist(), scores.tolist(), strict=False)
        )
    ]
    total, classes = Counter(row["label"] for row in rows), len(class_names)
    accuracy = multiclass_accuracy(predictions, labels, classes, average="micro").item()
    each = multiclass_accuracy(predictions, labels, classes, average="none").tolist()
    scoring.report(
        name,
        accuracy,
        rows,
        kind,
        seconds,
        macro_f1=multiclass_f1_score(predictions, labels, classes, average="macro").item(),
        per_class_accuracy={label: share for label, share in zip(class_names, each, strict=False) if total[label]},
        # what always guessing the most frequent class would score
        controls={"majority_class": max(total.values()) / len(rows)},
    )


if __name__ == "__main__":
    main()
