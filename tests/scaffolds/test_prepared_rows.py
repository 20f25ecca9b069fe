"""What prepare_data.py makes of data that is read wrongly without an error: every loss is counted, and pictures show what people see."""

from __future__ import annotations

import json
import random
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from tests.scaffolds.conftest import make_project

TURNED = {3: 180, 6: 90, 8: 270}  # EXIF orientation -> degrees by which the upright picture is turned to be stored


def store(upright, path, orientation):
    """A JPEG that lies on its side, and says how it is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright.rotate(TURNED[orientation], expand=True).save(path, quality=95, exif=exif)


def prepared(path, python, task, data, kind, **values):
    small = {"n_train": 100, "n_eval": 10, "train_split": "train"}
    project = make_project(
        path, python, task=task, local_dataset_path=str(data), local_dataset_format=kind, **small | values
    )
    project.ok("prepare_data.py")
    return project


def seen(project, code):
    """What `code` leaves in `found`, of the prepared rows `rows` of both splits."""
    head = "import json, numpy as np\nfrom harness.project import load_split\nrows = [r for s in ('train', 'eval') for r in load_split(s)]\n"
    return json.loads(project.ok("-c", f"{head}{code}\nprint(json.dumps(found))").splitlines()[-1])


def coco_photos(folder, frame):
    """Ten photos stored with each orientation, a red object on each. frame: the one that the boxes were drawn on."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for i in range(12):
        orientation = (6, 8, 3)[i % 3]
        upright, box = Image.new("RGB", (60, 100), (30, 30, 30)), (5 + i, 8 + 2 * i, 24, 26)
        ImageDraw.Draw(upright).rectangle((box[0], box[1], box[0] + 23, box[1] + 25), fill=(240, 60, 60))
        store(upright, folder / f"images/{i}.jpg", orientation)
        width, height = 60, 100
        if frame == "stored" and orientation != 3:
            lying = Image.open(folder / f"images/{i}.jpg").convert("L").point(lambda value: 255 * (value > 60))
            left, top, right, bottom = lying.getbbox()
            box, (width, height) = (left, top, right - left, bottom - top), (100, 60)
        if frame == "neither":
            width, height = 300, 100
        images.append({"id": i, "file_name": f"{i}.jpg", "width": width, "height": height})
        annotations.append({"id": i, "image_id": i, "category_id": 1, "bbox": box, "iscrowd": 0})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "screw"}]}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("frame", ["upright", "stored"])
def test_boxes_lie_on_their_objects_however_the_picture_is_stored(frame, stage_python, tmp_path):
    data = coco_photos(tmp_path / "data", frame)
    project = prepared(tmp_path / "run", stage_python, "object-detection", data, "coco", class_names=["screw"])
    code = """
found = []
for r in rows:
    pixels = np.asarray(r["image"].convert("RGB")).astype(int)[..., 0] > 150
    for x, y, w, h in r["boxes"]:
        found.append([float(pixels[round(y):round(y + h), round(x):round(x + w)].mean()), float(pixels.sum() / (w * h))])
"""
    shares = seen(project, code)
    assert len(shares) == 12
    assert all(inside > 0.85 and 0.85 < whole < 1.2 for inside, whole in shares), shares


def test_boxes_of_another_frame_than_the_picture_are_left_out_and_counted(stage_python, tmp_path):
    data = coco_photos(tmp_path / "data", "neither")
    project = make_project(tmp_path / "run", stage_python, task="object-detection", local_dataset_path=str(data),
                           local_dataset_format="coco", class_names=["screw"], n_train=100, n_eval=10)  # fmt: skip
    assert "none of the" in project.run("prepare_data.py").stdout


def test_boxes_without_a_known_class_are_left_out_and_counted(stage_python, tmp_path):
    rng, rows = random.Random(0), []
    for i in range(12):
        Image.new("RGB", (40, 40), (rng.randrange(255),) * 3).save(tmp_path / "one.png")
        bytes_ = (tmp_path / "one.png").read_bytes()
        box = [4.0, 4.0, 10.0, 10.0]
        objects = {"bbox": [box, box, box, [4.0, 4.0, 0.0, 9.0]], "category": [i % 2, -1, None, 0]}
        rows.append({"image": {"bytes": bytes_, "path": None}, "objects": objects})
    classes = {"_type": "List", "feature": {"_type": "ClassLabel", "names": ["bolt", "rivet"]}}
    boxes = {"_type": "List", "feature": {"_type": "List", "feature": {"_type": "Value", "dtype": "float64"}}}
    info = {"info": {"features": {"image": {"_type": "Image"}, "objects": {"bbox": boxes, "category": classes}}}}
    (tmp_path / "data").mkdir()
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, tmp_path / "data/train.parquet")
    columns = {"image": "image", "bbox": "objects.bbox", "category": "objects.category"}
    project = prepared(tmp_path / "run", stage_python, "object-detection", tmp_path / "data", "parquet",
                       column_map=columns, box_format="xywh", class_names=["bolt", "rivet"])  # fmt: skip
    meta = project.json("data/meta.json")
    assert meta["objects_dropped"] == {"box without a known class": 24, "box without area": 12}
    assert meta["read"]["train"]["classes"] == {"bolt": 18, "rivet": 6}  # the twelve without area are bolts
    kept = {name: meta["train_histogram"][name] + meta["eval_histogram"][name] for name in ("bolt", "rivet")}
    assert kept == {"bolt": 6, "rivet": 6} and meta["read"]["train"]["classes_left_out"] == {
        "bolt": {"box without area": 12}
    }


def test_classes_called_like_nothing_and_pictures_of_16_bits(stage_python, tmp_path):
    """In a CSV: `None`, `NA` and 007 are names, an empty cell is no label. Each picture fades from dark to bright."""
    lines, kinds = ["image,label"], {"NA": "I;16", "None": "I", "007": "L", "": "L"}
    for i in range(20):
        name = list(kinds)[i % 4]
        values = [(300 if kinds[name].startswith("I") else 3) * (x + 1) for y in range(40) for x in range(40)]
        packed = {"I;16": "<1600H", "I": "<1600i", "L": "<1600B"}[kinds[name]]
        Image.frombytes(kinds[name], (40, 40), struct.pack(packed, *values)).save(tmp_path / f"{i}.tif")
        lines.append(f"{i}.tif,{name}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    project = prepared(tmp_path / "run", stage_python, "image-classification", tmp_path / "labels.csv", "csv")
    meta = project.json("data/meta.json")
    assert meta["class_names"] == ["007", "NA", "None"] and meta["dropped"] == {"no label": 5}
    assert meta["read"]["train"] == {
        "split": "train", "rows": 20, "usable": 15, "left_out": {"no label": 5}, "objects_left_out": {},
        "classes": {"007": 5, "NA": 5, "None": 5}, "classes_left_out": {},
    }  # fmt: skip
    shown = seen(project, "found = [np.unique(np.asarray(r['image'].convert('RGB'))).tolist() for r in rows]")
    assert all(len(values) == 40 for values in shown)
    assert {(values[0], values[-1]) for values in shown} == {(0, 255), (3, 120)}


@pytest.mark.parametrize("mask_lies", [True, False])
def test_masks_and_depth_turn_with_their_picture(mask_lies, stage_python, tmp_path):
    for folder in ("images", "masks", "depth"):
        (tmp_path / f"data/{folder}").mkdir(parents=True)
    for i in range(10):
        upright, mask = Image.new("RGB", (48, 80), (20, 20, 20)), Image.new("L", (48, 80), 0)
        for picture, fill in ((upright, (240, 60, 60)), (mask, 1)):
            ImageDraw.Draw(picture).rectangle((4, 6 + i, 24, 40), fill=fill)
        store(upright, tmp_path / f"data/images/{i}.jpg", 6)
        depth = Image.frombytes(
            "I;16", (48, 80), struct.pack("<3840H", *[20_000 if value else 1000 for value in mask.tobytes()])
        )
        for folder, picture in (("masks", mask), ("depth", depth)):
            picture = picture.transpose(Image.Transpose.ROTATE_90) if mask_lies else picture
            picture.save(tmp_path / f"data/{folder}/{i}.png")
    red = "[np.asarray(r['image'].convert('RGB')).astype(int)[..., 0] > 130 for r in rows]"
    project = prepared(
        tmp_path / "a",
        stage_python,
        "semantic-segmentation",
        tmp_path / "data",
        "segfolder",
        class_names=["ground", "thing"],
    )
    code = f"found = [float((shown == (np.array(r['mask']) == 1)).mean()) for shown, r in zip({red}, rows)]"
    agree = seen(project, code)
    assert len(agree) == 10 and min(agree) > 0.97
    project = prepared(
        tmp_path / "b", stage_python, "depth-estimation", tmp_path / "data", "segfolder", depth_scale=0.001
    )
    depths = "[meters(r['depth']) for r in rows]"
    code = f"from data import meters\nfound = [[float((one == (d > 10)).mean()), float(d.max())] for one, d in zip({red}, {depths})]"
    for share, farthest in seen(project, code):
        assert share > 0.97 and farthest == pytest.approx(20.0)
