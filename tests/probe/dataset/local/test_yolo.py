"""YOLO folders as the probe sees them: shares of the image by their centers, classes by name, outlines where there are some."""

from __future__ import annotations

import pytest

from tests.probe.dataset.local.test_coco import probe
from tests.readers.test_formats import put
from tests.tiny import png
from tunegate.errors import ToolFailure


def yolo(root, line: str, count: int = 12):
    for i in range(count):
        put(root, f"train/images/{i}.png", content=png(64, 48 + i))
        put(root, f"train/labels/{i}.txt", content=f"{line}\n9 0.5 0.5 0.1 0.1\n".format(i % 2))
    put(root, "train/images/empty.png", "val/images/1.png")
    put(root, "val/labels/1.txt", content=line.format(1))
    return put(root, "data.yaml", content="train: train/images\nval: val/images\nnames: [cat, dog]\n")


def test_boxes_are_shares_by_their_centers(tmp_path):
    facts = probe(yolo(tmp_path, "{0} 0.2 0.8 0.3 0.3"))
    assert (facts.local_format, facts.splits) == ("yolo", {"train": 13, "validation": 1})
    assert (facts.boxes.format, facts.boxes.normalized, facts.boxes.boxes, facts.boxes.without) == (
        "cxcywh",
        True,
        12,
        1,
    )
    assert facts.class_names == ["cat", "dog"] and facts.label_histogram == {"cat": 6, "dog": 6}
    assert facts.for_config()["boxes_normalised"] is True and facts.eval_split == "validation"
    assert any("12 lines left out, of a class id that has no name" in warning for warning in facts.warnings)


def test_outlines_are_for_instance_segmentation(tmp_path):
    facts = probe(yolo(tmp_path, "{0} 0.1 0.2 0.5 0.2 0.5 0.8"), "instance-segmentation")
    assert facts.column_map["segmentation"] == "objects.segmentation" and facts.label_histogram == {"cat": 6, "dog": 6}
    with pytest.raises(ToolFailure, match="YOLO with outlines|segmentation"):
        probe(yolo(tmp_path, "{0} 0.2 0.8 0.3 0.3"), "instance-segmentation")
    with pytest.raises(ToolFailure, match="is in yolo format, for object-detection or instance-segmentation"):
        probe(tmp_path, "image-classification")
