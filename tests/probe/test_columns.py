from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunegate.errors import ToolFailure
from tunegate.probe.columns import Feature, bounded_row, choose_splits, count_labels, feature, map_columns

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
    assert tuple(map_columns(features, "image-classification").values()) == expected


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


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ({"train": 9, "test": 1, "validation": 1}, ("train", "validation")),
        ({"train": 9, "test": 1}, ("train", "test")),
        ({"train": 9}, ("train", None)),
        ({"everything": 9}, ("everything", None)),
        ({"train": 9, "validation": 0, "test": 2}, ("train", "test")),
        ({"test": None, "train": None}, ("train", "test")),
        ({"train": 9, "extra": 5}, ("train", None)),
        ({"test": 9}, ("test", None)),
    ],
)
def test_splits_are_chosen(splits, expected):
    assert choose_splits(splits, None, None)[:2] == expected


@pytest.mark.parametrize(
    ("splits", "code"), [({"a": 1, "b": 2}, "ambiguous"), ({}, "rejected"), ({"train": 0}, "rejected")]
)
def test_splits_that_cannot_be_chosen(splits, code):
    with pytest.raises(ToolFailure) as caught:
        choose_splits(splits, None, None)
    assert caught.value.code == code


def test_labels_are_counted_by_name_and_minus_one_is_none():
    labels = count_labels([0, 1, 1, -1, None, 7], CLASSES, complete=True)
    assert (labels.counts, labels.unlabelled, labels.seen) == ({"a": 1, "b": 2}, 3, 6)
    assert count_labels(["", "x", True], TEXT, complete=True).counts == {"x": 1, "True": 1}


@given(
    st.recursive(
        st.none() | st.text(max_size=5),
        lambda x: st.lists(x, max_size=2) | st.dictionaries(st.sampled_from(["_type", "names", "dtype", "x"]), x),
    )
)
def test_any_json_is_a_feature(raw):
    assert isinstance(feature(raw), Feature)


def test_rows_are_bounded():
    row = {"image": {"src": "http://x?token=abc", "width": 3, "height": 2}, "text": "x" * 5000, "n": 1} | {
        f"c{i}": i for i in range(50)
    }
    shown = bounded_row(row, {"image": IMAGE})
    assert shown["image"] == "<image 3x2>" and len(shown["text"]) == 80 and len(shown) == 20
