from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import WEIGHTS
from tunegate.probe.safetensors import MAX_HEADER, header_length, parse_header


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
