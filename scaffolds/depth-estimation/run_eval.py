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
"""Absolute relative error on data/eval, of the tuned model or of the untuned one: the mean of |depth - truth| / truth.

    python run_eval.py --baseline    reports/baseline_results.json, reports/baseline_predictions.jsonl
    python run_eval.py               reports/eval_results.json, reports/eval_predictions.jsonl

An untuned model of relative depth knows neither scale nor shift: as the baseline, its output is fitted to the truth of
each image by least squares, which is said in `aligned` and flatters it. The tuned model is taken at its word, in
meters. Two controls see no image: the training set's median depth everywhere, and its mean at each place of a picture
(the ground is near at the bottom).
"""

import argparse
import time

import numpy as np
import torch
from torch.nn import functional
from torchmetrics.functional import mean_absolute_percentage_error, mean_squared_error

from data import meters
from harness import scoring
from harness.project import find_device, load_config, load_meta, load_split, tuned_folder
from model import gives_inverse, load_processor, load_published, load_tuned, load_tuned_processor, log_depth

FARTHEST = 1000.0  # meters


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", action="store_true", help="evaluate the untuned model")
    options = parser.parse_args()
    cfg, meta = load_config(), load_meta()

    began = time.monotonic()
    model, processor = (load_published(cfg), load_processor(cfg)) if options.baseline else tuned()
    model.to(find_device(cfg))
    aligned = options.baseline and gives_inverse(model)
    places, rows, constant, placed = mean_map(load_split("train")), [], [], []
    for i, row in enumerate(load_split("eval")):
        truth = torch.from_numpy(meters(row["depth"]))
        depth = predict(model, processor, row["image"], truth if aligned else None, truth.shape)
        rows.append({"index": i, **errors(depth, truth)})
        constant.append(errors(torch.full_like(truth, meta["median_depth"]), truth)["abs_rel"])
        placed.append(
            errors(
                functional.interpolate(places[None, None], truth.shape, mode="bilinear", align_corners=False)[0, 0],
                truth,
            )["abs_rel"]
        )
    value = sum(row["abs_rel"] for row in rows) / len(rows)
    more = {name: sum(row[name] for row in rows) / len(rows) for name in ("rmse", "delta1")}
    scoring.report(
        "baseline" if options.baseline else "eval",
        value,
        rows,
        "zero-shot" if options.baseline else "fine-tuned",
        time.monotonic() - began,
        **more,
        aligned=aligned,
        controls={"median_depth": sum(constant) / len(constant), "mean_map": sum(placed) / len(placed)},
    )


def tuned():
    folder = tuned_folder()
    return load_tuned(folder), load_tuned_processor(folder)


@torch.inference_mode()
def predict(model, processor, image, truth, shape):
    """Meters (height, width) of one image. truth: what the model's own scale is fitted to;
    None takes it at its word."""
    pixels = processor(image.convert("RGB"), return_tensors="pt")["pixel_values"].to(model.device)
    output = model(pixel_values=pixels).predicted_depth[:, None].float()
    output = functional.interpolate(output, shape, mode="bilinear", align_corners=False)[0, 0].cpu()
    if truth is None:
        return log_depth(model, output).exp().clamp(max=FARTHEST)
    known = truth > 0
    pairs = np.column_stack([output[known].numpy(), np.ones(int(known.sum()))])
    scale, shift = np.linalg.lstsq(pairs, 1 / truth[known].numpy(), rcond=None)[0]  # relative depth is inverse depth
    return 1 / (output * float(scale) + float(shift)).clamp_min(1 / FARTHEST)


def mean_map(train, most=500):
    """The geometric mean of the depth that is known at each of 32 x 32 places of a picture,
    over at most so many training rows."""
    total, known = torch.zeros(32, 32), torch.zeros(32, 32)
    for i in range(0, len(train), -(-len(train) // most)):
        depth = functional.interpolate(torch.from_numpy(meters(train[i]["depth"]))[None, None], (32, 32))[0, 0]
        total, known = total + torch.where(depth > 0, depth, 1).log(), known + (depth > 0)
    return torch.where(known > 0, total / known, total.sum() / known.sum()).exp()


def errors(depth, truth):
    """abs_rel, rmse in meters, and delta1: the share of pixels within a factor of 1.25. Where the truth is known."""
    known = truth > 0
    depth, truth = depth[known], truth[known]
    ratio = torch.maximum(depth / truth, truth / depth)
    return {
        "abs_rel": mean_absolute_percentage_error(depth, truth).item(),
        "rmse": mean_squared_error(depth, truth, squared=False).item(),
        "delta1": (ratio < 1.25).float().mean().item(),
    }


if __name__ == "__main__":
    main()
