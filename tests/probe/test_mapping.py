from __future__ import annotations

import pytest

from tunegate.errors import ToolFailure
from tunegate.probe.columns import Feature
from tunegate.probe.mapping import bounded_row, map_columns
from tunegate.probe.pictures import Picture

IMAGE, CLASSES = Feature("image", "Image"), Feature("class", "ClassLabel(2)", ("a", "b"))
INT, TEXT = Feature("int", "int64"), Feature("string", "string")


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"image": IMAGE, "label": CLASSES}, ("image", "label")),
        ({"img": IMAGE, "fine_label": CLASSES}, ("img", "fine_label")),
        ({"x": IMAGE, "label": INT, "id": INT}, ("x", "label")),
        ({"image": IMAGE, "thumb": IMAGE, "category": TEXT}, ("image", "category")),
        ({"image": IMAGE, "breed": CLASSES, "id": INT, "name": TEXT}, ("image", "breed")),
        ({"image": IMAGE, "label": TEXT, "cls": CLASSES}, ("image", "label")),
    ],
)
def test_a_rename_is_found(features, expected):
    assert tuple(map_columns(features, "image-classification").columns.values()) == expected


@pytest.mark.parametrize(
    ("features", "code", "says"),
    [
        ({"image": IMAGE, "fine": CLASSES, "coarse": CLASSES}, "ambiguous", "column_map={'label': 'fine'}"),
        ({"a": IMAGE, "b": IMAGE, "label": INT}, "ambiguous", "a, b"),
        ({"text": TEXT, "label": INT}, "rejected", "text (string), label (int64)"),
        ({"image": IMAGE, "labels": Feature("list", "List")}, "rejected", "labels (List)"),
        ({}, "rejected", "no columns"),
    ],
)
def test_what_no_rename_mends(features, code, says):
    with pytest.raises(ToolFailure) as caught:
        map_columns(features, "image-classification")
    assert caught.value.code == code and says in caught.value.failure.message


def test_rows_are_bounded():
    row = {"image": Picture("x", size=(3, 2)), "text": "x" * 5000, "n": 1} | {f"c{i}": i for i in range(50)}
    shown = bounded_row(row, {"image": IMAGE})
    assert shown["image"] == "<image 3x2>" and len(shown["text"]) == 80 and len(shown) == 20
