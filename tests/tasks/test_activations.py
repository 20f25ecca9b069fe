"""The formulas against the modules themselves: benchmarks/memory.py counts what autograd saves, in the stage environment."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tunegate.tasks import activations
from tunegate.tasks.activations import Sample

ROOT = Path(__file__).parents[2]


def run_benchmark(stage_python: str, *argv: str) -> dict:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "server"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [stage_python, ROOT / "benchmarks/memory.py", *argv], env=environment, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((Path(argv[1]) / "memory.json").read_text())


def test_every_formula_agrees_with_what_autograd_saves(stage_python, tmp_path):
    rows = run_benchmark(stage_python, "count", str(tmp_path))["rows"]
    assert {row["task"] for row in rows} >= {"image-classification", "object-detection", "semantic-segmentation"}
    assert len(rows) == 2 * len({row["model"] for row in rows}) >= 24
    off = [row for row in rows if not 0.95 < row["formula/counted"] < 1.05]
    assert not off


def test_the_benchmark_runs_where_the_server_is_not_installed(stage_python, tmp_path):
    rows = run_benchmark(stage_python, "train", str(tmp_path), "--tiny")["rows"]
    assert len(rows) == 4 and not [row for row in rows if "failed" in row]
    assert (tmp_path / "memory.md").read_text().startswith("| model | task |")


def test_an_architecture_without_a_formula_is_not_guessed_at():
    assert activations.count("perceiver", {}, Sample()) is None
    assert activations.count("llama", {"hidden_size": 64}, Sample()) is None  # a config that leaves out what is read


@pytest.mark.parametrize("value", ["wide", [], -1, {"a": 1}, True, 10**400])
def test_odd_configs_raise_nothing(value):
    for name in activations.FORMULAS:
        activations.count(name, dict.fromkeys(activations.FORMULA_KEYS, value), Sample())


def test_the_layout_keeps_numbers_and_nothing_else():
    config = {
        "model_type": "detr",
        "d_model": 256,
        "depths": [3, 4],
        "id2label": {"0": "cat"},
        "hidden_sizes": ["a"],
        "backbone_config": {"model_type": "resnet", "hidden_sizes": [8, 16], "secret": "x"},
    }
    assert activations.layout(config) == {
        "model_type": "detr",
        "d_model": 256,
        "depths": [3, 4],
        "backbone_config": {"model_type": "resnet", "hidden_sizes": [8, 16]},
    }
    assert activations.layout({"image_size": [1] * 1000, "backbone": "x" * 1000}) == {}


def test_checkpointing_keeps_inputs_and_computes_one_layer_again():
    saved = activations.count("vit", {}, Sample())
    assert saved.total(True) + saved.working(True) < saved.total() / 4
    assert saved.total(True) == saved.other + sum(saved.inputs) and saved.working(True) == 1.5 * saved.layers[0]
    assert activations.count("vit", {}, Sample(384, 384)).total() > 2.5 * saved.total()


def test_the_loss_of_a_large_vocabulary_counts():
    sizes = {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14}
    small, large = (activations.count("qwen2", {**sizes, "vocab_size": v}, Sample()) for v in (1000, 151_936))
    assert large.total() - small.total() == 4 * 1024 * 150_936
    assert large.working() == 2 * 4 * 1024 * 151_936
