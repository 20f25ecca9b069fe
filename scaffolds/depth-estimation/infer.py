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
"""Five evaluation images with the tuned model's depth: reports/inference_samples/<i>_{input.jpg,pred.jpg,meta.json}.

python infer.py
"""

import numpy as np
import torch
from PIL import Image

from data import meters
from harness import captions, samples
from harness.depth_colors import colored, scaled
from harness.project import find_device, load_config, load_split, tuned_folder
from model import load_tuned, load_tuned_processor
from run_eval import errors, predict


def main():
    folder = tuned_folder()
    model, processor = load_tuned(folder).to(find_device(load_config())), load_tuned_processor(folder)

    def answer(row):
        """The image, its predicted depth and the true one, in the same colors, above what these mean in meters."""
        image, truth = row["image"].convert("RGB"), meters(row["depth"])
        depth = predict(model, processor, image, None, truth.shape).numpy()
        known = truth[truth > 0]
        near, far = np.percentile(np.concatenate([known, depth.ravel()]), (1, 99))
        seen, gap = (
            np.asarray(image.resize(truth.shape[::-1])),
            np.full((len(truth), max(2, len(truth) // 50), 3), 255, np.uint8),
        )
        panels = np.concatenate([seen, gap, colored(depth, near, far), gap, colored(truth, near, far)], 1)
        found = errors(torch.from_numpy(depth), torch.from_numpy(truth))
        picture = scaled(captions.enlarged(Image.fromarray(panels), 3), near, far)
        lines = [
            "left to right: image, predicted, true" + (" (black: not known)" if (truth <= 0).any() else ""),
            f"absolute relative error {found['abs_rel']:.3f}",
        ]
        return (
            image,
            captions.captioned(picture, lines),
            {
                "prediction": {"median_meters": round(float(np.median(depth)), 3)},
                "label": {"median_meters": round(float(np.median(known)), 3)},
                **{name: round(value, 4) for name, value in found.items()},
            },
        )

    samples.write(load_split("eval"), answer)


if __name__ == "__main__":
    main()
