"""The stages of a project: one row each, and nothing of a stage is said elsewhere. stages/ runs them, platforms/ says where."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tunegate.config import Basis, RunConfig

# What evidence rests on, in words of config.Basis.
ON_DATA: tuple[Basis, ...] = ("model", "dataset", "subset")
ON_RUN: tuple[Basis, ...] = (*ON_DATA, "training", "platform")
ON_IMAGE: tuple[Basis, ...] = ("platform", "image")

HARNESS = ("harness/*", "harness/*/*.py")  # all of it; what Python compiles lies a level deeper, and is no .py
MODULES = ("*.py", *HARNESS)  # what a script may import: all modules but the other stages' scripts
DATA = ("data/meta.json", "data/*/*.arrow", "data/*/*.json")
TO_LEARN = ("data/meta.json", "data/train/*.arrow", "data/train/*.json")  # no training sees the rows that measure it
SHOWN = ("reports/eval_results.json", "reports/baseline_results.json", "reports/inference_samples/*")  # in the report
WEIGHTS = ("checkpoints/final/*",)
MERGED = ("checkpoints/merged/*",)
HUB_SECRETS = ("HF_TOKEN",)
# -I: neither the environment, nor the user's own packages, nor the current directory say what is imported.
LAUNCH = ("-I", "-u", "harness/launch.py")
AS_RENDERED = "as-rendered"  # where `build` finds the requirements and the Dockerfile as rendered, if they were edited
# Whatever settings lie in the run are not pytest's: with one of them, tests could be left out.
PYTEST = ("-m", "pytest", "-q", "-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider", "--junitxml", "reports/tests.xml", "tests")  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """A stage. Order matters: it is that of the gates' checks and of the rerun skill's commands.

    argv: after the interpreter.   uses, makes: glob patterns of the files that it reads and leaves.
    needs: the stages whose evidence must hold before it, where they apply.   gate: the gate before it; the next asks for it.
    secrets: passed on only where the model or the dataset is gated or private.
    measures: it runs as rendered, whatever was edited since: what judges a model is never the code that made it.
    option: the config key that must be on.   network, gpu, monitored: what its container has; without, none.
    rests, after: what its evidence rests on: words of config.Basis, other evidence.
    judge: the function in stages/verdicts/, as module.function.   when: whether a run of this config has it.
    published: patterns of what it makes -> folder of the repository.   instead_of: the stage that then publishes nothing.
    rerun: the words after `python` by which a person repeats it; empty: a rerun leaves it out.
    """

    argv: tuple[str, ...]
    uses: tuple[str, ...]
    makes: tuple[str, ...]
    needs: tuple[str, ...] = ()
    gate: int = 3
    secrets: tuple[str, ...] = ()
    measures: bool = False
    option: str | None = None
    network: bool = False
    gpu: bool = False
    monitored: bool = False
    rests: tuple[Basis, ...] = field(kw_only=True)
    after: tuple[str, ...] = ("model", "dataset")
    judge: str = field(kw_only=True)
    when: Callable[[RunConfig], bool] = lambda config: True
    published: tuple[tuple[str, str], ...] = ()
    instead_of: str = ""
    rerun: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if "platform" not in self.rests:
            raise ValueError(f"the stage of {self.judge} does not rest on the platform that it ran on")

    @property
    def words(self) -> tuple[str, ...]:
        """What follows the interpreter when the stage is started."""
        return (*LAUNCH, *self.argv)

    def applies(self, config: RunConfig) -> bool:
        """Whether a finished run of this config has passed it."""
        return self.when(config) and (self.option is None or getattr(config, self.option))


STAGES: dict[str, Stage] = {
    "build": Stage(
        (),
        ("requirements*.txt", "Dockerfile"),
        ("reports/build.json",),
        rests=ON_IMAGE,
        after=("image",),
        judge="project.build",
    ),
    "check_api": Stage(
        ("-m", "harness.check_api"),
        MODULES,
        ("reports/check_api.json",),
        ("build",),
        rests=(*ON_IMAGE, "signatures"),
        after=(),
        judge="project.check_api",
    ),
    "test": Stage(
        PYTEST,
        ("tests/*.py", "train.py", "prepare_data.py", *MODULES),
        ("reports/tests.xml",),
        ("build",),
        secrets=HUB_SECRETS,
        option="emit_unit_tests",
        network=True,
        gpu=True,
        rests=(*ON_RUN, "unit_tests"),
        after=("model",),
        judge="project.test",
    ),
    "prepare": Stage(
        ("prepare_data.py",),
        ("prepare_data.py", *MODULES),
        (*DATA, "reports/data.html", "reports/data.json"),
        ("build",),
        secrets=HUB_SECRETS,
        network=True,
        measures=True,
        rests=("dataset", "subset", "row_filter", "platform"),
        after=("dataset",),
        judge="training.prepare",
        rerun=("prepare_data.py",),
    ),
    "smoke": Stage(
        ("-m", "harness.smoke"),  # the guarded script itself, which `train.py --smoke` only calls
        ("train.py", *MODULES, *TO_LEARN),
        ("reports/smoke.json",),
        ("build", "check_api", "prepare"),
        secrets=HUB_SECRETS,
        network=True,
        gpu=True,
        rests=ON_RUN,
        judge="training.smoke",
        rerun=("train.py", "--smoke", "--max_steps", "2"),
    ),
    "baseline": Stage(
        ("run_eval.py", "--baseline"),
        ("run_eval.py", *MODULES, *DATA),
        ("reports/baseline_*",),
        gate=4,
        secrets=HUB_SECRETS,
        network=True,
        gpu=True,
        measures=True,
        rests=(*ON_DATA, "row_filter", "measuring", "platform"),
        judge="evaluation.baseline",
        when=lambda config: not config.skip_baseline,
        published=(("reports/baseline_results.json", "results/"),),
        rerun=("run_eval.py", "--baseline"),
    ),
    "train": Stage(
        ("train.py",),
        ("train.py", *MODULES, *TO_LEARN),
        (*WEIGHTS, "logs/train.jsonl", "logs/steps.jsonl", "reports/train.json"),
        gate=4,
        secrets=HUB_SECRETS,
        network=True,
        gpu=True,
        monitored=True,
        rests=ON_RUN,
        judge="training.train",
        published=tuple((pattern, "") for pattern in WEIGHTS),
        rerun=("train.py", "--fresh"),
    ),
    "merge": Stage(
        ("merge_lora.py",),
        ("merge_lora.py", *MODULES, *DATA, *WEIGHTS),
        (*MERGED, "reports/merge.json"),
        ("train",),
        gate=4,
        secrets=HUB_SECRETS,
        network=True,
        measures=True,
        rests=ON_RUN,
        judge="training.merge",
        when=lambda config: config.adapted,
        published=tuple((pattern, "") for pattern in MERGED),
        instead_of="train",
        rerun=("merge_lora.py",),
    ),
    "eval": Stage(
        ("run_eval.py",),
        ("run_eval.py", *MODULES, *DATA, *WEIGHTS, *MERGED, "reports/baseline_*"),
        ("reports/eval_*",),
        ("baseline", "train", "merge"),  # it says how far it is from the baseline
        gate=4,
        gpu=True,
        measures=True,
        rests=(*ON_RUN, "baseline"),
        judge="evaluation.tuned",
        published=(("reports/eval_results.json", "results/"),),
        rerun=("run_eval.py",),
    ),
    "infer": Stage(
        ("infer.py",),
        ("infer.py", *MODULES, *DATA, *WEIGHTS, *MERGED),
        ("reports/inference_samples/*",),
        ("train", "merge"),  # what is shown, as what is measured, is the model as it will be published
        gate=4,
        gpu=True,
        measures=True,
        rests=ON_RUN,
        judge="shown.infer",
        published=(("reports/inference_samples/*", "inference_samples/"),),
        rerun=("infer.py",),
    ),
    "report": Stage(
        ("report.py",),
        ("report.py", *HARNESS, "data/meta.json", "logs/train.jsonl", "reports/train.json", *SHOWN),
        ("reports/report.html", "reports/report.pdf"),
        ("train", "eval", "infer"),
        gate=4,
        option="emit_report",
        measures=True,
        rests=(*ON_RUN, "report", "baseline"),
        judge="shown.report",
        published=(("reports/report.html", "results/"), ("reports/report.pdf", "results/")),
        rerun=("report.py",),
    ),
}

StageName = Literal[tuple(STAGES)]
# A stage's inputs are every module but the other stages' scripts.
SCRIPTS = {row.argv[0] for row in STAGES.values() if row.argv and row.argv[0].endswith(".py")}
