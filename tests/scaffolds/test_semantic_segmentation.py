"""The rendered semantic-segmentation project, run by hand on a tiny SegFormer: every script, every coding of masks, every local form."""

from __future__ import annotations

import json
import random
import subprocess

import pytest

from tests.scaffolds import pages
from tests.scaffolds.conftest import environment, make_project
from tests.scaffolds.scenes import MAKE_SEGFORMER, SHAPES, class_mask, draw_scene
from tunegate.stages import verdicts
from tunegate.tasks import metrics

NAMES = ["background", *SHAPES]


@pytest.fixture(scope="module")
def scenes():
    rng = random.Random(0)
    return [draw_scene(rng) for _ in range(90)]


@pytest.fixture(scope="module")
def segformer(stage_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    subprocess.run([stage_python, "-c", MAKE_SEGFORMER, folder], check=True, capture_output=True, env=environment())
    return folder


def write_folder(folder, scenes, first: int = 1, change=lambda mask: mask):
    """images/ and masks/ of the scenes."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i, (image, objects) in enumerate(scenes):
        image.save(folder / f"images/{i}.png")
        change(class_mask(objects, first=first)).save(folder / f"masks/{i}_mask.png")
    return folder


def local(path, python, data, **values):
    """A project on a local folder of masks."""
    given = {
        "task": "semantic-segmentation",
        "local_dataset_path": str(data),
        "local_dataset_format": "segfolder",
        "mask_values": "ids",
        "class_names": NAMES,
        "n_train": 60,
        "n_eval": 18,
        "seed": 7,
    }
    return make_project(path, python, **{**given, **values})


@pytest.fixture(scope="module")
def project(stage_python, segformer, scenes, tmp_path_factory):
    data = write_folder(tmp_path_factory.mktemp("data"), scenes)
    values = {"n_epochs": 4, "learning_rate": 0.005, "per_device_train_batch_size": 6}
    project = local(tmp_path_factory.mktemp("project"), stage_python, data, model_id=str(segformer), **values)
    output = project.ok("prepare_data.py")
    assert "%|" not in output
    return project


def test_the_data_page_colors_each_class_where_it_is(project):
    """Right of the picture lies its mask: gray where the picture is background, the class's color where it is a shape."""
    page, meta = pages.DataPage(project), project.json("data/meta.json")
    colors = {"circle": "blue", "square": "green", "triangle": "red"}  # of overlays.palette, background apart
    assert page.bars("Classes", "class") == {n: [meta["train_histogram"][n], meta["eval_histogram"][n]] for n in NAMES}
    right = wrong = 0
    for row in page.rows["train"] + page.rows["eval"]:
        [picture] = row.pictures
        assert "background" in row.caption
        for x in range(8, 320, 16):
            for y in range(8, 320, 16):
                image, mask = picture.getpixel((x, y)), picture.getpixel((x + 320 + picture.width - 640, y))
                name = next((name for name, color in SHAPES.items() if pages.near(image, color, 45)), None)
                gray = max(mask) - min(mask) < 40
                agrees = gray if name is None else not gray and pages.hue(mask) == colors[name]
                right, wrong = right + agrees, wrong + (not agrees)
    assert len(page.rows["train"] + page.rows["eval"]) == 24 and wrong < 0.03 * right  # edges are mixed


def test_prepared_masks_hold_class_ids(project):
    meta = project.json("data/meta.json")
    assert (meta["class_names"], meta["n_train"], meta["n_eval"]) == (NAMES, 60, 18)
    assert sum(meta["train_histogram"].values()) == 60 * 64 * 64
    assert all(meta["eval_histogram"][name] for name in NAMES)


def test_the_whole_run_by_hand(project, tmp_path):
    assert "passed" in project.ok("-m", "harness.check_api")
    assert "smoke PASSED" in project.ok("train.py", "--smoke", "--max_steps", "2")
    project.ok("run_eval.py", "--baseline")
    assert "stopped at step 15 of 40" in project.ok("train.py", "--max_steps", "15")
    project.ok("train.py")
    project.ok("run_eval.py")
    project.ok("infer.py")
    assert project.json("reports/train.json")["resumed_from"] == "checkpoint-15"

    baseline, tuned = project.json("reports/baseline_results.json"), project.json("reports/eval_results.json")
    rows = project.rows("reports/eval_predictions.jsonl")
    assert (baseline["kind"], tuned["kind"]) == ("random-head", "fine-tuned")
    assert tuned["mean_iou"] == pytest.approx(metrics.value("mean_iou", rows), abs=1e-5)
    assert tuned["mean_iou"] > tuned["controls"]["majority_class"] > 0.1
    assert tuned["mean_iou"] > baseline["mean_iou"]
    assert tuned["pixel_accuracy"] > 0.8
    assert set(tuned["per_class_iou"]) == set(NAMES)
    meta = project.json("data/meta.json")
    assert verdicts.evaluation.other_truth("mean_iou", rows, meta) == ""
    rows[0]["union"] = {name: pixels // 9 for name, pixels in rows[0]["union"].items()}
    assert verdicts.evaluation.other_truth("mean_iou", rows[:1], meta) == "masks"

    samples = project.path / "reports/inference_samples"
    assert len(list(samples.glob("*_input.jpg"))) == len(list(samples.glob("*_pred.jpg"))) == 5
    assert set(json.loads((samples / "4_meta.json").read_text())["prediction"]) <= set(NAMES)


CODINGS = """
import json
import numpy as np
from harness.project import load_split
print(json.dumps(sorted({int(v) for split in ("train", "eval") for row in load_split(split) for v in np.unique(np.array(row["mask"]))})))
"""


@pytest.mark.parametrize(
    ("values", "first", "change", "found"),
    [
        ({"mask_values": "ids_from_1", "class_names": list(SHAPES)}, 1, "none", [0, 1, 2, 255]),
        ({"mask_values": "ids", "ignore_index": 0}, 1, "none", [1, 2, 3, 255]),
        ({"mask_values": "binary_255", "class_names": []}, 1, "all", [0, 1]),
        ({"mask_values": "codes", "mask_codes": [120, 0, 80], "ignore_index": 40}, 1, "gray", [0, 1, 2, 255]),
        ({"mask_values": "ids", "class_names": []}, 1, "16 bits", [0, 1, 2, 3]),
        ({"mask_values": "ids", "class_names": []}, 1, "palette", [0, 1, 2, 3]),
        ({"mask_values": "ids", "class_names": []}, 1, "rgb", [0, 1, 2, 3]),
    ],
)
def test_codings_of_masks(stage_python, scenes, tmp_path, values, first, change, found):
    changes = {
        "none": lambda mask: mask,
        "all": lambda mask: mask.point(lambda value: 255 * (value > 0)),
        "gray": lambda mask: mask.point(lambda value: 40 * value),
        "16 bits": lambda mask: mask.convert("I;16"),
        "palette": as_palette,
        "rgb": lambda mask: mask.convert("RGB"),
    }
    data = write_folder(tmp_path / "data", scenes[:24], first, changes[change])
    project = local(tmp_path / "project", stage_python, data, n_train=15, n_eval=5, **values)
    project.ok("prepare_data.py")
    assert json.loads(project.ok("-c", CODINGS)) == found


def as_palette(mask):
    """The same ids as the indices of a palette image, as VOC keeps its masks."""
    from PIL import Image

    indexed = Image.frombytes("P", mask.size, mask.tobytes())
    indexed.putpalette([value for i in range(256) for value in (i * 50 % 256, i * 90 % 256, i)])
    return indexed


def test_rows_that_cannot_be_used_are_counted(stage_python, scenes, tmp_path):
    from PIL import Image

    data = write_folder(tmp_path / "data", scenes[:24])
    (data / "images/3.png").write_bytes(b"\x89PNG not an image")
    Image.new("L", (30, 30), 1).save(data / "masks/4_mask.png")
    Image.merge("RGB", [Image.new("L", (64, 64), v) for v in (1, 2, 3)]).save(data / "masks/6_mask.png")
    Image.new("L", (64, 64), 200).save(data / "masks/7_mask.png")
    project = local(tmp_path / "project", stage_python, data, ignore_index=200)
    project.ok("prepare_data.py")
    assert project.json("data/meta.json")["dropped"] == {
        "image cannot be read": 1,
        "mask of another size than its image": 1,
        "mask is a color picture, not class ids": 1,
        "no pixel with a class": 1,
    }


def test_a_class_without_a_name_is_refused(stage_python, scenes, tmp_path):
    data = write_folder(tmp_path / "data", scenes[:24])
    project = local(tmp_path / "project", stage_python, data, class_names=NAMES[:3])
    refused = project.run("prepare_data.py")
    assert refused.returncode == 1
    assert "holds class 3, and class_names in config.yaml has 0 to 2" in refused.stdout
    assert not (project.path / "data").exists()


def test_voc_with_its_image_sets(stage_python, scenes, tmp_path):
    root = tmp_path / "VOCdevkit/VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    for i, (image, objects) in enumerate(scenes[:20]):
        image.save(root / f"JPEGImages/2007_{i:03}.jpg")
        as_palette(class_mask(objects)).save(root / f"SegmentationClass/2007_{i:03}.png")
        as_palette(class_mask(objects)).save(root / f"SegmentationObject/2007_{i:03}.png")
    for name, numbers in (("train", range(12)), ("val", range(12, 18)), ("trainval", range(18))):
        (root / f"ImageSets/Segmentation/{name}.txt").write_text("".join(f"2007_{i:03}\n" for i in numbers))
    values = {"local_dataset_format": "voc", "train_split": "train", "eval_split": "validation", "ignore_index": 255}
    project = local(tmp_path / "project", stage_python, tmp_path / "VOCdevkit", **values)
    project.ok("prepare_data.py")
    meta = project.json("data/meta.json")
    assert (meta["n_train"], meta["n_eval"]) == (12, 6)


def test_a_table_that_names_images_and_masks(stage_python, scenes, tmp_path):
    data = write_folder(tmp_path / "data", scenes[:20])
    rows = [{"photo": f"images/{i}.png", "annotation": f"masks/{i}_mask.png"} for i in range(20)]
    (data / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"image": "photo", "mask": "annotation"}
    project = local(tmp_path / "project", stage_python, data, local_dataset_format="jsonl", column_map=columns)
    project.ok("prepare_data.py")
    assert project.json("data/meta.json")["n_train"] == 16
