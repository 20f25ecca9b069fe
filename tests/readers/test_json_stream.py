from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunegate.readers import json_stream
from tunegate.readers.json_stream import elements

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=150)
@given(
    st.dictionaries(st.text(max_size=4), JSON, max_size=4),
    st.sampled_from([1, 2, 7, 1 << 20]),
    st.sampled_from([None, 1]),
)
def test_what_json_reads_is_read_whatever_the_chunks(tmp_path_factory, value, chunk, indent):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False), "utf-8")
    expected = [(key, item) for key, found in value.items() for item in (found if isinstance(found, list) else [found])]
    old, json_stream.CHUNK = json_stream.CHUNK, chunk
    try:
        assert list(elements(path)) == expected
    finally:
        json_stream.CHUNK = old


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", '{"a"', '{"a": [1, ', '{"a": [1 2]}', '{"a": 1', "{1: 2}x", '{"a": ' + "[" * 100_000]
)
def test_what_is_no_json_object_is_a_value_error(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError):
        list(elements(tmp_path / "a.json"))


def test_one_element_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "MAX_ELEMENT", 1000)
    monkeypatch.setattr(json_stream, "CHUNK", 100)
    (tmp_path / "a.json").write_text(json.dumps({"a": ["x" * 50] * 200}))
    assert len(list(elements(tmp_path / "a.json"))) == 200
    (tmp_path / "a.json").write_text(json.dumps({"a": ["x" * 5000]}))
    with pytest.raises(ValueError, match="too large"):
        list(elements(tmp_path / "a.json"))
