from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.probe.dataset import probe_dataset
from tests.readers.test_formats import coco_set, put
from tests.tiny import png
from tunegate.clients.hub import Hub
from tunegate.errors import ToolFailure
from tunegate.readers import coco as readers_coco
from tunegate.readers.detect import detect

POLYGON = [[1, 1, 9, 1, 9, 9]]
RLE = {"counts": [10, 5, 85], "size": [10, 10]}


def annotation(number: int, image: int, category: int, box=(2, 3, 20, 10), **more) -> dict:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": list(box),
        "area": 1,
        "iscrowd": 0,
        "segmentation": POLYGON,
        **more,
    }


def coco(
    root: Path, name: str = "annotations/instances_train.json", folder: str = "train", count: int = 4, **change
) -> Path:
    """A COCO set of 64 x 48 images: category ids 3 and 7, one crowd in RLE, one image without objects."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    content = {
        "info": {"year": 2026},
        "images": [{"id": 10 + i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in range(count)],
        "annotations": [
            *(
                annotation(i, 10 + i % (count - 1), (3, 7)[i % 2], (2 + 4 * (i % 9), 1 + 3 * (i % 8), 20, 10))
                for i in range(12)
            ),
            annotation(99, 10, 7, iscrowd=1, segmentation=RLE),
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    } | change
    (root / name).write_text(json.dumps(content))
    for i in range(count):
        (root / folder / f"{i}.png").write_bytes(png(64, 48))
    return root


def probe(path, task="object-detection", **arguments):
    return probe_dataset(Hub("http://127.0.0.1:9"), local_path=str(path), task=task, **arguments)


def refused(path, code="rejected", **arguments):
    with pytest.raises(ToolFailure) as caught:
        probe(path, **arguments)
    assert caught.value.code == code, caught.value.failure.message
    return caught.value.failure.message


def test_boxes_crowds_and_categories(tmp_path):
    coco(coco(tmp_path), "annotations/instances_val.json", "val", count=2)
    facts = probe(tmp_path)
    assert (facts.local_format, facts.splits, facts.eval_split) == ("coco", {"train": 4, "validation": 2}, "validation")
    assert facts.column_map == {
        "image": "image",
        "bbox": "objects.bbox",
        "category": "objects.category",
        "area": "objects.area",
        "iscrowd": "objects.iscrowd",
    }
    assert facts.column_reshape is None and facts.class_names == ["cat", "dog"]  # in the order of their ids
    assert facts.label_histogram == {"cat": 6, "dog": 7} and facts.label_complete
    assert (facts.boxes.format, facts.boxes.normalized, facts.boxes.boxes, facts.boxes.crowds, facts.boxes.without) == (
        "xywh",
        False,
        13,
        1,
        1,
    )
    assert any("1 of 4 images have no annotation" in w for w in facts.warnings) and any(
        "1 of 13 objects are crowds" in w for w in facts.warnings
    )
    assert any("12 polygons and 1 RLE" in w for w in facts.warnings)


def test_instances_need_outlines(tmp_path):
    facts = probe(coco(tmp_path), task="instance-segmentation")
    assert facts.form == "outlines" and facts.column_map["segmentation"] == "objects.segmentation"
    boxes = coco(tmp_path / "b", annotations=[annotation(1, 10, 3, segmentation=[])] * 3)
    assert "segmentation" in refused(boxes, task="instance-segmentation")


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("train/_annotations.coco.json", "train"),
        ("instances.json", "images"),
        ("annotations/instances_train2017.json", "train2017"),
        ("annotations/train.json", "images/train"),
    ],
)
def test_the_layouts_that_tools_write(tmp_path, name, folder):
    facts = probe(coco(tmp_path, name, folder))
    assert facts.splits == {"train": 4} and facts.images.broken == 0


def test_the_annotation_file_itself_may_be_given(tmp_path):
    coco(tmp_path)
    assert probe(tmp_path / "annotations/instances_train.json").splits == {"train": 4}
    (tmp_path / "list.json").write_text("[]")
    assert "JSON Lines" in refused(tmp_path / "list.json")


def test_of_several_files_of_a_split_the_instances_count(tmp_path):
    coco(coco(tmp_path), "annotations/person_keypoints_train.json")
    assert probe(tmp_path).splits == {"train": 4}
    coco(tmp_path, "annotations/instances_train_v2.json")
    assert "instances_train_v2.json" in refused(tmp_path, "ambiguous")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": [{"id": 1, "file_name": "../../../etc/passwd"}]}, "leads out"),
        ({"images": [{"id": 1, "file_name": "/etc/passwd"}]}, "leads out"),
        ({"images": [{"id": 1, "file_name": "gone.png"}]}, "none of the first 1 images"),
        ({"categories": []}, "0 categories"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "two categories of one name"),
        ({"annotations": []}, "has a box"),
    ],
)
def test_files_that_cannot_be_trained_on(tmp_path, change, says):
    assert says in refused(coco(tmp_path, **change))


def test_splits_that_number_their_classes_differently_are_read_by_name(tmp_path):
    """In the evaluation file 3 is a dog and 7 a cat: its object of category 3 is one of class 1."""
    other = [{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}]
    coco(coco(tmp_path), "annotations/instances_val.json", "val", categories=other)
    found = readers_coco.read(tmp_path)
    assert list(found.names.values()) == ["cat", "dog"]
    assert any("instances_val.json numbers its categories otherwise" in said for said in found.warnings)
    places = {
        split: [found.row(split, number)["objects"]["category"] for number in one.images]
        for split, one in found.files.items()
    }
    ids = {
        split: [[item["category_id"] for item in one.kept.get(number, [])] for number in one.images]
        for split, one in found.files.items()
    }
    means = {"train": {3: 0, 7: 1}, "validation": {3: 1, 7: 0}}
    assert places == {split: [[means[split].get(key) for key in row] for row in each] for split, each in ids.items()}
    facts = probe(str(tmp_path), "object-detection")
    assert facts.class_counts["train"].counts != facts.class_counts["validation"].counts


def test_splits_that_name_other_classes_are_refused(tmp_path):
    other = [{"id": 3, "name": "dog"}, {"id": 7, "name": "horse"}]
    coco(coco(tmp_path), "annotations/instances_val.json", "val", categories=other)
    assert "same categories (cat, horse in one of them only)" in refused(tmp_path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    root = coco(tmp_path / "set")
    (tmp_path / "secret.png").write_bytes(png())
    (root / "train/0.png").unlink()
    (root / "train/0.png").symlink_to(tmp_path / "secret.png")
    assert "leads out" in refused(root) or "leaves the dataset" in refused(root)


def test_odd_annotations_are_counted_not_trusted(tmp_path):
    odd = [
        annotation(1, 10, 3),
        annotation(2, 77, 3),
        annotation(3, 10, 99),
        {"id": 4},
        annotation(5, 10, 3, bbox=[1, 2]),
        annotation(6, 10, 3, bbox=None),
    ]
    facts = probe(coco(tmp_path, annotations=odd))
    assert (facts.boxes.boxes, facts.boxes.degenerate) == (1, 2)
    assert any("does not list" in w for w in facts.warnings) and any(
        "category that is not listed" in w for w in facts.warnings
    )


def test_a_large_file_is_sampled_by_images_and_counted_whole(tmp_path):
    """Its third key lies far from both ends, and its annotations are in no order."""
    many = [{"id": i, "file_name": f"{i % 4}.png", "width": 64, "height": 48} for i in range(2000)]
    boxes = [annotation(k, (k * 7919) % 2000, (3, 7)[k % 2]) for k in range(6000)]
    facts = probe(coco(tmp_path, images=many, annotations=boxes))
    assert (facts.label_histogram, facts.label_complete) == ({"cat": 3000, "dog": 3000}, True)
    assert (facts.boxes.rows, facts.boxes.boxes, facts.boxes.most, facts.boxes.without) == (400, 1200, 3, 0)
    reverse = coco(tmp_path / "b")
    path = reverse / "annotations/instances_train.json"
    path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items()))))
    assert probe(reverse).boxes.boxes == 13


def test_truncated_files_are_rejected(tmp_path):
    coco(tmp_path)
    path = tmp_path / "annotations/instances_train.json"
    path.write_bytes(path.read_bytes()[:-4])
    assert detect(path) == "coco" and "not readable as COCO JSON" in refused(path)


def test_panoptic(tmp_path):
    segments = [{"id": 1, "category_id": 3, "iscrowd": 0}, {"id": 258, "category_id": 7, "iscrowd": 0}]
    root = coco(
        tmp_path,
        "annotations/panoptic_train.json",
        annotations=[{"image_id": 10 + i, "file_name": f"{i}.png", "segments_info": segments} for i in range(4)],
    )
    (root / "annotations/panoptic_train").mkdir()
    mask = Image.new("RGB", (64, 48), (1, 0, 0))
    mask.paste((2, 1, 0), (0, 0, 30, 30))
    for i in range(4):
        mask.save(root / f"annotations/panoptic_train/{i}.png")
    facts = probe(root, task="panoptic-segmentation")
    assert (facts.form, facts.column_map["segments"], facts.masks.coding) == (
        "segments",
        "segments_info",
        "segment ids in RGB",
    )
    assert facts.masks.values == [1, 258] and facts.masks.masks == 4
    assert facts.class_names == ["cat", "dog"] and facts.label_histogram == {"cat": 4, "dog": 4}
    assert "none of the 4 masks" in refused(coco(tmp_path / "b"), task="panoptic-segmentation")


def test_pictures_of_segment_ids_are_not_taken_for_images_of_the_same_name(tmp_path):
    root = coco(tmp_path, "annotations/panoptic_train.json")
    (root / "annotations/panoptic_train").mkdir()
    for i in range(4):
        (root / f"annotations/panoptic_train/{i}.png").write_bytes(png(64, 48))
    found = readers_coco.read(root, panoptic=True)
    assert found.image("train", 10) == root / "train/0.png"


def test_an_evaluation_split_whose_objects_were_not_published_is_passed_over_by_name(tmp_path):
    images = [{"id": i, "file_name": f"{i}.png", "width": 4, "height": 4} for i in range(4)]
    objects = [{"image_id": i, "category_id": 3, "bbox": [0, 0, 2, 2]} for i in range(4)]
    for split, given in (("train", objects), ("test", [])):
        put(tmp_path, *(f"{split}/{i}.png" for i in range(4)))
        coco_set(tmp_path, images=images, annotations=given, name=f"annotations/instances_{split}.json")
    facts = probe_dataset(Hub("http://127.0.0.1:9"), local_path=str(tmp_path), task="object-detection")
    assert (facts.train_split, facts.eval_split) == ("train", None) and "test has no labels" in facts.split_reason
