"""What a project reads of a local folder is what the probe counted: the same splits, the same rows, in one reader's words."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.probe.dataset import probe_dataset
from tests.probe.dataset.hub.test_table import VIEWER
from tests.probe.dataset.local.test_coco import probe
from tests.probe.dataset.local.test_local import saved_by_datasets_1
from tests.readers.test_formats import coco_set, put, voc_set
from tests.scaffolds.conftest import environment, make_project, put_manifest
from tests.tiny import DATASET, dataset_files, hub, parquet, png, server  # noqa: F401
from tunegate.embedded.hub import Fault
from tunegate.probe.dataset.local import read_local

LOAD = """
import json, pathlib
from harness import local_data
found = {}
blank = dict.fromkeys(("dataset_id", "dataset_revision", "dataset_config"))
for name, path, task in json.load(open("cases.json")):
    local_data.MANIFEST = pathlib.Path(name, "harness/dataset.json").resolve()
    cfg = {**blank, "local_dataset_path": path, "local_dataset_format": "auto", "task": task, "column_map": {}}
    splits = local_data.load(cfg, ("train", "validation", "test"))
    found[name] = {split: len(rows) for split, rows in splits.items()}
print(json.dumps(found))
"""


def test_a_project_reads_what_the_probe_counted(stage_python, tmp_path):
    put(tmp_path / "folder", "test tubes/train 1.png", "test tubes/2.jfif", "dev boards/1.png", "__MACOSX/a/._1.png")
    put(tmp_path / "splits", "train/a/1.png", "train/b/1.png", "val/a/1.png", "test/1.png")
    put(
        tmp_path / "pairs",
        "images/test tube.png",
        "images/2.png",
        "masks/test tube.png",
        "masks/2_mask.png",
        "images/3.png",
    )
    rows = "image;label\r\n1.png;None\r\n1.png;007\r\n"
    put(tmp_path / "csv", "spring.csv", "test.csv", ".ipynb_checkpoints/spring-checkpoint.csv", content=rows)
    put(tmp_path / "csv", "1.png")
    put(
        tmp_path / "jsonl",
        "a/train.jsonl",
        "b/train.jsonl",
        "b/val.jsonl",
        content='{"image": "1.png", "label": "x"}\n',
    )
    put(tmp_path / "jsonl", "a/1.png", "b/1.png")
    put(tmp_path / "described", "images/1.png", "images/2.png", "images/loose.png")
    put(tmp_path / "described", "metadata.csv", content="file_name,label\nimages/1.png,a\nimages/2.png,b\n")
    put(tmp_path / "parquet", "train.parquet", "validation.parquet", content=parquet([0, 1, 1], names=["cat", "dog"]))
    images = [{"id": "1", "file_name": "images\\1.png"}, {"id": "2", "file_name": "images\\2.png"}]
    objects = [{"image_id": "1", "category_id": 3, "bbox": [1, 1, 2, 2], "segmentation": [[]]}]
    coco_set(put(tmp_path / "coco", "images/1.png", "images/2.png"), images=images, annotations=objects)
    voc_set(tmp_path / "voc", ["yard 1", "yard 2", "yard 3"], trainval=["yard 1", "yard 2"], test=["yard 3", "yard 4"])
    saved_by_datasets_1(tmp_path / "saved/train", list(range(10)), [9, 0, 4])
    saved_by_datasets_1(tmp_path / "saved/validation", list(range(10)), [1, 8])
    tasks = {"pairs": "semantic-segmentation", "coco": "instance-segmentation", "voc": "object-detection"}
    cases = [
        (path.name, str(path), tasks.get(path.name, "image-classification")) for path in sorted(tmp_path.iterdir())
    ]
    project = make_project(tmp_path / "project", stage_python, task="instance-segmentation")
    (project.path / "cases.json").write_text(json.dumps(cases))
    for name, path, task in cases:
        (project.path / name / "harness").mkdir(parents=True)
        put_manifest(project.path / name, path, "auto", task)
    found = json.loads(project.ok("-c", LOAD).splitlines()[-1])
    assert found == {name: read_local(tmp_path / name, "auto", task).splits for name, _, task in cases}
    assert found["folder"] == {"train": 3} and found["csv"] == {"train": 2, "test": 2}
    assert found["saved"] == {"train": 3, "validation": 2}
    assert found["voc"] == {"train": 2, "test": 1} and found["splits"] == {"train": 2, "validation": 1}


ROWS = """
import json
from harness import local_data
from harness.project import load_config
splits = local_data.load(load_config(), ("train", "test"))
print(json.dumps({split: [dict(row) for row in rows] for split, rows in splits.items()}, default=repr))
"""


def test_rows_of_text_keep_their_values_and_only_named_files_are_read(stage_python, tmp_path):
    calls = [{"function": {"name": "f", "arguments": {"city": "Ulm"}}}, {"function": {"name": "g", "arguments": {}}}]
    rows = [
        {"text": "2024-01-01T00:00:00", "label": 1, "turns": [{"role": "user", "content": "x"}], "score": 1},
        {"text": "b", "label": "a", "turns": [{"role": "assistant", "tool_calls": calls}], "score": 2.5, "late": [7]},
    ]
    put(tmp_path / "d", "train.jsonl", content="".join(json.dumps(row) + "\n" for row in rows))
    project = make_project(
        tmp_path / "project", stage_python, local_dataset_path=str(tmp_path / "d"), local_dataset_format="jsonl"
    )
    put(tmp_path / "d", "train-2.jsonl", "test.jsonl", content=json.dumps(rows[0]))  # unknown to the manifest
    found = json.loads(project.ok("-c", ROWS).splitlines()[-1])
    assert list(found) == ["train"]
    assert found["train"] == [{**rows[0], "label": "1", "score": 1.0, "late": None}, {**rows[1], "late": [7]}]
    put(tmp_path / "d", "train.jsonl", content=(tmp_path / "d/train.jsonl").read_text().replace("Ulm", "Bor"))
    said = project.run("prepare_data.py")
    assert said.returncode == 1 and said.stdout.startswith("[dataset-changed] the dataset changed since probe_dataset")
    assert "train.jsonl has another content" in said.stdout and not (project.path / "data").exists()
    project.configure(local_dataset_format="csv", local_dataset_path=None, dataset_id="me/other")
    assert "harness/dataset.json is of another dataset" in project.run("prepare_data.py").stdout


@pytest.mark.parametrize(
    "kind", ["csv", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("parquet", "folder"))]
)
def test_a_dataset_of_the_hub_is_read_by_the_files_that_the_probe_named(stage_python, tmp_path, kind, hub, server):  # noqa: F811
    files = {
        "csv": {"train.csv": b"text,label\na,None\nb,007\n", "test.csv": b"text,label\nc,None\n"},
        "parquet": dataset_files(parquet(["u", "v"]), test=parquet(["u"])),
        "folder": {f"{split}/{name}/1.png": png() for split in ("train", "test") for name in ("u", "v")},
    }[kind]
    server.add_repo("dataset", "me/data", DATASET | files)
    server.faults.append(Fault(VIEWER, status=500, times=9999))
    asked = (
        {"task": "text-generation", "column_map": {"text": "text"}}
        if kind == "csv"
        else {"task": "image-classification"}
    )
    facts = probe_dataset(hub, dataset_id="me/data", **asked)
    assert facts.read_through == "files"
    known = {"dataset_id": "me/data", "dataset_revision": facts.revision, "dataset_config": facts.config}
    project = make_project(tmp_path / "project", stage_python, **known)
    (project.path / "harness/dataset.json").write_text(facts.manifest)
    at_hub = {**environment(), "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": server.url, "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run([stage_python, "-c", ROWS], cwd=project.path, env=at_hub, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    rows = {split: [row["label"] for row in rows] for split, rows in found.items()}
    expected = {"csv": {"train": ["None", "007"], "test": ["None"]}, "folder": {"train": [0, 1], "test": [0, 1]}}
    assert rows == expected.get(kind, {"train": ["u", "v"], "test": ["u"]})


def test_a_dataset_to_measure_on_is_its_own(stage_python, tmp_path):
    """Two files with images beside them; a changed one ends the stage."""
    for folder, numbers in (("a", range(10)), ("b", range(20, 24))):
        put(tmp_path / folder, *(f"{i}.png" for i in numbers))
        rows = [{"image": f"{i}.png", "label": "odd" if i % 2 else "even"} for i in numbers]
        put(tmp_path / folder, "rows.jsonl", content="".join(json.dumps(row) + "\n" for row in rows))
    paths = {"local_dataset_path": str(tmp_path / "a/rows.jsonl"), "local_eval_path": str(tmp_path / "b/rows.jsonl")}
    facts = probe(paths["local_dataset_path"], "image-classification", local_eval_path=paths["local_eval_path"])
    project = make_project(
        tmp_path / "project", stage_python, **paths, local_dataset_format="jsonl", train_split="train",
        eval_split="validation", class_names=facts.class_names, column_map=facts.column_map,
    )  # fmt: skip
    (project.path / "harness/dataset.json").write_text(facts.manifest)
    project.ok("prepare_data.py")
    meta = project.json("data/meta.json")
    assert (meta["n_train"], meta["n_eval"], meta["eval_split"]) == (10, 4, "validation")
    assert meta["eval_histogram"] == {"even": 2, "odd": 2}
    put(tmp_path, "b/21.png", content=b"-")
    assert "[dataset-changed]" in (said := project.run("prepare_data.py").stdout) and "21.png has 1 bytes" in said


ORDER = ["cat", "dog", "emu"], ["emu", "cat", "dog"]  # of the classes, as train and test declare them
LABELS = [0, 1, 2, 2], [0, 1, 2, 1]
BY_NAME = {"train": ["cat", "dog", "emu", "emu"], "test": ["emu", "cat", "dog", "cat"]}
NAMED = """
import json
from harness import local_data, rows
from harness.project import load_config
splits = local_data.load(load_config(), ("train", "test"))
print(json.dumps({split: rows.label_names(dataset) for split, dataset in splits.items()}))
"""


@pytest.mark.parametrize(
    "kind", ["viewer", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("local", "files"))]
)
def test_each_split_s_labels_are_read_by_the_names_that_it_declares_itself(stage_python, tmp_path, kind, hub, server):  # noqa: F811
    files = {
        f"{split}-00000-of-00001.parquet": parquet(labels, names=names)
        for split, labels, names in zip(("train", "test"), LABELS, ORDER, strict=True)
    }
    if kind == "local":
        (tmp_path / "d").mkdir()
        for name, data in files.items():
            (tmp_path / "d" / name).write_bytes(data)
        source = {"local_path": str(tmp_path / "d")}
        known = {"local_dataset_path": str(tmp_path / "d"), "local_dataset_format": "parquet"}
    else:
        server.add_repo("dataset", "me/data", DATASET | {f"data/{name}": data for name, data in files.items()})
        if kind == "files":
            server.faults.append(Fault(VIEWER, status=500, times=9999))
        source = {"dataset_id": "me/data"}
    facts = probe_dataset(hub, task="image-classification", **source)
    if kind != "local":
        known = {"dataset_id": "me/data", "dataset_revision": facts.revision, "dataset_config": facts.config}
    assert facts.class_names == ORDER[0] and facts.eval_split == "test"
    assert any(
        "'test' declares the classes of 'label' in another order than 'train'" in said for said in facts.warnings
    )
    assert facts.class_counts["test"].counts == {"cat": 2, "dog": 1, "emu": 1}
    project = make_project(tmp_path / "project", stage_python, **known)
    (project.path / "harness/dataset.json").write_text(facts.manifest)
    at_hub = {**environment(), "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": server.url, "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run([stage_python, "-c", NAMED], cwd=project.path, env=at_hub, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == BY_NAME
