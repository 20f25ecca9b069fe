"""The benchmarks still fit what they measure: each runs one step on the CPU, with tiny models, and prints its ratio.

What a ratio is says nothing here. memory.py is run by tests/tasks/test_activations.py, and kills.py, which needs an engine that
it may kill, by tests/engine/test_kills.py.
"""

from __future__ import annotations

import ast
import io
import json
import math
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import sealed
from tests.fake_engine import IMAGE_ID, FakeEngine
from tests.scaffolds.conftest import make_project
from tunegate import tasks
from tunegate.rundir import Run

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
ON_THE_SERVER = ("server", "probe", "local_data", "build", "kills", "gpu_path", "reference_pipelines", "throughput")
OF_VIEW = {  # functions of throughput_stage.py that import from a project -> its task
    "classification": "image-classification",
    "segmentation": "semantic-segmentation",
    "detection": "object-detection",
    "questions": "image-text-to-text",
}
PIPELINES = ("convnext-cifar10", "segformer-foodseg103")
IMAGE = {"ngc_image": "nvcr.io/nvidia/pytorch:26.03-py3", "ngc_image_digest": "sha256:" + "5" * 64}


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_each_parses(path):
    ast.parse(path.read_text())


@pytest.mark.parametrize("name", ON_THE_SERVER)
def test_each_starts(name):
    done = subprocess.run([sys.executable, BENCHMARKS / f"{name}.py", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "usage" in done.stdout.lower(), done.stderr


def top_names(path: Path) -> set[str]:
    """What a module defines or imports at its top."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            found |= {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return found


@pytest.mark.parametrize(("view", "task"), OF_VIEW.items())
def test_the_plain_trainer_imports_what_a_project_has(view, task, tmp_path):
    """load_split moved from data.py to project.py, and the plain mode ended with an ImportError."""
    project = make_project(tmp_path / task, sys.executable, task=task, training_method=tasks.TASKS[task].methods[0])
    tree = ast.parse((BENCHMARKS / "throughput_stage.py").read_text())
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == view)
    imports = [node for node in ast.walk(function) if isinstance(node, ast.ImportFrom)]
    for node in imports:
        path = project.path / f"{(node.module or '').replace('.', '/')}.py"
        if path.exists():
            missing = {alias.name for alias in node.names} - top_names(path)
            assert not missing, f"{view}: {node.module}.py of {task} has no {missing}"
            defined = {
                n.name for n in ast.parse(path.read_text()).body if isinstance(n, (ast.FunctionDef, ast.ClassDef))
            }
            assert {alias.name for alias in node.names} <= defined, f"{view}: import it from where it is defined"
    assert imports


# -- one step each


def benchmark(name: str, *argv, python: str = sys.executable, env: dict[str, str] | None = None) -> str:
    """What it printed."""
    done = subprocess.run(
        [python, BENCHMARKS / f"{name}.py", *map(str, argv)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{name} {argv}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def ratio(pattern: str, said: str) -> float:
    """The number of the one line that has it: positive and finite."""
    found = re.findall(pattern, said, re.M)
    assert len(found) == 1, said
    assert math.isfinite(float(found[0])) and float(found[0]) > 0, found
    return float(found[0])


def digits(seed: int, rows: int) -> bytes:
    """Pictures in the columns of the demo's dataset: noise, all of them different."""
    import pyarrow as pa
    import pyarrow.parquet
    from PIL import Image

    rng, pictures = random.Random(seed), []
    for _ in range(rows):
        file = io.BytesIO()
        Image.frombytes("L", (28, 28), bytes(rng.choices((0, 255), k=784))).save(file, "PNG")
        pictures.append({"bytes": file.getvalue(), "path": None})
    columns = {
        "image": pa.array(pictures, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "label": pa.array([i % 10 for i in range(rows)], pa.int64()),
    }
    label = {"_type": "ClassLabel", "names": list("0123456789")}
    features = {"info": {"features": {"image": {"_type": "Image"}, "label": label}}}
    file = io.BytesIO()
    pa.parquet.write_table(pa.table(columns).replace_schema_metadata({"huggingface": json.dumps(features)}), file)
    return file.getvalue()


@pytest.fixture(scope="module")
def mnist(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mnist")
    for seed, (split, rows) in enumerate({"train": 2000, "test": 500}.items()):  # as many as the demo asks for
        (folder / f"{split}-00000-of-00001.parquet").write_bytes(digits(seed, rows))
    return folder


@pytest.fixture(scope="module")
def assets(stage_python, mnist, tmp_path_factory) -> Path:
    """Two reference pipelines' models and datasets, tiny."""
    folder = tmp_path_factory.mktemp("assets")
    benchmark("reference_assets", mnist, folder, *PIPELINES, "--tiny", python=stage_python)
    return folder


@pytest.fixture
def cached(stage_python) -> dict[str, str]:
    """The environment in which the server finds the stage environment that is there already."""
    home = Path(stage_python).parents[4]
    if (home / "tunegate/envs").is_dir():
        return {"XDG_CACHE_HOME": str(home)}
    pytest.skip(f"{stage_python} is not an environment that tunegate made: its own would be installed first")


def test_the_server_beside_a_bare_one(tmp_path):
    (tmp_path / "run").mkdir()
    run = sealed.build(Run(tmp_path / "run"))
    said = benchmark("server", run.path, "--rounds", 1, "--calls", 2)
    ratio(r"^start-up.* ratio ([\d.]+)$", said)
    ratio(r"^gate_status over stdio.* ratio ([\d.]+)$", said)
    assert len(re.findall(r"^answer of .* [1-9]\d* bytes", said, re.M)) == 4


def test_what_probing_a_model_costs(stage_python):
    env = {"TUNEGATE_STAGE_PYTHON": stage_python}
    said = benchmark("probe", "--only", "135M", "--rounds", 1, "--defaults", 3, env=env)
    ratio(r"^135M .*?(\d+e-\d+)", said)
    ratio(r"^\d of 3 told right \(([\d.]+) %\)", said)


@pytest.mark.slow
def test_what_reading_local_data_costs(stage_python, tmp_path):
    env = {"TUNEGATE_STAGE_PYTHON": stage_python}
    said = benchmark("local_data", tmp_path / "data", "--images", 300, "--megabytes", 1, env=env)
    for kind in ("imagefolder", "coco"):
        ratio(rf"^{kind}: plain .* ratios ([\d.]+) ", said)
        ratio(rf"^{kind}: plain .* ratios [\d.]+ ([\d.]+) ", said)


def test_an_image_built_by_the_server_beside_one_built_by_hand(tmp_path, monkeypatch):
    """An engine that only answers, and a `docker` that does nothing: what the benchmark does around them is real."""
    project = make_project(tmp_path / "run", sys.executable, platform="local-docker", **IMAGE)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/a-1-py3-none-any.whl").write_bytes(b"PK\x03\x04")
    command = tmp_path / "bin/docker"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    with FakeEngine(tmp_path / "docker.sock") as engine:
        for name in (IMAGE_ID, "@".join(IMAGE.values())):
            engine.images[name] = {"Id": name, "Config": {"Env": ["PATH=/bin"]}}
        listing = json.dumps(["3.12.3", {"torch": "2.13.0"}]) + "\n"

        def answer(container):
            engine.write(container, listing)
            engine.end(container, 0)

        engine.on_start = answer
        env = {"DOCKER_HOST": engine.host, "TUNEGATE_WHEELHOUSE": str(tmp_path / "wheels")}
        said = benchmark("build", project.path, env={**env, "PATH": f"{command.parent}:{os.environ['PATH']}"})
        assert {"train.py", "harness/project.py", "wheelhouse/a-1-py3-none-any.whl"} <= set(engine.context().getnames())
    for what in ("cold", "unchanged", "one line of a script", "requirements"):
        ratio(rf"^{what} .* s +([\d.]+) +[\d.]+$", said)


def test_a_rendered_project_beside_a_plain_script(stage_python, assets, tmp_path):
    said = throughput(stage_python, assets, tmp_path, "segformer-foodseg103", "plain", "ours")
    ratio(r"^\| segformer-foodseg103 \| [\d.]+ \| [\d.]+ \|  \| ([\d.]+) \|", said)  # ours / plain


@pytest.mark.slow
@pytest.mark.parametrize("name", ["detr-cppe5", "segformer-foodseg103", "smolvlm-vqav2"])
def test_each_project_beside_a_plain_script_and_the_model_alone(name, stage_python, mnist, tmp_path):
    """convnext-cifar10's plain script is not among them: it needs torchvision, which the stage environment does not have."""
    benchmark("reference_assets", mnist, tmp_path / "assets", name, "--tiny", python=stage_python)
    said = throughput(stage_python, tmp_path / "assets", tmp_path, name, "plain", "ours", "alone")
    ratio(rf"^\| {name} .*? \| ([\d.]+) \| [\d.]+ \|  \|", said)  # ours / plain
    ratio(rf"^\| {name} .*? \| ([\d.]+) \|  \|", said)  # ours / alone


def throughput(python: str, assets: Path, out: Path, name: str, *modes: str) -> str:
    argv = (out, name, "--assets", assets, "--python", python, "--steps", 2, "--warm-up", 1, "--mode", *modes)
    said = benchmark("throughput", *argv)
    found = json.loads((out / "throughput-1.json").read_text())[name]
    assert set(found) == set(modes) and not [one for one in found.values() if "error" in one], found
    return said


@pytest.mark.parametrize("until", ["build", pytest.param("smoke", marks=pytest.mark.slow)])
def test_a_reference_pipeline_through_the_server(until, assets, cached, tmp_path):
    name = "convnext-cifar10"
    argv = (tmp_path, name, "--assets", assets, "--platform", "local-process", "--until", until)
    benchmark("reference_pipelines", *argv, env=cached)
    found = json.loads((tmp_path / "reference_pipelines.json").read_text())[name]
    assert "error" not in found and found["parameters"] and until in found["stages"]
    assert all(math.isfinite(seconds) for seconds in found["stages"].values())


@pytest.mark.slow
def test_the_gpu_s_path_without_a_gpu(mnist, assets, cached, tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/model").symlink_to(assets / "convnext-cifar10/model")
    (tmp_path / "demo/dataset/data").mkdir(parents=True)
    for path in mnist.iterdir():
        (tmp_path / "demo/dataset/data" / path.name).symlink_to(path)
    argv = (tmp_path / "out", "--only", "demo", "--assets", tmp_path / "demo", "--platform", "local-process")
    benchmark("gpu_path", *argv, "--until", "smoke", env=cached)
    found = json.loads((tmp_path / "out/gpu_path.json").read_text())["demo"]
    assert "error" not in found and set(found["stage_seconds"]) == {"build", "check_api", "prepare", "smoke"}
    assert math.isfinite(found["seconds"]["docker_run(smoke)"])
