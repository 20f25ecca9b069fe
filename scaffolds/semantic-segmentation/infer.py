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
"""Five evaluation images with the tuned model's answer: reports/inference_samples/<i>_{input.jpg,pred.jpg,meta.json}.

python infer.py
"""

import numpy as np
import torch

from data import IGNORED
from harness import captions, overlays, samples
from harness.project import find_device, load_config, load_meta, load_split, tuned_folder
from model import class_map, load_tuned, load_tuned_processor

SHOWN = 12  # classes in a legend, the largest ones


def main():
    folder = tuned_folder()
    names, device = load_meta()["class_names"], find_device(load_config())
    model, processor = load_tuned(folder).to(device), load_tuned_processor(folder)
    colors, plain = overlays.palette(len(names)), [i for i, name in enumerate(names) if name.lower() == "background"]

    def shown(image, classes):
        """The image under the colors of its classes; the background stays as it is."""
        return overlays.colored(image, np.where(np.isin(classes, plain), IGNORED, classes), colors)

    def answer(row):
        """The image under the predicted classes, beside the image under the true ones,
        above what each color means."""
        image, truth = row["image"].convert("RGB"), np.array(row["mask"])
        found = predict(model, processor, image, device)
        labeled = truth != IGNORED
        right = float((found == truth)[labeled].mean()) if labeled.any() else None
        both = captions.enlarged(overlays.beside(shown(image, found), shown(image, truth)), 2)
        areas = np.bincount(found.ravel(), minlength=len(names)) + np.bincount(truth[labeled], minlength=len(names))
        both = overlays.legend(
            both, [(names[i], colors[i]) for i in np.argsort(-areas) if areas[i] and i not in plain][:SHOWN]
        )
        lines = ["left: predicted, right: true", *([f"{right:.0%} of the pixels agree"] if right is not None else [])]
        return (
            image,
            captions.captioned(both, lines),
            {"prediction": shares(found, names), "label": shares(truth, names), "pixel_accuracy": right},
        )

    samples.write(load_split("eval"), answer)


@torch.inference_mode()
def predict(model, processor, image, device):
    """The class of each pixel: (height, width)."""
    pixels = processor(image, return_tensors="pt")["pixel_values"].to(device)
    return class_map(model(pixel_values=pixels).logits[0], (image.height, image.width)).cpu().numpy()


def shares(classes, names):
    """{class name: its share of the picture}, the largest first."""
    counts = np.bincount(classes[classes != IGNORED].ravel(), minlength=len(names))
    return {names[i]: round(counts[i] / classes.size, 4) for i in np.argsort(-counts) if counts[i]}


if __name__ == "__main__":
    main()
