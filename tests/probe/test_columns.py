from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tunegate.probe.columns import Feature, feature


@given(
    st.recursive(
        st.none() | st.text(max_size=5),
        lambda x: st.lists(x, max_size=2) | st.dictionaries(st.sampled_from(["_type", "names", "dtype", "x"]), x),
    )
)
def test_any_json_is_a_feature(raw):
    assert isinstance(feature(raw), Feature)
