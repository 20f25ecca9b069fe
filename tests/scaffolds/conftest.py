"""A tiny real model, drawn images, and rendered projects that the stage environment's Python runs."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import pytest
import yaml

from tunegate.config import RunConfig
from tunegate.probe.dataset.local import read_local
from tunegate.probe.dataset.manifest import manifest_of
from tunegate.project import harness, render
from tunegate.readers import manifest

CLASSES = {"circle": (200, 60, 60), "square": (60, 180, 60), "triangle": (60, 60, 200)}
MAKE_MODEL = """
import sys
from transformers import ConvNextImageProcessorPil, ResNetConfig, ResNetForImageClassification, set_seed
set_seed(0)
config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=5)
ResNetForImageClassification(config).save_pretrained(sys.argv[1])
ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.875).save_pretrained(sys.argv[1])
"""


def draw(name: str, rng: random.Random, size: int = 40):
    """One shape on gray noise, a little different each time."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (size, size), (rng.randrange(90, 130),) * 3)
    x, y, r = rng.randrange(14, 26), rng.randrange(14, 26), rng.randrange(9, 13)
    color = tuple(channel + rng.randrange(-30, 30) for channel in CLASSES[name])
    pen = ImageDraw.Draw(image)
    if name == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=color)
    elif name == "square":
        pen.rectangle((x - r, y - r, x + r, y + r), fill=color)
    else:
        pen.polygon([(x - r, y + r), (x + r, y + r), (x, y - r)], fill=color)
    return image


@pytest.fixture(scope="session")
def shapes(tmp_path_factory) -> Path:
    """An imagefolder: 80 images of each of three classes."""
    folder, rng = tmp_path_factory.mktemp("shapes"), random.Random(0)
    for name in CLASSES:
        (folder / name).mkdir()
        for i in range(80):
            draw(name, rng).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def tiny_model(stage_python, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    subprocess.run([stage_python, "-c", MAKE_MODEL, folder], check=True, capture_output=True, env=environment())
    return folder


def environment() -> dict[str, str]:
    """As the server starts a stage: with what the harness wants in the environment, so that no script starts twice."""
    ours = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **harness.ENVIRONMENT, **harness.OF_LOGS, **ours}


class Project:
    """A rendered project on disk, run by hand as its README says."""

    def __init__(self, path: Path, python: str):
        self.path, self.python = path, python

    def run(self, *argv: str) -> subprocess.CompletedProcess:
        if argv[0] == "prepare_data.py" and not (self.path / "harness/dataset.json").exists():
            self.probe()  # the data came after the project
        return subprocess.run(
            [self.python, *argv],
            cwd=self.path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(),
            timeout=300,
        )

    def ok(self, *argv: str) -> str:
        done = self.run(*argv)
        assert done.returncode == 0, f"{argv} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def json(self, name: str):
        return json.loads((self.path / name).read_text())

    def rows(self, name: str) -> list[dict]:
        return [json.loads(line) for line in (self.path / name).read_text().splitlines()]

    def configure(self, **values) -> None:
        path = self.path / "config.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))
        if values.keys() & {"local_dataset_path", "local_dataset_format", "task"}:
            self.probe()

    def probe(self) -> None:
        """What probe_dataset would write down of the local dataset of config.yaml as it lies there now."""
        config = yaml.safe_load((self.path / "config.yaml").read_text())
        if config["local_dataset_path"] and Path(config["local_dataset_path"]).exists():
            put_manifest(self.path, config["local_dataset_path"], config["local_dataset_format"], config["task"])


def put_manifest(project: Path, data: str, kind: str, task: str) -> None:
    path = Path(data).resolve()
    table = read_local(path, kind, task)
    facts = {"splits": table.splits, "rows_partial": False, "class_counts": {}, "class_names": []}
    about = {"source": "local", "local_path": str(path)}
    (project / "harness/dataset.json").write_text(manifest.text_of(manifest_of(table, about, facts)))


def make_project(path: Path, python: str, *, model_id: str = "local/tiny", **values) -> Project:
    """Rendered as the server would; then config.yaml names what is on this disk, which RunConfig's Hub ids cannot."""
    config = render.with_defaults(
        RunConfig.model_validate(
            {
                "model_id": "local/tiny",
                "task": "image-classification",
                "training_method": "full",
                "platform": "local-process",
                **values,
            }
        ),
        {},
    )
    path.mkdir(parents=True, exist_ok=True)
    for name, text in render.render_files(config, {}).items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(text)
    (path / "config.yaml").write_text(yaml.safe_dump({**config.model_dump(), "model_id": model_id}))
    project = Project(path, python)
    project.probe()
    return project
