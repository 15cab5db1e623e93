"""Short-lived Kafka clients for operator commands: send a record, fold a compacted topic, read and follow the audit."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from schemas.documents import DeadLetter, Document
from schemas.topics import TYPE_CONTROL, TYPE_GLOBAL, Kind, group
from stayhand import headers
from streams import audit
from streams.audit import AuditEntry, CorruptAudit
from streams.commands._session import NO_BROKER, KafkaDown, Refused, Session
from streams.ports import Record

TIMEOUT_S = 10.0
# A worker that lost a partition cannot have written so many records after its successor's first one.
TERM_WINDOW_RECORDS = 1_000
_POLL_S = 0.25
_QUIET = logging.getLogger("stayhand.kafka.operator")
_NO_ANSWER = {"_TRANSPORT", "_TIMED_OUT", "_ALL_BROKERS_DOWN", "_RESOLVE"}
_MOVING = {"LEADER_NOT_AVAILABLE", "NOT_LEADER_FOR_PARTITION"}
_CE_TYPES: Mapping[Kind, str] = {"controls": TYPE_CONTROL, "global": TYPE_GLOBAL}


@dataclass(frozen=True, slots=True)
class Sent:
    """Where a record stands that the broker acknowledged."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Marks:
    """Where audit and dead letters ended before something was sent, by partition."""

    audit: Mapping[int, int]
    deadletter: Mapping[int, int]


def send(session: Session, kind: Kind, records: Sequence[tuple[str, Document | None]]) -> list[Sent]:
    """Append documents (None: a tombstone) in this order, as CloudEvents, and wait for every acknowledgement.

    Raises:
        KafkaDown: when one of them is not acknowledged in time.
        Refused: when the topic does not exist.
    """
    sent: list[Sent] = []
    failed: list[str] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error.str())
        else:
            sent.append(Sent(message.topic() or "", message.partition() or 0, message.offset() or 0))

    partitions_of(session, kind)
    producer = Producer(_producer_conf(session), logger=_QUIET)
    name = session.topic(kind)
    for key, document in records:
        value = None if document is None else document.model_dump_json().encode()
        producer.produce(name, value, key.encode(), headers=_headers(_CE_TYPES[kind]), on_delivery=delivered)
    if producer.flush(TIMEOUT_S) or failed:
        raise KafkaDown(f"{name}: not written: {failed[0] if failed else 'no answer in time'}")
    return sent


def partitions_of(session: Session, kind: Kind) -> int:
    """The number of partitions of a topic.

    Raises:
        KafkaDown: when no broker answers.
        Refused: when the topic does not exist.
    """
    with reader(session) as consumer:
        return _partitions(consumer, session.topic(kind))


def latest(session: Session, kind: Kind, partition: int, keep: Callable[[bytes], bool]) -> dict[bytes, Record]:
    """The last record of each key that ``keep`` wants, tombstones left out: a compacted partition at its end."""
    found: dict[bytes, Record] = {}
    for record in scan(session, kind, {partition: 0}):
        if record.key is None or not keep(record.key):
            continue
        if record.value is None:
            found.pop(record.key, None)
        else:
            found[record.key] = record
    return found


def scan(session: Session, kind: Kind, starts: Mapping[int, int]) -> Iterator[Record]:
    """The committed records of these partitions, each from its offset to where its log ends now.

    Raises:
        KafkaDown: when nothing comes for ten seconds.
    """
    name = session.topic(kind)
    with reader(session) as consumer:
        _partitions(consumer, name)
        left = {partition: _end(consumer, name, partition) for partition in starts}
        consumer.assign([TopicPartition(name, partition, max(start, 0)) for partition, start in starts.items()])
        while left:
            message = _next(consumer, name)
            partition = message.partition() or 0
            if partition not in left:
                continue
            if message.error() is None and (message.offset() or 0) < left[partition]:
                yield _record(message)
            if message.error() is not None or (message.offset() or 0) + 1 >= left[partition]:
                del left[partition]
                consumer.pause([TopicPartition(name, partition)])


def marks(session: Session, partitions: Sequence[int] | None = None) -> Marks:
    """Where the audit (all of it, or these partitions) and the dead letters end now."""
    with reader(session) as consumer:
        audits, dead = session.topic("audit"), session.topic("deadletter")
        wanted = range(_partitions(consumer, audits)) if partitions is None else partitions
        return Marks(
            {partition: _end(consumer, audits, partition) for partition in wanted},
            {partition: _end(consumer, dead, partition) for partition in range(_partitions(consumer, dead))},
        )


def since(session: Session, partitions: Sequence[int], at_ms: int) -> dict[int, int]:
    """The first audit offset of each partition at or after a time; its end where there is none."""
    name = session.topic("audit")
    with reader(session) as consumer:
        _partitions(consumer, name)
        found = consumer.offsets_for_times(
            [TopicPartition(name, partition, at_ms) for partition in partitions], timeout=TIMEOUT_S
        )
        return {
            each.partition: each.offset if each.offset >= 0 else _end(consumer, name, each.partition) for each in found
        }


def effective(session: Session, starts: Mapping[int, int]) -> Iterator[AuditEntry]:
    """The effective audit records of these partitions, each from its offset to where its log ends now.

    Records before the start are looked at for their terms, so that a late one of an older life is not believed.
    """
    judge = _Judge(session, starts)
    for record in scan(session, "audit", judge.earlier):
        entry = judge.believed(record)
        if entry is not None:
            yield entry


def follow(session: Session, since_marks: Marks, timeout_s: float) -> Iterator[AuditEntry | DeadLetter]:
    """Effective audit records and dead letters behind the marks, as they are written; ends after ``timeout_s``."""
    judge = _Judge(session, since_marks.audit)
    audits, dead = session.topic("audit"), session.topic("deadletter")
    with reader(session) as consumer:
        consumer.assign(
            [TopicPartition(audits, partition, max(start, 0)) for partition, start in judge.earlier.items()]
            + [TopicPartition(dead, partition, start) for partition, start in since_marks.deadletter.items()]
        )
        give_up = time.monotonic() + timeout_s
        while (left_s := give_up - time.monotonic()) > 0:
            message = consumer.poll(min(_POLL_S, left_s))
            if message is None or message.error() is not None:
                continue
            record = _record(message)
            if record.topic == dead:
                yield DeadLetter.model_validate_json(record.value or b"")
            elif (entry := judge.believed(record)) is not None:
                yield entry


@contextmanager
def reader(session: Session) -> Iterator[Consumer]:
    """A consumer that belongs to no group and commits nothing.

    Raises:
        KafkaDown: where librdkafka does not understand a setting, or no broker answers what is asked.
    """
    conf: dict[str, Any] = {
        "group.id": group(session.prefix, "operator"),
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        **session.kafka,
    }
    consumer = None
    try:
        consumer = Consumer(conf, logger=_QUIET)
        yield consumer
    except KafkaException as error:
        cause = error.args[0]
        raise KafkaDown(NO_BROKER if cause.name() in _NO_ANSWER else f"Kafka refused: {cause.str()}") from error
    finally:
        if consumer is not None:
            consumer.close()


class _Judge:
    """Tells effective audit records from void ones, partition by partition, from a little before the start."""

    def __init__(self, session: Session, starts: Mapping[int, int]) -> None:
        self._session, self._starts = session, starts
        self._terms = dict.fromkeys(starts, 0)
        self.earlier = {partition: start - TERM_WINDOW_RECORDS for partition, start in starts.items()}

    def believed(self, record: Record) -> AuditEntry | None:
        """The record as an entry, where it is effective and not before the start."""
        try:
            entry = audit.decode(record)
        except CorruptAudit as error:
            self._session.note(str(error))
            return None
        if entry.term < self._terms[entry.partition]:
            return None
        self._terms[entry.partition] = entry.term
        return entry if entry.offset >= self._starts[entry.partition] else None


def _partitions(consumer: Consumer, name: str) -> int:
    known = consumer.list_topics(name, timeout=TIMEOUT_S).topics.get(name)
    if known is not None and known.error is not None and known.error.name() == "TOPIC_AUTHORIZATION_FAILED":
        raise KafkaDown(
            f"{name}: Kafka does not let this principal see it: `python -m streams topics --acls` has the rights"
        )
    if known is None or known.error is not None:
        raise Refused(f"{name} does not exist: create the topics with `python -m streams topics --apply`")
    return len(known.partitions)


def _end(consumer: Consumer, name: str, partition: int) -> int:
    """The high watermark; while a partition's leader changes, it is asked for again."""
    give_up = time.monotonic() + TIMEOUT_S
    while True:
        try:
            end: int = consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=TIMEOUT_S)[1]
        except KafkaException as error:
            if error.args[0].name() not in _MOVING or time.monotonic() > give_up:
                raise
            time.sleep(_POLL_S)
        else:
            return end


def _next(consumer: Consumer, name: str) -> Message:
    """The next record, or the end of a partition."""
    give_up = time.monotonic() + TIMEOUT_S
    while time.monotonic() < give_up:
        message = consumer.poll(_POLL_S)
        if message is None:
            continue
        error = message.error()
        if error is None or error.name() == "_PARTITION_EOF":
            return message
        if error.name() not in _NO_ANSWER:
            raise KafkaDown(f"{name}: {error.str()}")
    raise KafkaDown(f"{name}: no answer for {TIMEOUT_S:.0f} s")


def _record(message: Message) -> Record:
    return Record(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        _bytes(message.key()),
        _bytes(message.value()),
    )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _producer_conf(session: Session) -> dict[str, Any]:
    return {
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "linger.ms": 0,
        "message.timeout.ms": int(TIMEOUT_S * 1000),
        **session.kafka,
    }


def _headers(ce_type: str) -> list[tuple[str, str | bytes | None]]:
    now = headers.rfc3339(time.time_ns() // 1_000_000)
    return [*headers.event_headers(uuid.uuid4().hex, ce_type, "/stayhand/operator", now)]
