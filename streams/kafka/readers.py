"""Reads a stretch of one partition, apart from the group: changelog, audit and controls at a take-over."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from streams.kafka.bounds import bounds
from streams.kafka.clients import Clients
from streams.kafka.errors import Faults
from streams.kafka.records import record_of
from streams.ports import KafkaFailed, Record

STALLED_S = 30.0
_SLICE_S = 0.25
_IDLE_MAX = 2


@dataclass(slots=True)
class _Reader:
    consumer: Consumer
    used: set[tuple[str, int]] = field(default_factory=set)


class Readers:
    """Consumers that are kept for later reads; one reads a given partition only once in its life.

    A fetch that was under way when a partition was assigned a second time could overwrite its offset
    (https://github.com/confluentinc/librdkafka/issues/5345).
    """

    def __init__(self, clients: Clients) -> None:
        """Make none yet."""
        self._clients = clients
        self._faults = Faults("reader")
        self._idle: dict[bool, list[_Reader]] = {False: [], True: []}

    def bounds(self, topic: str, partition: int, *, committed: bool = False) -> tuple[int, int]:
        """First offset and high watermark; with ``committed`` the last stable offset instead.

        Asked on a connection that no fetch waits on: the broker answers a connection's requests one after another.

        Raises:
            KafkaFailed: no answer.
        """
        reader = self._take(committed=committed)
        try:
            return bounds(reader.consumer, topic, partition)
        finally:
            self._idle[committed].append(reader)

    def read(self, topic: str, partition: int, start: int, end: int, *, committed: bool) -> Iterator[Record]:
        """The records from ``start`` to before ``end``; gaps (compaction, transaction marks) are skipped.

        Raises:
            OffsetGone: ``start`` is not in the log.
            KafkaFailed: nothing came for 30 s although ``end`` was not reached.
        """
        if start >= end:
            return
        reader = self._take((topic, partition), committed=committed)
        place = TopicPartition(topic, partition, start)
        reader.consumer.incremental_assign([place])
        try:
            yield from self._until(reader.consumer, topic, partition, end)
        finally:
            reader.consumer.incremental_unassign([place])
            self._idle[committed].append(reader)

    def _until(self, consumer: Consumer, topic: str, partition: int, end: int) -> Iterator[Record]:
        moved_s = time.monotonic()
        while True:
            message = consumer.poll(_SLICE_S)
            if message is None or not self._sound(message):
                if time.monotonic() - moved_s > STALLED_S:
                    raise KafkaFailed(f"{topic}/{partition}: no record for {STALLED_S:.0f} s before offset {end}")
                continue
            offset = message.offset()
            assert offset is not None
            if offset >= end:
                return
            if message.error() is None:
                yield record_of(message)
                moved_s = time.monotonic()
                if offset + 1 >= end:
                    return

    def _sound(self, message: Message) -> bool:
        """Whether this is a record or the log's end; an end that comes before ours is seen again after more records."""
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            return True
        self._faults.judge(message, "reading")
        return False

    def _take(self, place: tuple[str, int] | None = None, *, committed: bool) -> _Reader:
        idle = self._idle[committed]
        for position, reader in enumerate(idle):
            if place not in reader.used:
                found = idle.pop(position)
                break
        else:
            if len(idle) >= _IDLE_MAX:
                idle.pop(0).consumer.close()
            found = _Reader(Consumer(self._clients.reader(self._faults, committed=committed)))
        if place is not None:
            found.used.add(place)
        return found

    def close(self) -> None:
        """Release the consumers that no read holds."""
        for readers in self._idle.values():
            while readers:
                readers.pop().consumer.close()
