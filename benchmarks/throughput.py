"""Training speed on this machine's GPU: the rendered project beside a plain Trainer script and beside the GPU alone.

    python benchmarks/throughput.py OUT --assets DIR --python PYTHON [NAME...] [--steps 60] [--gpus 1]

For each reference pipeline (reference_assets.py makes models from their configs and derived data) three numbers, measured one
after the other in one run with the same model, pictures, effective batch and precision (bf16 autocast, fused AdamW):

    plain    a Trainer script of the kind that upstream ships: the processor or torchvision on each picture, 4 workers
    ours     the rendered project's train.py, its Trainer as it is built there
    alone    the same model on one batch that lies on the GPU already: what feeding it perfectly would give

Samples a second are those of the steps after the tenth. PYTHON has torch, transformers, datasets, peft (in a container: its own).
With --gpus 2 only `ours` is measured, through torchrun. Writes OUT/throughput.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from tunegate import render
from tunegate.config import RunConfig

# name -> what the run's config says; copies: how often the 192 rows are repeated, so that an epoch is long enough
PIPELINES = {
    "convnext-cifar10": {
        "config": {"task": "image-classification", "column_map": {"image": "img"}, "class_names": [str(digit) for digit in range(10)],
                   "per_device_train_batch_size": 64, "gradient_accumulation_steps": 1},
        "plain": (32, 2), "copies": 48,
    },
    "segformer-foodseg103": {
        "config": {"task": "semantic-segmentation", "column_map": {"mask": "label"}, "class_names": [str(number) for number in range(104)],
                   "per_device_train_batch_size": 16, "gradient_accumulation_steps": 1},
        "plain": (8, 2), "copies": 8,
    },
    "detr-cppe5": {
        "config": {"task": "object-detection", "image_size": 480, "column_reshape": "transpose_objects",
                   "class_names": ["Coverall", "Face_Shield", "Gloves", "Goggles", "Mask"],
                   "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1},
        "plain": (8, 1), "copies": 4,
    },
    "smolvlm-vqav2": {
        "config": {"task": "image-text-to-text", "training_method": "lora", "lora_r": 8, "column_reshape": "question_answer_to_messages",
                   "column_map": {"answer": "multiple_choice_answer"}, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1},
        "plain": (4, 1), "copies": 2,
    },
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PIPELINES))
    parser.add_argument("--assets", type=Path, required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--gpus", type=int, default=1)
    options = parser.parse_args()
    results = {}
    for name in options.names or PIPELINES:
        project = _project(
            options.out.resolve() / name, options.assets.resolve() / name, PIPELINES[name]["config"], options.gpus
        )
        _run(options.python, project, "prepare_data.py")
        _run(
            options.python,
            project,
            Path(__file__).with_name("throughput_stage.py"),
            "repeat",
            PIPELINES[name]["copies"],
        )
        modes = ("plain", "ours", "alone") if options.gpus == 1 else ("ours",)
        results[name] = {mode: _measure(options, project, mode, PIPELINES[name]["plain"]) for mode in modes}
        print(name, json.dumps(results[name]), flush=True)
        (options.out / "throughput.json").write_text(json.dumps(results, indent=1) + "\n")
    _table(results)
    return 0


def _project(path: Path, assets: Path, config: dict, gpus: int) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    values = {
        "model_id": "local/model", "training_method": "full", "platform": "local-process", "gpu_count": gpus, "n_train": 192, "n_eval": 16,
        "train_split": "train", "local_dataset_path": str(assets / "dataset"), "local_dataset_format": "parquet", **config,
    }  # fmt: skip
    filled = render.with_defaults(RunConfig.model_validate(values), {})
    for name, text in render.render_files(filled, {}).items():
        (path / name).write_text(text)
    (path / "config.yaml").write_text(yaml.safe_dump({**filled.model_dump(), "model_id": str(assets / "model")}))
    return path


def _run(python: str, project: Path, *argv: object, launch: tuple[str, ...] = ()) -> str:
    env = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(project), os.environ.get("STAGE_PATH")))),
    }
    done = subprocess.run(
        [python, *launch, *map(str, argv)],
        cwd=project,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise SystemExit(f"{argv[0]} in {project} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def _measure(options: argparse.Namespace, project: Path, mode: str, plain: tuple[int, int]) -> dict:
    stage = (Path(__file__).with_name("throughput_stage.py"), mode, options.steps, *plain)
    launch = ("-m", "torch.distributed.run", "--nproc_per_node", str(options.gpus)) if options.gpus > 1 else ()
    lines = _run(options.python, project, *stage, launch=launch).splitlines()
    return json.loads(next(line for line in reversed(lines) if line.startswith("{")))


def _table(results: dict) -> None:
    print(
        "\n| pipeline | plain | ours | GPU alone | ours / plain | ours / alone | peak GB | first step s |\n|---|---|---|---|---|---|---|---|"
    )
    for name, found in results.items():
        plain, ours, alone = (found.get(mode, {}).get("samples_per_second") for mode in ("plain", "ours", "alone"))
        cells = [
            name,
            plain,
            ours,
            alone,
            ours / plain if plain else "",
            ours / alone if alone else "",
            found["ours"]["peak_gb"],
            found["ours"]["first_step_s"],
        ]
        print("| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell or "") for cell in cells) + " |")


if __name__ == "__main__":
    sys.exit(main())
