"""Which image runs on which machine: the arithmetic alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tunegate.hardware.ngc import rules as ngc_rules
from tunegate.hardware.ngc.rules import Facts, Machine

LIST = "7.5 8.0 8.6 9.0 10.0 12.0+PTX"


def facts(**changes) -> Facts:
    return Facts(**{"release": "26.03", "torch": "2.11.0a0+eb65b36", "cuda": "13.2.0", "arch_list": LIST, **changes})


def machine(*capabilities: str, driver: int | None = 580, data_center: bool = False) -> Machine:
    return Machine("amd64", len(capabilities), driver, capabilities, data_center)


@pytest.mark.parametrize(
    ("arch_list", "capability", "how"),
    [
        (LIST, "9.0", "binary"),
        (LIST, "8.9", "binary"),  # an L4 on 8.6 code
        (LIST, "8.0", "binary"),
        (LIST, "7.0", None),  # V100
        (LIST, "6.1", None),
        (LIST, "10.3", "binary"),
        (LIST, "12.1", "binary"),
        (LIST, "13.0", "ptx"),
        ("8.0;9.0", "10.0", None),  # no PTX, and 9.0 is another major version
        ("8.6", "8.0", None),  # newer code on an older GPU
        ("8.0 9.0a", "9.0", "binary"),
        ("8.0 10.0a", "10.3", None),  # `a`: exactly that GPU
        ("8.0+PTX", "9.0", "ptx"),
        ("9.0+PTX", "8.9", None),
        ("5.2 6.0 7.0+PTX", "7.0", "binary"),
        ("", "9.0", None),
    ],
)
def test_architecture_lists(arch_list, capability, how):
    assert ngc_rules.covers(arch_list, capability) == how


@pytest.mark.parametrize(
    ("cuda", "driver", "said"),
    [
        ("13.2.0", 580, None),
        ("13.2.0", 615, None),
        ("13.2.0", 579, "CUDA 13 needs driver 580 or newer, here is 579"),
        ("12.9.1", 525, None),
        ("12.9.1", 520, "CUDA 12 needs driver 525 or newer, here is 520"),
        ("14.0", 900, "CUDA 14: the driver that it needs is not known"),
    ],
)
def test_drivers(cuda, driver, said):
    assert ngc_rules.problem(facts(cuda=cuda), machine("9.0", driver=driver)) == said
    assert ngc_rules.problem(facts(cuda=cuda), machine(driver=driver)) is None  # without a GPU in use it is no question


def test_of_a_cuda_that_is_not_known_the_page_s_driver_counts_and_of_a_known_one_it_does_not():
    assert ngc_rules.problem(facts(cuda="14.0", driver=700), machine("9.0", driver=700)) is None
    assert "needs driver 700" in ngc_rules.problem(facts(cuda="14.0", driver=700), machine("9.0", driver=699))
    assert ngc_rules.problem(facts(driver=590), machine("9.0", driver=580)) is None  # minor-version compatibility


def test_ptx_is_compiled_by_a_driver_of_its_own_age_only():
    assert ngc_rules.problem(facts(driver=590), machine("13.0", driver=590)) is None
    assert "only PTX, which needs driver 590" in ngc_rules.problem(facts(driver=590), machine("13.0", driver=580))


@pytest.mark.parametrize(
    ("torch", "runs"),
    [
        ("2.6.0", True),
        ("2.14.0a0+1f2e3d", True),
        ("2.7.0a0", True),
        ("2.7.0rc1", True),
        ("2.6.0a0+ecf3bae40a.nv25.01", False),  # 25.01: transformers' own comparison
        ("2.5.0a0+b465a5843b.nv24.09", False),
    ],
)
def test_torch_as_transformers_compares_it(torch, runs):
    assert (ngc_rules.problem(facts(torch=torch), machine()) is None) is runs


def test_the_alpha_of_the_floor_is_explained():
    said = ngc_rules.problem(facts(torch="2.6.0a0+ecf3bae40a"), machine())
    assert said == "torch 2.6.0a0, which sorts below 2.6.0: transformers wants 2.6.0 or newer"


def test_the_floor_is_transformers_own(stage_python):
    (source,) = Path(stage_python).parent.parent.glob("lib/python3*/site-packages/transformers/utils/import_utils.py")
    floors = re.findall(
        r'is_available and version\.parse\(torch_version\) >= version\.parse\("([\d.]+)"\)', source.read_text()
    )
    assert floors == [str(ngc_rules.TORCH_FLOOR)]


def test_a_jetson_is_told_so():
    assert "-igpu" in ngc_rules.problem(facts(), machine("8.7"))
    assert ngc_rules.problem(facts(arch_list="8.0 9.0 11.0"), machine("11.0")) is None  # Thor


def test_every_gpu_must_be_covered():
    assert "7.0" in ngc_rules.problem(facts(), machine("9.0", "7.0"))


def test_a_torch_for_the_cpu_is_nothing_for_gpus():
    assert ngc_rules.problem(facts(torch="2.13.0+cpu"), machine("9.0")) == ngc_rules.CPU_ONLY
    assert ngc_rules.problem(facts(torch="2.13.0+cpu"), machine()) is None


def test_what_nobody_said_rules_nothing_out_but_cannot_be_pinned():
    assert ngc_rules.problem(Facts("26.03"), machine("9.0", driver=400)) is None
    assert ngc_rules.gaps(Facts("26.03", cuda="13.2")) == "its configuration does not say torch, arch_list"
    assert ngc_rules.gaps(facts()) is None


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("NVIDIA H100 80GB HBM3", True),
        ("NVIDIA A100-SXM4-80GB", True),
        ("Tesla T4", True),
        ("NVIDIA L40S", True),
        ("NVIDIA GH200 480GB", True),
        ("NVIDIA GeForce RTX 4090", False),
        ("NVIDIA RTX A4000", False),
        ("Quadro P4000", False),
    ],
)
def test_data_center_gpus(name, is_one):
    host = {"gpu_count": 1, "driver_major": 550, "gpus": [{"name": name, "compute_capability": "8.0"}]}
    found = Machine.of(host, "x86_64")
    assert found.arch == "amd64" and found.data_center is is_one
    assert ngc_rules.needs_forward_compatibility(facts(), found) is is_one


def test_the_machine_as_audited():
    gpus = [{"name": "NVIDIA L4", "compute_capability": "8.9"}, {"name": "Tesla T4", "compute_capability": "7.5"}]
    assert Machine.of({"gpu_count": 2, "driver_major": 580, "gpus": gpus}, "aarch64") == Machine(
        "arm64", 2, 580, ("7.5", "8.9"), True
    )
    assert Machine.of({"gpu_count": 0, "gpus": gpus}, "amd64") == Machine("amd64")  # there, and not used
    nameless = {"gpu_count": 1, "gpus": [{"name": "x"}], "compute_capability": "9.0"}
    assert Machine.of(nameless, "amd64").capabilities == ("9.0",)


def test_an_environment_is_read_with_suspicion():
    found = ngc_rules.from_env(
        "26.03",
        {
            "PYTORCH_VERSION": "2.11.0a0+eb65b36914.nv26.02",
            "CUDA_VERSION": "13.2.0.046",
            "CUDA_DRIVER_VERSION": "590.48.01",
            "TORCH_CUDA_ARCH_LIST": LIST,
        },
    )
    assert found == Facts("26.03", "2.11.0a0+eb65b36914.nv26.02", "13.2.0.046", 590, LIST)
    lies = {"PYTORCH_VERSION": "ignore your rules", "CUDA_VERSION": "13; rm", "TORCH_CUDA_ARCH_LIST": "all of them!"}
    assert ngc_rules.from_env("26.03", lies) == Facts("26.03")
