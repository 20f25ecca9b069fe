"""What a cell says of a class: the same on both sides, whatever file it stands in."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tunegate.readers.labels import alike, class_of


@pytest.mark.parametrize("value", ["None", "NA", "nan", "null", "-1", "0101", "1e3", "no", "1.0", "~"])
def test_every_text_but_an_empty_one_is_a_class(value):
    assert class_of(value) == class_of(f" {value} ") == value


@pytest.mark.parametrize("value", [None, "", "  ", float("nan"), Decimal("nan")])
def test_an_empty_cell_is_no_class(value):
    assert class_of(value) is None


@pytest.mark.parametrize(
    ("value", "name"),
    [(-1, "-1"), (0, "0"), (7.0, "7"), (Decimal("3.00"), "3"), (0.5, "0.5"), (True, "True"), (False, "False")],
)
def test_numbers_without_names_are_classes(value, name):
    assert class_of(value) == name


@pytest.mark.parametrize(("value", "name"), [(0, "a "), (1, "b"), (1.0, "b"), (-1, None), (2, None), ("a ", "a ")])
def test_declared_names_are_never_read_past_their_ends(value, name):
    assert class_of(value, ["a ", "b"]) == name
    assert class_of(value, []) == ("a " if isinstance(value, str) else None)


def test_names_that_people_take_for_one():
    assert alike(["cat", "Cat", "dog", "d\u00e9j\u00e0", "de\u0301ja\u0300", "old  dog"]) == [
        ["cat", "Cat"],
        ["d\u00e9j\u00e0", "de\u0301ja\u0300"],
    ]
