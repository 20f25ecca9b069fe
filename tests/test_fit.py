from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.sealed import CONFIG
from tunegate import fit, render
from tunegate.fit import Plan

CONVNEXT = {
    "model_type": "convnext",
    "parameters": 28_589_128,
    "layout": {},
    "processor": {"size": {"shortest_edge": 224}},
}
DEFAULTS = render.training_defaults("image-classification")
GPU = {"gpu_count": 1, "vram_gb_per_gpu": 80.0, "free_vram_gb": 79.0, "memory_gb": 200.0}
CPU = {"gpu_count": 0, "memory_gb": 16.0}


def judge(model: dict, host: dict = GPU, **changes) -> fit.Fit:
    config = CONFIG.model_copy(update={"gpu_count": host["gpu_count"], **changes})
    return fit.judge(model, host, config, DEFAULTS)


def bare(parameters: int | None) -> dict:
    return {"parameters": parameters, "model_type": "novel"}


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        (4_000_000, "fits: 0.76 GB of states"),
        (860_000_000, "tight: 14.46 GB"),
        (1_100_000_000, "does not fit: 18.3 GB"),
        (None, "unknown"),
        (0, "unknown"),
    ],
)
def test_states_alone_where_no_formula_knows_the_activations(parameters, says):
    found = judge(bare(parameters), CPU)
    assert found.verdict.startswith(says)
    states = sum(found.terms_gb.get(name, 0) for name in ("weights", "gradients", "optimizer"))
    assert states == pytest.approx((parameters or 0) * 16 / 1e9)
    assert bool(parameters) == any("no formula" in note for note in found.notes)


def test_the_terms_are_shown_and_the_batch_counts():
    found = judge(CONVNEXT)
    assert list(found.terms_gb) == [
        "weights",
        "gradients",
        "optimizer",
        "bf16_copies",
        "activations",
        "working",
        "workspace",
        "overhead",
    ]
    assert found.verdict.startswith("fits") and "at a batch of 32" in found.verdict and not found.notes
    twice = judge(CONVNEXT, per_device_train_batch_size=64)
    assert twice.terms_gb["activations"] == pytest.approx(2 * found.terms_gb["activations"], abs=0.002)
    assert judge(CONVNEXT, image_size=448).terms_gb["activations"] > 3.9 * found.terms_gb["activations"]


def test_free_memory_decides_and_the_effective_batch_stays():
    found = judge(CONVNEXT, {**GPU, "free_vram_gb": 2.5}, per_device_train_batch_size=64)
    assert found.verdict.startswith("tight") and "against 2.5 GB of free GPU memory (of 80.0 GB)" in found.verdict
    batch, accumulation = (int(word) for word in found.notes[0].split() if word.isdigit())
    assert batch * accumulation == 64 and batch < 64
    again = judge(
        CONVNEXT,
        {**GPU, "free_vram_gb": 2.5},
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
    )
    assert again.verdict.startswith("fits"), again.verdict
    assert judge(CONVNEXT, {**GPU, "free_vram_gb": 0.9}).verdict.startswith("does not fit")


def test_gradients_add_to_activations_only_with_accumulation():
    one, two = (fit.estimate(CONVNEXT, Plan(batch=32, accumulation=a)) for a in (1, 2))
    assert two.allocated_gb - one.allocated_gb == pytest.approx(one.terms_gb["gradients"], abs=1e-3)
    assert fit.estimate(CONVNEXT, Plan(gpus=2)).terms_gb["ddp_buckets"] == one.terms_gb["gradients"]
    assert "bf16_copies" not in fit.estimate(CONVNEXT, Plan(gpus=0)).terms_gb


def test_lora_is_recommended_over_60_percent_and_never_switched_on():
    assert judge(bare(2_400_000_000)).recommend is None
    for parameters in (7_000_000_000, 30_000_000_000):
        found = judge(bare(parameters))
        assert found.recommend == "lora" and "Ask the user" in found.notes[-1] and "QLoRA" in found.notes[-1]
        assert found.verdict.startswith("does not fit")
    chosen = judge(bare(7_000_000_000), training_method="lora")
    assert chosen.verdict.startswith("fits") and chosen.recommend is None
    assert chosen.terms_gb["weights"] == pytest.approx(14, rel=0.05)


@pytest.mark.parametrize(
    ("batch", "accumulation", "at_most", "expected"),
    [
        (32, 1, 16, (16, 2)),
        (6, 1, 4, (3, 2)),
        (5, 1, 2, (1, 5)),
        (8, 4, 16, (16, 2)),
        (1, 3, 0, (1, 3)),
        (12, 1, 7, (6, 2)),
    ],
)
def test_a_split_keeps_the_product(batch, accumulation, at_most, expected):
    assert fit.split(batch, accumulation, at_most) == expected
    assert expected[0] * expected[1] == batch * accumulation


def test_what_a_measured_peak_asks_for():
    tight = fit.weigh(Plan(batch=32), 9.5, 10.0, 1.5)
    assert not tight.over and tight.split == (16, 2) and "is close to" in tight.note
    over = fit.weigh(Plan(batch=32), 30.0, 10.0, 1.0)
    assert over.over and over.split == (8, 4) and "is above" in over.note
    assert fit.weigh(Plan(batch=32), 11.0, 10.0, None).split == (16, 2)
    assert fit.weigh(Plan(batch=1), 11.0, 10.0, 1.0).split is None
    assert fit.weigh(Plan(), 7.0, 10.0, 1.0) == fit.Measured()
    assert "ask the user" in fit.weigh(Plan(), 1.0, 10.0, 1.0).note
    assert "per_device_train_batch_size 16" in fit.weigh(Plan(batch=8, accumulation=2), 1.0, 10.0, 1.0).note


CONVNEXT = {"model_type": "convnext", "parameters": 28_000_000, "layout": {}}


@pytest.mark.parametrize(
    ("vram", "plan", "expected"),
    [
        (80.0, Plan(batch=32, accumulation=2), (64, 1)),
        (80.0, Plan(batch=32, accumulation=64), (512, 4)),  # as much of it as half of the GPU holds
        (4.0, Plan(batch=32, accumulation=2), None),
        (80.0, Plan(batch=64), None),
        (80.0, Plan(batch=32, accumulation=2, gpus=0), None),  # a CPU gains nothing
    ],
)
def test_accumulation_that_a_gpu_does_not_need_is_undone(vram, plan, expected):
    host = {"gpu_count": 1, "vram_gb_per_gpu": vram, "memory_gb": 16}
    found = fit.in_fewer_passes(CONVNEXT, host, plan)
    assert (found and found[:2]) == expected
    if found:
        assert found[0] * found[1] == plan.batch * plan.accumulation
        at = Plan(batch=found[0], accumulation=found[1])
        assert fit.estimate(CONVNEXT, at).needed_gb <= vram / 2 and f"-> {found[0]}" in found[2]
    assert fit.in_fewer_passes({**CONVNEXT, "model_type": "unheard-of"}, host, plan) is None


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"processor": {"size": {"shortest_edge": 800, "longest_edge": 1333}}}, (800, 1333)),
        ({"processor": {"size": {"height": 480, "width": 640}}}, (480, 640)),
        ({"processor": {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}}, (224, 224)),
        ({"processor": {"size": 384}}, (384, 384)),
        ({"image_size": [512, 256]}, (512, 256)),
        ({}, (224, 224)),
    ],
)
def test_the_size_of_an_image(model, expected):
    assert fit._pixels(None, model) == expected and fit._pixels(96, model) == (96, 96)


def test_it_needs_nothing_but_the_standard_library():
    """The benchmark imports it on a machine without the server's packages."""
    server = Path(fit.__file__).parents[1]
    code = f"import sys; sys.path.insert(0, {str(server)!r}); import tunegate.fit; print(sys.modules.keys() & {{'pydantic', 'mcp', 'yaml'}})"
    assert subprocess.run([sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True).stdout == "set()\n"
