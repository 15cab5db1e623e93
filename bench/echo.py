"""The bare echo: a process that sends back what it reads, and an asker that waits for it; the least that Kafka takes.

``python -m bench.echo BOOTSTRAP SOURCE TARGET`` reads partition 0 of SOURCE from its start and writes the same keys and
values to partition 0 of TARGET, until it is killed.
"""

from __future__ import annotations

import queue
import sys
import threading
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from bench.errors import BenchFailed

ANSWER_TIMEOUT_S = 30.0
_DRAIN_MAX = 500
_POLL_S = 0.1


def producer(bootstrap: str, **more: Any) -> Producer:
    """Sends at once, waits for all replicas, reports failures alone."""
    settings = {"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 0, "delivery.report.only.error": True}
    return Producer({**settings, **more})


def consumer(bootstrap: str, places: list[TopicPartition]) -> Consumer:
    """Reads partitions from the offsets that are named, without a group."""
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": "bench",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "fetch.min.bytes": 1,
    }
    made = Consumer(settings)
    made.assign(places)
    return made


def drained(source: Consumer, wait_s: float = _POLL_S) -> list[Message]:
    """What is there: waits for the first record alone, never for a batch to fill.

    Raises:
        BenchFailed: for a record that is an error.
    """
    first = source.poll(wait_s)
    if first is None:
        return []
    found = [first, *source.consume(_DRAIN_MAX - 1, 0)]
    for message in found:
        error = message.error()
        if error is not None:
            raise BenchFailed(f"Kafka failed: {error.str()}")
    return found


def send_back(bootstrap: str, source: str, target: str) -> None:
    """The process."""
    reads = consumer(bootstrap, [TopicPartition(source, 0, 0)])
    writes = producer(bootstrap)
    while True:
        for message in drained(reads):
            writes.produce(target, message.value(), message.key(), 0)
        writes.poll(0)


class Asker:
    """Asks the echo from any number of threads; one reader thread hands the answers over."""

    def __init__(self, bootstrap: str, source: str, target: str) -> None:
        """Ready at once: the topics are new, so answers are read from their start."""
        self._source = source
        self._producer = producer(bootstrap)
        self._consumer = consumer(bootstrap, [TopicPartition(target, 0, 0)])
        self._waiting: dict[bytes, queue.SimpleQueue[bytes]] = {}
        self._lock = threading.Lock()
        self._asked = 0
        self._stopping = threading.Event()
        self._reader = threading.Thread(target=self._read, name="bench-echo-reader", daemon=True)
        self._reader.start()

    def ask(self, value: bytes) -> bytes:
        """Send and wait for the same to come back.

        Raises:
            BenchFailed: it does not.
        """
        box: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        with self._lock:
            self._asked += 1
            key = self._asked.to_bytes(16, "big")
        self._waiting[key] = box
        self._producer.produce(self._source, value, key, 0)
        self._producer.poll(0)
        try:
            return box.get(timeout=ANSWER_TIMEOUT_S)
        except queue.Empty as error:
            raise BenchFailed(f"the echo did not answer within {ANSWER_TIMEOUT_S:.0f} s") from error

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._reader.join()
        self._producer.flush(ANSWER_TIMEOUT_S)

    def _read(self) -> None:
        while not self._stopping.is_set():
            for message in drained(self._consumer):
                key, value = message.key(), message.value()
                assert isinstance(key, bytes)
                assert isinstance(value, bytes)
                self._waiting.pop(key).put(value)
        self._consumer.close()


if __name__ == "__main__":
    send_back(*sys.argv[1:])
