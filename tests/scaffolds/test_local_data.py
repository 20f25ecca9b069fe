"""What a project reads of a local folder is what the probe counted: the same splits, the same rows, in one reader's words."""

from __future__ import annotations

import json

from tests.readers.test_formats import coco_set, put, voc_set
from tests.scaffolds.conftest import make_project, put_manifest
from tests.tiny import parquet
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
    assert found["voc"] == {"train": 2, "test": 1} and found["splits"] == {"train": 2, "validation": 1}
