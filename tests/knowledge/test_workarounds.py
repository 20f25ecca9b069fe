from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version
from pydantic import ValidationError

from tests import sealed
from tunegate.config import RunConfig
from tunegate.errors import ToolFailure
from tunegate.knowledge import workarounds
from tunegate.knowledge.workarounds import Condition, Detect, Fix
from tunegate.paths import data_dir
from tunegate.platforms.local_docker.platform import LocalDocker
from tunegate.platforms.local_process.platform import LocalProcess
from tunegate.rundir import Run

CONFIG = RunConfig(model_id="org/model", task="image-classification", training_method="full", platform="local-process")
PINS = {"versions.transformers": "5.23.0", "versions.datasets": "5.2.0"}
HERE = {"task": "image-classification", "platform": "local-process", "training_method": "full", **PINS}
HERE_RUNS = LocalProcess().versions
VLM = {"task": "image-text-to-text", "platform": "slurm"}
GQA = {"image.tag": "24.09", "model.grouped_query_attention": True}
SMOL = {**VLM, "model.model_type": "smolvlm", "training_method": "lora"}
DETR = {"task": "object-detection", "model.model_type": "detr"}
IDEFICS = {"model.model_type": "idefics3", "versions.transformers": "4.57.3"}
T4 = {"gpu.count": 1, "gpu.compute_capability": "7.5"}
ADA = {"gpu.count": 2, "gpu.name": "NVIDIA GeForce RTX 4090", "gpu.driver_major": 535}
TODAYS = [  # what every image-classification run gets
    "warmup-ratio-removed",
    "training-arguments-removed",
    "trainer-processing-class",
    "script-datasets-refused",
    "nan-loss-hidden",
    "evaluate-script-name",
]

# id -> contexts in which its rule fires, and contexts in which it does not
CASES = {
    "warmup-ratio-removed": (
        [PINS, {"versions.transformers": "5.15.0"}],
        [{"versions.transformers": "5.14.1"}, {"versions.transformers": "4"}, {}],
    ),
    "training-arguments-removed": (
        [PINS, {"versions.transformers": "5.0.0"}],
        [{"versions.transformers": "4.57.3"}, {}],
    ),
    "trainer-processing-class": ([PINS], [{"versions.transformers": "4.57.3"}, {}]),
    "script-datasets-refused": ([PINS], [{"versions.datasets": "3.6.0"}, {}]),
    "nan-loss-hidden": ([PINS], [{"versions.transformers": "4.11.0"}, {}]),
    "evaluate-script-name": ([HERE, VLM], [{}, {"task": None}]),
    "image-processor-without-torchvision": (
        [HERE],
        [
            {**HERE, "versions.torchvision": "0.28.0"},
            {**HERE, "task": "text-generation"},
            {**HERE, "platform": "local-docker"},
            {**HERE, "versions.transformers": "4.57.0"},
        ],
    ),
    "full-finetune-float32": (
        [HERE],
        [{**HERE, "training_method": "lora"}, {**HERE, "versions.transformers": "4.57.0"}],
    ),
    "hub-xet-off": ([{"env.HF_HUB_DISABLE_XET": "1"}], [{}, {"env.HF_HUB_OFFLINE": "1"}]),
    "vlm-max-length": ([VLM], [HERE]),
    "sdpa-gqa-2409": (
        [GQA],
        [{**GQA, "image.tag": "25.01"}, {**GQA, "model.grouped_query_attention": False}, {"image.tag": "24.09"}],
    ),
    "vlm-heterogeneous-tiles": ([SMOL], [{**SMOL, "model.model_type": "qwen2_vl"}, VLM, HERE]),
    "lora-text-tower": (
        [SMOL, {**SMOL, "training_method": "qlora"}],
        [{**SMOL, "training_method": "full"}, {**HERE, "training_method": "lora"}],
    ),
    "idefics3-generate": (
        [IDEFICS, {**IDEFICS, "versions.transformers": "4.51.0"}],
        [
            {**IDEFICS, "versions.transformers": "5.23.0"},
            {**IDEFICS, "versions.transformers": "4.49.0"},
            {**IDEFICS, "model.model_type": "qwen2_vl"},
        ],
    ),
    "detr-pad-per-image": ([DETR], [{**DETR, "model.model_type": "rt_detr"}, {**DETR, "task": "image-classification"}]),
    "timm-backbone": ([{"model.needs_timm": True}], [{"model.needs_timm": False}, HERE, DETR]),
    "sft-max-length": ([{"task": "text-generation"}], [HERE, VLM]),
    "ngc-pip-constraint": ([{"image.tag": "25.03"}, {"image.tag": "26.09"}], [{"image.tag": "25.02"}, HERE]),
    "pip-cache-purge": ([{"image.tag": "24.09"}], [HERE]),
    "find-packages-empty": ([HERE], [{}]),
    "bf16-emulated": (
        [T4, {**T4, "gpu.compute_capability": "7.0"}],
        [{**T4, "gpu.compute_capability": "8.0"}, {**T4, "gpu.compute_capability": "12.0"}, {"gpu.count": 1}, HERE],
    ),
    "rtx40-p2p": (
        [ADA],
        [
            {**ADA, "gpu.count": 1},
            {**ADA, "gpu.driver_major": 580},
            {**ADA, "gpu.name": "NVIDIA H100 80GB HBM3"},
            {**ADA, "gpu.name": "NVIDIA GeForce RTX 5090"},
        ],
    ),
}


def test_every_workaround_has_cases():
    assert sorted(CASES) == sorted(w.id for w in workarounds.load())


@pytest.mark.parametrize("name", CASES)
def test_detect_fires_and_does_not(name):
    rule = next(w.detect for w in workarounds.load() if w.id == name)
    fires, silent = CASES[name]
    assert [rule.matches(context) for context in fires] == [True] * len(fires)
    assert [rule.matches(context) for context in silent] == [False] * len(silent)


def test_entries_are_complete():
    for workaround in workarounds.load():
        assert workaround.title.endswith(".") and workaround.symptom and workaround.cause and workaround.holds_for
        assert all(re.fullmatch(r"https://\S+[a-z0-9]", url) for url in workaround.references)


def test_page_is_dated():
    assert re.search(r"20\d\d-\d\d-\d\d", (data_dir("references") / workarounds.PAGE).read_text().split("## ")[0])


def test_context_is_flat(monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecretsecret")
    config = CONFIG.model_copy(update={"ngc_image": "nvcr.io/nvidia/pytorch:24.09-py3", "gpu_name": "H100"})
    facts = {
        "model_type": "llama",
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "processor": {"size": {"height": 224}},
        "architectures": ["A"],
        "config": {"batch_norm_momentum": 0.99},
    }
    found = workarounds.context(config, HERE_RUNS, facts)
    assert {
        k: found[k]
        for k in (
            "task",
            "image.tag",
            "gpu.name",
            "model.model_type",
            "model.processor.size.height",
            "model.grouped_query_attention",
            "model.config.batch_norm_momentum",
            "env.HF_HUB_DISABLE_XET",
        )
    } == {
        "task": "image-classification",
        "image.tag": "24.09",
        "gpu.name": "H100",
        "model.model_type": "llama",
        "model.processor.size.height": 224,
        "model.grouped_query_attention": True,
        "model.config.batch_norm_momentum": 0.99,
        "env.HF_HUB_DISABLE_XET": "1",
    }
    assert "hf_secret" not in str(found)
    assert "sdpa-gqa-2409" in [w.id for w in workarounds.applicable(found, skip=[])]


def test_applicable_to_todays_image_classification(monkeypatch):
    monkeypatch.delenv("HF_HUB_DISABLE_XET", raising=False)
    found = workarounds.applicable(workarounds.context(CONFIG, HERE_RUNS, {"num_attention_heads": None}), skip=[])
    assert [w.id for w in found] == [
        *TODAYS,
        "image-processor-without-torchvision",
        "full-finetune-float32",
        "find-packages-empty",
    ]


def test_a_container_s_torch_is_the_image_s_not_the_pinned_one():
    docker = CONFIG.model_copy(update={"platform": "local-docker"})
    assert workarounds.context(CONFIG, HERE_RUNS, {})["versions.torch"] == workarounds.pinned_versions()["torch"]
    assert workarounds.context(docker, LocalDocker().versions, {})["versions.torch"] is None
    assert (
        workarounds.context(docker, LocalDocker().versions, {}, {}, {"torch": "2.14.0a0"})["versions.torch"]
        == "2.14.0a0"
    )
    assert workarounds.context(docker, LocalDocker().versions, {})["versions.transformers"]


def test_the_weakest_gpu_decides():
    host = {"gpus": [{"compute_capability": "12.0"}, {"compute_capability": "7.5"}, {"compute_capability": None}, "x"]}
    two = CONFIG.model_copy(update={"gpu_count": 2})
    assert workarounds.context(two, HERE_RUNS, {}, host)["gpu.compute_capability"] == "7.5"
    assert (
        workarounds.context(CONFIG.model_copy(update={"gpu_count": 0}), HERE_RUNS, {}, host)["gpu.compute_capability"]
        is None
    )
    assert workarounds.context(two, HERE_RUNS, {}, {})["gpu.compute_capability"] is None


def test_hardware_and_image_decide_again_in_step_2(tmp_path):
    run = sealed.build(Run(tmp_path), until="dataset")
    first = workarounds.review(run, CONFIG, HERE_RUNS)
    assert "bf16-emulated" not in first.applicable_workarounds
    host = {"gpus": [{"name": "Tesla T4", "compute_capability": "7.5"}]}
    tag = {"platform": "local-docker", "ngc_image": "nvcr.io/nvidia/pytorch:26.09-py3", "gpu_count": 1}
    second = workarounds.review(run, first.model_copy(update=tag), LocalDocker().versions, host=host)
    gained = set(second.applicable_workarounds) - set(first.applicable_workarounds)
    assert gained == {"bf16-emulated", "ngc-pip-constraint", "pip-cache-purge"}
    assert "workaround bf16-emulated: mixed precision is fp16 with loss scaling" in second.notes
    assert "workaround image-processor-without-torchvision: does not apply any more" in second.notes
    assert workarounds.review(run, second, LocalDocker().versions, host=host) == second, "a second look changes nothing"
    skipping = second.model_copy(update={"skip_workarounds": ["bf16-emulated"]})
    third = workarounds.review(run, skipping, LocalDocker().versions, host=host)
    assert "bf16-emulated" not in third.applicable_workarounds
    assert third.notes[-1] == "workaround bf16-emulated: skipped by the user"


def test_notes_say_applied_and_skipped_once():
    matching = workarounds.applicable({**HERE, **GQA}, skip=["nan-loss-hidden", "sdpa-gqa-2409", "vlm-max-length"])
    lines = workarounds.notes(matching, CONFIG)
    assert [line for line in lines if line.startswith("workaround full-finetune-float32: the model is loaded")]
    assert "workaround sdpa-gqa-2409: skipped by the user" in lines
    assert "workaround nan-loss-hidden: skipped by the user; the scaffold keeps to it until its file is edited" in lines
    assert not [line for line in lines if "vlm-max-length" in line], "skipped but not matching: nothing to say"
    assert workarounds.notes(matching, CONFIG.model_copy(update={"notes": lines})) == []


def test_unknown_skip_id_is_refused():
    with pytest.raises(ToolFailure) as caught:
        workarounds.applicable(HERE, skip=["nan-los-hidden"])
    assert (
        caught.value.code == "invalid_config"
        and "nan-los-hidden" in str(caught.value)
        and "nan-loss-hidden" in str(caught.value)
    )


@pytest.mark.parametrize(
    ("op", "value", "found", "expected"),
    [
        ("eq", "a", "a", True),
        ("eq", "a", "b", False),
        ("in", ["a", "b"], "b", True),
        ("in", ["a"], "b", False),
        ("contains", "rope", ["RoPE", "x"], True),
        ("contains", "idefics", "Idefics3For", True),
        ("contains", "x", 7, False),
        ("lt", 0.5, 0.1, True),
        ("lt", 0.5, 0.5, False),
        ("gte", 580, 580, True),
        ("gte", "2.6", "2.6.0a0", False),
        ("lt", "5.15", "5.9", True),
        ("gte", "5", "not a version", False),
        ("exists", True, 0, True),
        ("exists", False, None, True),
        ("exists", False, "x", False),
    ],
)
def test_operators(op, value, found, expected):
    assert Condition(field="model.x", op=op, value=value).holds({"model.x": found}) is expected


@pytest.mark.parametrize("op", ["eq", "contains", "lt", "gte"])
def test_missing_field_fails_every_test(op):
    assert not Condition(field="model.x", op=op, value="1").holds({})


NUMBERS = st.lists(st.integers(0, 30), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
VERSIONS = st.builds(lambda number, pre: number + pre, NUMBERS, st.sampled_from(["", "", "a0", "rc1"]))


@given(VERSIONS, NUMBERS)
def test_versions_order_as_packaging_does(found, bound):
    assert Condition(field="versions.x", op="lt", value=bound).holds({"versions.x": found}) is (
        Version(found) < Version(bound)
    )
    assert Condition(field="versions.x", op="gte", value=bound).holds({"versions.x": found}) is (
        Version(found) >= Version(bound)
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: Detect(),
        lambda: Condition(field="os.system", op="eq", value=1),
        lambda: Condition(field="task", op="regex", value="x"),
        lambda: Condition(field="task", op="in", value="x"),
        lambda: Condition(field="task", op="eq", value=["x"]),
        lambda: Fix(kind="rule", values={"a": 1}),
        lambda: Fix(kind="env"),
        lambda: Fix(kind="config", values={"no_such_key": 1}),
        lambda: Fix(kind="config", lines=["RUN true"]),
        lambda: Fix(kind="dockerfile", values={"a": 1}),
        lambda: Fix(kind="dockerfile", lines=["COPY secret /"]),
        lambda: Fix(kind="dockerfile", lines=["RUN true\nUSER root"]),
        lambda: Fix(kind="requirement", values={"torch": "2.13.0"}),
        lambda: Fix(kind="requirement", values={"tokenizers": ">=0.21"}),
        lambda: Fix(kind="env", values={"A B": "1"}),
        lambda: Fix(kind="env", values={"LD_PRELOAD": "x; rm -rf /"}),
        lambda: Fix(kind="rule", forbids=[{"text": "x"}]),
        lambda: Detect.model_validate({"all": [{"field": "task", "op": "exists", "eval": "1"}]}),
    ],
)
def test_malformed_rules_are_refused(make):
    with pytest.raises(ValidationError):
        make()
