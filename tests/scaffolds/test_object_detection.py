"""The rendered object-detection project on tiny detectors and drawn scenes: every script, for real."""

from __future__ import annotations

import json
import random
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.scaffolds import pages
from tests.scaffolds.conftest import environment, make_project
from tests.scaffolds.scenes import SHAPES, draw_scene
from tunegate.errors import ToolFailure
from tunegate.tasks import metrics

MAKE = """
import sys
from transformers import AutoModelForObjectDetection, set_seed
from transformers import DetrConfig, DetrImageProcessorPil, ResNetConfig
from transformers import RTDetrConfig, RTDetrImageProcessorPil, RTDetrResNetConfig
from transformers import YolosConfig, YolosImageProcessorPil
set_seed(0)
kind, folder = sys.argv[1:]
stages = dict(embedding_size=8, hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1], layer_type="basic")
heads = dict(encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, decoder_layers=1, d_model=32, num_labels=7)
edges = {"shortest_edge": 64, "longest_edge": 96}
if kind == "detr":
    backbone = ResNetConfig(out_features=["stage4"], **stages)
    config = DetrConfig(backbone_config=backbone, num_queries=10, encoder_layers=1, **heads)
    processor = DetrImageProcessorPil(size=edges)
elif kind == "rt_detr":
    backbone = RTDetrResNetConfig(out_features=["stage2", "stage3", "stage4"], **stages)
    config = RTDetrConfig(
        backbone_config=backbone, freeze_backbone_batch_norms=False, encoder_hidden_dim=32, encoder_in_channels=[16, 16, 32],
        decoder_in_channels=[32, 32, 32], num_queries=20, num_denoising=10, decoder_n_points=2, anchor_image_size=None, **heads,
    )
    processor = RTDetrImageProcessorPil(size={"height": 64, "width": 64})
else:
    size = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    config = YolosConfig(image_size=[64, 96], num_detection_tokens=10, num_labels=7, **size)
    processor = YolosImageProcessorPil(size=edges)
AutoModelForObjectDetection.from_config(config).save_pretrained(folder)
processor.save_pretrained(folder)
"""
N = 30


def make_model(python, kind, folder):
    subprocess.run([python, "-c", MAKE, kind, folder], check=True, capture_output=True, env=environment())
    return folder


def boxes(objects):
    """[left, top, right, bottom] of each object of a scene."""
    return [(name, mask.getbbox()) for name, mask in objects]


@pytest.fixture(scope="session")
def coco(tmp_path_factory):
    """A COCO folder; image 0 has no object, and one annotation is a crowd."""
    folder, rng = tmp_path_factory.mktemp("coco"), random.Random(0)
    (folder / "images").mkdir()
    images, annotations = [], []
    for i in range(N):
        image, objects = draw_scene(rng, size=64 if i % 3 else 80)
        image.save(folder / f"images/{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": image.width, "height": image.height})
        for name, (left, top, right, bottom) in boxes(objects) if i else []:
            annotations.append({"id": len(annotations), "image_id": i, "category_id": 10 + list(SHAPES).index(name), "iscrowd": 0,
                                "bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top)})  # fmt: skip
    annotations.append(
        {"id": 999, "image_id": 1, "category_id": 10, "bbox": [0, 0, 60, 60], "area": 3600, "iscrowd": 1}
    )
    categories = [{"id": 10 + i, "name": name} for i, name in enumerate(SHAPES)]
    (folder / "annotations.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return folder


def project_on(coco, python, path, model, **values):
    quick = {"n_train": 24, "n_eval": 6, "n_epochs": 2, "per_device_train_batch_size": 4, "learning_rate": 1e-3}
    return make_project(
        path, python, model_id=str(model), task="object-detection", local_dataset_path=str(coco), local_dataset_format="coco",
        class_names=list(SHAPES), **quick | values,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(coco, stage_python, tmp_path_factory):
    model = make_model(stage_python, "rt_detr", tmp_path_factory.mktemp("rt_detr"))
    project = project_on(coco, stage_python, tmp_path_factory.mktemp("detection") / "project", model)
    project.ok("-m", "harness.check_api")
    project.ok("prepare_data.py")
    project.ok("train.py", "--smoke", "--max_steps", "2")
    project.ok("run_eval.py", "--baseline")
    project.ok("train.py", "--max_steps", "5")
    project.ok("train.py")
    project.ok("run_eval.py")
    project.ok("infer.py")
    return project


def test_the_whole_run_by_hand(trained):
    meta = trained.json("data/meta.json")
    assert (meta["n_train"], meta["n_eval"], meta["class_names"]) == (24, 6, list(SHAPES))
    assert meta["objects_dropped"] == {"box of a crowd": 1}
    report = trained.json("reports/train.json")
    assert report["global_step"] == report["max_steps"] == 12 and report["last_loss"] < report["first_loss"]
    checks = {check["name"]: check["detail"] for check in trained.json("reports/smoke.json")["checks"]}
    assert int(checks["labels"].split()[0]) >= 4  # boxes of the first batch
    for name in ("baseline", "eval"):
        found, rows = trained.json(f"reports/{name}_results.json"), trained.rows(f"reports/{name}_predictions.jsonl")
        assert metrics.value("map", rows) == pytest.approx(found["map"], abs=1e-6)
        assert found["interval"][0] <= found["interval"][1] and {"map_50", "per_class_map"} <= set(found)
        assert 0 <= found["controls"]["training_boxes"] < 0.2  # they fit by chance alone
        counted = {shape: sum(row["objects"].get(shape, 0) for row in rows) for shape in SHAPES}
        assert counted == meta["eval_histogram"]
    assert len(list((trained.path / "reports/inference_samples").glob("*_pred.jpg"))) == 5


def test_the_data_page_draws_each_box_around_its_object(trained):
    """On training pictures, flipped and cropped with their boxes, and on evaluation pictures: a frame of the class's color
    lies around pixels of the drawn object's color, and nowhere else are there any."""
    page, framed = pages.DataPage(trained), 0
    assert len(page.rows["train"]) == 12 and len(page.rows["eval"]) == 6
    frames = {"circle": (255, 25, 25), "square": (25, 98, 255), "triangle": (159, 255, 25)}
    for row in page.rows["train"] + page.rows["eval"]:
        if row.caption not in SHAPES:
            continue  # several, or none
        framed += 1
        picture, kind = row.pictures[0], pages.hue(SHAPES[row.caption])
        own = [(x, y) for x in range(0, 320, 2) for y in range(0, 320, 2)
               if pages.near(picture.getpixel((x, y)), SHAPES[row.caption], 75) and pages.hue(picture.getpixel((x, y))) == kind]  # fmt: skip
        (left, top), (right, bottom) = (tuple(side(point[i] for point in own) for i in (0, 1)) for side in (min, max))
        edges = [(left - 8 + i, (top + bottom) // 2) for i in range(16)] + [
            (right - 8 + i, (top + bottom) // 2) for i in range(16)
        ]
        seen = [picture.getpixel(point) for point in edges if 0 <= point[0] < 320]
        if row.caption != "triangle":  # whose edges in the middle are not its box's
            assert sum(pages.near(pixel, frames[row.caption], 90) for pixel in seen) >= 2, (row.caption, row.number)
    assert framed >= 6


def test_the_metric_is_cocos_on_detections_that_are_partly_right(trained):
    """Shifted, doubled and wrong boxes: pycocotools, the server and the bootstrap all see the same number."""
    code = """
import random, json
from harness.project import load_meta, load_split
from run_eval import evaluate
import numpy as np
from harness import scoring
rng, dataset, names = random.Random(1), load_split("eval"), load_meta()["class_names"]
for trial in range(5):
    found = []
    for boxes, categories in zip(dataset["boxes"], dataset["categories"]):
        image = []
        for box, category in [*zip(boxes, categories)] * 2:
            label = category if rng.random() < 0.8 else 0
            image.append((label, rng.random(), tuple(value + rng.uniform(-6, 6) * trial for value in box)))
        found.append(sorted(image, key=lambda one: -one[1]))
    value, rows, _ = evaluate(dataset, found, names)
    print(json.dumps([value, float(scoring.resampled(scoring.collect(rows), np.ones((1, len(rows))))[0]), rows]))
"""
    seen = [json.loads(line) for line in trained.ok("-c", code).splitlines() if line.startswith("[")]
    assert len(seen) == 5 and any(0.01 < value < 0.99 for value, _, _ in seen)
    for value, own, rows in seen:
        assert own == pytest.approx(value, abs=1e-6) and metrics.value("map", rows) == pytest.approx(value, abs=1e-6)


def test_boxes_move_with_the_image(trained):
    """A white box on black: wherever augmentation puts it, the label must frame it."""
    code = """
import random, numpy as np
from PIL import Image, ImageDraw
from data import augmented
image = Image.new("RGB", (90, 60)); ImageDraw.Draw(image).rectangle((20, 10, 39, 29), fill="white")
random.seed(0)
for _ in range(200):
    out, boxes, _ = augmented(image, np.array([[20., 10., 20., 20.]]), np.array([1]), {"horizontal_flip": True, "crop_scale_min": 0.5})
    left, top, right, bottom = out.convert("L").getbbox()
    assert np.allclose(boxes[0], (left, top, right - left, bottom - top)), (boxes, out.size)
print("framed")
"""
    assert "framed" in trained.ok("-c", code)


@pytest.mark.parametrize("kind", ["detr", "yolos"])
def test_detectors_with_and_without_a_padding_mask(kind, coco, stage_python, tmp_path):
    model = make_model(stage_python, kind, tmp_path / "model")
    project = project_on(coco, stage_python, tmp_path / "project", model)
    project.ok("prepare_data.py")
    project.ok("train.py", "--smoke", "--max_steps", "2")
    code = """
from harness.project import load_config
from train import build_trainer
trainer = build_trainer(load_config())
frozen = [name for name, parameter in trainer.model.named_parameters() if not parameter.requires_grad]
print(frozen, sorted(trainer.data_collator([trainer.train_dataset[0], trainer.train_dataset[1]])))
"""
    last = project.ok("-c", code).splitlines()[-1]
    assert last.startswith("[] ") and ("pixel_mask" in last) == (kind == "detr")


VOC = """<annotation><filename>{i}.png</filename><object><name>{name}</name>
<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object></annotation>"""


def test_splits_whose_pictures_have_the_same_names_find_their_own(stage_python, tmp_path):
    """train/0.png and val/0.png are two pictures; taking one for the other would evaluate on pictures trained on."""
    data, sizes = tmp_path / "data", {"train": 40, "val": 60}
    (data / "annotations").mkdir(parents=True)
    for split, size in sizes.items():
        (data / split).mkdir()
        content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "square"}]}
        for i in range(6):
            draw_scene(random.Random(i), size=size)[0].save(data / split / f"{i}.png")
            content["images"].append({"id": i, "file_name": f"{i}.png", "width": size, "height": size})
            content["annotations"].append({"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 9, 9]})
        (data / f"annotations/instances_{split}.json").write_text(json.dumps(content))
    more = {"train_split": "train", "eval_split": "validation", "n_train": 6}
    project = project_on(data, stage_python, tmp_path / "project", "local/tiny", **more)
    project.ok("prepare_data.py")
    look = "from harness.project import load_split; print([{image.size for image in load_split(s)['image']} for s in ('train', 'eval')])"
    assert "[{(40, 40)}, {(60, 60)}]" in project.ok("-c", look)
    for split in sizes:  # a name that nothing decides on is an error
        (data / split).rename(data / f"part {sizes[split]}")
    assert "[dataset-changed]" in project.run("prepare_data.py").stdout
    with pytest.raises(ToolFailure, match="2 pictures below"):
        project.probe()


def test_voc_and_tables_in_other_layouts(stage_python, tmp_path):
    rng, rows = random.Random(1), []
    for folder in ("voc/Annotations", "voc/JPEGImages"):
        (tmp_path / folder).mkdir(parents=True)
    for i in range(8):
        image, objects = draw_scene(rng, most=1)
        name, box = boxes(objects)[0]
        image.save(tmp_path / f"voc/JPEGImages/{i}.png")
        (tmp_path / f"voc/Annotations/{i}.xml").write_text(VOC.format(*box, i=i, name=name))
        shares = [
            value / image.width
            for value in ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1])
        ]
        rows.append(
            {
                "picture": {"bytes": (tmp_path / f"voc/JPEGImages/{i}.png").read_bytes(), "path": None},
                "found": [{"box": shares, "what": name}],
            }
        )
    (tmp_path / "table").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "table/train.parquet")
    table = {"column_map": {"image": "picture", "bbox": "found.box", "category": "found.what"}, "column_reshape": "transpose_objects",
             "box_format": "cxcywh", "boxes_normalised": True}  # fmt: skip
    seen = []
    for name, path, form, more in (("a", "voc", "voc", {"box_format": "xyxy"}), ("b", "table", "parquet", table)):
        project = make_project(tmp_path / name, stage_python, task="object-detection", local_dataset_path=str(tmp_path / path),
                               local_dataset_format=form, class_names=list(SHAPES), n_train=6, n_eval=2, **more)  # fmt: skip
        project.ok("prepare_data.py")
        code = """
from harness.project import load_split
rows = load_split("train")
print([[round(value) for value in boxes[0]] for boxes in rows["boxes"]], rows["categories"][:])
"""
        seen.append(project.ok("-c", code).splitlines()[-1])
    assert seen[0] == seen[1]
