from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sealed import CONFIG
from tunegate import tasks
from tunegate.hardware import fit
from tunegate.hardware.fit import Plan
from tunegate.project import render

CONVNEXT = {
    "model_type": "convnext",
    "parameters": 28_589_128,
    "layout": {},
    "processor": {"size": {"shortest_edge": 224}},
}
LLAMA_8B = {
    "model_type": "llama",
    "parameters": 8_030_261_248,
    "layout": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "tie_word_embeddings": False,
    },
}
RTX_4090 = {"gpu_count": 1, "vram_gb_per_gpu": 24.0, "free_vram_gb": 23.6, "memory_gb": 64.0}
GPU = {"gpu_count": 1, "vram_gb_per_gpu": 80.0, "free_vram_gb": 79.0, "memory_gb": 200.0}
CPU = {"gpu_count": 0, "memory_gb": 16.0}


def judge(model: dict, host: dict = GPU, **changes) -> fit.Fit:
    config = CONFIG.model_copy(update={"gpu_count": host["gpu_count"], **changes})
    return fit.judge(model, host, config, render.plan_defaults(config))


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
    batch, accumulation = (int(word.strip(",")) for word in found.would_fit[0].split() if word.strip(",").isdigit())
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
        found = judge(bare(parameters), task="text-generation")
        assert found.recommend == "lora" and "Ask the user" in found.notes[-1]
        assert found.code == "too_large" and found.verdict.startswith("does not fit")
        assert not any("qlora" in said.lower() for said in (*found.notes, *found.would_fit)), "it is not rendered yet"
    assert judge(bare(7_000_000_000)).recommend is None, "no scaffold of image-classification trains an adapter"
    chosen = judge(bare(7_000_000_000), task="text-generation", training_method="lora")
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
    server = Path(fit.__file__).parents[2]
    code = f"import sys; sys.path.insert(0, {str(server)!r}); import tunegate.hardware.fit; print(sys.modules.keys() & {{'pydantic', 'mcp', 'yaml'}})"
    assert subprocess.run([sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_8b_lora_fits_on_24_gb_because_the_scaffold_checkpoints():
    """Refused at 30.1 GB, as if train.py kept every activation."""
    lora = judge(LLAMA_8B, RTX_4090, task="text-generation", training_method="lora")
    assert lora.code == "tight" and lora.needed_gb > 24, "at the scaffold's batch of 8"
    smaller = lora.would_fit[0]
    assert smaller.startswith(
        "per_device_train_batch_size 1 with gradient_accumulation_steps 16, the same effective batch"
    )
    off = judge(
        LLAMA_8B,
        RTX_4090,
        task="text-generation",
        training_method="lora",
        training_arguments={"activation_checkpointing": False},
    )
    assert off.code == "too_large" and "30." in off.verdict
    assert [said.split(" and ")[0] for said in off.would_fit] == [
        "training_arguments {'activation_checkpointing': True}"
    ]


def test_what_would_fit_is_said_in_the_order_of_how_much_it_changes():
    small = {**LLAMA_8B, "parameters": 1_200_000_000, "layout": {**LLAMA_8B["layout"], "num_hidden_layers": 8}}
    on_gpu = {"gpu_count": 1, "vram_gb_per_gpu": 28.0, "free_vram_gb": 28.0, "memory_gb": 64.0}
    arguments = {"activation_checkpointing": False}
    found = judge(small, on_gpu, task="text-generation", training_method="full", training_arguments=arguments)
    kinds = ["per_device", "training_arguments", "training_method lora"]
    positions = [next(i for i, said in enumerate(found.would_fit) if said.startswith(kind)) for kind in kinds]
    assert positions == sorted(positions) and found.code == "tight"
    vision = judge(bare(1_100_000_000), CPU)
    assert vision.code == "too_large" and vision.would_fit == [] and "a smaller model" in vision.notes[-1]


def rendered(files: dict[str, str], name: str):
    """What train.py gives its arguments class for a keyword: source text, or None."""
    calls = [node for node in ast.walk(ast.parse(files["train.py"])) if isinstance(node, ast.Call)]
    call = next(call for call in calls if any(given.arg == "output_dir" for given in call.keywords))
    return next((ast.unparse(given.value) for given in call.keywords if given.arg == name), None)


TRAININGS = [(task, method) for task, spec in tasks.TASKS.items() for method in spec.methods]


@pytest.mark.parametrize(
    "own", [{}, {"activation_checkpointing": True}, {"activation_checkpointing": False, "bf16": False}]
)
@pytest.mark.parametrize("gpus", [0, 1])
@pytest.mark.parametrize(("task", "method"), TRAININGS)
def test_the_plan_is_what_is_rendered(task, method, gpus, own):
    """Before anything is rendered, and after: the estimate is of the values that train.py will read."""
    config = CONFIG.model_copy(
        update={"task": task, "training_method": method, "gpu_count": gpus, "training_arguments": own, "lora_r": 8}
    )
    filled = render.with_defaults(config, {})
    files, values = render.render_files(filled, {}), filled.model_dump()
    before, after = (fit.plan_of(each, CONVNEXT, render.plan_defaults(each)) for each in (config, filled))
    assert before == after

    said = rendered(files, "activation_checkpointing")
    meaning = {None: False, "on_gpu": bool(gpus), "cfg['training_arguments']['activation_checkpointing']": own.get("activation_checkpointing")}  # fmt: skip
    assert before.checkpointing is meaning[said]
    mixed = rendered(files, "bf16")
    assert before.sample.amp is (own["bf16"] if "bf16" in own else mixed == "training.supports_bf16()" and bool(gpus))
    assert (
        before.batch == values["per_device_train_batch_size"]
        and before.accumulation == values["gradient_accumulation_steps"]
    )
    assert (
        before.method == ("lora" if "LoraConfig" in files["model.py"] else "full") and before.lora_r == values["lora_r"]
    )
    if values["max_length"]:
        assert before.sample.tokens == values["max_length"] * (2 if method == "dpo" else 1)


@pytest.mark.parametrize("task", ["instance-segmentation", "panoptic-segmentation", "object-detection"])
def test_the_size_is_that_of_the_task_s_model_py(task):
    config = CONFIG.model_copy(update={"task": task, "gpu_count": 1, "image_size": 480})
    model = {"processor": {"size": {"shortest_edge": 800, "longest_edge": 1333}}}
    sample = fit.plan_of(config, model, render.plan_defaults(config)).sample
    assert (sample.height, sample.width) == ((480, 800) if task == "object-detection" else (480, 480))
    plain = config.model_copy(update={"image_size": None})
    sample = fit.plan_of(plain, model, render.plan_defaults(plain)).sample
    assert (sample.height, sample.width) == ((800, 1333) if task == "object-detection" else (512, 512))


def test_a_frozen_base_is_float32_on_a_cpu_and_adapters_grow_with_their_rank():
    """As load_model of the scaffolds does."""
    on_gpu, on_cpu = (fit.estimate(bare(10**9), Plan("lora", gpus=gpus)).terms_gb for gpus in (1, 0))
    assert on_gpu["weights"] == pytest.approx(2.04) and on_cpu["weights"] == pytest.approx(4.04)
    large = fit.estimate(bare(10**9), Plan("lora", lora_r=64)).terms_gb
    assert large["gradients"] == pytest.approx(4 * on_gpu["gradients"])
