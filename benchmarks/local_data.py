"""What reading a large local dataset costs: probe and prepare, each beside the plainest way to read the same files.

    TUNEGATE_STAGE_PYTHON=... python benchmarks/local_data.py /tmp/large     # 100,000 images in folders, COCO of 500 MB
    TUNEGATE_STAGE_PYTHON=... python benchmarks/local_data.py /tmp/large --against ../other     # and another checkout

The data are made once in the folder, and stay there. Each reading is a process of its own, start included: a folder of images
beside `load_dataset("imagefolder")`, an annotation file beside `json.load`. Nothing here asserts a time.
`--images 60 --megabytes 1` tries it out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
CLASSES = 100
POINTS = 60  # of an outline
PER_IMAGE = 90  # objects
VALUES = {"n_train": 2000, "n_eval": 500}
BARE = {
    "imagefolder": "from datasets import load_dataset; print(len(load_dataset('imagefolder', data_dir={path!r}, split='train')))",
    "coco": "import json; print(len(json.load(open({path!r}))['annotations']))",
}


def photos(folder: Path, count: int) -> Path:
    """A folder for each class, small JPEGs in it, all of them different."""
    from PIL import Image

    for i in range(count):
        path = folder / f"class {i % CLASSES:03}/{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").resize((40, 30)).point(lambda v, i=i: (v + i) % 256).save(path)
    return folder


def annotated(folder: Path, megabytes: int) -> Path:
    """images/ and an annotation file of about so many megabytes, its objects after its images."""
    from PIL import Image

    rng, outlines = random.Random(0), []
    for _ in range(500):
        numbers = [round(rng.uniform(0, 400), 2) for _ in range(2 * POINTS)]
        outlines.append(
            f'"bbox": {[numbers[0] / 2, numbers[1] / 2, 40.5, 60.25]}, "segmentation": [{numbers}], "iscrowd": 0'
        )
    size = sum(map(len, outlines)) // len(outlines) + 60
    count = max(10, megabytes * 1_000_000 // (size * PER_IMAGE))
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    with (folder / "annotations/instances_train.json").open("w") as file:
        images = [{"id": i, "file_name": f"{i}.jpg", "width": 480, "height": 480} for i in range(count)]
        names = [{"id": i, "name": f"class {i}"} for i in range(CLASSES)]
        file.write(f'{{"info": {{}}, "images": {json.dumps(images)}, "annotations": [')
        for i in range(count * PER_IMAGE):
            head = f'{{"id": {i}, "image_id": {i // PER_IMAGE}, "category_id": {i % CLASSES}, '
            file.write(("" if not i else ",\n") + head + rng.choice(outlines) + "}")
        file.write(f'], "categories": {json.dumps(names)}}}')
    for i in range(count):
        Image.new("RGB", (480, 480), (i % 256, i // 256, 90)).save(folder / f"images/{i}.jpg")
    return folder


def probe(task: str, path: str, project: str) -> None:
    """In a process of its own: probes the data, renders a project for it, prints the seconds that probing took."""
    from tunegate.clients.hub import Hub
    from tunegate.config import RunConfig, dump
    from tunegate.probe.dataset import probe_dataset
    from tunegate.probe.request import DatasetRequest
    from tunegate.project import render

    began = time.perf_counter()
    facts = probe_dataset(Hub("http://127.0.0.1:9"), DatasetRequest(task=task, method="full", local_path=path))
    seconds = time.perf_counter() - began
    keys = ("train_split", "eval_split", "column_map", "column_reshape", "class_names")
    found = {key: getattr(facts, key) for key in keys} | facts.for_config() | VALUES
    found |= {"local_dataset_path": facts.local_path, "local_dataset_format": facts.local_format}
    settled = {"model_id": "bench/none", "task": task, "training_method": "full", "platform": "local-process"}
    config = render.with_defaults(RunConfig.model_validate({**settled, **found}), {})
    files = render.render_files(config, {}) | {"config.yaml": dump(config)}
    if manifest := getattr(facts, "manifest", None):  # other checkouts write none
        files["harness/dataset.json"] = manifest
    for name, text in files.items():
        Path(project, name).parent.mkdir(parents=True, exist_ok=True)
        Path(project, name).write_text(text)
    print(seconds)


def timed(argv: list[str], **more) -> float:
    began = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, text=True, **more)
    if done.returncode:
        raise SystemExit(f"{argv[:3]} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - began


def read(checkout: Path, task: str, path: Path, python: str) -> tuple[float, float]:
    """Seconds of (probe, prepare) with the code of a checkout."""
    env = {**os.environ, "PYTHONPATH": str(checkout / "server"), "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, __file__, "--probe", task, str(path), f"{folder}/project"]
        done = subprocess.run(argv, env=env, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        cache = {"HF_HOME": f"{folder}/hf", "HF_HUB_OFFLINE": "1"}
        return float(done.stdout), timed(
            [python, "prepare_data.py"], cwd=f"{folder}/project", env={**os.environ, **cache}
        )


def bare(kind: str, path: Path, python: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return timed([python, "-c", BARE[kind].format(path=str(path))], env={**os.environ, "HF_HOME": folder})


def measure(options: argparse.Namespace, python: str) -> None:
    made = {}
    for name, make, amount in (("photos", photos, options.images), ("coco", annotated, options.megabytes)):
        made[name] = options.folder / f"{name}-{amount}"
        if not made[name].is_dir():
            make(made[name], amount)
    rows = (
        ("imagefolder", "image-classification", made["photos"], made["photos"]),
        ("coco", "object-detection", made["coco"], made["coco"] / "annotations/instances_train.json"),
    )
    for kind, task, path, plain in rows:
        base = min(bare(kind, plain, python) for _ in range(options.rounds))
        told = {}
        for checkout in filter(None, (HERE, options.against)):
            both = [read(checkout, task, path, python) for _ in range(options.rounds)]
            told[checkout] = [min(seconds) for seconds in zip(*both, strict=True)]
            shown = ", ".join(f"{what} {s:.2f} s" for what, s in zip(("probe", "prepare"), told[checkout], strict=True))
            ratios = " ".join(f"{seconds / base:.2f}" for seconds in told[checkout])
            print(f"{kind}: plain {base:.2f} s, {shown}, ratios {ratios}  ({checkout.name})", flush=True)
        if options.against:
            ours, theirs = told.values()
            print(
                f"{kind} against {options.against.name}: {' '.join(f'{a / b:.2f}' for a, b in zip(ours, theirs, strict=True))}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the data are made")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--megabytes", type=int, default=500, help="of the annotation file")
    parser.add_argument("--rounds", type=int, default=1, help="the fastest counts")
    parser.add_argument("--against", type=lambda text: Path(text).resolve(), help="another checkout, measured too")
    if sys.argv[1:2] == ["--probe"]:
        probe(*sys.argv[2:])
        return
    options = parser.parse_args()
    python = os.environ.get("TUNEGATE_STAGE_PYTHON")
    if not python:
        raise SystemExit("TUNEGATE_STAGE_PYTHON is not set: see the Makefile")
    options.folder = options.folder.resolve()
    measure(options, python)


if __name__ == "__main__":
    main()
