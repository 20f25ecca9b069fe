from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunegate.errors import ToolFailure
from tunegate.probe.dataset.boxes import BOX_FORMATS, corners, four, judge_boxes
from tunegate.probe.dataset.pictures import Picture

COLUMNS = {"image": "image", "bbox": "objects.bbox", "category": "objects.category", "iscrowd": "objects.iscrowd"}


def scenes(
    kind: str, *, normalized: bool = False, rows: int = 30, width: int = 640, height: int = 480, sized: bool = True
):
    """Boxes all over the images, written in one format."""
    rng, found = random.Random(3), []
    for _ in range(rows):
        boxes = []
        for _ in range(6):
            w, h = rng.uniform(0.05, 0.5), rng.uniform(0.05, 0.5)
            x, y = rng.uniform(0, 1 - w), rng.uniform(0, 1 - h)
            box = {"xywh": (x, y, w, h), "xyxy": (x, y, x + w, y + h), "cxcywh": (x + w / 2, y + h / 2, w, h)}[kind]
            scale = (1, 1, 1, 1) if normalized else (width, height, width, height)
            boxes.append([value * factor for value, factor in zip(box, scale, strict=True)])
        picture = Picture("x", size=(width, height) if sized else (None, None))
        found.append({"image": picture, "objects": {"bbox": boxes, "category": [0] * 6}})
    return found


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("kind", BOX_FORMATS)
def test_the_format_is_told_from_the_values(kind, normalized):
    facts = judge_boxes(scenes(kind, normalized=normalized), COLUMNS, None, None)
    assert (facts.format, facts.normalized, facts.boxes, facts.outside) == (kind, normalized, 180, 0)
    assert f"{kind} by 0" in facts.evidence and "180 boxes" in facts.evidence


@pytest.mark.parametrize("kind", ["xyxy", "cxcywh"])
def test_without_image_sizes_it_is_asked(kind):
    """Nothing holds a width against the right edge then."""
    with pytest.raises(ToolFailure) as caught:
        judge_boxes(scenes(kind, sized=False), COLUMNS, None, None)
    assert caught.value.code == "ambiguous" and "image sizes are not known" in caught.value.failure.message


def test_what_several_formats_fit_is_asked():
    middle = [
        {"image": Picture("x", size=(100, 100)), "objects": {"bbox": [[40, 40, 45, 45]] * 20, "category": [0] * 20}}
    ]
    with pytest.raises(ToolFailure) as caught:
        judge_boxes(middle, COLUMNS, None, None)
    assert caught.value.code == "ambiguous" and "xywh" in caught.value.failure.message
    assert judge_boxes(middle, COLUMNS, "xyxy", None).format == "xyxy"


def test_a_scale_of_a_thousand_fits_nothing():
    rows = scenes("xyxy", width=1000, height=1000)
    for row in rows:
        row["image"].size = (300, 200)
    with pytest.raises(ToolFailure) as caught:
        judge_boxes(rows, COLUMNS, None, None)
    assert caught.value.code == "ambiguous" and "0 to 1000" in caught.value.failure.message


def test_a_file_format_that_its_values_contradict_is_asked_about():
    with pytest.raises(ToolFailure) as caught:
        judge_boxes(scenes("xyxy"), COLUMNS, None, "xywh")
    assert caught.value.code == "ambiguous" and "box_format='xyxy'" in caught.value.failure.message
    assert judge_boxes(scenes("xywh"), COLUMNS, None, "xywh").evidence.startswith("the file format prescribes it")


def test_what_is_wrong_is_counted():
    rows = scenes("xywh")
    rows[0]["objects"]["bbox"][0] = [1, 2, 3]
    rows[1]["objects"]["bbox"][0] = [float("nan"), 1, 2, 3]
    rows[2]["objects"] = {"bbox": [], "category": []}
    rows[3]["objects"]["category"] = [0]
    rows[4]["objects"]["iscrowd"] = [1, 0, 0, 0, 0, 0]
    facts = judge_boxes(rows, COLUMNS, None, None)
    assert (facts.degenerate, facts.without, facts.mismatched, facts.crowds, facts.most) == (2, 1, 1, 1, 6)


@pytest.mark.parametrize(
    ("objects", "says"), [({}, "has a box"), ({"bbox": [[1, 2, 3, 4]] * 3, "category": [1]}, "do not belong")]
)
def test_no_boxes_and_boxes_without_classes_are_rejected(objects, says):
    with pytest.raises(ToolFailure) as caught:
        judge_boxes([{"image": None, "objects": objects}] * 3, COLUMNS, None, None)
    assert caught.value.code == "rejected" and says in caught.value.failure.message


@given(st.lists(st.lists(st.floats() | st.integers() | st.none() | st.text(max_size=2), max_size=5), max_size=5))
def test_any_values_are_judged_or_refused(boxes):
    rows = [{"image": Picture("x", size=(10, 10)), "objects": {"bbox": boxes, "category": [0] * len(boxes)}}]
    try:
        facts = judge_boxes(rows, COLUMNS, None, None)
    except ToolFailure as failure:
        assert failure.code in ("rejected", "ambiguous")
        return
    assert facts.format in BOX_FORMATS


def test_corners():
    assert corners("cxcywh", (5, 5, 2, 4)) == (4, 3, 6, 7) and corners("xywh", (1, 2, 3, 4)) == (1, 2, 4, 6)
    assert four([1, 2, 3, True]) is None and four((1, 2, 3, 4.5)) == (1, 2, 3, 4.5)
