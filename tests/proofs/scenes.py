"""`python scenes.py FORMAT OUT --fashion DIR [...]`, run in the stage environment: the proofs' data, as files of a local format.

Real: Fashion-MNIST's photographs of clothes (28 px, grey).
"""

import argparse
import gzip
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"]


def fashion(folder, train):
    """(pictures (n, 28, 28) uint8, labels (n)) of Fashion-MNIST's own training or test set."""
    name = "train" if train else "t10k"
    images, labels = (
        gzip.decompress((folder / f"{name}-{part}-ubyte.gz").read_bytes()) for part in ("images-idx3", "labels-idx1")
    )
    return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)


def imagefolder(out, options):
    """<split>/<class>/<number>.png: Fashion-MNIST as it is."""
    for split, train, count in (("train", True, options.train), ("test", False, options.eval)):
        pictures, labels = fashion(options.fashion, train)
        for number in np.random.default_rng(options.seed).permutation(len(labels))[:count]:
            folder = out / split / NAMES[labels[number]]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pictures[number]).save(folder / f"{number}.png")


FORMATS = {"imagefolder": imagefolder}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--fashion", type=Path, required=True, help="Fashion-MNIST's four files")
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--eval", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    FORMATS[chosen.format](chosen.out, chosen)
