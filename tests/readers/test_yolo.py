"""YOLO folders as ultralytics, Roboflow, CVAT, Label Studio and labelImg write them: classes, splits, labels, what is left out."""

from __future__ import annotations

import pytest

from tests.readers.test_formats import put
from tunegate.readers import yolo
from tunegate.readers.detect import detect
from tunegate.readers.refusal import Refusal
from tunegate.readers.tree import relative

BOX = "0 0.5 0.5 0.2 0.4\n"


def listed(found: yolo.Yolo) -> dict[str, list[str]]:
    return {split: [relative(item.image, found.root) for item in group] for split, group in found.splits.items()}


def read(root) -> yolo.Yolo:
    assert detect(root) == "yolo"
    return yolo.read(root)


def objects(found: yolo.Yolo, split: str = "train") -> list[dict]:
    return [row["objects"] for row in found.rows(split)]


@pytest.mark.parametrize(
    ("layout", "data"),
    [
        ("{0}/images", "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\nnames: ['a', 'no']"),
        ("images/{0}", "path: ../datasets/x\ntrain: images/train\nval: images/valid\nnames:\n  0: a\n  1: no\n"),
        ("images/{0}", "train: /home/me/x/images/train/\nval: C:\\x\\images\\valid\nnames: [a, no]\n"),
        ("images/{0}", "train: [images/train]\nval: lists/val.txt\nnames: {0: a, 1: no}\n"),
        ("{0}/images", None),
        ("images/{0}", None),
    ],
)
def test_both_layouts_with_and_without_a_data_yaml(tmp_path, layout, data):
    for split, name in (("train", "1"), ("train", "2.v1"), ("valid", "1")):
        image = f"{layout.format(split)}/{name}"
        put(tmp_path, f"{image}.png")
        put(tmp_path, f"{image.replace('images', 'labels')}.txt", content=BOX)
    if data is None:
        put(tmp_path, "classes.txt", content="a\nno\n")
    else:
        put(tmp_path, "data.yaml", content=data)
        put(tmp_path, "lists/val.txt", content="./images/valid/1.png\n")
    found = read(tmp_path)
    train, validation = (layout.format(split) for split in ("train", "valid"))
    assert listed(found) == {"train": [f"{train}/1.png", f"{train}/2.v1.png"], "validation": [f"{validation}/1.png"]}
    assert found.names == {0: "a", 1: "no"} and objects(found, "validation")[0]["bbox"] == [[0.5, 0.5, 0.2, 0.4]]
    assert not [warning for warning in found.warnings if "test" not in warning]


def test_darknet_lists_and_names(tmp_path):
    put(tmp_path, "obj_train_data/1.jpg", "obj_train_data/2.jpg", "obj_train_data/3.jpg")
    put(tmp_path, "obj_train_data/1.txt", "obj_train_data/2.txt", content="1 0.5 0.5 1 1\n")
    put(
        tmp_path,
        "obj.data",
        content="classes = 2\ntrain = data/train.txt\nvalid = data/val.txt\nnames = data/obj.names\n",
    )
    put(tmp_path, "obj.names", content="cat\ndog\n")
    put(tmp_path, "train.txt", content="data/obj_train_data/1.jpg\ndata/obj_train_data/gone.jpg\n")
    put(tmp_path, "val.txt", content="data/obj_train_data/2.jpg\n")
    found = read(tmp_path)
    assert listed(found) == {"train": ["obj_train_data/1.jpg"], "validation": ["obj_train_data/2.jpg"]}
    assert objects(found)[0]["category"] == [1] and list(found.names.values()) == ["cat", "dog"]
    assert any(
        "1 of 2 images of data/train.txt are not there: data/obj_train_data/gone.jpg" in w for w in found.warnings
    )
    assert any("1 images are in no split" in w and "3.jpg" in w for w in found.warnings)


def test_labels_beside_the_images(tmp_path):
    put(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    put(tmp_path, "a.txt", content=BOX)
    put(tmp_path, "b.txt", content="")
    put(tmp_path, "lost.txt", content=BOX)
    put(tmp_path, "classes.txt", content="cat\n")
    found = read(tmp_path)
    assert listed(found) == {"train": ["a.jpg", "b.jpg", "c.jpg"]}
    assert [len(one["bbox"]) for one in objects(found)] == [1, 0, 0]
    assert any("1 of 3 images have no label file" in w for w in found.warnings)
    assert any("1 label files have no image" in w and "lost.txt" in w for w in found.warnings)


def test_lines_that_cannot_be_used_are_left_out_and_counted(tmp_path):
    put(tmp_path, "images/1.png", "images/2.png")
    lines = [
        "0 0.5 0.5 0.2 0.4", "0 0.5 0.5 0.2 0.4", "1.0 0.95 0.5 0.2 0.4", "2 0.5 0.5 0.1 0.1", "-1 0.5 0.5 0.1 0.1",
        "0 0.5 0.5 0.1", "0 1.5 0.5 0.1 0.1", "0 32 40 12 9", "cat 0.1 0.1 0.1 0.1", "0 nan 0.5 0.1 0.1", "", "0.5 0 0 1 1",
        "1 0.1 0.2 0.5 0.2 0.5 0.8", "0 0.5 0.5 0.1 0.1 0.93",
    ]  # fmt: skip
    put(tmp_path, "labels/1.txt", content="\ufeff" + "\r\n".join(lines))
    put(tmp_path, "classes.txt", content="cat\ndog\n")
    found = read(tmp_path)
    [first, second] = objects(found)
    assert first["bbox"][:2] == [[0.5, 0.5, 0.2, 0.4], [0.95, 0.5, 0.2, 0.4]] and second["bbox"] == []
    assert first["bbox"][2] == pytest.approx([0.3, 0.5, 0.4, 0.6])
    assert first["category"] == [0, 1, 1]
    assert first["segmentation"] == [None, None, [0.1, 0.2, 0.5, 0.2, 0.5, 0.8]]
    assert found.left_out["train"] == {
        yolo.REPEATED: 1,
        yolo.UNKNOWN_CLASS: 1,
        yolo.NO_NUMBERS: 3,
        yolo.WRONG_COUNT: 2,
        yolo.NO_SHARE: 3,
    }
    assert found.classes["train"] == {"cat": 1, "dog": 2} and found.outlines == {"boxes": 2, "polygons": 1}
    assert any("3 lines left out, with numbers that are no shares" in w for w in found.warnings)


def test_class_ids_may_have_gaps_and_poses_are_boxes(tmp_path):
    put(tmp_path, "images/1.png")
    put(tmp_path, "labels/1.txt", content="7 0.5 0.5 0.2 0.4 0.1 0.1 2 5 5 0\n")
    put(tmp_path, "data.yaml", content="train: images\nnames: {3: cat, 7: dog}\nkpt_shape: [2, 3]\n")
    found = read(tmp_path)
    assert objects(found) == [{"bbox": [[0.5, 0.5, 0.2, 0.4]], "category": [1], "segmentation": [None]}]
    assert found.classes["train"] == {"dog": 1}


def test_a_split_that_is_no_other_data_is_not_used(tmp_path):
    put(tmp_path, "images/train/1.png", "images/test/1.png")
    put(tmp_path, "labels/train/1.txt", content=BOX)
    put(tmp_path, "data.yaml", content="train: images/train\nval: images/train\ntest: images/test\nnc: 1\n")
    found = read(tmp_path)
    assert list(found.splits) == ["train"] and found.names == {0: "class_0"}
    for said in ("'validation' is the images of 'train'", "none of the 1 images of split 'test'", "have no names"):
        assert any(said in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("files", "code", "says"),
    [
        ({"classes.txt": ""}, "rejected", "write a classes.txt"),
        ({"data.yaml": "train: images\nnames: [a, b]\nnc: 3"}, "rejected", "3 classes and names 2"),
        ({"data.yaml": "train: elsewhere\nnames: [a]"}, "rejected", "no image was found there"),
        ({"data.yaml": "val: images\nnames: [a]"}, "rejected", "names no images to train on"),
        ({"data.yaml": "train: images\nnames: [a"}, "rejected", "not readable as YAML"),
        ({"data.yaml": "train: images\nnames: [a, a]"}, "rejected", "two classes"),
        ({"data.yaml": "train: images\nnames: [a]", "x/data.yaml": "val: y\nnames: [b]"}, "ambiguous", "keep one"),
        ({"classes.txt": "a\n", "labels/classes.txt": "b\n"}, "ambiguous", "list different classes"),
        ({"classes.txt": "a\nb\n", "labels/1.txt": "1 .5 .5 .1 .1\n2 .5 .5 .1 .1\n"}, "ambiguous", "1 to 2"),
        ({"classes.txt": "a\n", "labels/1.txt": "0 32 40 12 9\n"}, "rejected", "shares of the image"),
        ({"labels/1.txt": "Car 0.0 0 -1.57 10 20 30 40\n"}, "rejected", "'Car 0.0 0 -1.57 10 20 30 40', which is not"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_what_to_do(tmp_path, files, code, says):
    put(tmp_path, "images/1.png")
    put(tmp_path, "labels/1.txt", content=BOX)
    for name, content in files.items():
        put(tmp_path, name, content=content)
    with pytest.raises(Refusal, match=says) as refused:
        assert detect(tmp_path) == "yolo"
        yolo.read(tmp_path)
    assert refused.value.code == code


def test_paths_do_not_lead_out(tmp_path):
    root = put(tmp_path / "data", "images/1.png")
    put(tmp_path, "secret/1.png")
    put(root, "labels/1.txt", content=BOX)
    put(
        root, "data.yaml", content=f"path: {tmp_path}\ntrain: images\nval: [../secret, {tmp_path}/secret]\nnames: [a]\n"
    )
    found = read(root)
    assert listed(found) == {"train": ["images/1.png"]} and any("validation" in w for w in found.warnings)
    (root / "images/2.png").symlink_to(tmp_path / "secret/1.png")
    with pytest.raises(Refusal, match="leaves the dataset's folder"):
        yolo.read(root)
