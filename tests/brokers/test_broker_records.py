"""What every broker must do with records: order, headers, partitions, time, compaction, names of topics."""

import random
import time
from collections import defaultdict

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message, TopicCollection
from confluent_kafka.admin import AdminClient

from stayhand.partition import partition_for
from tests.brokers.clients import WAIT_S, Clients, TopicFactory, create_topic, eventually


def _keys() -> list[bytes]:
    """502 keys: the empty one, non-ASCII, arbitrary bytes, every length modulo four."""
    rng = random.Random(20_26)
    texts = ["", "user:ü", "agent:😀", "service:arn:aws:iam::1:role/x", "пользователь:1", "用户:二"]
    plain = [text.encode() for text in texts]
    return plain + [rng.randbytes(1 + n % 40) for n in range(502 - len(plain))]


def test_records_of_one_key_keep_their_order_in_one_partition(clients: Clients, topic_factory: TopicFactory) -> None:
    topic = topic_factory(partitions=4)
    producer = clients.producer()
    sent: dict[bytes, list[bytes]] = defaultdict(list)
    for number in range(400):
        key, value = b"user:%d" % (number % 13), b"%d" % number
        producer.produce(topic, value, key)
        sent[key].append(value)
    assert producer.flush(WAIT_S) == 0

    read: dict[bytes, list[bytes]] = defaultdict(list)
    partitions: dict[bytes, set[int]] = defaultdict(set)
    for partition in range(4):
        for message in clients.read(topic, partition):
            key = message.key() or b""
            read[key].append(message.value() or b"")
            partitions[key].add(partition)
    assert read == sent
    assert {len(where) for where in partitions.values()} == {1}
    assert len(set.union(*partitions.values())) > 1


def test_headers_come_back_as_sent_binary_repeated_empty_and_null(
    clients: Clients, topic_factory: TopicFactory
) -> None:
    topic = topic_factory()
    headers: list[tuple[str, str | bytes | None]] = [
        ("kafka_correlationId", bytes(range(256))),
        ("twice", b"first"),
        ("twice", b"second"),
        ("empty", b""),
        ("null", None),
    ]
    producer = clients.producer()
    producer.produce(topic, b"value", b"key", headers=headers)
    producer.produce(topic, None, None)
    assert producer.flush(WAIT_S) == 0

    with_headers, bare = clients.read(topic)
    assert with_headers.headers() == headers
    assert (bare.key(), bare.value(), bare.headers()) == (None, None, None)


def test_murmur2_random_chooses_the_partition_that_aiokafka_and_the_contract_choose(
    clients: Clients, topic_factory: TopicFactory
) -> None:
    partitions = 12
    topic = topic_factory(partitions=partitions)
    chosen: dict[bytes, int | None] = {}

    def delivered(error: object, message: Message) -> None:
        assert error is None
        chosen[message.key() or b""] = message.partition()

    producer = clients.producer()
    for key in _keys():
        producer.produce(topic, b"", key, on_delivery=delivered)
    assert producer.flush(WAIT_S) == 0

    assert len(chosen) == len(set(_keys()))
    assert chosen == {key: (aiokafka_murmur2(key) & 0x7FFFFFFF) % partitions for key in _keys()}
    assert chosen == {key: partition_for(key, partitions) for key in _keys()}


def test_log_append_time_replaces_the_time_that_the_producer_claims(
    clients: Clients, topic_factory: TopicFactory
) -> None:
    topic = topic_factory(config={"message.timestamp.type": "LogAppendTime"})
    before_ms = time.time_ns() // 1_000_000
    producer = clients.producer()
    for claimed_ms in (1, before_ms + 86_400_000):
        producer.produce(topic, b"", timestamp=claimed_ms)
        assert producer.flush(WAIT_S) == 0
    after_ms = time.time_ns() // 1_000_000

    stamps = [message.timestamp() for message in clients.read(topic)]
    assert [kind for kind, _ in stamps] == [TIMESTAMP_LOG_APPEND_TIME] * 2
    times_ms = [stamp for _, stamp in stamps]
    assert before_ms <= times_ms[0] <= times_ms[1] <= after_ms


def test_compaction_keeps_the_last_value_of_a_key_and_its_offset(clients: Clients, topic_factory: TopicFactory) -> None:
    topic = topic_factory(
        config={
            "cleanup.policy": "compact",
            "segment.ms": "100",
            "min.cleanable.dirty.ratio": "0.01",
            "delete.retention.ms": "100",
        }
    )
    producer = clients.producer()
    for number in range(50):
        producer.produce(topic, b"%d" % number, b"state:a")
    producer.produce(topic, b"other", b"state:b")
    assert producer.flush(WAIT_S) == 0

    def compacted() -> bool:
        # Only a further record closes the active segment, and only closed segments are compacted.
        producer.produce(topic, b"", b"filler")
        assert producer.flush(WAIT_S) == 0
        time.sleep(0.2)
        kept = [message for message in clients.read(topic) if message.key() != b"filler"]
        assert [(message.offset(), message.value()) for message in kept[-2:]] == [(49, b"49"), (50, b"other")]
        return len(kept) == 2

    eventually(compacted)


# The embedded broker tells no topic ids: describe_topics answers with zeros for every topic.
@pytest.mark.apache
def test_a_topic_keeps_its_id_and_gets_another_one_when_it_is_made_again(
    admin: AdminClient, topic_factory: TopicFactory
) -> None:
    def topic_id(name: str) -> str:
        return str(admin.describe_topics(TopicCollection([name]))[name].result(WAIT_S).topic_id)

    first, other = topic_factory("first"), topic_factory("other")
    once = topic_id(first)
    assert topic_id(first) == once
    assert topic_id(other) != once

    admin.delete_topics([first])[first].result(WAIT_S)
    create_topic(admin, first)
    assert topic_id(first) not in (once, topic_id(other))
