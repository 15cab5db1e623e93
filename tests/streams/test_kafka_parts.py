"""The adapter's parts that need no broker: commit metadata, what errors mean, and who may set what."""

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from streams.blast import Guard
from streams.kafka import positions
from streams.kafka.clients import Clients
from streams.kafka.errors import Faults
from streams.ports import Fenced, KafkaFailed, Position

OFFSETS = st.integers(min_value=0, max_value=2**62)
COUNTS = st.integers(0, 100_000)
GUARDS = st.builds(
    Guard,
    activation=st.from_regex(r"[0-9a-f]{0,32}", fullmatch=True),
    state=st.sampled_from(["trial", "kept", "returned"]),
    decided=COUNTS,
    blocks=COUNTS,
    blocks_before=COUNTS,
)
POSITIONS = st.builds(
    Position,
    actions_next=OFFSETS,
    controls_next=st.one_of(st.just(-1), OFFSETS),
    audit_next=OFFSETS,
    audit_term=st.integers(0, 2**31),
    term=st.integers(0, 2**31),
    worker=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=64),
    guard=GUARDS,
)


@given(POSITIONS)
def test_commit_metadata_keeps_a_position_whole_whatever_the_workers_name(position: Position) -> None:
    read = positions.decode(position.actions_next, position.controls_next, positions.encode(position))
    assert read == position


@given(st.dictionaries(st.integers(0, 1_000), POSITIONS, max_size=4))
def test_actions_and_controls_are_committed_side_by_side(owned: dict[int, Position]) -> None:
    found = positions.offsets("a", "c", owned)
    for topic, field in (("a", "actions_next"), ("c", "controls_next")):
        of_topic = {each.partition: each.offset for each in found if each.topic == topic}
        assert of_topic == {
            partition: getattr(position, field)
            for partition, position in owned.items()
            if getattr(position, field) >= 0
        }


def test_metadata_without_a_guard_is_read_as_one_that_counted_nothing() -> None:
    assert positions.decode(5, 3, "a|b|7|11|2") == Position(5, 3, 11, 2, 7, "a|b")


@pytest.mark.parametrize(
    "metadata",
    ["hello", "w|1|2", "w|x|2|3", "w|1|2|3.5", "w|1|2|3|:", "w|1|2|3|a:maybe:1:2:3", "w|1|2|3|a:kept:1:2:x"],
)
def test_foreign_metadata_is_refused_and_not_guessed_at(metadata: str) -> None:
    with pytest.raises(KafkaFailed, match=r"worker\|term\|audit_next\|audit_term"):
        positions.decode(5, 5, metadata)


@pytest.mark.parametrize("metadata", [None, ""])
def test_offsets_without_metadata_have_no_owner(metadata: str | None) -> None:
    assert positions.decode(5, 3, metadata) == Position(actions_next=5, controls_next=3)
    assert positions.decode(-1001, -1001, metadata) == Position()


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError._FENCED,
    ],
)
def test_a_refusal_because_of_another_owner_is_told_apart(code: int) -> None:
    assert isinstance(Faults("x").translate(KafkaError(code), "commit"), Fenced)


@pytest.mark.parametrize(
    "code", [KafkaError._TIMED_OUT, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._FATAL, KafkaError._STATE]
)
def test_any_other_failure_does_not_pass_for_one(code: int) -> None:
    assert isinstance(Faults("x").translate(KafkaError(code), "commit"), KafkaFailed)


def test_a_members_fatal_error_means_that_its_name_was_taken() -> None:
    assert isinstance(Faults("x", fatal_is_fenced=True).translate(KafkaError(KafkaError._FATAL), "poll"), Fenced)


def test_each_kind_of_error_is_told_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults, now_s = Faults("x"), 1_000.0
    monkeypatch.setattr("streams.kafka.errors.time.monotonic", lambda: now_s)
    for _ in range(5):
        faults.hear(KafkaError(KafkaError._ALL_BROKERS_DOWN))
        faults.hear(KafkaError(KafkaError._TRANSPORT))
    assert len(caplog.records) == 2
    now_s += 61
    faults.hear(KafkaError(KafkaError._TRANSPORT))
    assert len(caplog.records) == 3


def test_the_operators_settings_reach_every_client_but_not_what_correctness_rests_on() -> None:
    passed = {"security.protocol": "SSL", "acks": "0", "isolation.level": "read_committed", "partitioner": "random"}
    clients, faults = Clients("h:1", "g", passed, "w"), Faults("x")
    made = [
        clients.member(faults, 2_000),
        clients.follower(faults),
        clients.reader(faults, committed=False),
        clients.replies(faults),
        clients.journal(faults),
        clients.transactional(faults, "t"),
    ]
    assert {each["security.protocol"] for each in (*made, clients.admin())} == {"SSL"}
    assert {each["isolation.level"] for each in made[:3]} == {"read_uncommitted"}
    assert {(each["acks"], each["partitioner"]) for each in made[3:]} == {("all", "murmur2_random")}
