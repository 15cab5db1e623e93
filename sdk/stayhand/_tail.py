"""Follows a decisions topic: every partition, read only, without a consumer group."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from stayhand._config import GuardConfig
from stayhand._envelope import Envelopes, Unreadable, Unverified
from stayhand._kafka import client_settings, consumer_settings
from stayhand._transport import RawHeaders
from stayhand.canonical import InvalidJson, loads
from stayhand.errors import Unavailable
from stayhand.headers import rfc3339

REQUEST_S = 5.0
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Tailed:
    """One record of a decisions topic; ``verified`` only where it answers this enforcement point.

    ``value`` is empty where the record is no JSON object.
    """

    partition: int
    offset: int
    at_ms: int
    ce_type: str
    verified: bool
    value: dict[str, Any]

    @property
    def at(self) -> str:
        """When it was written, as RFC 3339."""
        return rfc3339(self.at_ms)


def tail(config: GuardConfig, *, from_beginning: bool) -> Iterator[Tailed]:
    """Yield records as they come, without end.

    Raises:
        Unavailable: Kafka or the topic is not there.
    """
    consumer = Consumer(client_settings(config) | consumer_settings(uuid.uuid4().hex))
    envelopes = Envelopes(config)
    try:
        consumer.assign(_positions(consumer, config.decisions_topic, from_beginning=from_beginning))
        while True:
            message = consumer.poll(POLL_S)
            if message is not None and message.error() is None:
                yield _tailed(message, envelopes)
    finally:
        consumer.close()


def _positions(consumer: Consumer, topic: str, *, from_beginning: bool) -> list[TopicPartition]:
    try:
        found = consumer.list_topics(topic, timeout=REQUEST_S).topics[topic]
        if found.error is not None or not found.partitions:
            raise Unavailable(f"the topic {topic} is not there")
        places = [TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in sorted(found.partitions)]
        if not from_beginning:
            for place in places:
                place.offset = consumer.get_watermark_offsets(place, timeout=REQUEST_S, cached=False)[1]
    except KafkaException as error:
        raise Unavailable(error.args[0].str()) from error
    return places


def _tailed(message: Message, envelopes: Envelopes) -> Tailed:
    raw = message.value() or b""
    headers = cast("RawHeaders", message.headers() or [])
    try:
        envelopes.open(raw, headers)
        verified = envelopes.signs
    except (Unverified, Unreadable):
        verified = False
    ce_type = next((text for name, text in headers if name == "ce_type"), None) or b""
    return Tailed(
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        at_ms=message.timestamp()[1],
        ce_type=ce_type.decode("utf-8", "replace"),
        verified=verified,
        value=_object(raw),
    )


def _object(raw: bytes) -> dict[str, Any]:
    """A JSON object, empty where there is none."""
    try:
        value = loads(raw)
    except InvalidJson:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
