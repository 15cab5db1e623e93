"""Reading: a record of the actions topic becomes an ask or a report, or a refusal, before any state is loaded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Literal, Protocol

from models.transition import Ask
from schemas.documents import EnforcementPoint, PointKey
from stayhand import signing, wire
from stayhand.errors import InvalidAction
from stayhand.headers import TYPE_OUTCOME, TYPE_PENDING, AskHeaders, InvalidHeaders, decode_ask, parse_rfc3339
from stayhand.identity import identity_of, parse_identity
from stayhand.partition import partition_for
from streams.bodies import action_of, outcome_of
from streams.keyring import KeyRing
from streams.limits import Limiter
from streams.ports import Record
from streams.receipts import InvalidReceipt, Receipts
from streams.refusal import Refusal

MAX_HEADERS = 64
MAX_VERIFIED_BYTES = 65_536
_CACHED = 65_536
_MAX_POINTS = 4_096
_TYPES = frozenset({TYPE_PENDING, TYPE_OUTCOME})
_FAMILIES = frozenset(name.rpartition(".v")[0] for name in (TYPE_PENDING, TYPE_OUTCOME))
_VERSIONED = re.compile(r"(.+)\.v[0-9]+")


@dataclass(frozen=True, slots=True)
class Report:
    """An outcome whose receipt is right: what became of a decision, and what to take back if it did not happen."""

    identity: str
    decision_id: str
    result: wire.OutcomeResult
    taught: bytes
    at_ms: int
    actions_offset: int
    ce_id: str
    point: EnforcementPoint


@dataclass(frozen=True, slots=True)
class ReaderSettings:
    """What a reader must know of its topic and its gate.

    Attributes:
        topic_id: of the actions topic, as text; decision ids are derived from it.
        partitions: how many the actions topic has.
        prefix: the topics' prefix; answers go to ``<prefix>.decisions`` and ``<prefix>.decisions.*`` alone.
        clock: what the models take for the time: ``append``, or ``event`` (ce_time) for replays of old logs.
        freshness_ms: how far ce_time may lie from the append time; 0 takes any.
        deadline_max_ms: the longest deadline that may be asked for.
        unsigned_point: the point that stands for asks that name none; only a key ring without a secret may have one.
    """

    topic_id: str
    partitions: int
    prefix: str = "stayhand"
    clock: Literal["append", "event"] = "append"
    freshness_ms: int = 300_000
    deadline_max_ms: int = 600_000
    unsigned_point: EnforcementPoint | None = None


class Points(Protocol):
    """Where enforcement points are looked up: the registry."""

    def point(self, point: str) -> EnforcementPoint | None:
        """The registered point of that id."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A record key that is a normalised identity, and the partition where it belongs."""

    identity: str
    subject_type: str
    subject_id: str
    partition: int


class Reader:
    """Reads records of the actions topic; it holds caches, all bounded, and the limiter's counts, but no state.

    The checks, in this order, cheap ones first and nothing parsed before the signature: size, headers, type and
    version, key (a normalised identity), partition of the key, point, key id, signature, freshness, deadline and reply
    address (asks), the identity right, rate, JSON, shape and limits, subject against key, the action right (asks) or
    the receipt (outcomes).
    """

    def __init__(
        self,
        points: Points,
        keys: KeyRing,
        limits: Limiter,
        receipts: Receipts,
        reply_partitions: Callable[[str], int | None],
        settings: ReaderSettings,
    ) -> None:
        """Wire the reader.

        Args:
            points: the registry.
            keys: verifies signatures, unless it is unsigned.
            limits: counts what each point asks.
            receipts: opens the receipts of outcomes.
            reply_partitions: the number of partitions of a decisions topic, None where there is no such topic; asked
                for each ask, so it answers from memory.
            settings: see ReaderSettings.

        Raises:
            ValueError: for a point that needs no signature beside a key ring that verifies.
        """
        if settings.unsigned_point is not None and not keys.unsigned:
            raise ValueError("expected no unsigned point where signatures are verified")
        self._points = points
        self._keys = keys
        self._limits = limits
        self._receipts = receipts
        self._reply_partitions = reply_partitions
        self._settings = settings
        self._replies = f"{settings.prefix}.decisions"
        self._rights: dict[str, _Rights] = {}
        self._matches = lru_cache(maxsize=_CACHED)(_Patterns.match)
        self._place = lru_cache(maxsize=_CACHED)(_placer(settings.partitions))

    def read(self, record: Record, now_ms: int) -> Ask | Report:
        """The ask or the report that a record is.

        Args:
            record: of the actions topic, as polled.
            now_ms: the wall clock, read once a batch; it only tells which asks are late.

        Raises:
            Refusal: and nothing else, whatever the record holds.
        """
        return self.read_with_headers(record, now_ms)[0]

    def read_with_headers(self, record: Record, now_ms: int) -> tuple[Ask | Report, AskHeaders]:
        """As ``read``, with the headers that the audit shows."""
        try:
            value = _sized(record)
            headers = _headers(record)
            return self._read(record, value, headers, now_ms), headers
        except Refusal as refusal:
            self._address(refusal, record)
            raise

    def _read(self, record: Record, value: bytes, headers: AskHeaders, now_ms: int) -> Ask | Report:
        _check_type(headers.ce_type)
        place = self._key_place(record)
        point = self._verified(record, value, headers)
        at_ms = self._at_ms(record, headers)
        if headers.ce_type == TYPE_OUTCOME:
            self._admit(point, place, at_ms)
            return self._report(record, value, headers, point, place, at_ms)
        self._check_deadline(headers.deadline_ms)
        self._check_reply(headers, point)
        rights = self._admit(point, place, at_ms)
        action = action_of(value)
        _check_subject(action.subject, place)
        if not self._matches(rights.actions, action.action.name):
            raise Refusal("action-not-allowed", "the point may not ask for this action", "action.name")
        return Ask(
            identity=place.identity,
            action=action,
            at_ms=at_ms,
            ce_id=headers.ce_id,
            decision_id=decision_id(self._settings.topic_id, record.partition, record.offset),
            actions_offset=record.offset,
            late=now_ms > record.timestamp_ms + headers.deadline_ms,
            point=point,
            key_id=headers.key_id,
            correlation_id=headers.correlation_id,
            reply_topic=headers.reply_topic,
            reply_partition=headers.reply_partition,
        )

    def _report(
        self,
        record: Record,
        value: bytes,
        headers: AskHeaders,
        point: EnforcementPoint,
        place: _Place,
        at_ms: int,
    ) -> Report:
        outcome = outcome_of(value)
        try:
            decided, taught = self._receipts.open(outcome.receipt, place.identity)
        except InvalidReceipt as error:
            raise Refusal("bad-receipt", str(error), "receipt") from error
        if decided != outcome.decision_id:
            raise Refusal("bad-receipt", "expected the decision that the receipt was made for", "decision_id")
        return Report(
            identity=place.identity,
            decision_id=decided,
            result=outcome.result,
            taught=taught,
            at_ms=at_ms,
            actions_offset=record.offset,
            ce_id=headers.ce_id,
            point=point,
        )

    def _key_place(self, record: Record) -> _Place:
        if record.key is None:
            raise Refusal("bad-key", "expected the identity as key", "key")
        place = self._place(record.key)
        if place.partition != record.partition:
            raise Refusal(
                "wrong-partition", f"expected partition {place.partition} for this key (murmur2)", "partition"
            )
        return place

    def _verified(self, record: Record, value: bytes, headers: AskHeaders) -> EnforcementPoint:
        """The point that signed this record, with a key that holds at its append time."""
        point = self._known(headers.point)
        if point is self._settings.unsigned_point:
            return point
        if self._keys.unsigned:
            if headers.key_id:
                _check_key(point, headers.key_id, record.timestamp_ms)
            return point
        _check_key(point, headers.key_id, record.timestamp_ms)
        key = self._keys.key(point.point, headers.key_id)
        if not signing.verify(key, headers.signable(record.key or b"", value), headers.signature):
            raise Refusal("bad-signature", "expected the signature of this point and key id", "stayhand_signature")
        return point

    def _known(self, name: str) -> EnforcementPoint:
        point = self._points.point(name)
        if point is not None:
            return point
        unsigned = self._settings.unsigned_point
        if unsigned is not None and name in {"", unsigned.point}:
            return unsigned
        raise Refusal("unknown-point", "expected a registered enforcement point", "stayhand_point")

    def _at_ms(self, record: Record, headers: AskHeaders) -> int:
        """The models' time, once ce_time is near enough to the append time."""
        try:
            told_ms = parse_rfc3339(headers.ce_time)
        except InvalidHeaders as error:
            raise Refusal("bad-headers", error.expected, error.field) from error
        allowed_ms = self._settings.freshness_ms
        if allowed_ms and abs(record.timestamp_ms - told_ms) > allowed_ms:
            raise Refusal("stale", f"expected a time within {allowed_ms} ms of the record's append time", "ce_time")
        if self._settings.clock == "append":
            return record.timestamp_ms
        if told_ms < 0:
            raise Refusal("bad-headers", "expected a time after 1970", "ce_time")
        return told_ms

    def _check_deadline(self, deadline_ms: int) -> None:
        most = self._settings.deadline_max_ms
        if not 1 <= deadline_ms <= most:
            raise Refusal("bad-deadline", f"expected 1 to {most} milliseconds", "stayhand_deadline_ms")

    def _check_reply(self, headers: AskHeaders, point: EnforcementPoint) -> None:
        topic, partition = headers.reply_topic, headers.reply_partition
        if not topic:
            raise Refusal("no-reply-address", "expected a reply topic", "kafka_replyTopic")
        if not headers.correlation_id:
            raise Refusal("no-reply-address", "expected a correlation id", "kafka_correlationId")
        if topic not in point.reply_topics or not (topic == self._replies or topic.startswith(f"{self._replies}.")):
            raise Refusal("reply-topic-not-allowed", "expected a decisions topic of this point", "kafka_replyTopic")
        count = self._reply_partitions(topic)
        if not count:
            raise Refusal("reply-topic-not-allowed", "expected a topic that exists", "kafka_replyTopic")
        if partition is not None and partition >= count:
            raise Refusal("bad-reply-partition", f"expected 0 to {count - 1}", "kafka_replyPartition")

    def _admit(self, point: EnforcementPoint, place: _Place, at_ms: int) -> _Rights:
        """The point's rights, once it may speak for the identity and has not asked too often."""
        rights = self._rights_of(point)
        if not self._matches(rights.identities, place.identity):
            raise Refusal("identity-not-allowed", "the point may not speak for this identity", "key")
        if not self._limits.admit(point, at_ms):
            raise Refusal("rate-limited", f"expected at most {point.rate_per_s} in a second", "stayhand_point")
        return rights

    def _rights_of(self, point: EnforcementPoint) -> _Rights:
        rights = self._rights.get(point.point)
        if rights is None or rights.point is not point:
            if len(self._rights) >= _MAX_POINTS:
                self._rights.clear()
            rights = self._rights[point.point] = _Rights(point)
        return rights

    def _address(self, refusal: Refusal, record: Record) -> None:
        """Find out for a refusal, whichever check it failed, who may be told of it."""
        value = record.value or b""
        try:
            headers = refusal.headers = _headers(record)
            if len(value) > MAX_VERIFIED_BYTES:
                return
            refusal.point = self._verified(record, value, headers)
            self._check_reply(headers, refusal.point)
        except Refusal:
            return
        refusal.reply_allowed = headers.ce_type != TYPE_OUTCOME


def decision_id(topic_id: str, partition: int, offset: int) -> str:
    """The id of the decision about a record: 32 hexadecimal digits of SHA-256 over ``topic id|partition|offset``."""
    return hashlib.sha256(f"{topic_id}|{partition}|{offset}".encode()).hexdigest()[:32]


class _Patterns:
    """Shell patterns, compiled; a key of the reader's cache of their answers by being itself."""

    __slots__ = ("_compiled",)

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._compiled = [re.compile(translate(pattern)) for pattern in patterns]

    def match(self, text: str) -> bool:
        """Whether a text matches one of them, case-sensitive, as ``fnmatch.fnmatchcase`` says."""
        return any(pattern.match(text) for pattern in self._compiled)


class _Rights:
    """The patterns of one registration of a point."""

    __slots__ = ("actions", "identities", "point")

    def __init__(self, point: EnforcementPoint) -> None:
        self.point = point
        self.identities = _Patterns(point.identities)
        self.actions = _Patterns(point.actions)


def _placer(partitions: int) -> Callable[[bytes], _Place]:
    def place(key: bytes) -> _Place:
        try:
            text = key.decode()
            identity = parse_identity(text, "key")
        except UnicodeDecodeError as error:
            raise Refusal("bad-key", "expected UTF-8", "key") from error
        except InvalidAction as error:
            raise Refusal("bad-key", error.expected, "key") from error
        if identity != text:
            raise Refusal("bad-key", "expected the identity in its normal form", "key")
        subject_type, _, subject_id = identity.partition(":")
        return _Place(identity, subject_type, subject_id, partition_for(key, partitions))

    return place


def _sized(record: Record) -> bytes:
    if record.value is None:
        raise Refusal("no-value", "expected a value", "value")
    if len(record.value) > wire.MAX_ACTION_BYTES:
        raise Refusal("too-large", f"expected at most {wire.MAX_ACTION_BYTES} bytes", "value")
    if record.timestamp_ms < 0:
        raise Refusal("no-append-time", "expected a topic with message.timestamp.type=LogAppendTime", "timestamp")
    return record.value


def _headers(record: Record) -> AskHeaders:
    if len(record.headers) > MAX_HEADERS:
        raise Refusal("bad-headers", f"expected at most {MAX_HEADERS} headers", "headers")
    try:
        return decode_ask(record.headers)
    except InvalidHeaders as error:
        raise Refusal("bad-headers", error.expected, error.field) from error


def _check_type(ce_type: str) -> None:
    if ce_type in _TYPES:
        return
    versioned = _VERSIONED.fullmatch(ce_type)
    if versioned and versioned[1] in _FAMILIES:
        raise Refusal("unknown-version", "expected version 1 of this message", "ce_type")
    raise Refusal("unknown-type", f"expected {TYPE_PENDING} or {TYPE_OUTCOME}", "ce_type")


def _check_key(point: EnforcementPoint, key_id: str, appended_at_ms: int) -> None:
    key: PointKey
    for key in point.keys:
        if key.key_id == key_id:
            break
    else:
        raise Refusal("unknown-key", "expected a key id of this point", "stayhand_key_id")
    if key.revoked:
        raise Refusal("revoked-key", "expected a key that was not revoked", "stayhand_key_id")
    if key.not_after_ms is not None and appended_at_ms > key.not_after_ms:
        raise Refusal("expired-key", "expected a key that is still valid", "stayhand_key_id")


def _check_subject(subject: wire.Subject, place: _Place) -> None:
    if subject.id == place.subject_id and subject.type == place.subject_type:
        return
    try:
        identity = identity_of(subject.type, subject.id)
    except InvalidAction as error:
        raise Refusal("bad-shape", error.expected, error.field) from error
    if identity != place.identity:
        raise Refusal("key-mismatch", "expected the subject that the record's key names", "subject")
