"""`python -m streams profiles`: what is counted, published, replaced and taken away, and what a scorer makes of it."""

import base64
import time

import pytest
from confluent_kafka import Producer

from models import baseline
from models.epoch import WHOLE_WINDOW
from models.peers import LEAST_IDENTITIES
from models.prior import load_prior
from models.profiles import NO_PROFILES, Profile
from models.transition import encode_facts
from schemas.documents import EnforcementPoint, Facts, Frozen, Import
from schemas.profiles import MAX_PROFILE_BYTES, ProfileDocument
from schemas.topics import topic
from stayhand.partition import partition_for
from streams import record
from streams.commands import _changes, _kafka
from streams.commands._session import Session
from streams.commands.profiles import _Read
from streams.registry import Registry, key_of
from streams.shipped import shipped_pack
from streams.topics import ensure
from tests.fold import empty_ownership, fold
from tests.models.test_profiles import largest
from tests.streams.scorer_double import PARTITIONS, scoring
from tests.streams.test_commands import Cli
from tests.streams.test_commands_scorer import START_S, gate  # noqa: F401  a fixture
from tests.streams.test_peer_profiles import IDENTITIES, Fleet, habit

pytestmark = pytest.mark.kafka
START_MS = 1_700_000_000_000
OPS = IDENTITIES[:LEAST_IDENTITIES]


@pytest.fixture(scope="module")
def fleet():
    """Eight tokens of four epochs each, before any profile."""
    made = Fleet(START_MS)
    made.live({identity: habit(n, 410) for n, identity in enumerate(IDENTITIES)}, NO_PROFILES)
    return made


@pytest.fixture
def cli(bootstrap, unique_prefix):
    ensure(bootstrap, unique_prefix, partitions=PARTITIONS)
    return Cli(bootstrap, unique_prefix)


def write_state(cli, kind, identity, body):
    source = record.Source(b"a" * 16, b"c" * 16, 0, 1, 1, START_MS, 1)
    producer = Producer({"bootstrap.servers": cli.bootstrap})
    partition = partition_for(identity.encode(), PARTITIONS)
    value = None if body is None else record.pack(kind, source, body)
    producer.produce(topic(cli.prefix, "state"), value, record.state_key(kind, identity), partition=partition)
    assert producer.flush(10) == 0


def restore(cli, fleet, identities=IDENTITIES, ops=OPS):
    for identity in identities:
        write_state(cli, "baseline", identity, baseline.encode(fleet.states[identity].baseline))
    for identity in ops:
        write_state(cli, "facts", identity, encode_facts(Facts(registered=True, group="ops")))


def in_force(cli):
    """The registry as a scorer reads it, and the last record of each profile's key."""
    registry, last = Registry(load_prior(), default=shipped_pack()), {}
    for offset, message in enumerate(cli.records("global")):
        registry.apply(message.key().decode(), message.value(), offset)
        last[message.key().decode()] = message.value()
    point = EnforcementPoint(point="p", keys=(), identities=(), actions=(), reply_topics=())
    return registry.world(point, "x").profiles, {key: value for key, value in last.items() if value is not None}


def test_groups_types_and_everybody_get_the_profile_of_those_who_learned(cli, fleet):
    restore(cli, fleet)
    write_state(cli, "baseline", "user:new", baseline.encode(baseline.EMPTY))
    told = cli.json("profiles", "--version", "v1", "--why", "first", "--no-wait")
    assert (told["identities"], told["events"], told["epochs"], told["young"]) == (8, 3_200, 32, 1)
    peers, records = in_force(cli)
    assert set(records) == {"profile/everybody/", "profile/type/token", "profile/group/ops"}
    assert told["bytes"] == {key: len(value) for key, value in records.items()}
    assert max(told["bytes"].values()) < MAX_PROFILE_BYTES
    assert peers.of(OPS[0], "ops").identities == len(OPS)
    assert peers.of(IDENTITIES[-1], "").identities == len(IDENTITIES)
    assert peers.of("user:x", "").hash == peers.everybody.hash
    published = fleet.publish("v1")
    assert peers.types["token"].hash == published.types["token"].hash
    document = ProfileDocument.model_validate_json(records["profile/group/ops"])
    assert (document.by, document.why, document.profile.version) == ("ada", "first", "v1")
    assert document.hash == peers.of(OPS[0], "ops").hash


def test_a_dry_run_shows_it_and_publishes_nothing(cli, fleet):
    restore(cli, fleet)
    told = cli.json("profiles", "--dry-run")
    assert [(each["scope"], each["name"], each["identities"]) for each in told["profiles"]] == [
        ("everybody", "", 8),
        ("type", "token", 8),
        ("group", "ops", 5),
    ]
    shown = cli.run("profiles", "--dry-run").stdout
    assert "8 identities with 3,200 actions in 32 epochs" in shown
    assert "not yet" in shown, "no epoch was scored so far, so nothing tells how rare a score is"
    assert cli.records("global") == []


def test_from_too_few_nothing_is_published_and_it_is_said_how_many_are_needed(cli, fleet):
    restore(cli, fleet, IDENTITIES[:4], OPS[:4])
    told = cli.run("profiles", "--no-wait", code=1)
    assert "at least 5 identities" in told.stderr
    assert "found 4 with 16" in told.stderr
    assert cli.records("global") == []


def test_a_group_of_too_few_has_none_and_loses_the_one_that_it_had(cli, fleet):
    restore(cli, fleet)
    cli.run("profiles", "--no-wait")
    write_state(cli, "facts", OPS[0], encode_facts(Facts(registered=True, group="dev")))
    told = cli.json("profiles", "--no-wait")
    assert told["taken_away"] == ["profile/group/ops"]
    assert [each["name"] for each in told["profiles"] if not each["published"]] == ["dev", "ops"]
    peers, records = in_force(cli)
    assert set(records) == {"profile/everybody/", "profile/type/token"}
    assert peers.of(OPS[1], "ops") is peers.types["token"]


def test_who_is_frozen_or_gone_is_not_counted_and_what_is_damaged_is_named(cli, fleet):
    restore(cli, fleet, ops=())
    write_state(cli, "facts", IDENTITIES[0], encode_facts(Facts(frozen=Frozen(by="ada", at_ms=START_MS))))
    write_state(cli, "facts", IDENTITIES[1], encode_facts(Facts(offboarded=True)))
    write_state(cli, "baseline", IDENTITIES[2], b"nonsense")
    write_state(cli, "baseline", IDENTITIES[3], None)
    told = cli.json("profiles", "--dry-run", code=1)
    assert (told["identities"], told["stopped"], len(told["unreadable"])) == (4, 2, 1)


def test_all_profiles_can_be_taken_away(cli, fleet):
    restore(cli, fleet)
    assert "no profile" in cli.run("profiles", "--withdraw", "--no-wait", code=1).stderr
    cli.run("profiles", "--no-wait")
    cli.run("profiles", "--withdraw", "--no-wait")
    peers, records = in_force(cli)
    assert (records, peers.of(OPS[0], "ops")) == ({}, None)
    assert "expected" in cli.run("profiles", "--withdraw", "--dry-run", code=2).stderr


def test_it_is_done_when_every_scorer_applied_it(cli, fleet):
    restore(cli, fleet)
    with scoring(cli.bootstrap, cli.prefix):
        assert {each["partition"] for each in cli.json("profiles")["applied"]} == {0, 1}


def test_the_largest_profile_passes_through_kafka_as_it_is(cli):
    document = largest()
    session = Session({"bootstrap.servers": cli.bootstrap}, cli.prefix)
    _kafka.send(session, "global", [(key_of(document), document)])
    assert in_force(cli)[0].everybody.hash == document.hash


def asked(guard, identity, names):
    kind, _, name = identity.partition(":")
    for action in names:
        given = {"action": {"name": action}, "resource": {"type": "host", "id": "a"}}
        last = guard.check({"subject": {"type": kind, "id": name}, **given})
        assert last.origin == "gate"
    return last


def bring(gate, fleet):  # noqa: F811
    """Baselines that were learned elsewhere become this gate's."""
    session = Session({"bootstrap.servers": gate.bootstrap}, gate.prefix)
    for number, identity in enumerate(IDENTITIES):
        learned = base64.b64encode(baseline.encode(fleet.states[identity].baseline)).decode()
        control = Import(control_id=f"{number:08x}", by="ada", baseline=learned)
        _changes.change_identity(session, identity, control, 60.0, "imported")
    for identity in OPS:
        gate.run("register", identity, "--group", "ops")
    give_up = time.monotonic() + START_S
    while counted(session) != (len(IDENTITIES), len(OPS)):
        assert time.monotonic() < give_up, "no checkpoint holds what was brought"
        time.sleep(0.2)
    return session


def counted(session):
    """How many identities the last checkpoint has, and how many of them in a group."""
    found = [group for _, group, _ in _Read().members(session)]
    return len(found), found.count("ops")


def test_a_running_scorer_compares_with_the_profiles_and_its_audit_replays(gate, fleet):  # noqa: F811
    session = bring(gate, fleet)
    mine, other = OPS[0], IDENTITIES[-1]
    known: dict[str, Profile] = {}
    with gate.guard() as guard:
        before = asked(guard, mine, habit(0, 3))
        first = gate.run("profiles", "--version", "1")
        assert first["applied"]
        known |= {each.hash: each for each in _in_force(session)}
        ready = asked(guard, mine, habit(0, WHOLE_WINDOW))
        asked(guard, other, habit(7, 3))
        assert gate.run("profiles", "--version", "2")["applied"]
        known |= {each.hash: each for each in _in_force(session)}
        after = asked(guard, mine, ["svc.never"])
    pages = [gate.look("explain", each.decision_id, "--replay") for each in (before, ready, after)]
    assert [page["replay"] for page in pages] == [{"same": True}] * 3
    assert [page["scores"]["epoch"] is not None for page in pages] == [False, True, True]
    compared = [page["vector"]["profile"] for page in pages]
    assert compared[0] == ""
    assert [known[each].version for each in compared[1:]] == ["1", "2"]
    assert known[compared[1]].identities == len(OPS)
    told = {each["term"]: each["text"] for each in pages[2]["why"]}
    assert "0 of 5 peers ever did" in told["action"]
    _folds(session, known)


def _in_force(session):
    found = _changes.entries(session, "profile", ProfileDocument).values()
    return [Profile(each.profile) for each in found]


def _folds(session, known):
    """Each record of the whole audit follows from those before it."""
    point = _changes.entries(session, "point", EnforcementPoint)["ci"]
    decided = 0
    for partition in range(2):
        history = list(_kafka.effective(session, {partition: 0}))
        vector = history[0].body["vector"]
        topics = (bytes.fromhex(vector["actions_topic"]), bytes.fromhex(vector["controls_topic"]))
        fold(history, empty_ownership(topics, partition), shipped_pack(), load_prior(), point, known)
        decided += sum(entry.body["kind"] == "decision" for entry in history)
    assert decided == 3 + WHOLE_WINDOW + 3 + 1
