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
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

from data import meters
from harness import captions, samples
from harness.project import find_device, load_config, load_split, tuned_folder
from model import load_tuned, load_tuned_processor
from run_eval import errors, predict

COLORS = colormaps["turbo_r"]  # near is red


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


def colored(depth, near, far):
    """Meters (height, width) -> (height, width, 3) uint8; black where nothing is known."""
    shares = np.clip((depth - near) / max(far - near, 1e-6), 0, 1)
    return np.where(depth[..., None] > 0, (COLORS(shares)[..., :3] * 255).astype(np.uint8), 0).astype(np.uint8)


def scaled(picture, near, far):
    """The picture above a bar of the colors, with the meters of its ends and of its middle."""
    size = max(12, picture.width // 40)
    canvas = Image.new("RGB", (picture.width, picture.height + 3 * size), "white")
    canvas.paste(picture)
    bar = colored(np.linspace(max(near, 1e-6), far, picture.width)[None].repeat(size, 0), near, far)
    canvas.paste(Image.fromarray(bar), (0, picture.height + size // 3))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size)
    for share, anchor in ((0, "la"), (0.5, "ma"), (1, "ra")):
        draw.text(
            (share * (picture.width - 1), picture.height + 1.5 * size),
            f"{near + share * (far - near):.2f} m",
            fill="black",
            font=font,
            anchor=anchor,
        )
    return canvas


if __name__ == "__main__":
    main()
