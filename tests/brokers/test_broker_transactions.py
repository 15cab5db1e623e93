"""What every broker must do with transactions: what readers see, who is fenced, and how a dead worker's one ends."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from tests.brokers.clients import WAIT_S, Clients, TopicFactory, commit, error_code, send_offset, values


def test_read_committed_sees_committed_records_only_and_stops_before_an_open_transaction(
    clients: Clients, topic_factory: TopicFactory, unique_prefix: str
) -> None:
    topic = topic_factory()
    ended = clients.transactional(f"{unique_prefix}.ended")
    for value, end in ((b"committed", ended.commit_transaction), (b"aborted", ended.abort_transaction)):
        ended.begin_transaction()
        ended.produce(topic, value)
        assert ended.flush(WAIT_S) == 0
        end(WAIT_S)
    still_open = clients.transactional(f"{unique_prefix}.open")
    still_open.begin_transaction()
    still_open.produce(topic, b"open")
    assert still_open.flush(WAIT_S) == 0
    plain = clients.producer()
    plain.produce(topic, b"behind the open one")
    assert plain.flush(WAIT_S) == 0

    assert values(clients.read(topic)) == [b"committed"]
    assert values(clients.read(topic, isolation="read_uncommitted")) == [
        b"committed",
        b"aborted",
        b"open",
        b"behind the open one",
    ]
    still_open.abort_transaction(WAIT_S)
    assert values(clients.read(topic)) == [b"committed", b"behind the open one"]


def test_watermarks_of_a_read_committed_consumer_end_at_the_last_stable_offset(
    clients: Clients, topic_factory: TopicFactory, unique_prefix: str
) -> None:
    topic = topic_factory()
    plain = clients.producer()
    plain.produce(topic, b"0")
    assert plain.flush(WAIT_S) == 0
    transaction = clients.transactional(unique_prefix)
    transaction.begin_transaction()
    transaction.produce(topic, b"1")
    transaction.produce(topic, b"2")
    assert transaction.flush(WAIT_S) == 0
    assert (clients.end(topic, "read_committed"), clients.end(topic, "read_uncommitted")) == (1, 3)
    transaction.commit_transaction(WAIT_S)
    # The commit marker takes an offset of its own.
    assert (clients.end(topic, "read_committed"), clients.end(topic, "read_uncommitted")) == (4, 4)


def test_a_successor_with_the_same_transactional_id_ends_the_open_transaction_and_fences_its_holder(
    clients: Clients, topic_factory: TopicFactory, unique_prefix: str
) -> None:
    topic = topic_factory()
    member = clients.member(unique_prefix, topic)
    commit(member, topic, 3, "before")
    old = clients.transactional(unique_prefix)
    old.begin_transaction()
    old.produce(topic, b"old")
    assert old.flush(WAIT_S) == 0
    send_offset(old, member, topic, 9, "old")
    assert clients.end(topic, "read_committed") == 0

    successor = clients.transactional(unique_prefix)

    assert clients.end(topic, "read_committed") == clients.end(topic, "read_uncommitted") == 2
    assert clients.committed(unique_prefix, topic, "read_committed") == (3, "before")
    with pytest.raises(KafkaException) as fenced:
        old.commit_transaction(WAIT_S)
    assert error_code(fenced.value) == KafkaError._FENCED
    assert fenced.value.args[0].fatal()

    successor.begin_transaction()
    successor.produce(topic, b"successor")
    send_offset(successor, member, topic, 4, "successor")
    successor.commit_transaction(WAIT_S)
    assert values(clients.read(topic)) == [b"successor"]
    assert clients.committed(unique_prefix, topic, "read_committed") == (4, "successor")


def test_pending_offsets_are_invisible_to_read_uncommitted_and_a_plain_commit_may_go_beside_them(
    clients: Clients, topic_factory: TopicFactory, unique_prefix: str
) -> None:
    topic = topic_factory()
    member = clients.member(unique_prefix, topic)
    commit(member, topic, 3, "before")
    transaction = clients.transactional(unique_prefix)
    transaction.begin_transaction()
    send_offset(transaction, member, topic, 9, "pending")
    assert clients.committed(unique_prefix, topic) == (3, "before")
    commit(member, topic, 4, "beside")
    assert clients.committed(unique_prefix, topic) == (4, "beside")
    transaction.abort_transaction(WAIT_S)
    assert clients.committed(unique_prefix, topic, "read_committed") == (4, "beside")


# The embedded broker ignores require_stable and answers with the last committed offset at once.
@pytest.mark.apache
def test_read_committed_gets_no_committed_offset_while_one_is_pending(
    clients: Clients, topic_factory: TopicFactory, unique_prefix: str
) -> None:
    topic = topic_factory()
    member = clients.member(unique_prefix, topic)
    commit(member, topic, 3, "before")
    transaction = clients.transactional(unique_prefix)
    transaction.begin_transaction()
    send_offset(transaction, member, topic, 9, "pending")
    with pytest.raises(KafkaException) as unstable:
        clients.committed(unique_prefix, topic, "read_committed", timeout_s=1.0)
    assert error_code(unstable.value) == KafkaError._TIMED_OUT
    transaction.commit_transaction(WAIT_S)
    assert clients.committed(unique_prefix, topic, "read_committed") == (9, "pending")


# The embedded broker lets the transaction win, whichever came later.
@pytest.mark.apache
def test_a_plain_commit_wins_over_offsets_that_entered_a_transaction_before_it(
    clients: Clients, topic_factory: TopicFactory, unique_prefix: str
) -> None:
    topic = topic_factory()
    member = clients.member(unique_prefix, topic)
    transaction = clients.transactional(unique_prefix)
    transaction.begin_transaction()
    send_offset(transaction, member, topic, 9, "entered first")
    commit(member, topic, 4, "committed later")
    transaction.commit_transaction(WAIT_S)
    assert clients.committed(unique_prefix, topic, "read_committed") == (4, "committed later")
