"""Profiles: the same counts give the same hash, codes never meet and never move, and what is wrong is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.codes import KNOWN, stable_code
from models.profiles import InvalidProfile, build_profile, counted, decode_profile, encode_profile

NAMES = st.lists(st.text(min_size=1, max_size=6), max_size=60)


@given(st.lists(NAMES, max_size=4))
def test_a_profile_depends_on_its_counts_alone_and_passes_through_its_file_exactly(histories: list[list[str]]) -> None:
    counts = [counted(names, 10) for names in histories]
    profile = build_profile("1", counts)
    assert build_profile("1", reversed(counts)).hash == profile.hash
    again = decode_profile(encode_profile(profile))
    assert (again.hash, encode_profile(again)) == (profile.hash, encode_profile(profile))
    for names in histories:
        for name in names:
            code = profile.code(name, 0)
            assert again.value(code) == profile.value(code)
            assert min(profile.value(code)) > 0


def test_codes_are_shared_with_nobody_and_kept_by_later_profiles() -> None:
    names = [f"tool{number}" for number in range(3_000)]
    assert len({stable_code(name) for name in names}) < len(names)
    first = build_profile("1", [counted(names, 100)])
    codes = {name: first.code(name, 0) for name in names}
    assert len(set(codes.values())) == len(names)
    assert min(codes.values()) >= KNOWN
    later = build_profile("2", [counted([*reversed(names), "new", "more"], 100)], first)
    assert {name: later.code(name, 0) for name in names} == codes
    assert later.code("new", 0) not in codes.values()
    assert later.code("unheard", 5) == 5


def test_what_others_often_do_after_another_is_likelier_than_what_they_never_do() -> None:
    profile = build_profile("1", [counted(["a", "b"] * 50 + ["c"], 100)])
    a, b, c = (profile.code(name, 0) for name in "abc")
    follows = [profile.follows(a, code, profile.value(code)[0]) for code in (b, c)]
    assert follows[0] > 900_000
    assert 0 < follows[1] < 10_000
    assert profile.follows(-1, b, profile.value(b)[0]) > 0


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"version": 1}'])
def test_what_is_no_profile_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidProfile, match=r"\w"):
        decode_profile(raw)
