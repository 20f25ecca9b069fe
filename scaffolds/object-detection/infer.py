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
"""Five evaluation images with the tuned model's boxes: reports/inference_samples/<i>_{input.jpg,pred.jpg,meta.json}.

python infer.py
"""

from harness import captions, overlays, samples
from harness.project import find_device, load_config, load_meta, load_split, tuned_folder
from model import load_tuned, load_tuned_processor
from run_eval import predict

SHOWN = 0.5  # score from which a detection is drawn; where none reaches it, the surest one is


def main():
    folder = tuned_folder()
    names, dataset = load_meta()["class_names"], load_split("eval")
    model, processor = load_tuned(folder).to(find_device(load_config())), load_tuned_processor(folder)

    colors = [tuple(color) for color in overlays.palette(len(names)).tolist()]

    def answer(row):
        """What the model found, beside what is there."""
        [found] = predict(model, processor, None, [row["image"]], 1)
        image, shown = row["image"].convert("RGB"), [one for one in found if one[1] >= SHOWN] or found[:1]
        picture = captions.enlarged(image)
        scale = picture.width / image.width
        left = [
            ([value * scale for value in box], f"{names[label]} {score:.0%}", colors[label])
            for label, score, box in reversed(shown)
        ]
        right = [
            ([value * scale for value in box], names[label], colors[label])
            for label, box in zip(row["categories"], row["boxes"], strict=False)
        ]
        lines = [f"left: predicted ({len(shown)}), right: true ({len(right)})"]
        picture = overlays.beside(overlays.boxed(picture, left), overlays.boxed(picture, right))
        return (
            image,
            captions.captioned(picture, lines),
            {
                "label": [
                    {"class": names[category], "bbox": box}
                    for box, category in zip(row["boxes"], row["categories"], strict=False)
                ],
                "prediction": [
                    {"class": names[label], "score": round(score, 4), "bbox": [round(value, 1) for value in box]}
                    for label, score, box in shown
                ],
            },
        )

    samples.write(dataset, answer)


if __name__ == "__main__":
    main()
