"""The whole path on this machine's GPU, through the MCP server, every stage in a container: seconds a step, and the results.

    python benchmarks/gpu_path.py OUT [--assets DIR] [--python PYTHON] [--only demo | convnext] [--until STAGE] [--platform local-docker]

Needs a Docker engine that hands GPUs over and an NGC PyTorch image with a digest (`tunegate demo` says what is missing).
Two pipelines, both on the 5,000 MNIST images of the demo:

    demo       EfficientNet-Lite0, its real ImageNet weights, 64 px
    convnext   ConvNeXt-tiny at 224 px, at its full size but from scratch: its published weights are on a Hub, this needs none

Writes OUT/gpu_path.json. --assets: the demo's repositories if they were made elsewhere; --python: an interpreter with
torch and transformers that makes ConvNeXt's (default: the stage environment). `--platform local-process --until smoke` tries
the script out where there is neither engine nor GPU.
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

CONVNEXT = "tunegate-demo/convnext-tiny-224"
MAKE_CONVNEXT = """
import sys, torch
from transformers import ConvNextConfig, ConvNextForImageClassification, ConvNextImageProcessor
torch.manual_seed(0)
ConvNextForImageClassification(ConvNextConfig()).save_pretrained(sys.argv[1])
ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875).save_pretrained(sys.argv[1])
"""
CARD = "---\nlicense: apache-2.0\nlibrary_name: transformers\npipeline_tag: image-classification\n---\n# ConvNeXt-tiny, not trained\n"
FROM_SCRATCH = {
    "n_epochs": 8,
    "horizontal_flip": False,
    "crop_scale_min": 0.8,
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 64,
    "gradient_accumulation_steps": 1,
}
PIPELINES: dict[str, dict[str, dict[str, Any]]] = {
    "demo": demo.CHOICES,
    "convnext": {
        "probe_model": {"model_id": CONVNEXT},
        "probe_dataset": {"dataset_id": demo.DATASET, "n_train": 4000, "n_eval": 1000},
        "render_project": {"overrides": FROM_SCRATCH},
        "emit_rerun_skill": {"verify": True},
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--assets", type=Path)
    parser.add_argument("--python")
    parser.add_argument("--only", choices=sorted(PIPELINES))
    parser.add_argument("--until", help="the last stage (default: on to the rerun skill)")
    parser.add_argument("--platform", default="local-docker")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    assets = options.assets or demo.make_assets()
    folders = {demo.MODEL: assets / "model", demo.DATASET: assets / "dataset", CONVNEXT: out / "convnext-tiny-224"}
    if options.only != "demo":
        _make_convnext(options.python or envs.for_task(demo.TASK)["python"], folders[CONVNEXT])
    else:
        del folders[CONVNEXT]
    results = {}
    with demo.hub(folders) as env:
        for name in [options.only] if options.only else PIPELINES:
            print(f"\n{name}", flush=True)
            results[name] = _walk(out / name, PIPELINES[name], options.platform, options.until, env)
            (out / "gpu_path.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0 if all("error" not in result for result in results.values()) else 1


def _make_convnext(python: str, folder: Path) -> None:
    subprocess.run([python, "-c", MAKE_CONVNEXT, folder], check=True)
    (folder / "README.md").write_text(CARD)


def _walk(
    run: Path, choices: dict[str, dict[str, Any]], platform: str, until: str | None, env: dict[str, str]
) -> dict[str, Any]:
    """Drive one pipeline; {seconds: {step: client's wall time}, in_container: {stage: runner's}, and what came of it}."""
    first = {**choices["probe_model"], "output_dir": str(run), "platform": platform}
    answers = anyio.run(demo.drive, run, {**choices, "probe_model": first}, env, until)
    seconds: dict[str, float] = {}
    for answer in answers:  # a long stage is followed by several calls
        seconds[answer["label"]] = round(seconds.get(answer["label"], 0) + answer.get("seconds", 0), 1)
    found = {name: evidence.read(Run(run), name) for name in evidence.KINDS}
    facts = {name: one.facts for name, one in found.items() if one}
    result = {
        "seconds": seconds,
        "stage_seconds": {n.split("/")[1]: f["seconds"] for n, f in facts.items() if n.startswith("stages/")},
        **{key: facts.get("host", {}).get(key) for key in ("gpu_count", "gpu_name", "vram_gb_per_gpu")},
        "image": facts.get("image", {}).get("ngc_image"),
        "train": _numbers(facts.get("stages/train", {})),
        "baseline": _numbers(facts.get("stages/baseline", {})),
        "tuned": _numbers(facts.get("stages/eval", {})),
        "rerun": next((a["rerun"] for a in reversed(answers) if "rerun" in a), None),
        "complete": answers[-1].get("complete", False),
    }
    if "error" in answers[-1]:
        result["error"] = {"step": answers[-1]["label"], **answers[-1]["error"]}
    print(json.dumps(result, indent=1), flush=True)
    return result


def _numbers(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if isinstance(value, (int, float, str)) and key != "job"}


if __name__ == "__main__":
    sys.exit(main())
