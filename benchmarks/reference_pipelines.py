"""The four reference pipelines at full architecture size, through the MCP server: rendered, built, check_api, prepare, smoke.

    python benchmarks/reference_pipelines.py OUT [NAME...] [--until smoke] [--platform local-docker] [--assets DIR] [--mnist DIR] [--python PYTHON]

    convnext-cifar10       ConvNeXt-tiny, 224 px         detr-cppe5        DETR-ResNet-50, shortest edge 800
    segformer-foodseg103   SegFormer-b0, 512 px          smolvlm-vqav2     SmolVLM-256M, LoRA, 17 tiles of 512 px

Weights are random and data derived (reference_assets.py makes both), since the published ones are on a Hub: what is seen is that
the projects fit the packages and the GPU, not what they learn. Writes OUT/reference_pipelines.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio

from tunegate import demo, evidence
from tunegate.platforms.local_process import envs
from tunegate.rundir import Run

SIZES = {"n_train": 192, "n_eval": 48}
# What a user would say beyond "fine-tune this on that": upstream's own epochs and batches (spec, reference pipelines).
CHOICES: dict[str, dict[str, Any]] = {
    "convnext-cifar10": {"n_epochs": 3, "per_device_train_batch_size": 32, "gradient_accumulation_steps": 2},
    "detr-cppe5": {"n_epochs": 10, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1},
    "segformer-foodseg103": {"n_epochs": 5, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 2},
    "smolvlm-vqav2": {"n_epochs": 5, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 4},
}

PROBED = {"segformer-foodseg103": {"task": "semantic-segmentation"}}  # mit-b0 is published as a classifier


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CHOICES))
    parser.add_argument("--until", default="smoke", help="the last stage; `all` goes on to the rerun skill")
    parser.add_argument("--platform", default="local-docker")
    parser.add_argument("--assets", type=Path, help="made before by reference_assets.py")
    parser.add_argument("--mnist", type=Path, help="the demo's dataset, where it was made elsewhere")
    parser.add_argument(
        "--python", help="an interpreter with torch, transformers and datasets (default: the stage environment)"
    )
    options = parser.parse_args()
    out, names = options.out.resolve(), options.names or list(CHOICES)
    out.mkdir(parents=True, exist_ok=True)
    assets = options.assets or out / "assets"
    if not options.assets:
        python = options.python or envs.for_task(demo.TASK)["python"]
        mnist = options.mnist or demo.make_assets() / "dataset"
        subprocess.run([python, Path(__file__).with_name("reference_assets.py"), mnist, assets, *names], check=True)
    results = {}
    for name in names:
        print(f"\n{name}", flush=True)
        repositories = {_repository(name, part): assets / name / part for part in ("model", "dataset")}
        with demo.hub(repositories) as env:
            results[name] = _walk(
                out / name, name, options.platform, None if options.until == "all" else options.until, env
            )
        (out / "reference_pipelines.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0 if all("error" not in result for result in results.values()) else 1


def _repository(name: str, part: str) -> str:
    return f"tunegate-reference/{name}-{part}"


def _walk(run: Path, name: str, platform: str, until: str | None, env: dict[str, str]) -> dict[str, Any]:
    """One pipeline; {stages: {stage: seconds}, check_api, smoke, memory}, and the error that ended it."""
    choices = {
        "probe_model": {
            "model_id": _repository(name, "model"),
            "output_dir": str(run),
            "platform": platform,
            **PROBED.get(name, {}),
        },
        "probe_dataset": {"dataset_id": _repository(name, "dataset"), **SIZES},
        "render_project": {"overrides": CHOICES[name]},
    }
    answers = anyio.run(demo.drive, run, choices, env, until)
    facts = {key: found.facts for key in evidence.KINDS if (found := evidence.read(Run(run), key))}
    result = {
        "parameters": facts.get("model", {}).get("parameters"),
        "gpu": facts.get("host", {}).get("gpu_name"),
        "image": facts.get("image", {}).get("ngc_image"),
        "stages": {key.split("/")[1]: found["seconds"] for key, found in facts.items() if "seconds" in found},
        "check_api": {key: facts.get("stages/check_api", {}).get(key) for key in ("keywords", "unverified")},
        "smoke": {
            key: facts.get("stages/smoke", {}).get(key) for key in ("passed", "loss", "grad_norm", "checks", "memory")
        },
    }
    if "error" in answers[-1]:
        result["error"] = {"step": answers[-1]["label"], **answers[-1]["error"]}
    print(json.dumps(result, indent=1), flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
