"""What Kafka's errors mean for a worker: fenced, failed, or a disturbance that passes."""

from __future__ import annotations

import logging
import time

from confluent_kafka import KafkaError, KafkaException, Message

from streams.ports import Fenced, KafkaFailed

logger = logging.getLogger("stayhand.kafka")

FENCED = frozenset(
    {
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError._FENCED,  # noqa: SLF001 - librdkafka's own codes are spelled so
    }
)
# librdkafka goes on by itself after these: it reconnects, looks for a leader or coordinator, or joins again.
PASSING = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001
        KafkaError._WAIT_COORD,  # noqa: SLF001
        KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
    }
)


_TOLD_AGAIN_S = 60.0


class OffsetGone(Exception):
    """The offset at which a partition should be read is not in its log."""

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        """Say where."""
        super().__init__(f"{topic}/{partition}: offset {offset} is not in the log")
        self.topic, self.partition, self.offset = topic, partition, offset


class Faults:
    """Hears a client's errors: tells each kind once a minute, and says what they mean."""

    def __init__(self, client: str, *, fatal_is_fenced: bool = False) -> None:
        """Name the client in the log.

        ``fatal_is_fenced``: a static member of a classic group meets one fatal error alone, and librdkafka then hides
        its code: another member has its name.
        """
        self._client = client
        self._fenced = FENCED | {KafkaError._FATAL} if fatal_is_fenced else FENCED  # noqa: SLF001
        self._told_s: dict[int, float] = {}

    def hear(self, error: KafkaError) -> None:
        """What librdkafka calls with each error (``error_cb``)."""
        now_s = time.monotonic()
        if now_s - self._told_s.get(error.code(), float("-inf")) > _TOLD_AGAIN_S:
            self._told_s[error.code()] = now_s
            logger.warning("%s: %s", self._client, error.str())

    def judge(self, message: Message, doing: str) -> None:
        """Tell of an error message that passes by itself, and raise for any other.

        Raises:
            OffsetGone, Fenced, KafkaFailed.
        """
        error = message.error()
        assert error is not None
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            raise OffsetGone(message.topic() or "", message.partition() or 0, message.offset() or 0)
        if error.fatal() or error.code() not in PASSING:
            raise self.translate(error, doing)
        self.hear(error)

    def translate(self, error: KafkaError, doing: str) -> Fenced | KafkaFailed:
        """The exception that an error is for a worker which was ``doing`` something."""
        message = f"{doing}: {error.str()} ({error.name()})"
        return Fenced(message) if error.code() in self._fenced else KafkaFailed(message)


def error_of(raised: KafkaException) -> KafkaError:
    """The error inside confluent-kafka's exception."""
    error: KafkaError = raised.args[0]
    return error
