from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tunegate.probe.dataset.columns import Feature, arrow_feature, at_path, dig, feature, paths, value_feature


@given(
    st.recursive(
        st.none() | st.text(max_size=5),
        lambda x: st.lists(x, max_size=2) | st.dictionaries(st.sampled_from(["_type", "names", "dtype", "x"]), x),
    )
)
def test_any_json_is_a_feature(raw):
    assert isinstance(feature(raw), Feature)


def test_nested_types_in_every_way_of_writing_them():
    """`datasets` has written a dict of lists and a list of dicts in four ways; arrow and plain values are two more."""
    box = {"feature": {"dtype": "float32", "_type": "Value"}, "length": 4, "_type": "Sequence"}
    old = {"feature": {"bbox": box, "category": {"names": ["a"], "_type": "ClassLabel"}}, "_type": "Sequence"}
    new = {
        "bbox": {"feature": box, "_type": "List"},
        "category": {"feature": {"names": ["a"], "_type": "ClassLabel"}, "_type": "List"},
    }
    for raw in (old, new):
        found = feature(raw)
        assert found.kind == "struct" and found.fields["bbox"].item.item.kind == "float"
        assert found.fields["category"].item.names == ("a",)
    for raw in (
        [{"role": {"dtype": "string", "_type": "Value"}}],
        {"feature": {"role": {"dtype": "string", "_type": "Value"}}, "_type": "List"},
    ):
        assert feature(raw).kind == "list" and feature(raw).item.fields["role"].kind == "string"
    kind = pa.struct([("bbox", pa.list_(pa.list_(pa.float32(), 4))), ("name", pa.large_list(pa.string()))])
    assert (
        arrow_feature(kind).fields["bbox"].item.item.kind == "float"
        and arrow_feature(kind).fields["name"].item.kind == "string"
    )
    found = value_feature([{"bbox": [[1, 2.5]], "name": ["x"]}, {"bbox": [], "name": None}])
    assert found.fields["bbox"].item.item.kind == "float" and found.fields["name"].item.kind == "string"


def test_paths_and_their_values():
    objects = {"a": {"bbox": [1], "n": 2}, "b": [{"bbox": 3}, {"bbox": 4}, 5], "c.d": 6}
    features = {"a": value_feature([objects["a"]]), "b": value_feature([objects["b"][:2]]), "c.d": value_feature([6])}
    assert [path for path, _ in paths(features)] == ["a", "b", "c.d", "a.bbox", "a.n", "b.bbox"]
    assert (
        dig(objects, "a.bbox"),
        dig(objects, "b.bbox"),
        dig(objects, "c.d"),
        dig(objects, "a.zz"),
        dig(objects, "x.y"),
    ) == ([1], [3, 4, None], 6, None, None)
    assert at_path(features, "b.bbox").kind == "list" and at_path(features, "zz") is None


def test_plain_values():
    assert (
        value_feature(["a/1.png", "b.JPG"]).kind == "image"
        and value_feature([["a.png"], ["b.png", "c.png"]]).item.kind == "image"
    )
    assert (
        value_feature(["1", "2"]).kind == "int"
        and value_feature(["1.5", "2"]).kind == "string"
        and value_feature([1, 2.5]).kind == "float"
    )
    assert (
        value_feature([True]).kind == "bool"
        and value_feature([None, ""]).kind == "other"
        and value_feature([1, [2]]).kind == "other"
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=3), x, max_size=3),
    )
)
def test_any_values_have_a_type(value):
    found = value_feature([value, value])
    assert isinstance(found, Feature) and all(isinstance(kind, Feature) for _, kind in paths({"x": found}))
