"""Kafka clients for the contract suite, with the settings of the scorer, closed at the test's end."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

WAIT_S = 30.0


class TopicFactory(Protocol):
    """The fixture ``topic_factory``: creates a topic under the test's prefix and returns its full name."""

    def __call__(self, name: str = "topic", *, partitions: int = 1, config: Mapping[str, str] | None = None) -> str: ...


class Clients:
    """Makes producers and consumers for one broker; ``close`` ends those that hold a group membership."""

    def __init__(self, bootstrap: str, session_timeout_ms: int) -> None:
        self.bootstrap = bootstrap
        self.session_timeout_ms = session_timeout_ms
        self._consumers: list[Consumer] = []

    def producer(self, **settings: str | int) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "log_level": 0,
                "linger.ms": 0,
                "retry.backoff.ms": 5,
                "partitioner": "murmur2_random",
                **_dotted(settings),
            }
        )

    def transactional(self, transactional_id: str, **settings: str | int) -> Producer:
        """A producer whose transactions are initialised: what was open under its id is ended."""
        producer = self.producer(transactional_id=transactional_id, **settings)
        producer.init_transactions(WAIT_S)
        return producer

    def consumer(self, group: str, **settings: str | int | bool) -> Consumer:
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "log_level": 0,
                "group.id": group,
                "session.timeout.ms": self.session_timeout_ms,
                "heartbeat.interval.ms": self.session_timeout_ms // 4,
                "partition.assignment.strategy": "range",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                **_dotted(settings),
            }
        )
        self._consumers.append(consumer)
        return consumer

    def member(self, group: str, topic: str, **settings: str | int | bool) -> Consumer:
        """A consumer that has joined the group and owns at least one partition of the topic."""
        consumer = self.consumer(group, **settings)
        consumer.subscribe([topic])
        poll_until(consumer, lambda: bool(consumer.assignment()))
        return consumer

    def read(self, topic: str, partition: int = 0, isolation: str = "read_committed") -> list[Message]:
        """Every record of a partition that a reader of that isolation sees now."""
        consumer = self.consumer("reader", isolation_level=isolation, enable_partition_eof=True)
        consumer.assign([TopicPartition(topic, partition, 0)])
        found: list[Message] = []
        while (message := consumer.poll(WAIT_S)) is not None:
            error = message.error()
            if error is None:
                found.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                return found
            else:
                raise KafkaException(error)
        raise AssertionError(f"{topic}: neither a record nor the end within {WAIT_S:.0f} s")

    def end(self, topic: str, isolation: str) -> int:
        """The high watermark (read_uncommitted) or the last stable offset (read_committed)."""
        consumer = self.consumer("reader", isolation_level=isolation)
        return consumer.get_watermark_offsets(TopicPartition(topic, 0), WAIT_S)[1]

    def committed(
        self, group: str, topic: str, isolation: str = "read_uncommitted", timeout_s: float = WAIT_S
    ) -> tuple[int, str | None]:
        """Offset and metadata that the group has committed for partition 0; ``(-1001, None)`` for none."""
        consumer = self.consumer(group, isolation_level=isolation)
        [found] = consumer.committed([TopicPartition(topic, 0)], timeout_s)
        return found.offset, found.metadata

    def close(self) -> None:
        for consumer in self._consumers:
            consumer.close()


def _dotted(settings: Mapping[str, str | int | bool]) -> dict[str, str | int | bool]:
    return {name.replace("_", "."): value for name, value in settings.items()}


def poll_until(consumer: Consumer, done: Callable[[], bool]) -> None:
    """Polls until the condition holds. Fails after 30 s; records that arrive are dropped."""
    deadline_s = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline_s, f"not reached within {WAIT_S:.0f} s"
        consumer.poll(0.05)


def eventually(done: Callable[[], bool]) -> None:
    """Tries again until the condition holds. Fails after 30 s."""
    deadline_s = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline_s, f"not reached within {WAIT_S:.0f} s"
        time.sleep(0.02)


def create_topic(
    admin: AdminClient, topic: str, *, partitions: int = 1, config: Mapping[str, str] | None = None
) -> None:
    """Creates a topic and returns when clients can use it: the broker learns of it a moment after the controller.

    A name that is still being deleted is tried again for 30 s.
    """
    new = NewTopic(topic, partitions, 1, config=dict(config or {}))

    def is_created() -> bool:
        failure = admin.create_topics([new])[topic].exception(WAIT_S)
        assert failure is None or error_code(failure) == KafkaError.TOPIC_ALREADY_EXISTS, failure
        return failure is None

    def is_known() -> bool:
        found = admin.list_topics(topic, timeout=WAIT_S).topics[topic]
        return len(found.partitions) == partitions and all(at.leader >= 0 for at in found.partitions.values())

    eventually(is_created)
    eventually(is_known)


def values(messages: Sequence[Message]) -> list[bytes | None]:
    return [message.value() for message in messages]


def commit(consumer: Consumer, topic: str, offset: int, metadata: str) -> None:
    """A plain, synchronous commit of partition 0; raises KafkaException when the group refuses it."""
    consumer.commit(offsets=[TopicPartition(topic, 0, offset, metadata)], asynchronous=False)


def send_offset(producer: Producer, consumer: Consumer, topic: str, offset: int, metadata: str) -> None:
    """Puts an offset of partition 0 into the open transaction, with the membership of the consumer."""
    producer.send_offsets_to_transaction(
        [TopicPartition(topic, 0, offset, metadata)], consumer.consumer_group_metadata(), WAIT_S
    )


def error_code(error: BaseException) -> int:
    """The code inside a KafkaException, to compare with the constants of KafkaError."""
    inner: KafkaError = error.args[0]
    return inner.code()
