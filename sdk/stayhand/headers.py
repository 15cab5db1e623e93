"""The Kafka headers of asks and answers: CloudEvents 1.0 binary mode, Spring's reply address, Stayhand's own."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

TYPE_PENDING = "stayhand.action.pending.v1"
TYPE_OUTCOME = "stayhand.action.outcome.v1"
TYPE_DECISION = "stayhand.decision.v1"
TYPE_REJECTION = "stayhand.decision.rejected.v1"
TYPE_FALLBACK = "stayhand.fallback.v1"

SPEC_VERSION = b"1.0"
JSON_CONTENT = b"application/json"
MAX_HEADER_BYTES = 512
_PARTITION = struct.Struct(">i")

Header = tuple[str, bytes]
Signable = tuple[bytes | None, ...]


class InvalidHeaders(ValueError):
    """A header is missing, stands twice or cannot be read.

    Attributes:
        field: the header's name.
        expected: what would have been right.
    """

    def __init__(self, field: str, expected: str) -> None:
        """Name the header and what was expected there."""
        super().__init__(f"{field}: {expected}")
        self.field = field
        self.expected = expected


class AskHeaders(NamedTuple):
    """The headers of a pending action or an outcome, as they stand on the wire.

    ``correlation_id`` is opaque bytes (16 from this SDK); ``reply_partition`` is None where the asker leaves the
    choice to the key; ``deadline_ms`` counts from the record's append time.
    """

    ce_id: str
    ce_type: str
    ce_source: str
    ce_time: str
    point: str = ""
    key_id: str = ""
    correlation_id: bytes = b""
    reply_topic: str = ""
    reply_partition: int | None = None
    deadline_ms: int = 0
    traceparent: str = ""
    signature: bytes = b""

    def signable(self, key: bytes, value: bytes) -> Signable:
        """The fields that the signature covers, in their fixed order."""
        return (
            key,
            value,
            self.ce_id.encode(),
            self.ce_type.encode(),
            self.ce_time.encode(),
            self.correlation_id,
            str(self.deadline_ms).encode(),
            self.reply_topic.encode(),
            None if self.reply_partition is None else _PARTITION.pack(self.reply_partition),
            self.point.encode(),
            self.key_id.encode(),
        )

    def encode(self) -> list[Header]:
        """The list to produce; what is empty is left out."""
        headers: list[Header] = [
            ("ce_specversion", SPEC_VERSION),
            ("ce_id", self.ce_id.encode()),
            ("ce_type", self.ce_type.encode()),
            ("ce_source", self.ce_source.encode()),
            ("ce_time", self.ce_time.encode()),
            ("content-type", JSON_CONTENT),
        ]
        if self.correlation_id:
            headers.append(("kafka_correlationId", self.correlation_id))
        if self.reply_topic:
            headers.append(("kafka_replyTopic", self.reply_topic.encode()))
        if self.reply_partition is not None:
            headers.append(("kafka_replyPartition", _PARTITION.pack(self.reply_partition)))
        if self.deadline_ms:
            headers.append(("stayhand_deadline_ms", str(self.deadline_ms).encode()))
        if self.traceparent:
            headers.append(("traceparent", self.traceparent.encode()))
        if self.point:
            headers.append(("stayhand_point", self.point.encode()))
            headers.append(("stayhand_key_id", self.key_id.encode()))
        if self.signature:
            headers.append(("stayhand_signature", self.signature))
        return headers


def decode_ask(raw: Iterable[tuple[str, bytes | None]]) -> AskHeaders:
    """Read the headers of an ask; unknown ones are ignored.

    Raises:
        InvalidHeaders: naming the header.
    """
    found = unique(raw)
    if found.get("ce_specversion") != SPEC_VERSION:
        raise InvalidHeaders("ce_specversion", "expected 1.0")
    return AskHeaders(
        ce_id=_text(found, "ce_id", required=True),
        ce_type=_text(found, "ce_type", required=True),
        ce_source=_text(found, "ce_source", required=True),
        ce_time=_text(found, "ce_time", required=True),
        point=_text(found, "stayhand_point"),
        key_id=_text(found, "stayhand_key_id"),
        correlation_id=found.get("kafka_correlationId", b""),
        reply_topic=_text(found, "kafka_replyTopic"),
        reply_partition=_partition(found.get("kafka_replyPartition")),
        deadline_ms=_deadline(found.get("stayhand_deadline_ms")),
        traceparent=_text(found, "traceparent"),
        signature=found.get("stayhand_signature", b""),
    )


def decision_headers(
    ce_id: str, ce_type: str, ce_time: str, correlation_id: bytes, receipt: str, traceparent: str = ""
) -> list[Header]:
    """The headers of an answer, still without its signature."""
    headers: list[Header] = [
        ("ce_specversion", SPEC_VERSION),
        ("ce_id", ce_id.encode()),
        ("ce_type", ce_type.encode()),
        ("ce_source", b"/stayhand/scorer"),
        ("ce_time", ce_time.encode()),
        ("content-type", JSON_CONTENT),
        ("kafka_correlationId", correlation_id),
    ]
    if receipt:
        headers.append(("stayhand_receipt", receipt.encode()))
    if traceparent:
        headers.append(("traceparent", traceparent.encode()))
    return headers


def decision_signable(value: bytes, headers: dict[str, bytes]) -> Signable:
    """The fields of an answer that its signature covers, in their fixed order."""
    return (
        value,
        headers.get("ce_type"),
        headers.get("ce_id"),
        headers.get("kafka_correlationId"),
        headers.get("stayhand_receipt"),
    )


def event_headers(ce_id: str, ce_type: str, ce_source: str, ce_time: str) -> list[Header]:
    """The CloudEvents headers of any other message."""
    return [
        ("ce_specversion", SPEC_VERSION),
        ("ce_id", ce_id.encode()),
        ("ce_type", ce_type.encode()),
        ("ce_source", ce_source.encode()),
        ("ce_time", ce_time.encode()),
        ("content-type", JSON_CONTENT),
    ]


def unique(raw: Iterable[tuple[str, bytes | None]]) -> dict[str, bytes]:
    """Headers by name; refuse one that stands twice or is too long, for then two readers could differ.

    Raises:
        InvalidHeaders: naming the header.
    """
    found: dict[str, bytes] = {}
    for name, value in raw:
        if name in found:
            raise InvalidHeaders(name[:64], "expected to stand once")
        if value is None or len(value) > MAX_HEADER_BYTES:
            raise InvalidHeaders(name[:64], f"expected at most {MAX_HEADER_BYTES} bytes")
        found[name] = value
    return found


def rfc3339(timestamp_ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC, such as ``2026-11-25T12:00:00.123Z``."""
    seconds, milliseconds = divmod(timestamp_ms, 1000)
    return f"{_to_the_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=64)
def _to_the_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def parse_rfc3339(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 time with its offset.

    Raises:
        InvalidHeaders: naming ``ce_time``.
    """
    try:
        moment = datetime.fromisoformat(text)
        timestamp_ms = round(moment.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise InvalidHeaders("ce_time", "expected an RFC 3339 time") from error
    if moment.tzinfo is None:
        raise InvalidHeaders("ce_time", "expected an RFC 3339 time with its offset")
    return timestamp_ms


def _text(found: dict[str, bytes], name: str, *, required: bool = False) -> str:
    value = found.get(name)
    if value is None:
        if required:
            raise InvalidHeaders(name, "expected to be present")
        return ""
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise InvalidHeaders(name, "expected UTF-8") from error
    if required and not text:
        raise InvalidHeaders(name, "expected not to be empty")
    return text


def _partition(value: bytes | None) -> int | None:
    if value is None:
        return None
    if len(value) != _PARTITION.size:
        raise InvalidHeaders("kafka_replyPartition", "expected 4 bytes, big-endian")
    partition: int = _PARTITION.unpack(value)[0]
    if partition < 0:
        raise InvalidHeaders("kafka_replyPartition", "expected 0 or more")
    return partition


def _deadline(value: bytes | None) -> int:
    if value is None:
        return 0
    if not (value.isdigit() and len(value) <= 8):
        raise InvalidHeaders("stayhand_deadline_ms", "expected milliseconds as at most 8 decimal digits")
    return int(value)
