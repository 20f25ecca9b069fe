"""The stages of a project: one row each. What runs them is the stages room; where they run is platforms."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

StageName = Literal[
    "build", "check_api", "test", "prepare", "smoke", "baseline", "train", "merge", "eval", "infer", "report"
]

SCRIPTS = ("prepare_data.py", "train.py", "merge_lora.py", "run_eval.py", "infer.py", "report.py")
HARNESS = ("harness/*", "harness/*/*.py")  # all of it; what Python compiles lies a level deeper, and is no .py
MODULES = ("*.py", *HARNESS)  # what a script may import: all modules but the other stages' scripts
DATA = ("data/meta.json", "data/*/*.arrow", "data/*/*.json")
SHOWN = ("reports/eval_results.json", "reports/baseline_results.json", "reports/inference_samples/*")  # in the report
WEIGHTS = ("checkpoints/final/*",)
MERGED = ("checkpoints/merged/*",)
HUB_SECRETS = ("HF_TOKEN",)
# Whatever settings lie in the run are not pytest's: with one of them, tests could be left out.
PYTEST = ("-m", "pytest", "-q", "-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider", "--junitxml", "reports/tests.xml", "tests")  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """argv after the interpreter; `needs` are the stages whose evidence must hold; `gate` is the gate before it.

    `secrets` are passed on only where the model or the dataset is gated or private. `option`: the config key that must be on.
    network, gpu: what its container has; without, none.
    """

    argv: tuple[str, ...]
    uses: tuple[str, ...]
    makes: tuple[str, ...]
    needs: tuple[str, ...] = ()
    gate: int | None = None
    secrets: tuple[str, ...] = ()
    option: str | None = None
    network: bool = False
    gpu: bool = False


STAGES: dict[str, Stage] = {
    "build": Stage((), ("requirements*.txt", "Dockerfile"), ("reports/build.json",)),
    "check_api": Stage(("-m", "harness.check_api"), MODULES, ("reports/check_api.json",), ("build",)),
    "test": Stage(
        PYTEST,
        ("tests/*.py", "train.py", "prepare_data.py", *MODULES),
        ("reports/tests.xml",),
        ("build",),
        secrets=HUB_SECRETS,
        option="emit_unit_tests",
        network=True,
        gpu=True,
    ),
    "prepare": Stage(
        ("prepare_data.py",), ("prepare_data.py", *MODULES), DATA, ("build",), secrets=HUB_SECRETS, network=True
    ),
    "smoke": Stage(
        ("-m", "harness.smoke"),  # the guarded script itself, which `train.py --smoke` only calls
        ("train.py", *MODULES, *DATA),
        ("reports/smoke.json",),
        ("build", "check_api", "prepare"),
        secrets=HUB_SECRETS,
        network=True,
        gpu=True,
    ),
    "baseline": Stage(
        ("run_eval.py", "--baseline"),
        ("run_eval.py", *MODULES, *DATA),
        ("reports/baseline_*",),
        gate=4,
        secrets=HUB_SECRETS,
        network=True,
        gpu=True,
    ),
    "train": Stage(
        ("train.py",),
        ("train.py", *MODULES, *DATA),
        (*WEIGHTS, "logs/train.jsonl", "logs/steps.jsonl", "reports/train.json"),
        gate=4,
        secrets=HUB_SECRETS,
        network=True,
        gpu=True,
    ),
    "merge": Stage(
        ("merge_lora.py",),
        ("merge_lora.py", *MODULES, *DATA, *WEIGHTS),
        (*MERGED, "reports/merge.json"),
        ("train",),
        gate=4,
        secrets=HUB_SECRETS,
        network=True,
    ),
    "eval": Stage(
        ("run_eval.py",),
        ("run_eval.py", *MODULES, *DATA, *WEIGHTS, *MERGED, "reports/baseline_predictions.jsonl"),
        ("reports/eval_*",),
        ("train",),
        gate=4,
        gpu=True,
    ),
    "infer": Stage(
        ("infer.py",),
        ("infer.py", *MODULES, *DATA, *WEIGHTS, *MERGED),
        ("reports/inference_samples/*",),
        ("train",),
        gate=4,
        gpu=True,
    ),
    "report": Stage(
        ("report.py",),
        ("report.py", *HARNESS, "data/meta.json", "logs/train.jsonl", *SHOWN),
        ("reports/report.html", "reports/report.pdf"),
        ("train", "eval", "infer"),
        gate=4,
        option="emit_report",
    ),
}
