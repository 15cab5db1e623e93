"""A partition's first offset and its end as a consumer sees it: high watermark, or last stable offset."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.kafka.errors import PASSING, error_of
from streams.ports import KafkaFailed

_PATIENCE_S = 30.0
_ATTEMPT_S = 3.0
_AGAIN_S = 0.02


def bounds(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """Ask the leader now, and again for 30 s where it is away or still to be found.

    Raises:
        KafkaFailed: no answer.
    """
    until_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_ATTEMPT_S)
        except KafkaException as error:
            cause = error_of(error)
            if cause.code() not in PASSING or time.monotonic() > until_s:
                raise KafkaFailed(f"bounds of {topic}/{partition}: {cause.str()}") from error
            time.sleep(_AGAIN_S)
