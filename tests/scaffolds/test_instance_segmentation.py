"""The rendered instance-segmentation project, run by hand on a tiny Mask2Former: every script, every form of objects."""

from __future__ import annotations

import json
import random
import subprocess

import pytest

from tests.scaffolds import pages
from tests.scaffolds.conftest import environment, make_project
from tests.scaffolds.scenes import MAKE_MASK2FORMER, SHAPES, class_and_instance, draw_scene, segments
from tunegate.stages import verdicts
from tunegate.tasks import metrics

NAMES = list(SHAPES)


@pytest.fixture(scope="module")
def scenes():
    rng = random.Random(0)
    return [draw_scene(rng) for _ in range(90)]


@pytest.fixture(scope="module")
def mask2former(stage_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    subprocess.run([stage_python, "-c", MAKE_MASK2FORMER, folder], check=True, capture_output=True, env=environment())
    return folder


def outline(mask):
    """A mask as uncompressed run lengths, column by column, beginning with zeros: as COCO writes crowds."""
    turned = mask.transpose(0).rotate(90)  # rows become columns
    values, counts, last = turned.tobytes(), [0], 0
    for value in values:
        if bool(value) != last:
            last = bool(value)
            counts.append(0)
        counts[-1] += 1
    return {"counts": counts, "size": [mask.height, mask.width]}


def polygon(mask):
    """The mask's bounding box, which is exact for squares alone."""
    left, top, right, bottom = mask.getbbox()
    return [[left, top, right, top, right, bottom, left, bottom]]


def write_coco(folder, scenes, names=("train",)):
    """annotations/instances_<split>.json and <split>/; category ids 5, 15, 25; the last object of every fifth image a crowd."""
    number = 0
    for k, split in enumerate(names):
        (folder / split).mkdir(parents=True)
        content = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 5 + 10 * i, "name": n} for i, n in enumerate(NAMES)],
        }
        for i, (image, objects) in list(enumerate(scenes))[k :: len(names)]:
            image.save(folder / split / f"{i}.png")
            content["images"].append({"id": i, "file_name": f"{i}.png", "height": image.height, "width": image.width})
            for j, (name, mask) in enumerate(objects):
                number += 1
                crowd = int(i % 5 == 0 and j > 0 and j == len(objects) - 1)
                shape = polygon(mask) if name == "square" else outline(mask)
                one = {
                    "id": number,
                    "image_id": i,
                    "category_id": 5 + 10 * NAMES.index(name),
                    "iscrowd": crowd,
                    "segmentation": shape,
                }
                content["annotations"].append(one)
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / f"annotations/instances_{split}.json").write_text(json.dumps(content))
        (folder / f"annotations/captions_{split}.json").write_text(json.dumps({"images": [], "annotations": []}))
    return folder


def local(path, python, data, **values):
    given = {
        "task": "instance-segmentation",
        "local_dataset_path": str(data),
        "local_dataset_format": "coco",
        "column_map": {
            "segmentation": "objects.segmentation",
            "category": "objects.category",
            "iscrowd": "objects.iscrowd",
        },
        "class_names": NAMES,
        "n_train": 60,
        "n_eval": 18,
        "image_size": 64,
        "seed": 7,
    }
    return make_project(path, python, **{**given, **values})


@pytest.fixture(scope="module")
def project(stage_python, mask2former, scenes, tmp_path_factory):
    data = write_coco(tmp_path_factory.mktemp("data"), scenes)
    values = {"n_epochs": 8, "learning_rate": 0.001, "per_device_train_batch_size": 6, "gradient_accumulation_steps": 1}
    project = local(tmp_path_factory.mktemp("project"), stage_python, data, model_id=str(mask2former), **values)
    output = project.ok("prepare_data.py")
    assert "%|" not in output
    return project


def test_the_data_page_tints_each_object_where_it_is(project):
    """Right of the picture lies the same one with each object under its class's color."""
    page, meta = pages.DataPage(project), project.json("data/meta.json")
    colors = {"circle": "red", "square": "blue", "triangle": "green"}  # of overlays.palette
    assert page.bars("Classes", "class") == {n: [meta["train_histogram"][n], meta["eval_histogram"][n]] for n in NAMES}
    right = wrong = 0
    for row in page.rows["train"] + page.rows["eval"]:
        [picture] = row.pictures
        for x in range(8, 320, 16):
            for y in range(8, 320, 16):
                image, drawn = picture.getpixel((x, y)), picture.getpixel((x + picture.width - 320, y))
                name = next((name for name, color in SHAPES.items() if pages.near(image, color, 45)), None)
                if name:  # a crowd is drawn in the picture and tinted nowhere: it is no single object
                    agrees = pages.hue(drawn) == colors[name]
                    right, wrong = right + agrees, wrong + (not agrees)
    assert len(page.rows["train"] + page.rows["eval"]) == 24 and right > 300 and wrong < 0.1 * right


def test_the_whole_run_by_hand(project):
    assert "passed" in project.ok("-m", "harness.check_api")
    assert "smoke PASSED" in project.ok("train.py", "--smoke", "--max_steps", "2")
    project.ok("run_eval.py", "--baseline")
    project.ok("train.py")
    project.ok("run_eval.py")
    project.ok("infer.py")

    baseline, tuned = project.json("reports/baseline_results.json"), project.json("reports/eval_results.json")
    rows, meta = project.rows("reports/eval_predictions.jsonl"), project.json("data/meta.json")
    assert (baseline["kind"], tuned["kind"]) == ("random-head", "fine-tuned")
    assert tuned["map"] == pytest.approx(metrics.value("map", rows), abs=1e-6)
    assert tuned["map"] > tuned["controls"]["whole_image"] + 0.1
    assert tuned["map"] > baseline["map"] + 0.1
    assert set(tuned["per_class_ap"]) == set(NAMES)
    assert verdicts.evaluation.other_truth("map", rows, meta) == ""

    samples = project.path / "reports/inference_samples"
    assert len(list(samples.glob("*_input.jpg"))) == len(list(samples.glob("*_pred.jpg"))) == 5
    assert "prediction" in json.loads((samples / "4_meta.json").read_text())


GUESSES = """
import json
import numpy as np
from pycocotools import mask as coco_mask
from run_eval import add_image, class_precisions, evaluate, mean, rows

rng, answers = np.random.default_rng(0), []
for trial in range(3):
    truth, found = {"images": [], "annotations": [], "categories": [{"id": i} for i in range(3)]}, []
    for image in range(12):
        masks = np.zeros((rng.integers(0, 6), 40, 50), np.uint8)
        for mask in masks:
            top, left = rng.integers(0, 30, 2)
            mask[top:top + rng.integers(5, 30), left:left + rng.integers(5, 30)] = 1
        encoded = [coco_mask.encode(np.asfortranarray(mask)) for mask in masks]
        objects = {"mask": [one["counts"].decode() for one in encoded], "category": rng.integers(0, 2, len(masks)).tolist(),
                   "iscrowd": (rng.random(len(masks)) < 0.3).tolist()}
        add_image(truth, objects, (40, 50))
        for mask, label in zip(masks, objects["category"]):
            for shift in range(rng.integers(0, 3)):
                moved = coco_mask.encode(np.asfortranarray(np.roll(mask, shift * 2, 1)))
                found.append({"image_id": image + 1, "category_id": int(rng.integers(0, 3)) if rng.random() < 0.2 else label,
                              "score": round(float(rng.random()), 1), "segmentation": moved})
    evaluation = evaluate(truth, found)
    answers.append([mean(class_precisions(evaluation)), rows(evaluation, ["a", "b", "c"])])
print(json.dumps(answers))
"""


def test_the_rows_give_cocos_number_crowds_and_ties_included(project):
    """Objects, crowds and wrong guesses at random, many with equal scores: the server's own computation gives the same."""
    for value, rows in json.loads(project.ok("-c", GUESSES)):
        assert metrics.value("map", rows) == pytest.approx(value, abs=1e-9)
        assert 0.2 < value < 0.9
        assert any("-" in digits for row in rows for *_, digits in row["detections"])


OBJECTS = """
import json
from data import decoded
from harness.project import load_split
found = []
for split in ("train", "eval"):
    for row in load_split(split):
        masks, classes = decoded(row["objects"], row["image"].size)
        found.append([row["image"].convert("RGB").tobytes().hex(), sorted(zip(classes.tolist(), masks.sum((1, 2)).tolist()))])
print(json.dumps(sorted(found)))
"""


def expected(scenes, first: int = 0):
    """What OBJECTS prints: each image with its objects' classes and pixels."""
    found = []
    for image, objects in scenes:
        known = [[first + NAMES.index(name), sum(value > 0 for value in mask.tobytes())] for name, mask in objects]
        found.append([image.tobytes().hex(), sorted(known)])
    return sorted(found)


def test_coco_with_an_evaluation_split(stage_python, scenes, tmp_path):
    data = write_coco(tmp_path / "data", scenes[:24], ("train", "val"))
    values = {"train_split": "train", "eval_split": "validation", "class_names": []}
    project = local(tmp_path / "project", stage_python, data, **values)
    project.ok("prepare_data.py")
    meta = project.json("data/meta.json")
    assert (meta["n_train"], meta["n_eval"], meta["class_names"]) == (12, 12, NAMES)
    single = [
        (image, objects[:-1] if i % 5 == 0 and len(objects) > 1 else objects)
        for i, (image, objects) in enumerate(scenes[:24])
    ]
    assert json.loads(project.ok("-c", OBJECTS)) == expected(single)


def write_table(folder, rows):
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("form", ["colors", "segments", "list of objects", "columns"])
def test_forms_of_objects(stage_python, scenes, tmp_path, form):
    """The same objects in each form that the probe accepts."""
    scenes, rows, data = scenes[:20], [], tmp_path / "data"
    data.mkdir()
    for i, (image, objects) in enumerate(scenes):
        image.save(data / f"{i}.png")
        row = {"photo": f"{i}.png"}
        if form == "colors":
            class_and_instance(objects).save(data / f"{i}_mask.png")
            row["mask"] = f"{i}_mask.png"
        elif form == "segments":
            picture, info = segments(objects)
            picture.save(data / f"{i}_mask.png")
            row |= {"mask": f"{i}_mask.png", "segments_info": info[1:]}
        elif form == "columns":
            row |= {"outline": [outline(mask) for _, mask in objects], "kind": [name for name, _ in objects]}
        else:
            row["things"] = [{"outline": outline(mask), "kind": NAMES.index(name)} for name, mask in objects]
        rows.append(row)
    write_table(data, rows)
    columns, first = {"image": "photo"}, 0
    values = {"local_dataset_format": "jsonl", "n_train": 100, "n_eval": 4}
    if form == "colors":
        values |= {"mask_values": "class_and_instance", "class_names": ["background", *NAMES]}
        columns, first = {**columns, "mask": "mask"}, 1
    elif form == "segments":
        values |= {"mask_values": "segment_ids", "class_names": ["background", *NAMES]}
        columns, first = {**columns, "mask": "mask", "segments": "segments_info"}, 1
    elif form == "columns":
        columns |= {"segmentation": "outline", "category": "kind"}
    else:
        columns |= {"segmentation": "things.outline", "category": "things.kind"}
    project = local(tmp_path / "project", stage_python, data, column_map=columns, **values)
    project.ok("prepare_data.py")
    assert json.loads(project.ok("-c", OBJECTS)) == expected(scenes, first)


def test_rows_that_cannot_be_used(stage_python, scenes, tmp_path):
    """A damaged image and a mask of another size are counted; an image without objects stays; classes without instances are refused."""
    from PIL import Image

    data = tmp_path / "data"
    data.mkdir()
    for i, (image, objects) in enumerate(scenes[:20]):
        image.save(data / f"{i}.png")
        class_and_instance([] if i == 5 else objects).save(data / f"{i}_mask.png")
    (data / "3.png").write_bytes(b"\x89PNG not an image")
    Image.new("RGB", (30, 30), (1, 1, 0)).save(data / "4_mask.png")
    write_table(data, [{"image": f"{i}.png", "mask": f"{i}_mask.png"} for i in range(20)])
    values = {
        "local_dataset_format": "jsonl",
        "column_map": {"image": "image", "mask": "mask"},
        "class_names": ["background", *NAMES],
    }
    project = local(tmp_path / "project", stage_python, data, mask_values="class_and_instance", **values)
    project.ok("prepare_data.py")
    meta = project.json("data/meta.json")
    assert meta["dropped"] == {"image cannot be read": 1, "mask of another size than its image": 1}
    assert meta["n_train"] + meta["n_eval"] == 18
    project.configure(class_names=["background", "circle"])
    said = project.ok("prepare_data.py")  # the verdict compares the classes with the probe's
    assert "15 objects left out (object without a known class)" in said
    project.configure(mask_values="ids")
    assert "such masks tell classes, not objects" in project.run("prepare_data.py").stdout
