"""What every broker must do with groups: assignments, static members, plain commits, and who is refused."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

from tests.brokers.clients import WAIT_S, Clients, TopicFactory, commit, error_code, poll_until, send_offset, values

_CHECKOUT = Path(__file__).parents[2]
Worker = subprocess.Popen[str]
StartWorker = Callable[..., Worker]


@pytest.fixture
def start_worker(bootstrap: str, session_timeout_ms: int) -> Iterator[StartWorker]:
    """Starts ``group_worker`` and returns when it owns its partition and has a transaction open."""
    started: list[Worker] = []

    def start(topic: str, group: str, transactional_id: str, instance: str = "") -> Worker:
        arguments = [bootstrap, topic, group, instance, transactional_id, str(session_timeout_ms)]
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.brokers.group_worker", *arguments],
            cwd=_CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(worker)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.communicate()


def test_offsets_of_subscribed_and_hand_assigned_topics_are_committed_in_one_transaction(
    clients: Clients, topic_factory: TopicFactory, unique_prefix: str
) -> None:
    actions, controls, changelog = (topic_factory(name) for name in ("actions", "controls", "state"))
    producer = clients.producer()
    producer.produce(actions, b"action")
    producer.produce(controls, b"control")
    assert producer.flush(WAIT_S) == 0

    member = clients.member(unique_prefix, actions)
    by_hand = clients.consumer(unique_prefix)
    by_hand.assign([TopicPartition(controls, 0, 0)])
    control = by_hand.poll(WAIT_S)
    assert control is not None
    assert control.value() == b"control"
    assert [at.topic for at in member.assignment()] == [actions]

    transaction = clients.transactional(unique_prefix)
    transaction.begin_transaction()
    transaction.produce(changelog, b"state")
    offsets = [TopicPartition(actions, 0, 1, "action's"), TopicPartition(controls, 0, 1, "control's")]
    transaction.send_offsets_to_transaction(offsets, member.consumer_group_metadata(), WAIT_S)
    assert clients.committed(unique_prefix, actions) == (OFFSET_INVALID, None)
    transaction.commit_transaction(WAIT_S)

    assert clients.committed(unique_prefix, actions, "read_committed") == (1, "action's")
    assert clients.committed(unique_prefix, controls, "read_committed") == (1, "control's")
    assert values(clients.read(changelog)) == [b"state"]


def test_an_aborted_transaction_leaves_the_offsets_of_the_group_as_they_were(
    clients: Clients, topic_factory: TopicFactory, unique_prefix: str
) -> None:
    topic = topic_factory()
    member = clients.member(unique_prefix, topic)
    commit(member, topic, 3, "before")
    transaction = clients.transactional(unique_prefix)
    transaction.begin_transaction()
    send_offset(transaction, member, topic, 9, "aborted")
    transaction.abort_transaction(WAIT_S)
    assert clients.committed(unique_prefix, topic, "read_committed") == (3, "before")


def test_metadata_of_a_plain_commit_comes_back_and_the_next_commit_replaces_it(
    clients: Clients, topic_factory: TopicFactory, unique_prefix: str
) -> None:
    topic = topic_factory()
    member = clients.member(unique_prefix, topic)
    assert clients.committed(unique_prefix, topic) == (OFFSET_INVALID, None)
    metadata = json.dumps({"transactional_id": "stayhand-ü", "term": 7}, ensure_ascii=False)
    commit(member, topic, 5, metadata)
    assert clients.committed(unique_prefix, topic) == (5, metadata)
    commit(member, topic, 5, "term 8")
    assert clients.committed(unique_prefix, topic) == (5, "term 8")


def test_range_assignment_gives_a_member_the_same_partitions_of_both_topics(
    clients: Clients, topic_factory: TopicFactory, unique_prefix: str
) -> None:
    topics = [topic_factory("first", partitions=4), topic_factory("second", partitions=4)]
    members = [clients.consumer(unique_prefix, group_instance_id=f"worker-{n}") for n in range(2)]
    for member in members:
        member.subscribe(topics)

    def shared_out() -> bool:
        members[1].poll(0.05)
        return all(len(member.assignment()) == 4 for member in members)

    poll_until(members[0], shared_out)
    for member in members:
        first, second = ({at.partition for at in member.assignment() if at.topic == topic} for topic in topics)
        assert first == second


def test_a_static_member_that_comes_back_gets_its_partitions_without_a_rebalance(
    clients: Clients, topic_factory: TopicFactory, unique_prefix: str
) -> None:
    topic = topic_factory(partitions=2)
    calls: list[str] = []
    stays = clients.consumer(unique_prefix, group_instance_id="stays")
    stays.subscribe([topic], on_revoke=lambda *_: calls.append("revoke"), on_lost=lambda *_: calls.append("lost"))
    goes = clients.consumer(unique_prefix, group_instance_id="goes")
    goes.subscribe([topic])

    def shared_out() -> bool:
        goes.poll(0.05)
        return len(goes.assignment()) == len(stays.assignment()) == 1

    poll_until(stays, shared_out)
    before = goes.assignment()
    calls.clear()
    goes.close()

    back = clients.consumer(unique_prefix, group_instance_id="goes")
    back.subscribe([topic])

    def is_back() -> bool:
        stays.poll(0.05)
        return bool(back.assignment())

    poll_until(back, is_back)
    assert back.assignment() == before
    assert calls == []


def test_a_second_holder_of_an_instance_id_fences_the_first(
    clients: Clients, topic_factory: TopicFactory, unique_prefix: str
) -> None:
    topic = topic_factory()
    first = clients.member(unique_prefix, topic, group_instance_id="worker-0")
    second = clients.member(unique_prefix, topic, group_instance_id="worker-0")
    commit(second, topic, 2, "second")

    with pytest.raises(KafkaException) as refused:
        commit(first, topic, 1, "first")
    assert error_code(refused.value) == KafkaError.FENCED_INSTANCE_ID
    assert clients.committed(unique_prefix, topic) == (2, "second")

    message = first.poll(WAIT_S)
    assert message is not None
    fatal = message.error()
    assert fatal is not None
    assert fatal.code() == KafkaError._FATAL
    assert "group.instance.id" in fatal.str()


def test_a_plain_commit_from_outside_a_living_group_is_refused(
    clients: Clients, topic_factory: TopicFactory, unique_prefix: str
) -> None:
    topic = topic_factory()
    member = clients.member(unique_prefix, topic)
    commit(member, topic, 2, "member")
    with pytest.raises(KafkaException) as refused:
        commit(clients.consumer(unique_prefix), topic, 1, "outsider")
    assert error_code(refused.value) == KafkaError.UNKNOWN_MEMBER_ID
    assert clients.committed(unique_prefix, topic) == (2, "member")


# The embedded broker accepts send_offsets_to_transaction without a look at the group's metadata (no KIP-447).
@pytest.mark.apache
def test_offsets_of_a_fenced_instance_are_refused_in_a_transaction(
    clients: Clients, topic_factory: TopicFactory, unique_prefix: str
) -> None:
    topic = topic_factory()
    first = clients.member(unique_prefix, topic, group_instance_id="worker-0")
    second = clients.member(unique_prefix, topic, group_instance_id="worker-0")
    commit(second, topic, 2, "second")
    transaction = clients.transactional(unique_prefix)
    transaction.begin_transaction()
    with pytest.raises(KafkaException) as refused:
        send_offset(transaction, first, topic, 1, "first")
    assert error_code(refused.value) == KafkaError.FENCED_INSTANCE_ID
    assert refused.value.args[0].txn_requires_abort()
    transaction.abort_transaction(WAIT_S)
    assert clients.committed(unique_prefix, topic, "read_committed") == (2, "second")


# As above: no KIP-447 on the embedded broker.
@pytest.mark.apache
def test_offsets_with_the_membership_of_a_former_generation_are_refused_in_a_transaction(
    clients: Clients, topic_factory: TopicFactory, unique_prefix: str
) -> None:
    topic = topic_factory()
    leaves = clients.member(unique_prefix, topic)
    membership = leaves.consumer_group_metadata()
    leaves.close()
    clients.member(unique_prefix, topic)
    transaction = clients.transactional(unique_prefix)
    transaction.begin_transaction()
    with pytest.raises(KafkaException) as refused:
        transaction.send_offsets_to_transaction([TopicPartition(topic, 0, 1)], membership, WAIT_S)
    assert error_code(refused.value) in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION)
    assert refused.value.args[0].txn_requires_abort()
    transaction.abort_transaction(WAIT_S)


# The embedded broker keeps a silent member in the group beyond its session, so nobody takes over.
@pytest.mark.apache
@pytest.mark.parametrize("instance", ["", "worker-0"], ids=["dynamic", "static"])
def test_a_worker_that_was_paused_until_it_was_replaced_is_refused_everywhere(
    clients: Clients,
    topic_factory: TopicFactory,
    unique_prefix: str,
    start_worker: StartWorker,
    instance: str,
) -> None:
    topic = topic_factory()
    worker = start_worker(topic, unique_prefix, f"{unique_prefix}.old", instance)
    worker.send_signal(signal.SIGSTOP)
    successor = clients.member(unique_prefix, topic)
    commit(successor, topic, 7, "successor")

    worker.send_signal(signal.SIGCONT)
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("go on\n")
    worker.stdin.flush()
    outcome = json.loads(worker.stdout.readline())

    refusal = "UNKNOWN_MEMBER_ID"
    assert outcome == {
        "still_assigned": 1,
        "plain_commit": refusal,
        "send_offsets": refusal,
        "commit_transaction": refusal,
        "abort_transaction": "accepted",
        "first_call": "lost 1",
    }
    assert clients.committed(unique_prefix, topic, "read_committed") == (7, "successor")
    assert clients.read(topic) == []


# As above: no session expires on the embedded broker.
@pytest.mark.apache
def test_the_partition_of_a_killed_worker_goes_to_another_member_and_its_transaction_ends_by_name(
    clients: Clients, topic_factory: TopicFactory, unique_prefix: str, start_worker: StartWorker
) -> None:
    topic = topic_factory()
    worker = start_worker(topic, unique_prefix, f"{unique_prefix}.old", "worker-0")
    worker.kill()
    clients.member(unique_prefix, topic, group_instance_id="worker-1")
    assert clients.end(topic, "read_committed") == 0
    clients.transactional(f"{unique_prefix}.old")
    assert clients.end(topic, "read_committed") == clients.end(topic, "read_uncommitted") == 2
    assert clients.read(topic) == []


def test_membership_is_not_ownership_a_member_may_commit_a_partition_that_it_does_not_hold(
    clients: Clients, topic_factory: TopicFactory, unique_prefix: str
) -> None:
    """A trap that the scorer must know: a plain commit proves that the member is in the group, and no more."""
    topic, other = topic_factory("held"), topic_factory("other")
    member = clients.member(unique_prefix, topic)
    commit(member, other, 4, "not mine")
    assert clients.committed(unique_prefix, other) == (4, "not mine")


def test_membership_data_of_a_consumer_that_never_joined_is_not_checked_by_a_transaction(
    clients: Clients, topic_factory: TopicFactory, unique_prefix: str
) -> None:
    """A trap that the scorer must know: only metadata of the consumer that subscribed protects offsets."""
    topic = topic_factory()
    clients.member(unique_prefix, topic)
    by_hand = clients.consumer(unique_prefix)
    by_hand.assign([TopicPartition(topic, 0, 0)])
    transaction = clients.transactional(unique_prefix)
    transaction.begin_transaction()
    send_offset(transaction, by_hand, topic, 9, "unprotected")
    transaction.commit_transaction(WAIT_S)
    assert clients.committed(unique_prefix, topic, "read_committed") == (9, "unprotected")
