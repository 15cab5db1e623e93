"""The adapter's contract: what the port promises a worker, shown on a broker."""

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer import message_accumulator
from aiokafka.producer import producer as aiokafka_producer
from aiokafka.record import default_records
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from schemas.topics import TOPICS, topic
from stayhand.partition import partition_for
from streams.brokers import LocalBroker
from streams.kafka import KafkaLog
from streams.kafka.records import UNREADABLE
from streams.ports import Answer, AuditFailed, Fenced, InputGone, KafkaFailed, Position
from tests.brokers.clients import create_topic
from tests.streams.kafka_owner import WAIT_S, Owner, position, settle, turn_until

PARTITIONS = 4
MakeLog = Callable[[str], KafkaLog]
Join = Callable[[str], Owner]


def make_topics(admin: AdminClient, prefix: str) -> None:
    for each in TOPICS:
        name, partitions = topic(prefix, each.kind), each.partition_count(PARTITIONS)
        create_topic(admin, name, partitions=partitions, config=each.config())


@pytest.fixture
def prefix(unique_prefix: str, admin: AdminClient) -> Iterator[str]:
    make_topics(admin, unique_prefix)
    yield unique_prefix
    for deletion in admin.delete_topics([topic(unique_prefix, each.kind) for each in TOPICS]).values():
        deletion.result(WAIT_S)


@pytest.fixture
def make_log(bootstrap: str, prefix: str) -> Iterator[MakeLog]:
    made: list[KafkaLog] = []

    def make(worker: str) -> KafkaLog:
        made.append(KafkaLog(bootstrap, prefix, f"{prefix}.scorer", worker, {}))
        return made[-1]

    yield make
    for log in made:
        log.close()


@pytest.fixture
def join(make_log: MakeLog) -> Join:
    """Make an owner that has joined the group, but not polled yet."""

    def joined(worker: str) -> Owner:
        owner = Owner(make_log(worker), worker)
        owner.log.start(owner)
        return owner

    return joined


@pytest.fixture
def alone(join: Join) -> Owner:
    """The only member, which owns all partitions."""
    owner = join("w1")
    turn_until(lambda: len(owner.owned) == PARTITIONS, owner)
    return owner


@pytest.fixture
def producer(bootstrap: str) -> Iterator[Producer]:
    made = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "log_level": 0})
    yield made
    assert made.flush(WAIT_S) == 0


def test_what_was_committed_is_read_back_with_its_owner_and_term(alone: Owner) -> None:
    assert alone.log.position(1) == position(0, worker="w1", term=1)
    moved = Position(actions_next=7, controls_next=3, audit_next=11, audit_term=1, term=1, worker="w1")
    alone.log.commit({1: moved})
    assert alone.log.position(1) == moved
    assert alone.log.position(0) == position(0, worker="w1", term=1)


def test_a_position_that_was_never_committed_is_empty(make_log: MakeLog) -> None:
    assert make_log("w1").position(2) == Position()


def test_offsets_that_a_tool_moved_have_no_owner(alone: Owner, bootstrap: str, prefix: str) -> None:
    alone.log.close()
    moved = TopicPartition(topic(prefix, "actions"), 0, 5)
    tool = Owner(KafkaLog(bootstrap, prefix, f"{prefix}.other", "w1", {}), "w1")
    tool.log.start(tool)
    turn_until(lambda: bool(tool.owned), tool)
    tool.log._member._consumer.commit(offsets=[moved], asynchronous=False)
    assert (tool.log.position(0).actions_next, tool.log.position(0).worker, tool.log.position(0).term) == (5, "", 0)
    tool.log.close()


def test_a_poll_returns_records_whole_and_in_the_order_of_their_partition(
    alone: Owner, producer: Producer, prefix: str
) -> None:
    for number in range(40):
        headers = [("ce_id", b"%d" % number), ("empty", None)]
        producer.produce(topic(prefix, "actions"), b"v%d" % number, b"k", number % PARTITIONS, headers=headers)
    producer.produce(topic(prefix, "actions"), None, None, 0)
    turn_until(lambda: len(alone.actions) == 41, alone)
    for partition in range(PARTITIONS):
        offsets = [each.offset for each in alone.actions if each.partition == partition]
        assert offsets == list(range(len(offsets)))
    first = next(each for each in alone.actions if each.partition == 1)
    assert (first.topic, first.key, first.value) == (topic(prefix, "actions"), b"k", b"v1")
    assert list(first.headers) == [("ce_id", b"1"), ("empty", None)]
    assert first.timestamp_ms > 1_600_000_000_000
    last = alone.actions[-1] if alone.actions[-1].partition == 0 else [e for e in alone.actions if e.partition == 0][-1]
    assert (last.key, last.value, tuple(last.headers)) == (None, None, ())


def test_reading_begins_where_the_listener_says(join: Join, producer: Producer, prefix: str) -> None:
    for number in range(10):
        producer.produce(topic(prefix, "actions"), b"%d" % number, b"k", 2)
    assert producer.flush(WAIT_S) == 0
    owner = join("w1")
    owner.starts[2] = 7
    turn_until(lambda: len(owner.actions) == 3, owner)
    assert [each.value for each in owner.actions] == [b"7", b"8", b"9"]


def test_no_more_actions_than_asked_for_are_returned(alone: Owner, producer: Producer, prefix: str) -> None:
    for _ in range(50):
        producer.produce(topic(prefix, "actions"), b"v", b"k", 0)
    assert producer.flush(WAIT_S) == 0
    sizes: list[int] = []
    while sum(sizes) < 50:
        sizes.append(len(alone.log.poll(8, 1.0).actions))
    assert max(sizes) <= 8


def test_controls_are_followed_from_an_offset_until_they_are_not(alone: Owner, producer: Producer, prefix: str) -> None:
    controls = topic(prefix, "controls")
    for number in range(4):
        producer.produce(controls, b"%d" % number, b"k", number % 2)
    turn_until(lambda: len(alone.controls) == 4, alone)
    alone.log.unfollow([1])
    for partition in (0, 1, 0):
        producer.produce(controls, b"later", b"k", partition)
    turn_until(lambda: len(alone.controls) == 6, alone)
    assert [each.partition for each in alone.controls[4:]] == [0, 0]
    alone.log.follow(1, 1)
    turn_until(lambda: len(alone.controls) == 8, alone)
    assert [(each.partition, each.offset) for each in alone.controls[6:]] == [(1, 1), (1, 2)]


def test_global_is_read_from_its_first_record(alone: Owner, producer: Producer, prefix: str) -> None:
    for name in (b"a", b"b"):
        producer.produce(topic(prefix, "global"), b"v", name, 0)
    turn_until(lambda: len(alone.globals) == 2, alone)
    assert [each.key for each in alone.globals] == [b"a", b"b"]


def test_members_share_the_partitions_and_each_sees_its_own_alone(
    join: Join, alone: Owner, producer: Producer, prefix: str
) -> None:
    other = join("w2")
    turn_until(lambda: len(alone.owned) == len(other.owned) == 2, alone, other)
    assert alone.events == [
        ("assigned", (0, 1, 2, 3)),
        ("revoked", (0, 1, 2, 3)),
        ("assigned", tuple(sorted(alone.owned))),
    ]
    assert sorted([*alone.owned, *other.owned]) == [0, 1, 2, 3]
    for partition in range(PARTITIONS):
        producer.produce(topic(prefix, "actions"), b"v", b"k", partition)
        producer.produce(topic(prefix, "controls"), b"v", b"k", partition)
    done = lambda: all(len(each.actions) == len(each.controls) == 2 for each in (alone, other))  # noqa: E731
    turn_until(done, alone, other)
    for owner in (alone, other):
        assert (
            {each.partition for each in owner.actions} == {each.partition for each in owner.controls} == {*owner.owned}
        )


def test_the_group_knows_its_members_and_keeps_the_place_of_one_that_closed(alone: Owner, make_log: MakeLog) -> None:
    assert alone.log.alive("w1")
    assert not alone.log.alive("w2")
    alone.log.close()
    assert make_log("w2").alive("w1")


def test_a_member_whose_name_another_process_took_is_fenced_in_all_it_does(alone: Owner, join: Join) -> None:
    again = join("w1")
    with pytest.raises(Fenced):
        turn_until(lambda: False, again, alone)
    turn_until(lambda: len(again.owned) == PARTITIONS, again)
    with pytest.raises(Fenced):
        alone.log.commit({0: alone.owned[0]})
    with pytest.raises(Fenced):
        alone.log.transact({0: [(b"k", b"stale")]}, {0: alone.owned[0]})
    assert list(again.log.read("state", 0, 0, again.log.bounds("state", 0)[1], committed=True)) == []


def test_a_transaction_moves_state_and_positions_together(alone: Owner) -> None:
    moved = {partition: position(partition + 1, term=1, worker="w1") for partition in range(PARTITIONS)}
    writes = {0: [(b"a", b"1"), (b"b", b"2")], 2: [(b"c", b"3")], 3: []}
    assert alone.log.transact(writes, moved) == {0: 2, 2: 1}
    settle(alone)
    assert {partition: alone.log.position(partition) for partition in moved} == moved
    # A transaction's mark stands behind the records, so that the log ends later than the last of them.
    assert alone.log.transact({0: [(b"a", b"4")]}, moved) == {0: 4}
    settle(alone)
    end = alone.log.bounds("state", 0)[1]
    found = list(alone.log.read("state", 0, 0, end, committed=True))
    assert [(each.offset, each.key, each.value) for each in found] == [
        (0, b"a", b"1"),
        (1, b"b", b"2"),
        (3, b"a", b"4"),
    ]
    assert list(alone.log.read("state", 0, 4, end, committed=True)) == []
    assert [each.offset for each in alone.log.read("state", 0, 1, 3)] == [1]
    assert not any(alone.log.open_transaction(partition) for partition in range(PARTITIONS))


def test_a_worker_that_ends_its_own_transaction_does_not_fence_itself(alone: Owner) -> None:
    for number in range(3):
        moved = {0: position(number, term=1, worker="w1")}
        alone.log.transact({0: [(b"k", b"v")]}, moved)
        alone.log.end_transaction("w1")
    settle(alone)
    assert alone.log.position(0).actions_next == 2


def test_a_new_life_ends_what_its_earlier_life_left_open(alone: Owner, join: Join, prefix: str) -> None:
    _left_open(alone, prefix, 0)
    again = join("w1")
    turn_until(lambda: len(again.owned) == PARTITIONS, again)
    assert not again.log.open_transaction(0)
    assert list(again.log.read("state", 0, 0, again.log.bounds("state", 0)[1], committed=True)) == []


def _left_open(owner: Owner, prefix: str, partition: int) -> None:
    """Begin a transaction and let it be, as a worker does that dies inside it."""
    dying = owner.log._transactions._producer
    dying.begin_transaction()
    dying.produce(topic(prefix, "state"), b"aborted", b"k", partition)
    assert dying.flush(WAIT_S) == 0


def test_what_a_dead_worker_left_open_is_seen_ended_and_never_read(
    alone: Owner, make_log: MakeLog, prefix: str
) -> None:
    _left_open(alone, prefix, 3)
    next_one = make_log("w2")
    assert [next_one.open_transaction(partition) for partition in range(PARTITIONS)] == [False, False, False, True]
    next_one.end_transaction("w1")
    assert not next_one.open_transaction(3)
    end = next_one.bounds("state", 3)[1]
    assert list(next_one.read("state", 3, 0, end, committed=True)) == []
    assert [each.value for each in next_one.read("state", 3, 0, end)] == [b"aborted"]


def test_a_worker_whose_transactions_were_ended_by_name_is_fenced(alone: Owner, make_log: MakeLog) -> None:
    make_log("w2").end_transaction("w1")
    with pytest.raises(Fenced):
        alone.log.transact({1: [(b"k", b"late")]}, {1: alone.owned[1]})
    assert list(alone.log.read("state", 1, 0, alone.log.bounds("state", 1)[1], committed=True)) == []
    assert alone.log.position(1).actions_next == 0


@pytest.mark.apache
def test_a_transaction_that_holds_only_the_position_open_is_seen(alone: Owner, make_log: MakeLog, prefix: str) -> None:
    dying = alone.log._transactions._producer
    dying.begin_transaction()
    pending = [TopicPartition(topic(prefix, "actions"), 2, 9, "w1|1|0|0")]
    dying.send_offsets_to_transaction(pending, alone.log._member.metadata({2: 1}), WAIT_S)
    next_one = make_log("w2")
    assert [next_one.open_transaction(partition) for partition in range(PARTITIONS)] == [False, False, True, False]
    assert next_one.position(2) == alone.owned[2]
    next_one.end_transaction("w1")
    assert not next_one.open_transaction(2)
    assert next_one.position(2) == alone.owned[2]


@pytest.mark.parametrize("term", [0, 2])
def test_nothing_is_written_under_a_term_that_was_not_committed_since_the_assignment(alone: Owner, term: int) -> None:
    with pytest.raises(Fenced, match="term 1"):
        alone.log.transact({0: [(b"k", b"v")]}, {0: position(5, term=term, worker="w1")})
    assert alone.log.bounds("state", 0) == (0, 0)
    assert alone.log.position(0).actions_next == 0


def test_a_checkpoint_that_outlives_a_rebalance_is_refused_though_the_member_is_in_again(
    alone: Owner, join: Join
) -> None:
    before = dict(alone.owned)
    other = join("w2")
    turn_until(lambda: len(alone.owned) == len(other.owned) == 2, alone, other)
    gone, kept = min(other.owned), min(alone.owned)
    for partition in (gone, kept):
        with pytest.raises(Fenced):
            alone.log.transact({partition: [(b"k", b"stale")]}, {partition: before[partition]})
    alone.log.transact({kept: [(b"k", b"v")]}, {kept: alone.owned[kept]})


@pytest.mark.apache
def test_a_member_that_was_silent_too_long_loses_its_partitions_and_its_checkpoint(alone: Owner, join: Join) -> None:
    held, before = alone.log._member._held, dict(alone.owned)
    other = join("w2")
    turn_until(lambda: len(other.owned) == 2, alone, other)
    # As a thread would that had taken the group's metadata before the rebalance.
    assert held is not None
    with pytest.raises(Fenced):
        alone.log._transactions.commit(
            alone.log._names["state"], {0: [(b"k", b"v")]}, alone.log._to_commit({0: before[0]}), held.metadata
        )
    assert list(other.log.read("state", 0, 0, other.log.bounds("state", 0)[1], committed=True)) == []


def test_what_a_listener_raises_comes_out_of_the_poll(join: Join) -> None:
    class Broken(Exception):
        pass

    owner = join("w1")

    def fail(_: object) -> dict[int, int]:
        raise Broken

    owner.assigned = fail  # type: ignore[method-assign]
    with pytest.raises(Broken):
        turn_until(lambda: False, owner)


def test_actions_that_are_gone_are_said_to_be(join: Join) -> None:
    owner = join("w1")
    owner.starts[1] = 99
    with pytest.raises(InputGone) as gone:
        turn_until(lambda: False, owner)
    assert (gone.value.partition, gone.value.committed, gone.value.low, gone.value.high) == (1, 99, 0, 0)


def test_a_stretch_that_is_not_in_the_log_is_not_read_as_empty(make_log: MakeLog) -> None:
    log = make_log("w1")
    with pytest.raises(InputGone):
        list(log.read("audit", 0, 5, 9))
    assert list(log.read("audit", 0, 0, 0)) == []


def test_two_stretches_of_one_partition_can_be_read_at_once(alone: Owner) -> None:
    for number in range(6):
        alone.log.audit(0, b"k", b"%d" % number, lambda _: None)
    turn_until(lambda: alone.log.bounds("audit", 0)[1] == 6, alone)
    slow, fast = alone.log.read("audit", 0, 0, 6), alone.log.read("audit", 0, 2, 5)
    assert next(slow).value == b"0"
    assert [each.value for each in fast] == [b"2", b"3", b"4"]
    assert [each.value for each in slow] == [b"1", b"2", b"3", b"4", b"5"]
    for _ in range(4):
        assert len(list(alone.log.read("audit", 0, 0, 6))) == 6


def test_audit_records_are_acknowledged_with_their_offsets_in_order(make_log: MakeLog) -> None:
    log, acknowledged = make_log("w1"), list[int]()
    for number in range(100):
        log.audit(1, b"k", b"%d" % number, acknowledged.append)
    while len(acknowledged) < 100:
        log.serve(1.0)
    assert acknowledged == list(range(100))
    assert [each.value for each in log.read("audit", 1, 0, 100)] == [b"%d" % number for number in range(100)]


def test_acknowledgements_are_told_once_each_whichever_thread_serves(alone: Owner) -> None:
    counts = {"acked": 0}
    stop = threading.Event()

    def acked(_: int) -> None:
        # Not atomic, as a worker's own count is not: two threads at once would lose some.
        seen = counts["acked"]
        counts["acked"] = seen + 1

    def serve() -> None:
        while not stop.is_set():
            alone.log.serve(0.002)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        for number in range(3_000):
            alone.log.audit(number % PARTITIONS, b"k", b"v", acked)
            if number % 50 == 0:
                alone.log.poll(10, 0.0)
        turn_until(lambda: counts["acked"] == 3_000, alone)
    finally:
        stop.set()
        thread.join(WAIT_S)
    assert counts["acked"] == 3_000


def test_checkpoints_in_a_thread_of_their_own_disturb_no_poll(alone: Owner, producer: Producer, prefix: str) -> None:
    failed: list[BaseException] = []

    def checkpoints() -> None:
        try:
            for number in range(1, 11):
                moved = {partition: position(number, term=1, worker="w1") for partition in range(PARTITIONS)}
                alone.log.transact({0: [(b"k", b"%d" % number)]}, moved)
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    thread = threading.Thread(target=checkpoints)
    thread.start()
    for number in range(400):
        producer.produce(topic(prefix, "actions"), b"v", b"k", number % PARTITIONS)
        if number % 40 == 0:
            alone.turn()
    turn_until(lambda: not thread.is_alive() and len(alone.actions) == 400, alone)
    assert failed == []
    settle(alone)
    assert alone.log.position(3).actions_next == 10
    for partition in range(PARTITIONS):
        offsets = [each.offset for each in alone.actions if each.partition == partition]
        assert all(later == earlier + 1 for earlier, later in pairwise(offsets))


def test_an_audit_record_that_cannot_be_written_stops_the_worker(make_log: MakeLog) -> None:
    log = make_log("w1")
    with pytest.raises(AuditFailed):
        log.audit(0, b"k", b"x" * 2_000_000, lambda _: None)


def test_dead_letters_arrive_with_their_headers(make_log: MakeLog, bootstrap: str, prefix: str) -> None:
    log = make_log("w1")
    log.dead_letter(b"k", b"bad", [("ce_id", b"1")])
    log.dead_letter(None, b"worse", [])
    log._journal.close()
    found = list(log._readers.read(topic(prefix, "deadletter"), 0, 0, 2, committed=False))
    assert [(each.key, each.value, list(each.headers)) for each in found] == [
        (b"k", b"bad", [("ce_id", b"1")]),
        (None, b"worse", []),
    ]


def test_an_answer_goes_where_it_is_told_or_where_its_key_leads(make_log: MakeLog, prefix: str) -> None:
    log, decisions = make_log("w1"), topic(prefix, "decisions")
    keys = [b"agent:%d" % number for number in range(20)]
    log.reply(Answer(decisions, 3, b"told", b"v", [("h", b"1")]))
    for key in keys:
        log.reply(Answer(decisions, None, key, b"v", []))
    log._replies.close()
    partitions = log.reply_partitions(decisions)
    assert partitions is not None
    for partition in range(partitions):
        end = log._readers.bounds(decisions, partition)[1]
        found = [each.key for each in log._readers.read(decisions, partition, 0, end, committed=False)]
        chosen = [key for key in keys if partition_for(key, partitions) == partition]
        assert found == ([b"told", *chosen] if partition == 3 else chosen)
    assert log.replies_failed == 0
    assert log.reply_partitions(f"{prefix}.decisions.none") is None


def test_an_answer_that_cannot_be_delivered_is_counted_and_stops_nothing(alone: Owner, prefix: str) -> None:
    alone.log.reply(Answer(topic(prefix, "decisions"), 9_999, b"k", b"v", []))
    turn_until(lambda: alone.log.replies_failed == 1, alone)
    alone.log.reply(Answer(topic(prefix, "decisions"), 0, b"k", b"v", []))
    turn_until(lambda: alone.log._readers.bounds(topic(prefix, "decisions"), 0)[1] == 1, alone)


def test_lag_is_what_was_not_polled_yet(alone: Owner, producer: Producer, prefix: str) -> None:
    for _ in range(30):
        producer.produce(topic(prefix, "actions"), b"v", b"k", 1)
    assert producer.flush(WAIT_S) == 0
    taken = 0
    while not taken:
        taken = len(alone.log.poll(10, 1.0).actions)
    assert alone.log.lag_records()[1] == 30 - taken
    turn_until(lambda: sum(alone.log.lag_records().values()) == 0, alone)


class _NoUtf8(str):
    """A header name that becomes bytes which are no UTF-8."""

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        return b"\xff\xfe"


async def test_a_header_name_that_is_no_utf8_does_not_stop_the_poll(
    alone: Owner, bootstrap: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The Python form of aiokafka's batch builder asks a name to encode itself; the compiled one takes plain str alone.
    for module in (message_accumulator, aiokafka_producer):
        monkeypatch.setattr(module, "DefaultRecordBatchBuilder", default_records._DefaultRecordBatchBuilderPy)
    hostile = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await hostile.start()
    try:
        for number in range(300):
            name = _NoUtf8("x") if number % 50 == 49 else "x"
            await hostile.send(topic(prefix, "actions"), b"v", b"k", partition=0, headers=[(name, b"v")])
        await hostile.flush()
    finally:
        await hostile.stop()
    turn_until(lambda: len(alone.actions) == 300, alone)
    for number, action in enumerate(alone.actions):
        assert tuple(action.headers) == (UNREADABLE if number % 50 == 49 else (("x", b"v"),))


def test_topics_of_different_widths_are_refused_at_start(prefix: str, admin: AdminClient, make_log: MakeLog) -> None:
    controls = topic(prefix, "controls")
    admin.delete_topics([controls])[controls].result(WAIT_S)
    log = "no log yet"
    until_missing = pytest.raises(KafkaFailed, match="topics --apply")
    with until_missing:
        while log:
            make_log("w1")
    admin.create_topics([NewTopic(controls, PARTITIONS + 1, 1)])[controls].result(WAIT_S)
    with pytest.raises(KafkaFailed, match="equally many partitions"):
        make_log("w1")


def test_topic_ids_have_sixteen_bytes_and_differ(make_log: MakeLog) -> None:
    log = make_log("w1")
    ids = {log.topic_id(kind) for kind in ("actions", "controls", "global", "state", "audit")}
    assert len(ids) == 5
    assert {len(each) for each in ids} == {16}


@pytest.mark.apache
def test_a_topic_made_anew_has_another_id(make_log: MakeLog, prefix: str, admin: AdminClient) -> None:
    before = make_log("w1").topic_id("state")
    state = topic(prefix, "state")
    admin.delete_topics([state])[state].result(WAIT_S)
    create_topic(admin, state, partitions=PARTITIONS)
    assert make_log("w2").topic_id("state") != before


@pytest.mark.apache
def test_the_session_lasts_two_seconds_where_the_broker_allows_it(make_log: MakeLog) -> None:
    assert make_log("w1").session_timeout_ms == 2_000


@pytest.mark.apache
def test_a_worker_goes_on_when_its_broker_is_back(
    start_own_broker: Callable[[], LocalBroker], unique_prefix: str
) -> None:
    broker = start_own_broker()
    make_topics(AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0}), unique_prefix)
    owner = Owner(KafkaLog(broker.bootstrap, unique_prefix, f"{unique_prefix}.scorer", "w1", {}), "w1")
    try:
        owner.log.start(owner)
        turn_until(lambda: len(owner.owned) == PARTITIONS, owner)
        # Polled all the while, as a worker does: librdkafka sends heartbeats without a member id until the loss of the
        # session is taken note of, and would be fenced by its own name.
        restarting = threading.Thread(target=lambda: (broker.kill(), broker.restart()))
        restarting.start()
        turn_until(lambda: not restarting.is_alive(), owner)
        producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0, "log_level": 0})
        producer.produce(topic(unique_prefix, "actions"), b"after", b"k", 0)
        producer.produce(topic(unique_prefix, "controls"), b"after", b"k", 0)
        assert producer.flush(WAIT_S) == 0
        turn_until(lambda: len(owner.owned) == PARTITIONS and bool(owner.actions) and bool(owner.controls), owner)
        assert {each.value for each in (*owner.actions, *owner.controls)} == {b"after"}
        moved = {0: position(1, controls=1, term=owner.owned[0].term, worker="w1")}
        owner.log.transact({0: [(b"k", b"v")]}, moved)
        settle(owner)
        assert owner.log.position(0) == moved[0]
    finally:
        owner.log.close()
