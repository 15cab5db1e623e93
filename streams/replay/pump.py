"""Sends the events in their order, a bounded number at a time, and takes in their answers and audit records."""

from __future__ import annotations

import logging
import secrets
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from stayhand.headers import (
    TYPE_DECISION,
    TYPE_PENDING,
    TYPE_REJECTION,
    AskHeaders,
    decision_signable,
    rfc3339,
    unique,
)
from stayhand.partition import partition_for
from stayhand.signing import sign, verify
from streams.local.ground import KEY_ID, Ground
from streams.local.interrupt import undisturbed
from streams.local.scorer import ScorerProcess
from streams.replay.errors import ReplayFailed
from streams.replay.ledger import Ledger
from streams.replay.ordering import Queued

WINDOW = 2_000
REPLY_PARTITION = 0
DEADLINE_MS = 600_000
_UNRECORDED_MAX = 20_000
_TAKE = 500
_WAIT_S = 0.2
_ANSWER_S = 10.0
_TIMEOUT_S = 15.0
_CORRELATION = struct.Struct(">8sQ")
_QUIET = logging.getLogger("stayhand.kafka.replay")


class Pump:
    """One replay's way through Kafka: asks out, answers and audit records in, matched by correlation id."""

    def __init__(self, ground: Ground, ledger: Ledger, scorer: ScorerProcess, patience_s: float) -> None:
        """Fix the reply position before the first ask, so that no answer can be missed."""
        self._ground, self._ledger, self._scorer, self._patience_s = ground, ledger, scorer, patience_s
        self._run = secrets.token_bytes(8)
        self._unanswered: set[int] = set()
        self._unrecorded: set[int] = set()
        self._lost: list[str] = []
        self._actions = ground.session.topic("actions")
        self._decisions = ground.session.topic("decisions")
        self._producer = Producer(_producer_settings(ground), logger=_QUIET)
        self._consumer = self._listening()
        self._moved_s = time.monotonic()

    def run(self, events: Iterable[Queued], tell: Callable[[int], None]) -> None:
        """Send every event and return when all are answered and recorded; ``tell`` hears how many are.

        Raises:
            ReplayFailed: when the scorer ends, Kafka fails, or nothing moves for the patience.
        """
        sent = 0
        try:
            for event in events:
                self._send(event)
                sent += 1
                while len(self._unanswered) >= WINDOW or len(self._unrecorded) >= _UNRECORDED_MAX:
                    self._take(_WAIT_S)
                    tell(sent - len(self._unanswered))
            while self._unanswered or self._unrecorded:
                self._take(_WAIT_S)
                tell(sent - len(self._unanswered))
        except KafkaException as error:
            raise ReplayFailed(f"Kafka failed: {error.args[0].str()}") from error
        finally:
            self._consumer.close()
            self._producer.purge()

    def _send(self, event: Queued) -> None:
        headers = AskHeaders(
            ce_id=event.ce_id,
            ce_type=TYPE_PENDING,
            ce_source=f"/stayhand/replay/{self._ground.session.prefix}",
            ce_time=rfc3339(event.at_ms),
            point=self._ground.point,
            key_id=KEY_ID,
            correlation_id=_CORRELATION.pack(self._run, event.number),
            reply_topic=self._decisions,
            reply_partition=REPLY_PARTITION,
            deadline_ms=DEADLINE_MS,
        )
        key = event.identity.encode()
        signature = sign(self._ground.key, headers.signable(key, event.body))
        partition = partition_for(key, self._ground.partitions)
        encoded: Any = [*headers.encode(), ("stayhand_signature", signature)]
        self._unanswered.add(event.number)
        self._unrecorded.add(event.number)
        while True:
            try:
                self._producer.produce(
                    self._actions, event.body, key, partition, on_delivery=self._delivered, headers=encoded
                )
                break
            except BufferError:
                self._report(_WAIT_S)
        self._report(0)

    def _report(self, wait_s: float) -> None:
        """Let librdkafka say what it delivered."""
        with undisturbed():
            self._producer.poll(wait_s)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._lost.append(error.str())

    def _take(self, wait_s: float) -> None:
        self._report(0)
        if self._lost:
            raise ReplayFailed(f"an ask did not reach Kafka: {self._lost[0]}")
        with undisturbed():
            messages = self._consumer.consume(_TAKE, wait_s)
        for message in messages:
            error = message.error()
            if error is not None:
                raise ReplayFailed(f"Kafka failed: {error.str()}")
            if message.topic() == self._decisions:
                self._answer(message)
            else:
                self._record(message)
        if messages:
            self._moved_s = time.monotonic()
        else:
            self._scorer.check()
            self._waited(time.monotonic() - self._moved_s)

    def _waited(self, still_s: float) -> None:
        """Nothing came: believe the audit where an answer got lost on its way, and give up where there is neither.

        A scorer sends each answer once and does not wait for it; its audit record is what holds.
        """
        if still_s > _ANSWER_S and (lost := self._unanswered - self._unrecorded):
            for number in lost:
                self._ledger.answer_lost(number)
            self._unanswered -= lost
            self._moved_s = time.monotonic()
        elif still_s > self._patience_s:
            raise ReplayFailed(
                f"nothing came for {self._patience_s:.0f} s: {len(self._unanswered)} asks are unanswered and "
                f"{len(self._unrecorded)} not in the audit; the scorer's last words: {self._scorer.last_words()}"
            )

    def _answer(self, message: Message) -> None:
        value = _bytes(message.value())
        headers = unique(_headers(message))
        number = self._number(headers.get("kafka_correlationId", b""))
        if number is None or number not in self._unanswered:
            return
        if not verify(self._ground.key, decision_signable(value, headers), headers.get("stayhand_signature", b"")):
            raise ReplayFailed("an answer's signature is wrong: somebody else writes to the decisions topic")
        body = orjson.loads(value)
        if headers.get("ce_type") == TYPE_REJECTION.encode():
            self._ledger.rejected(number, body["code"])
            self._unrecorded.discard(number)
        elif headers.get("ce_type") == TYPE_DECISION.encode():
            self._ledger.answered(number, body["verdict"])
        self._unanswered.discard(number)

    def _record(self, message: Message) -> None:
        body = orjson.loads(_bytes(message.value()))
        if body["kind"] != "decision":
            return
        number = self._number(bytes.fromhex(body["ask"]["correlation_id"]))
        if number is not None and number in self._unrecorded:
            self._unrecorded.discard(number)
            self._ledger.recorded(number, body)

    def _number(self, correlation_id: bytes) -> int | None:
        if len(correlation_id) != _CORRELATION.size:
            return None
        run, number = _CORRELATION.unpack(correlation_id)
        return int(number) if run == self._run else None

    def _listening(self) -> Consumer:
        """Reads one partition of answers and the whole audit, from where they end now."""
        consumer = Consumer(_consumer_settings(self._ground), logger=_QUIET)
        audit = self._ground.session.topic("audit")
        places = [(self._decisions, REPLY_PARTITION), *((audit, number) for number in range(self._ground.partitions))]
        try:
            starts = [
                TopicPartition(
                    topic, number, consumer.get_watermark_offsets(TopicPartition(topic, number), _TIMEOUT_S)[1]
                )
                for topic, number in places
            ]
            consumer.assign(starts)
        except KafkaException as error:
            consumer.close()
            raise ReplayFailed(f"Kafka failed: {error.args[0].str()}") from error
        return consumer


def _producer_settings(ground: Ground) -> dict[str, Any]:
    return {
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 5,
        "queue.buffering.max.messages": WINDOW * 2,
        "message.timeout.ms": 60_000,
        **ground.session.kafka,
    }


def _consumer_settings(ground: Ground) -> dict[str, Any]:
    return {
        "group.id": f"{ground.session.prefix}.replay",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 20,
        "queued.max.messages.kbytes": 16_384,
        **ground.session.kafka,
    }


def _headers(message: Message) -> list[tuple[str, bytes | None]]:
    found: Any = message.headers() or []
    return list(found)


def _bytes(value: str | bytes | None) -> bytes:
    return value if isinstance(value, bytes) else (value or "").encode()
