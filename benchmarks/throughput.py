"""Training speed on this machine's GPU: the rendered project beside a plain Trainer script and beside the GPU alone.

    python benchmarks/throughput.py OUT [NAME...] --assets DIR --python PYTHON [--steps 60] [--warm-up 10] [--gpus 1] [--mode plain ours alone compiled]

For each reference pipeline (reference_assets.py makes models from their configs and derived data) numbers measured one after the
other in one run with the same model, pictures, effective batch and precision (bf16 autocast, fused AdamW):

    plain      a Trainer script of the kind that upstream ships: the processor or torchvision on each picture, 4 workers
    ours       the rendered project's train.py, its Trainer as it is built there
    compiled   ours with training_arguments {torch_compile: true}; its first step holds the compilation
    alone      the same model on one batch that lies on the GPU already: what feeding it perfectly would give

Samples a second are those of the steps after the warm-up; the first step counts from the end of the imports. All processes are
started at once, and measure one at a time. With --gpus 2, torchrun. PYTHON has torch, transformers, datasets, peft (in a container:
its own). Without a GPU, `--steps 2 --warm-up 1` and `reference_assets.py --tiny` try the script out. Writes OUT/throughput-<gpus>.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from tunegate.config import RunConfig
from tunegate.probe.dataset.local import read_local
from tunegate.probe.dataset.manifest import manifest_of
from tunegate.project import listed, render
from tunegate.readers import manifest

STAGE = Path(__file__).with_name("throughput_stage.py").resolve()
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
    parser.add_argument("--warm-up", type=int, default=10, help="the first steps, which are not counted: at least 1")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--mode", nargs="+", default=["plain", "ours", "alone"])
    options = parser.parse_args()
    if not 1 <= options.warm_up < options.steps:
        parser.error(f"--warm-up {options.warm_up}: from 1 to --steps - 1, which is {options.steps - 1}")
    names = options.names or list(PIPELINES)
    with ThreadPoolExecutor() as pool:
        projects = dict(zip(names, pool.map(lambda name: _prepared(options, name), names), strict=True))
    waiting = {(name, mode): _started(options, projects[name], name, mode) for name in names for mode in options.mode}
    results: dict[str, dict] = {name: {} for name in names}
    for (name, mode), process in waiting.items():
        results[name][mode] = _measured(process, projects[name], mode)
        print(name, mode, json.dumps(results[name][mode]), flush=True)
        (options.out / f"throughput-{options.gpus}.json").write_text(json.dumps(results, indent=1) + "\n")
    _table(results)
    return 0


def _prepared(options: argparse.Namespace, name: str) -> Path:
    project = options.out.resolve() / name
    if not (project / "data/meta.json").exists():
        _project(project, options.assets.resolve() / name, PIPELINES[name]["config"], options.gpus)
        for argv in (("prepare_data.py",), (STAGE, "repeat", PIPELINES[name]["copies"])):
            done = subprocess.run(
                [options.python, *map(str, argv)],
                cwd=project,
                env=_environment(project),
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise SystemExit(
                    f"{argv[0]} in {project} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}"
                )
    return project


def _project(path: Path, assets: Path, config: dict, gpus: int) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    values = {
        "model_id": "local/model", "training_method": "full", "platform": "local-process", "gpu_count": gpus, "n_train": 192, "n_eval": 16,
        "train_split": "train", "local_dataset_path": str(assets / "dataset"), "local_dataset_format": "parquet", **config,
    }  # fmt: skip
    filled = render.with_defaults(RunConfig.model_validate(values), {})
    for name, text in {**render.render_files(filled, {}), listed.IN_PROJECT: _manifest(filled)}.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(text)
    (path / "config.yaml").write_text(yaml.safe_dump({**filled.model_dump(), "model_id": str(assets / "model")}))
    return path


def _manifest(config: RunConfig) -> str:
    """What probe_dataset would write down of the dataset, which is not judged here."""
    path = Path(config.local_dataset_path).resolve()
    table = read_local(path, config.local_dataset_format, config.task)
    facts = {"splits": table.splits, "rows_partial": False, "class_counts": {}, "class_names": config.class_names}
    return manifest.text_of(manifest_of(table, {"source": "local", "local_path": str(path)}, facts))


def _environment(project: Path, turn: Path | None = None) -> dict[str, str]:
    more = {"PYTHONPATH": os.pathsep.join(filter(None, (str(project), os.environ.get("STAGE_PATH"))))}
    return {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **more, "TURN": str(turn or "")}


def _started(options: argparse.Namespace, project: Path, name: str, mode: str) -> subprocess.Popen:
    """A process that imports everything, then waits for its turn: for the file <mode>.turn."""
    turn, log = project / f"{mode}.turn", (project / f"{mode}.log").open("w")
    turn.unlink(missing_ok=True)
    port = str(29500 + sum(map(ord, name + mode)) % 400)
    launch = (
        ("-m", "torch.distributed.run", "--nproc_per_node", str(options.gpus), "--master_port", port)
        if options.gpus > 1
        else ()
    )
    argv = [options.python, *launch, STAGE, mode, options.steps, options.warm_up, *PIPELINES[name]["plain"]]
    return subprocess.Popen(
        list(map(str, argv)), cwd=project, env=_environment(project, turn), stdout=log, stderr=subprocess.STDOUT
    )


def _measured(process: subprocess.Popen, project: Path, mode: str) -> dict:
    (project / f"{mode}.turn").touch()
    code, lines = process.wait(), (project / f"{mode}.log").read_text().splitlines()
    found = next((line for line in reversed(lines) if line.startswith("{")), None)
    return json.loads(found) if not code and found else {"error": lines[-8:]}


def _table(results: dict) -> None:
    print(
        "\n| pipeline | plain | ours | GPU alone | ours / plain | ours / alone | peak GB | first step s |\n|---|---|---|---|---|---|---|---|"
    )
    for name, found in results.items():
        plain, ours, alone = (found.get(mode, {}).get("samples_per_second") for mode in ("plain", "ours", "alone"))
        if not ours:
            continue
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
