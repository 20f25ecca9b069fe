from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import WEIGHTS
from tunegate.probe.model.safetensors import MAX_HEADER, header_length, parse_header


def test_parameters_bytes_and_the_length_of_the_file():
    length = header_length(WEIGHTS)
    found = parse_header(WEIGHTS[8 : 8 + length])
    assert (found.parameters, found.bytes, found.end) == ({"F32": 6, "BF16": 4}, {"F32": 24, "BF16": 8}, len(WEIGHTS))


def test_a_scalar_counts_as_one():
    assert parse_header(
        json.dumps({"s": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]}}).encode()
    ).parameters == {"I64": 1}


@pytest.mark.parametrize("start", [b"", b"1234567", struct.pack("<Q", 0), struct.pack("<Q", MAX_HEADER + 1)])
def test_lengths_that_cannot_be(start):
    with pytest.raises(ValueError):
        header_length(start)


def entry(dtype, shape, start, stop):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": entry("F32", [2], 0, 4)},  # too few bytes
        {"a": entry("F32", [2], 0, 8), "b": entry("F32", [1], 12, 16)},  # a hole
        {"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)},  # shared bytes
        {"a": entry("F32", [1], 4, 8)},  # does not begin at 0
        {"a": entry("F32", [-1], 0, 4)},
        {"a": entry("F32", [True], 0, 4)},
        {"a": entry("F32", "12", 0, 4)},
        {"a": entry("F32", [1.0], 0, 4)},
        {"a": entry(["F32"], [1], 0, 4)},
        {"a": entry("F32", [1], 4, 0)},
    ],
)
def test_headers_that_contradict_themselves(tensors):
    with pytest.raises(ValueError, match="tensor 'a'|tensor 'b'"):
        parse_header(json.dumps(tensors).encode())


def test_order_does_not_matter_and_a_new_dtype_is_counted():
    tensors = {"b": entry("F4", [16], 4, 12), "a": entry("F99", [1], 0, 4), "empty": entry("BF16", [0, 3], 4, 4)}
    found = parse_header(json.dumps(tensors).encode())
    assert found.parameters == {"F99": 1, "BF16": 0, "F4": 16} and found.bytes == {"F99": 4, "BF16": 0, "F4": 8}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["a", "dtype", "shape", "data_offsets"]), inner)
        ),
    )
)
def test_any_json_is_parsed_or_refused(value):
    try:
        parse_header(json.dumps(value).encode())
    except ValueError:
        pass
