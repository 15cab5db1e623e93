"""What a worker writes, on three producers so that none waits for another: answers, journal, transactions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from stayhand.headers import Header
from streams.kafka.clients import AUDIT_TIMEOUT_MS, Conf
from streams.kafka.errors import Faults, error_of, logger
from streams.ports import Answer, AuditFailed, KafkaFailed

INIT_TIMEOUT_S = 30.0
# Longer than the coordinator's own time-out of a transaction, so that an answer about its fate is possible.
TRANSACTION_TIMEOUT_S = 15.0
_FLUSH_S = 5.0
_ROOM_S = 0.05

Acknowledged = Callable[[int], None]


class Replies:
    """Answers to askers; ``failed`` counts those that could not be delivered."""

    def __init__(self, conf: Conf) -> None:
        """Make the producer."""
        self._producer = Producer({**conf, "on_delivery": self._undelivered})
        self.failed = 0

    def send(self, answer: Answer) -> None:
        """Hand the answer over; it is given up after its time-out."""
        partition = -1 if answer.partition is None else answer.partition
        try:
            self._producer.produce(answer.topic, answer.value, answer.key, partition, headers=list(answer.headers))
        except (BufferError, KafkaException) as error:
            self.failed += 1
            logger.warning("an answer to %s/%s was not sent: %s", answer.topic, answer.partition, error)

    def _undelivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed += 1
            logger.warning("an answer to %s/%s got lost: %s", message.topic(), message.partition(), error.str())

    def serve(self) -> None:
        """Hear of failures."""
        self._producer.poll(0)

    def close(self) -> None:
        """Wait for what is on its way, at most 5 s."""
        self._producer.flush(_FLUSH_S)


class Journal:
    """Audit and dead letters: what may not be lost. The first failure ends the worker."""

    def __init__(self, conf: Conf) -> None:
        """Make the producer."""
        self._producer = Producer(conf)
        self._serving = threading.Lock()
        self._failure: str | None = None

    def append(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes,
        headers: Sequence[Header],
        done: Acknowledged | None,
    ) -> None:
        """Hand a record over; ``done`` gets its offset from within ``serve``, by whichever thread serves.

        Raises:
            AuditFailed: an earlier record failed, or there is no room for 30 s.
        """
        report = partial(self._delivered, done)
        until_s = time.monotonic() + AUDIT_TIMEOUT_MS / 1000
        while True:
            self.check()
            try:
                self._producer.produce(topic, value, key, partition, on_delivery=report, headers=list(headers))
            except BufferError as error:
                if time.monotonic() > until_s:
                    raise AuditFailed(f"{topic}: no room for another record") from error
                self.serve(_ROOM_S)
            except KafkaException as error:
                raise AuditFailed(f"{topic}/{partition}: {error_of(error).str()}") from error
            else:
                return

    def _delivered(self, done: Acknowledged | None, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = self._failure or f"{message.topic()}/{message.partition()}: {error.str()}"
        elif done is not None:
            offset = message.offset()
            assert offset is not None
            done(offset)

    def check(self) -> None:
        """Raise AuditFailed where a record failed."""
        if self._failure is not None:
            raise AuditFailed(self._failure)

    def serve(self, timeout_s: float) -> None:
        """Call ``done`` for what was acknowledged, one thread at a time; who waits has the rest sent at once.

        Raises:
            AuditFailed: a record failed.
        """
        if self._serving.acquire(blocking=timeout_s > 0, timeout=timeout_s if timeout_s > 0 else -1):
            try:
                if timeout_s > 0:
                    self._producer.flush(timeout_s)
                else:
                    self._producer.poll(0)
            finally:
                self._serving.release()
        self.check()

    def close(self) -> None:
        """Wait for what is on its way, at most 5 s."""
        self._producer.flush(_FLUSH_S)


class Transactions:
    """State records and positions, all or nothing.

    After its broker was away librdkafka 2.16 may wait for a coordinator on a handle that is gone, and then
    ``send_offsets_to_transaction`` does not even keep its time-out: whoever calls ``commit`` must bound its time.
    """

    def __init__(self, conf: Conf, faults: Faults) -> None:
        """Make the producer."""
        self._producer = Producer(conf)
        self._faults = faults

    def start(self) -> None:
        """End what an earlier life of this name left open, and fence it.

        Raises:
            Fenced, KafkaFailed.
        """
        self._guarded("init_transactions", lambda: self._producer.init_transactions(INIT_TIMEOUT_S))

    def commit(
        self,
        topic: str,
        writes: Mapping[int, Sequence[tuple[bytes, bytes]]],
        offsets: list[TopicPartition],
        group_metadata: Any,
    ) -> dict[int, int]:
        """One transaction; returns by partition the offset behind the last record.

        Raises:
            Fenced: this worker is not the owner any more, nothing was written.
            KafkaFailed: whether it was written is for the next start to find out.
        """
        reached: dict[int, int] = {}
        until_s = time.monotonic() + TRANSACTION_TIMEOUT_S
        self._guarded("begin_transaction", self._producer.begin_transaction)
        try:
            for partition, records in writes.items():
                self._produce(topic, partition, records, reached)
            self._insist(
                lambda left_s: self._producer.send_offsets_to_transaction(offsets, group_metadata, left_s), until_s
            )
            self._insist(self._producer.commit_transaction, until_s)
        except KafkaException as error:
            self._abort(error_of(error))
            raise self._faults.translate(error_of(error), "checkpoint") from error
        return reached

    def _produce(
        self, topic: str, partition: int, records: Sequence[tuple[bytes, bytes]], reached: dict[int, int]
    ) -> None:
        """Hand the records over; only the last one reports its offset, for they keep their order."""

        def delivered(error: KafkaError | None, message: Message) -> None:
            offset = message.offset()
            if error is None and offset is not None:
                reached[partition] = offset + 1

        last = len(records) - 1
        for position, (key, value) in enumerate(records):
            if position == last:
                self._one(topic, partition, key, value, delivered)
            else:
                self._one(topic, partition, key, value, None)

    def _one(self, topic: str, partition: int, key: bytes, value: bytes, report: Any) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, partition, on_delivery=report)
            except BufferError:
                self._producer.poll(_ROOM_S)
            else:
                return

    def _insist(self, step: Callable[[float], None], until_s: float) -> None:
        """Repeat a step while its error is one that a repetition can mend."""
        while True:
            try:
                step(max(0.1, until_s - time.monotonic()))
            except KafkaException as error:
                if not error_of(error).retriable() or time.monotonic() > until_s:
                    raise
            else:
                return

    def _abort(self, error: KafkaError) -> None:
        if not error.txn_requires_abort():
            return
        try:
            self._insist(self._producer.abort_transaction, time.monotonic() + TRANSACTION_TIMEOUT_S)
        except KafkaException as failed:
            logger.warning("a transaction was not aborted, the coordinator will do so: %s", error_of(failed).str())

    def _guarded(self, doing: str, step: Callable[[], None]) -> None:
        try:
            step()
        except KafkaException as error:
            raise self._faults.translate(error_of(error), doing) from error


def end_transaction(conf: Conf) -> None:
    """End a worker's open transaction, and fence it, by starting its transactional id anew.

    Raises:
        KafkaFailed: the coordinator did not answer.
    """
    producer = Producer(conf)
    try:
        producer.init_transactions(INIT_TIMEOUT_S)
    except KafkaException as error:
        raise KafkaFailed(f"ending the transaction of {conf['transactional.id']}: {error}") from error
