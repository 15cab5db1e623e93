"""The registry is a fold: the last good value under each key decides, whatever the order of the keys."""

import json
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.policy import CompiledPack, compile_pack
from models.prior import Prior, load_prior
from models.profiles import Member, Profile, peer_profile
from schemas.documents import EnforcementPoint, PointKey
from schemas.profiles import BINS
from streams.registry import MAX_WORLDS, InvalidGlobal, NotReady, Registry, family_of

SOURCE = 'name: {}\nversion: "{}"\nbands:\n  block: {{at: {}, reason: {{code: odd, message: Odd.}}}}\n'
SOURCES = {name: SOURCE.format(name, at, at) for at, name in enumerate(("one", "two", "three"), start=3)}


@lru_cache
def prior() -> Prior:
    return load_prior()


@lru_cache
def compiled(source: str) -> CompiledPack:
    return compile_pack(source)


def registry() -> Registry:
    return Registry(prior(), compiled)


def pack_hash(name: str) -> str:
    return compiled(SOURCES[name]).hash


def pack(name: str, /, **changes: Any) -> tuple[str, bytes]:
    made = compiled(SOURCES[name])
    document = {"hash": made.hash, "name": name, "version": made.version, "source": SOURCES[name], "by": "ann"}
    return f"pack/{changes.get('hash', made.hash)}", json.dumps({**document, **changes}).encode()


def policy(active: str, **other: str) -> tuple[str, bytes]:
    names = {field: pack_hash(name) for field, name in other.items()}
    return "policy", json.dumps({"active": pack_hash(active), "by": "ann", **names}).encode()


def point(name: str = "gateway", /, **changes: Any) -> tuple[str, bytes]:
    document = {
        "point": name,
        "keys": [{"key_id": "k1"}],
        "identities": ["token:*"],
        "actions": ["*"],
        "reply_topics": ["stayhand.decisions"],
    }
    return f"point/{name}", json.dumps({**document, **changes}).encode()


def scoped(kind: str, scope: str, name: str = "") -> tuple[str, bytes]:
    return f"{kind}/{scope}/{name}", json.dumps({"scope": scope, "name": name, "by": "ann"}).encode()


@lru_cache
def peers(version: str) -> Profile:
    return peer_profile(version, [Member({1: (5, 2)}, 9, 2, {}, (0,) * BINS)])


def profile(place: str, version: str = "1", /, **changes: Any) -> tuple[str, bytes]:
    made = peers(version)
    scope, _, name = place.partition("/")
    document = {"scope": scope, "name": name, "hash": made.hash, "profile": made.counts.model_dump(), "by": "ann"}
    return f"profile/{place}", json.dumps({**document, **changes}).encode()


def compared(made: Registry, identity: str, group: str = "") -> str:
    found = made.world(gateway(made), "x").profiles.of(identity, group)
    return "" if found is None else found.version


def folded(*records: tuple[str, bytes | None]) -> Registry:
    made = registry()
    for offset, (key, value) in enumerate(records):
        made.apply(key, value, offset)
    return made


def gateway(made: Registry, name: str = "gateway") -> EnforcementPoint:
    found = made.point(name)
    assert found is not None
    return found


def refused(made: Registry, key: str, value: bytes | None) -> InvalidGlobal:
    with pytest.raises(InvalidGlobal) as raised:
        made.apply(key, value, 99)
    assert made.offset == 99
    return raised.value


def view(made: Registry) -> Any:
    """All that a registry answers."""
    points = {name: made.point(name) for name in ("gateway", "broker")}
    actions = ("deploy.push", "token:use", "plain")
    worlds = [
        (name, action, made.world(found, action))
        for name, found in points.items()
        if found is not None and made.ready()
        for action in actions
    ]
    packs = [made.pack(pack_hash(name)) for name in SOURCES]
    return points, packs, made.ready(), made.waiting_for, worlds


RECORDS = [
    point(),
    point("broker", observe=True),
    *(pack(name) for name in SOURCES),
    policy("one", shadow="two", previous="three"),
    scoped("switch", "everything"),
    scoped("switch", "point", "gateway"),
    scoped("switch", "family", "deploy"),
    scoped("observe", "family", "token"),
    scoped("observe", "gate"),
    profile("everybody/"),
    profile("type/token", "2"),
    profile("group/ops", "3"),
]


@given(
    st.lists(st.sampled_from(RECORDS), unique=True).flatmap(
        lambda chosen: st.tuples(st.just(chosen), st.permutations(chosen))
    )
)
def test_the_order_of_different_keys_does_not_matter(orders: tuple[list[Any], list[Any]]) -> None:
    assert view(folded(*orders[0])) == view(folded(*orders[1]))


@given(st.lists(st.sampled_from(RECORDS), unique=True), st.sampled_from(RECORDS[:2] + RECORDS[6:]))
def test_a_tombstone_takes_back_its_key_and_nothing_else(others: list[Any], gone: tuple[str, bytes]) -> None:
    rest = [record for record in others if record[0] != gone[0]]
    assert view(folded(*rest, gone, (gone[0], None))) == view(folded(*rest))
    assert view(folded(gone, *rest, (gone[0], None))) == view(folded(*rest))


@given(st.lists(st.sampled_from(RECORDS), max_size=20))
def test_cached_worlds_never_outlive_a_change(records: list[Any]) -> None:
    watched = registry()
    for offset, (key, value) in enumerate(records):
        watched.apply(key, value, offset)
        view(watched)
    assert view(watched) == view(folded(*records))


def test_what_says_nothing_new_changes_nothing_but_the_offset() -> None:
    made = folded(point())
    assert made.apply(*point(), 7) is None
    assert made.apply("point/absent", None, 8) is None
    assert made.offset == 8
    assert made.apply(*point(observe=True), 9) == "point/gateway set"
    assert made.apply("point/gateway", None, 10) == "point/gateway removed"
    assert made.point("gateway") is None


def test_an_empty_registry_has_read_nothing_and_decides_nothing() -> None:
    made = registry()
    assert (made.offset, made.ready(), made.waiting_for) == (-1, False, None)
    with pytest.raises(NotReady):
        made.world(gateway(folded(point())), "x")


def test_a_policy_waits_for_its_pack() -> None:
    made = folded(point(), policy("one"))
    assert (made.ready(), made.waiting_for) == (False, pack_hash("one"))
    made.apply(*pack("one"), 5)
    assert (made.ready(), made.waiting_for) == (True, None)
    assert made.world(gateway(made), "x").pack.name == "one"


def test_a_policy_that_names_an_unknown_pack_keeps_the_one_in_force() -> None:
    made = folded(point(), pack("one"), policy("one"), policy("two"))
    assert made.world(gateway(made), "x").pack.name == "one"
    assert made.waiting_for == pack_hash("two")
    made.apply(*pack("two"), 9)
    assert made.world(gateway(made), "x").pack.name == "two"


def test_a_worker_that_starts_later_falls_back_to_the_policy_s_previous_pack() -> None:
    made = folded(point(), pack("one"), policy("two", previous="one"))
    assert made.world(gateway(made), "x").pack.name == "one"


def test_a_shadow_pack_that_is_unknown_is_no_shadow() -> None:
    made = folded(point(), pack("one"), policy("one", shadow="two"))
    assert made.world(gateway(made), "x").shadow is None
    made.apply(*pack("two"), 9)
    shadow = made.world(gateway(made), "x").shadow
    assert shadow is not None
    assert shadow.name == "two"


def test_the_widest_switch_is_told() -> None:
    made = folded(point(), point("broker"), pack("one"), policy("one"))
    seen = []
    for record in (
        scoped("switch", "family", "deploy"),
        scoped("switch", "point", "gateway"),
        scoped("switch", "everything"),
    ):
        made.apply(*record, 9)
        switch = made.world(gateway(made), "deploy.push").switch
        assert switch is not None
        seen.append(switch.scope)
        other = made.world(gateway(made, "broker"), "token.use").switch
        assert (other is not None) == (record[0] == "switch/everything/")
    assert seen == ["family", "point", "everything"]


@pytest.mark.parametrize(
    ("records", "action", "observed"),
    [
        ([point()], "deploy.push", False),
        ([point(observe=True)], "deploy.push", True),
        ([point(), scoped("observe", "gate")], "deploy.push", True),
        ([point(), scoped("observe", "family", "deploy")], "deploy.push", True),
        ([point(), scoped("observe", "family", "deploy")], "deployment.push", False),
    ],
)
def test_observe_mode_covers_its_scope_alone(records: list[Any], action: str, observed: bool) -> None:
    made = folded(pack("one"), policy("one"), *records)
    assert made.world(gateway(made), action).observe is observed


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("point/gateway", b"no JSON", "value"),
        ("point/gateway", b'{"point":"a","point":"b"}', "value"),
        ("point/gateway", b"[]", "value"),
        ("point/gateway", point(rate_per_s=0)[1], "rate_per_s"),
        ("point/gateway", point(secret="x")[1], "secret"),
        ("point/other", point()[1], "key"),
        ("nonsense", b"{}", "key"),
        ("", b"{}", "key"),
        ("policy/x", policy("one")[1], "key"),
        ("policy", None, "value"),
        ("switch/everything/all", scoped("switch", "everything")[1], "key"),
        ("switch/everything/all", scoped("switch", "everything", "all")[1], "name"),
        ("switch/family/", scoped("switch", "family")[1], "name"),
        ("observe/gate/x", scoped("observe", "gate", "x")[1], "name"),
        ("observe/point/x", scoped("observe", "point", "x")[1], "scope"),
        (*pack("two", source="name: two\nversion: '2'\nrules: 7\n"), "source"),
        (*pack("two", hash="ab" * 32), "hash"),
        (*pack("two", name="else"), "name"),
        (*pack("two", version="9"), "version"),
        (pack("one")[0], None, "value"),
        ("profile/type/token", profile("type/token", hash="ab" * 32)[1], "hash"),
        ("profile/type/user", profile("type/token")[1], "key"),
        ("profile/type/", profile("type/")[1], "name"),
        ("profile/everybody/x", profile("everybody/x")[1], "name"),
        ("profile/nobody/x", profile("nobody/x")[1], "scope"),
        ("profile/group/a", profile("group/a", profile={})[1], "profile.version"),
        (
            "profile/group/a",
            profile("group/a", profile=peers("1").counts.model_dump() | {"values": [[70_000, 1, 1, 1, 1]]})[1],
            "profile.values.0.0",
        ),
    ],
)
def test_a_bad_record_changes_nothing_and_names_its_field(key: str, value: bytes | None, field: str) -> None:
    before = [point(), pack("one"), policy("one", shadow="one")]
    made = folded(*before)
    error = refused(made, key, value)
    assert (error.field, error.code) == (field, "invalid-global")
    assert view(made) == view(folded(*before))


def test_an_identity_is_compared_with_its_group_else_its_type_else_everybody() -> None:
    made = folded(point(), pack("one"), policy("one"), profile("everybody/", "1"), profile("type/token", "2"))
    assert [compared(made, name) for name in ("token:ci", "user:ann")] == ["2", "1"]
    made.apply(*profile("group/a/b", "3"), 9)
    assert [compared(made, "token:ci", group) for group in ("a/b", "other")] == ["3", "2"]
    made.apply(*profile("group/a/b", "4"), 10)
    assert compared(made, "token:ci", "a/b") == "4"
    assert made.profile(peers("4").hash) == peers("4")
    for key in ("profile/group/a/b", "profile/type/token", "profile/everybody/"):
        made.apply(key, None, 11)
    assert compared(made, "token:ci", "a/b") == ""
    assert made.profile(peers("4").hash) is None


def test_a_profile_that_is_refused_leaves_the_one_before_in_force() -> None:
    made = folded(point(), pack("one"), policy("one"), profile("type/token", "2"))
    refused(made, *profile("type/token", "3", hash="ab" * 32))
    assert compared(made, "token:ci") == "2"


def test_a_pack_that_is_not_in_force_can_be_taken_away() -> None:
    made = folded(pack("one"), policy("one", shadow="two"), pack("two"), (pack("two")[0], None))
    assert made.pack(pack_hash("two")) is None
    assert made.ready()


def test_the_worlds_that_are_kept_are_bounded() -> None:
    made = folded(point(), pack("one"), policy("one"))
    for number in range(MAX_WORLDS + 10):
        made.world(gateway(made), f"deploy.{number}")
    assert len(made._worlds) <= MAX_WORLDS
    assert made.world(gateway(made), "deploy.1") is made.world(gateway(made), "deploy.1")


def test_a_point_of_the_reader_alone_has_a_world_too() -> None:
    made = folded(pack("one"), policy("one"))
    anyone = EnforcementPoint(
        point="unsigned",
        keys=(PointKey(key_id="none"),),
        identities=("*",),
        actions=("*",),
        reply_topics=(),
        observe=True,
    )
    assert made.world(anyone, "x").observe


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("deploy.push", "deploy"),
        ("s3:GetObject", "s3"),
        ("a/b.c:d", "a"),
        ("a:b.c", "a"),
        ("plain", "plain"),
        (".x", ""),
    ],
)
def test_a_family_is_the_name_up_to_its_first_separator(name: str, family: str) -> None:
    assert family_of(name) == family
