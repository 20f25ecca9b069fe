"""A run whose evidence was sealed and entered in the ledger, up to wherever a test begins: nothing was probed or trained."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from typing import Any

from tunegate import evidence, stages
from tunegate.config import RunConfig
from tunegate.evidence import ledger, seal
from tunegate.jobs import snapshot
from tunegate.project import harness, listed
from tunegate.project.render import HEADER
from tunegate.readers import manifest
from tunegate.recipe.slots import SLOTS
from tunegate.rundir import Run, atomic_write, hash_files
from tunegate.stage_table import HARNESS, MODULES

SHA = "a" * 40
CONFIG = RunConfig(
    platform="local-process",
    model_id="org/m",
    model_revision=SHA,
    task="image-classification",
    training_method="full",
    dataset_id="org/d",
    dataset_revision=SHA,
    train_split="train",
    column_map={"image": "image", "label": "label"},
    class_names=["a", "b"],
    applicable_workarounds=[],
    gpu_count=0,
    hf_model_repo="me/m-finetuned",
)
ORIGIN = {"url": "https://raw.githubusercontent.com/x.py", "sha256": "0" * 64, "priority": 2}
FACTS: dict[str, dict[str, Any]] = {
    "model": {"verdict": "accept", "licence": "apache-2.0", "parameters": 1000},
    "dataset": {"verdict": "accept"},
    "host": {"hard_failures": [], "gpu_count": 0, "cpu_count": 2, "memory_gb": 8.0},
    "image": {"fit": "fits", "model_fit": "fits", "workarounds": []},
    "recipe": {
        "task": "image-classification",
        "model_id": "org/m",
        "model_revision": SHA,
        "transformers_version": "5.23.0",
        "tried": [],
        "conflicts": [],
        "notes": [],
        "sources": [{**ORIGIN, "time": "t", "bytes": 1, "via": None}],
        "slots": {
            name: {
                "value": {"learning_rate": 3e-5} if name == "hyperparameters" else "x",
                "source": ORIGIN,
                "status": "live",
            }
            for name in SLOTS
        },
    },
    "project": {"files": {"train.py": hashlib.sha256(HEADER.encode()).hexdigest()}, "guarded": []},
    "stages/build": {
        "passed": True,
        "python": sys.executable,
        "python_version": "3.11.7",
        "packages": {"torch": "2.13.0+cpu", "transformers": "5.23.0"},
    },
    "stages/check_api": {"passed": True},
    "stages/prepare": {"passed": True, "seconds": 1.0, "page": "reports/data.html", "drawn_with": {"image_size": None}},
    "stages/smoke": {"passed": True, "loss": 2.3, "grad_norm": 1.0, "seconds": 2.0},
    "stages/baseline": {
        "passed": True,
        "metric": "accuracy",
        "accuracy": 0.1,
        "n": 9,
        "kind": "random-head",
        "interval": [0.0, 0.3],
    },
    "stages/train": {"passed": True, "global_step": 9, "first_loss": 2.3, "last_loss": 0.4, "seconds": 3.0},
    "stages/infer": {"passed": True, "samples": 5},
    "stages/eval": {
        "passed": True,
        "metric": "accuracy",
        "accuracy": 0.9,
        "n": 9,
        "kind": "fine-tuned",
        "interval": [0.7, 1.0],
        "difference": {"value": 0.8, "low": 0.5, "high": 1.0},
        "seconds": 4.0,
    },
    "push": {"verified": True, "url": "https://huggingface.co/me/m-finetuned", "commit": "c" * 40},
    "rerun": {"valid": True},
}
PUSHABLE = {  # the files of a finished run that belong in its repository, and two that do not
    "checkpoints/final/model.safetensors": b"w" * 3000,
    "checkpoints/final/config.json": b"{}",
    "checkpoints/final/README.md": b"the Trainer's draft",
    "checkpoints/final/training_args.bin": b"a pickle",
    "reports/eval_results.json": b'{"accuracy": 0.9}',
    "reports/baseline_results.json": b'{"accuracy": 0.1}',
    "reports/inference_samples/0_pred.jpg": b"\xff\xd8\xff",
    "Dockerfile": b"FROM scratch\n",
    "requirements.txt": b"transformers==5.23.0\n",
}


MANIFEST = {  # of the viewer, which knows no files
    **{"version": 1, "source": "hub", "format": "viewer", "dataset_id": "org/d", "revision": SHA, "config": None},
    **{"rows": {"train": 1000}, "rows_partial": False, "classes": {}, "class_names": [], "columns": {}, "left_out": []},
    "layout": None,
}


def write(run: Run, name: str, facts: dict[str, Any], config: RunConfig = CONFIG, **kwargs: Any) -> None:
    made = evidence.make(run, name, facts, config=config, **kwargs)
    ledger.append(run, evidence.KINDS[name].tool, {}, "ok", evidence.write(run, made))


def build(
    run: Run,
    until: str = "rerun",
    config: RunConfig = CONFIG,
    facts: Mapping[str, dict[str, Any]] | None = None,
    files: Mapping[str, bytes | str] | None = None,
) -> Run:
    """Evidence in the order of the steps, `until` the last that is written.

    facts: instead of some of FACTS. files: what lies in the run; each stage has made what its row of the table says, and
    the project was rendered with what is left at the top.
    """
    put(run, {"train.py": HEADER, **(files or {})})
    if not (run.path / listed.PATH).exists():
        listed.keep(run, manifest.text_of(MANIFEST))
    run.save_config(config)
    own = {"project": project(run), "stages/check_api": {"passed": True, "checked": hash_files(run.path, MODULES)}}
    for name, found in (FACTS | own | dict(facts or {})).items():
        stage = stages.STAGES.get(name.removeprefix("stages/"))
        made = stage.makes if stage else (listed.PATH,) if name == "dataset" else ()
        write(run, name, found, config, files=hash_files(run.path, made))
        if name == until:
            break
    return run


def own_code(run: Run, config: RunConfig, row: stages.Stage) -> dict[str, str]:
    """Stands in for stages.code where a test's scripts are its own: what measures is then what lies in the run."""
    launch = (harness.SOURCES["harness"] / "launch.py").read_text()
    names = hash_files(run.path, MODULES)
    return {name: (run.path / name).read_text() for name in names} | {"harness/launch.py": launch}


def spec(run: Run, stage: str, inputs: str, given: dict[str, Any]) -> None:
    """The sealed spec of a job whose container is called `inputs`, as jobs.start writes it."""
    work = str(snapshot.of(run, stage).work)
    made = {"id": "0" * 16, "run": str(run.path), "work": work, "stage": stage, "argv": [inputs], "given": given}
    put(run, {f"meta/jobs/{stage}/spec.json": json.dumps({**made, "seal": seal.sign(made)})})


def project(run: Run) -> dict[str, Any]:
    """The facts of render_project, if it had written every file that lies at the top of the run, or in harness/."""
    files = hash_files(run.path, ("*", *HARNESS))
    files.pop("config.yaml", None)
    return {"files": files, "guarded": []}


def rendered(run: Run, files: Mapping[str, bytes | str], config: RunConfig = CONFIG) -> None:
    """Write files as if the last rendering had."""
    put(run, files)
    write(run, "project", project(run), config)


def put(run: Run, files: Mapping[str, bytes | str]) -> None:
    for name, content in files.items():
        atomic_write(run.path / name, content)


def script(body: str) -> str:
    """A project's script: the copyright header, then `body`, in which RUN is the run's folder."""
    return f"{HEADER}\nRUN = __import__('pathlib').Path(open('../run').read())\n{body}\n"
