"""The bare loop: reads a log of asks and writes the same bytes as answers; what Kafka's clients alone cost.

``python -m bench.bare BOOTSTRAP SOURCE PARTITIONS TARGET`` reads SOURCE from its start and writes to partition 0 of
TARGET, until it is killed.
"""

from __future__ import annotations

import sys

from confluent_kafka import TopicPartition

from bench.echo import consumer, drained, producer


def loop(bootstrap: str, source: str, partitions: int, target: str) -> None:
    """The process."""
    reads = consumer(bootstrap, [TopicPartition(source, number, 0) for number in range(partitions)])
    writes = producer(bootstrap)
    while True:
        for message in drained(reads):
            while True:
                try:
                    writes.produce(target, message.value(), message.key(), 0)
                    break
                except BufferError:
                    writes.poll(0.01)
        writes.poll(0)


if __name__ == "__main__":
    loop(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
