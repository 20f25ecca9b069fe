"""`python models.py NAME OUT [SEED]`, run in the stage environment: a small untrained model and its processor, as a repository's files.

Each is a published architecture at a size that two cores train in minutes; nothing is pretrained, which the card says.
"""

import sys
from pathlib import Path

import transformers as hf

MEAN = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
CARD = "---\nlicense: apache-2.0\nlibrary_name: transformers\npipeline_tag: {task}\n---\n# {name}: small, from its config, not trained\n"


def convnext():
    config = hf.ConvNextConfig(patch_size=2, hidden_sizes=[32, 64, 128, 192], depths=[1, 1, 2, 1], num_labels=10)
    processor = hf.ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=1.0, **MEAN)
    return hf.ConvNextForImageClassification(config), processor


MODELS = {"convnext": ("image-classification", convnext)}


def main(name, out, seed):
    hf.set_seed(seed)
    task, make = MODELS[name]
    model, processor = make()
    model.save_pretrained(out)
    processor.save_pretrained(out)
    (out / "README.md").write_text(CARD.format(task=task, name=name))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
