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

import torch

from harness import captions, samples
from harness.project import find_device, load_config, load_meta, load_split, tuned_folder
from model import load_tuned, load_tuned_processor


def main():
    folder = tuned_folder()
    names, device = load_meta()["class_names"], find_device(load_config())
    model, processor = load_tuned(folder).to(device), load_tuned_processor(folder)

    def answer(row):
        """The image above its verdict: green where the answer is right, red where it is wrong."""
        image, label = row["image"].convert("RGB"), names[row["label"]]
        top = classify(model, processor, image, names, device)
        prediction, score = top[0]
        lines = [f"{prediction} ({score:.0%})", "correct" if prediction == label else f"wrong: it is {label}"]
        shown = captions.captioned(
            captions.enlarged(image), lines, "darkgreen" if prediction == label else "firebrick"
        )
        return (
            image,
            shown,
            {
                "label": label,
                "prediction": prediction,
                "score": score,
                "correct": prediction == label,
                "top": [{"label": name, "score": score} for name, score in top],
            },
        )

    samples.write(load_split("eval"), answer)


@torch.inference_mode()
def classify(model, processor, image, names, device):
    """[(class name, probability)], the three most likely first."""
    pixels = processor(image, return_tensors="pt")["pixel_values"].to(device)
    scores, classes = model(pixel_values=pixels).logits[0].float().softmax(-1).topk(min(3, len(names)))
    return [(names[i], round(score, 4)) for i, score in zip(classes.tolist(), scores.tolist(), strict=False)]


if __name__ == "__main__":
    main()
