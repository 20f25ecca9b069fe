"""The rendered panoptic-segmentation project, run by hand on a tiny Mask2Former, from COCO's panoptic form."""

from __future__ import annotations

import json
import random
import subprocess

import pytest

from tests.scaffolds.conftest import environment, make_project
from tests.scaffolds.scenes import MAKE_MASK2FORMER, SHAPES, draw_scene, segments
from tunegate.stages import verdicts
from tunegate.tasks import metrics

NAMES = ["ground", *SHAPES]


def write_coco(folder, scenes, *, things: bool = True, suffix: str = "jpg"):
    """panoptic_train.json, its PNGs and the images; category ids 3, 13, 23, 33."""
    (folder / "annotations/panoptic_train").mkdir(parents=True)
    (folder / "train2017").mkdir()
    content = {"images": [], "annotations": [], "categories": []}
    for i, name in enumerate(NAMES):
        content["categories"].append({"id": 3 + 10 * i, "name": name, **({"isthing": int(i > 0)} if things else {})})
    for i, (image, objects) in enumerate(scenes):
        picture, info = segments(objects)
        image.save(folder / f"train2017/{i:012}.{suffix}", quality=95)
        picture.save(folder / f"annotations/panoptic_train/{i:012}.png")
        info = [{**one, "category_id": 3 + 10 * one["category_id"]} for one in info]
        content["images"].append(
            {"id": i, "file_name": f"{i:012}.{suffix}", "height": image.height, "width": image.width}
        )
        content["annotations"].append({"image_id": i, "file_name": f"{i:012}.png", "segments_info": info})
    (folder / "annotations/panoptic_train.json").write_text(json.dumps(content))
    return folder


def local(path, python, data, **values):
    given = {
        "task": "panoptic-segmentation",
        "local_dataset_path": str(data),
        "local_dataset_format": "coco",
        "column_map": {"image": "image", "mask": "mask", "segments": "segments_info"},
        "mask_values": "segment_ids",
        "class_names": NAMES,
        "n_train": 60,
        "n_eval": 18,
        "image_size": 64,
        "seed": 7,
    }
    return make_project(path, python, **{**given, **values})


@pytest.fixture(scope="module")
def project(stage_python, tmp_path_factory):
    rng = random.Random(0)
    data = write_coco(tmp_path_factory.mktemp("data"), [draw_scene(rng) for _ in range(90)])
    folder = tmp_path_factory.mktemp("model")
    subprocess.run([stage_python, "-c", MAKE_MASK2FORMER, folder], check=True, capture_output=True, env=environment())
    values = {"n_epochs": 8, "learning_rate": 0.001, "per_device_train_batch_size": 6, "gradient_accumulation_steps": 1}
    project = local(tmp_path_factory.mktemp("project"), stage_python, data, model_id=str(folder), **values)
    project.ok("prepare_data.py")
    return project


def test_pictures_of_segment_ids_are_not_taken_for_images_of_the_same_name(stage_python, tmp_path):
    scene = draw_scene(random.Random(1))
    data = write_coco(tmp_path / "data", [scene] * 8, suffix="png")
    project = local(tmp_path / "project", stage_python, data, n_train=6, n_eval=2)
    project.ok("prepare_data.py")
    seen = project.ok(
        "-c", "from harness.project import load_split; print(load_split('train')[0]['image'].getpixel((0, 0)))"
    )
    assert seen.splitlines()[-1] == str(scene[0].getpixel((0, 0)))


def test_the_whole_run_by_hand(project):
    meta = project.json("data/meta.json")
    assert (meta["n_train"], meta["n_eval"], meta["stuff"]) == (60, 18, ["ground"])
    assert meta["eval_histogram"]["ground"] == 18
    assert "passed" in project.ok("-m", "harness.check_api")
    assert "smoke PASSED" in project.ok("train.py", "--smoke", "--max_steps", "2")
    project.ok("run_eval.py", "--baseline")
    project.ok("train.py")
    project.ok("run_eval.py")
    project.ok("infer.py")

    baseline, tuned = project.json("reports/baseline_results.json"), project.json("reports/eval_results.json")
    rows = project.rows("reports/eval_predictions.jsonl")
    assert tuned["map"] == pytest.approx(metrics.value("map", rows), abs=1e-6)
    assert tuned["map"] > baseline["map"] + 0.1
    assert tuned["pq"] > baseline["pq"]
    assert tuned["per_class_pq"]["ground"] > 0.7
    assert set(tuned["per_class_pq"]) == set(NAMES)
    assert 0 < tuned["sq"] <= 1
    assert verdicts.evaluation.other_truth("map", rows, meta) == ""
    samples = project.path / "reports/inference_samples"
    assert len(list(samples.glob("*_pred.jpg"))) == 5
    assert {one["label"] for one in json.loads((samples / "0_meta.json").read_text())["prediction"]} <= set(NAMES)


PERFECT = """
import json
import numpy as np
import torch
from data import decoded
from model import find_objects, find_segments
from harness.project import load_meta, load_split
from run_eval import evaluate, add_image, pairs, true_segments, class_precisions, mean, panoptic_quality, rows
from pycocotools import mask as coco_mask
from torchmetrics.detection import PanopticQuality

meta, found = load_meta(), {}
names = meta["class_names"]
stuff, nothing = {names.index(name) for name in meta["stuff"]}, len(names)
for share in ("all", "half", "none"):
    truth, detections = {"images": [], "annotations": [], "categories": [{"id": i} for i in range(nothing)]}, []
    quality = PanopticQuality(set(range(nothing)) - stuff, stuff | {nothing}, return_sq_and_rq=True, return_per_class=True)
    for i, row in enumerate(load_split("eval")):
        size = row["image"].size[::-1]
        masks, classes = decoded(row["objects"], row["image"].size)
        logits, queries = torch.full((len(masks) + 1, nothing + 1), -9.0), torch.full((len(masks) + 1, *size), -9.0)
        for k, (mask, label) in enumerate(zip(masks, classes)):
            if share == "all" or share == "half" and i % 2:
                queries[k][torch.from_numpy(mask)], logits[k, label] = 9.0, 9.0
        logits[logits.max(1).values < 0, nothing] = 9.0
        add_image(truth, row["objects"], size)
        for label, score, mask in find_objects(logits, queries, size):
            detections.append({"image_id": i + 1, "category_id": label, "score": score, "segmentation": coco_mask.encode(np.asfortranarray(mask, np.uint8))})
        quality.update(pairs(*find_segments(logits, queries, size, stuff), nothing), pairs(*true_segments(row["objects"], size), nothing + 1))
    found[share] = {"map": mean(class_precisions(evaluate(truth, detections))), **panoptic_quality(quality, names)}
print(json.dumps(found))
"""


def test_the_measures_of_perfect_half_and_no_predictions(project):
    """Predicting nothing is wrong everywhere: torchmetrics alone would call those pixels void and leave them out."""
    found = json.loads(project.ok("-c", PERFECT))
    assert found["all"]["map"] == pytest.approx(1)
    assert (found["all"]["pq"], found["all"]["sq"], found["all"]["rq"]) == (1, 1, 1)
    assert 0.3 < found["half"]["map"] < 0.7
    assert 0.5 < found["half"]["pq"] < 0.8
    assert found["half"]["sq"] == 1
    assert (found["none"]["map"], found["none"]["pq"]) == (0, 0)


def test_stuff_is_told_by_the_data_where_the_file_does_not(stage_python, tmp_path):
    rng = random.Random(3)
    data = write_coco(tmp_path / "data", [draw_scene(rng, most=5) for _ in range(80)], things=False)
    project = local(tmp_path / "project", stage_python, data)
    project.ok("prepare_data.py")
    assert project.json("data/meta.json")["stuff"] == ["ground"]
