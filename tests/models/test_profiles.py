"""Profiles: the same counts give the same hash, codes never meet or move, and no profile outgrows its message."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.codes import KNOWN, stable_code
from models.profiles import CALIBRATED_EPOCHS, Member, Profile, Profiles, build_profile, counted, peer_profile
from schemas.profiles import (
    BINS,
    MAX_PROFILE_BIGRAMS,
    MAX_PROFILE_BYTES,
    MAX_PROFILE_VALUES,
    ProfileCounts,
    ProfileDocument,
)

NAMES = st.lists(st.text(min_size=1, max_size=6), max_size=60)
CODES = st.integers(0, 0xFFFF)
SOME = st.integers(1, 5_000)
MEMBERS = st.builds(
    Member,
    st.dictionaries(CODES, st.tuples(SOME, st.integers(1, 250)), max_size=20),
    SOME,
    st.integers(1, 250),
    st.dictionaries(st.tuples(CODES, CODES), SOME, max_size=20),
    st.lists(st.integers(0, 255), min_size=BINS, max_size=BINS),
)


def published(profile: Profile) -> bytes:
    document = ProfileDocument(scope="group", name="g", hash=profile.hash, profile=profile.counts, by="ann")
    return document.model_dump_json().encode()


def read(raw: bytes) -> Profile:
    return Profile(ProfileDocument.model_validate_json(raw).profile)


@given(st.lists(NAMES, max_size=4))
def test_a_profile_of_names_depends_on_its_counts_alone(histories: list[list[str]]) -> None:
    counts = [counted(names, 10) for names in histories]
    profile = build_profile("1", counts)
    again = build_profile("1", reversed(counts))
    assert again.hash == profile.hash
    for names in histories:
        for name in names:
            code = profile.code(name, 0)
            assert again.value(code) == profile.value(code)
            assert min(profile.value(code)) > 0


@given(st.lists(MEMBERS, max_size=4), CODES, CODES)
def test_a_profile_of_peers_depends_on_them_alone_and_passes_through_its_record_exactly(
    members: list[Member], before: int, unknown: int
) -> None:
    profile = peer_profile("1", members)
    again = read(published(profile))
    assert peer_profile("1", reversed(members)).hash == profile.hash == again.hash
    assert (again.rarer, again.identities) == (profile.rarer, len(members))
    for code in {unknown}.union(*(one.values for one in members)):
        share, presence, peers = profile.value(code)
        assert again.value(code) == (share, presence, peers)
        assert share > 0
        assert presence > 0
        assert peers == sum(code in one.values for one in members)
        assert profile.code("any name", code) == code
        assert again.follows(before, code, share) == profile.follows(before, code, share)
    if members:
        assert peer_profile("2", members).hash != profile.hash


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


def test_what_follows_is_judged_by_the_pairs_that_were_seen_and_not_by_all_events() -> None:
    member = Member({1: (5_000, 50), 2: (5_000, 50)}, 10_000, 100, {(1, 2): 40}, (0,) * BINS)
    profile = peer_profile("1", [member] * 6)
    assert profile.follows(1, 2, profile.value(2)[0]) > 900_000


@pytest.mark.parametrize(("epochs", "ready"), [(0, False), (CALIBRATED_EPOCHS - 1, False), (CALIBRATED_EPOCHS, True)])
def test_how_rare_a_score_is_is_only_said_from_enough_epochs(epochs: int, ready: bool) -> None:
    member = Member({1: (9, 9)}, 9, 9, {}, (epochs, *(0,) * (BINS - 1)))
    rarer = peer_profile("1", [member]).rarer
    assert rarer == ((1_000_000, *(0,) * (BINS - 1)) if ready else ())


def test_of_more_than_there_is_room_for_the_most_frequent_is_kept() -> None:
    values = {code: (1 + code, 1) for code in range(MAX_PROFILE_VALUES + 50)}
    bigrams = {(code % 100 + 1_000, code): 1 + code for code in range(MAX_PROFILE_BIGRAMS + 900)}
    profile = peer_profile("1", [Member(values, 10**7, 9, bigrams, (0,) * BINS)])
    assert len(profile.counts.values) == MAX_PROFILE_VALUES
    assert profile.value(49) == profile.value(60_000)
    assert profile.value(50)[2] == 1
    assert all(row[0] != 49 for row in profile.counts.values)
    assert len(profile.counts.bigrams) <= MAX_PROFILE_BIGRAMS


def largest() -> ProfileDocument:
    """No profile is larger: it is as full as can be, of the largest counts."""
    most, codes = 1 << 48, range(0x10000 - MAX_PROFILE_VALUES, 0x10000)
    counts = ProfileCounts(
        version="v" * 64,
        identities=most,
        events=most,
        epochs=most,
        values=tuple((code, most, most, most, most) for code in codes),
        bigrams=tuple((codes[at % 4_096], codes[at // 4_096], most) for at in range(MAX_PROFILE_BIGRAMS)),
        histogram=(most,) * BINS,
    )
    why, found = "\U0001f9ff" * 256, Profile(counts)
    return ProfileDocument(scope="everybody", hash=found.hash, profile=counts, by="b" * 128, why=why)


def test_a_profile_fits_its_message_however_large_its_counts_are() -> None:
    raw = largest().model_dump_json().encode()
    assert 500_000 < len(raw) <= MAX_PROFILE_BYTES
    assert read(raw).value(0xFFFF)[2] == 1 << 48


def test_peers_are_the_group_else_the_type_else_everybody_else_nobody() -> None:
    group, kind, everybody = (peer_profile(version, []) for version in "123")
    profiles = Profiles({"ops": group}, {"token": kind}, everybody)
    assert profiles.of("user:ann", "ops") is group
    assert profiles.of("token:ci", "") is kind
    assert profiles.of("token:ci:2", "gone") is kind
    assert profiles.of("user:ann", "") is everybody
    assert Profiles({"ops": group}).of("user:ann", "") is None


GOOD: dict[str, Any] = json.loads(published(peer_profile("1", [Member({1: (2, 1)}, 2, 1, {(1, 1): 1}, (0,) * BINS)])))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"events": -1},
        {"events": 1.5},
        {"values": [[1, 2, 1, 1, 1], [1, 3, 1, 1, 1]]},
        {"values": [[1, 2, 1, 1]]},
        {"values": [[65_536, 2, 1, 1, 1]]},
        {"values": [[1, True, 1, 1, 1]]},
        {"bigrams": [[1, 1, 1], [1, 1, 2]]},
        {"histogram": [0]},
        {"more": 1},
    ],
)
def test_what_is_no_profile_is_refused(change: dict[str, Any]) -> None:
    ProfileDocument.model_validate_json(json.dumps(GOOD))
    wrong = GOOD | {"profile": GOOD["profile"] | change}
    with pytest.raises(ValidationError):
        ProfileDocument.model_validate_json(json.dumps(wrong))
