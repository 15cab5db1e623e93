"""The quick look at a part's limits says nothing that the long one would deny."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stayhand import canonical, wire

_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80)
_VALUES = st.recursive(
    _PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
_LIMIT = 200


@given(st.dictionaries(st.text(max_size=20), _VALUES, max_size=6))
def test_what_is_surely_within_the_limits_is_within_them(value: dict[str, Any]) -> None:
    if wire._surely_bounded(value, _LIMIT):
        assert wire._depth(value) <= wire.MAX_DEPTH
        assert len(canonical.canonical(value)) <= _LIMIT


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 9) | st.text("xyz", max_size=3), max_size=4)
)
def test_short_flat_parts_are_surely_within_the_limits(value: dict[str, Any]) -> None:
    assert wire._surely_bounded(value, wire.MAX_PROPERTIES_BYTES)
