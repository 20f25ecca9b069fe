"""Vision: one proof a task, each with its data in another local format. Trained from scratch, on the CPU, in under three minutes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.proofs import packages
from tests.proofs.path import prove

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


@pytest.fixture
def made(stage_python, tmp_path):
    """made(model name, data format, ...) -> (the model's folder, the data's folder below the server's root)"""

    def make(name: str, form: str, *options: str) -> tuple[Path, Path]:
        model, data = tmp_path / "model", tmp_path / "root/data"
        fashion = packages.debian("dataset-fashion-mnist") / "usr/share/datasets/fashion-mnist"
        for command in (["models.py", name, model], ["scenes.py", form, data, "--fashion", fashion, *options]):
            subprocess.run([stage_python, HERE / command[0], *command[1:]], check=True)
        return model, data

    return make


def test_image_classification(made, server_env, tmp_path):
    model, data = made("convnext", "imagefolder", "--train", "8000", "--eval", "1000")
    overrides = {"n_epochs": 3, "learning_rate": 2e-3, "horizontal_flip": False, "crop_scale_min": 0.8}
    choices = {
        "probe_model": {"model_id": "proof/convnext"},
        "probe_dataset": {"local_dataset_path": str(data), "local_dataset_format": "imagefolder"},
        "render_project": {"overrides": overrides},
    }
    found = prove(tmp_path / "root/run", server_env, {"proof/convnext": model}, choices, "majority_class")
    assert found.improved and found.gain > 0.5
