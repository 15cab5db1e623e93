"""The transport over Kafka: one producer, one consumer on one partition, two threads."""

from __future__ import annotations

import ctypes
import logging
import re
import threading
import time
import uuid
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from stayhand._config import GuardConfig
from stayhand._transport import Delivered, Outgoing, ReplyAddress, Sink
from stayhand.errors import ConfigurationError, Unavailable
from stayhand.partition import partition_for

POLL_S = 0.2
REPORT_S = 0.05
REQUEST_S = 1.0
DRAIN_MAX = 500
TELL_AGAIN_S = 60.0
_log = logging.getLogger("stayhand.kafka")
_librdkafka = logging.getLogger("stayhand.kafka.client")
# A refused connection is told by the error callback; librdkafka's own line comes with every attempt.
_librdkafka.addFilter(lambda record: not record.getMessage().startswith("FAIL"))
_VARYING = re.compile(r" \(after .*\)")


class KafkaTransport:
    """Asks go out at once (no linger), answers are read by manual assignment.

    There is no consumer group, as a rebalance must never delay a decision: the partition is a hash of this instance,
    and its offset is a number that was read before the first ask, so that no answer can fall before it. The reader
    thread hands answers over; the poller thread serves delivery reports and house-keeping. It looks for reports 20
    times a second and is not woken by each, which would take the interpreter from the threads that ask: only a failure
    is waited for, and an ask whose deadline passed looks for itself (``report``).
    """

    def __init__(self, config: GuardConfig) -> None:
        """Make the clients; nothing waits for the network here.

        Raises:
            ConfigurationError: librdkafka does not accept a setting.
        """
        self._topic = config.decisions_topic
        self._actions_topic = config.actions_topic
        self._instance = uuid.uuid4().hex
        self._problem = ""
        self._told: dict[str, float] = {}
        self._address: ReplyAddress | None = None
        self._stopping = threading.Event()
        self._fatal = False
        self._threads: list[threading.Thread] = []
        callbacks = {"error_cb": self._on_error}
        self._producer_settings = client_settings(config) | callbacks | producer_settings(config)
        try:
            self._producer = Producer(self._producer_settings)
            self._consumer = Consumer(client_settings(config) | callbacks | consumer_settings(self._instance))
        except (KafkaException, ValueError, TypeError) as error:
            cause = error.args[0] if error.args else error
            text = cause.str() if isinstance(cause, KafkaError) else str(cause)
            raise ConfigurationError(f"kafka: mend this setting of librdkafka: {text}") from error

    @property
    def reply_address(self) -> ReplyAddress | None:
        """None until the position on the reply partition is fixed."""
        return self._address

    @property
    def problem(self) -> str:
        """The last thing that went wrong."""
        return self._problem

    def start(self, sink: Sink) -> None:
        """Start the two threads."""
        for name, target in (("reader", self._read), ("poller", self._poll)):
            thread = threading.Thread(target=target, args=(sink,), name=f"stayhand-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def send(self, record: Outgoing, delivered: Delivered) -> None:
        """Queue a record.

        Raises:
            Unavailable: the queue is full, or the producer cannot go on.
        """

        def report(error: KafkaError | None, _: Message) -> None:
            delivered(None if error is None else error.str())

        try:
            self._producer.produce(
                record.topic,
                record.value,
                record.key,
                headers=cast("list[tuple[str, str | bytes | None]]", record.headers),
                on_delivery=report,
            )
        except BufferError as error:
            raise Unavailable("the queue to Kafka is full") from error
        except KafkaException as error:
            raise Unavailable(str(error.args[0])) from error

    def report(self) -> None:
        """Serve the delivery reports that are there."""
        try:
            self._producer.poll(0)
        except Exception:  # noqa: BLE001 - a bug of ours in one report must not end all others
            _log.exception("a delivery report could not be handled")

    def reachable(self) -> bool:
        """Ask for the metadata of the topic of asks, which the producer then knows anew."""
        try:
            found = self._producer.list_topics(self._actions_topic, timeout=REQUEST_S).topics[self._actions_topic]
        except KafkaException as error:
            self._trouble(error.args[0].str())
            return False
        if found.error is not None:
            self._trouble(f"the topic {self._actions_topic} is not there: create the topics first")
        return found.error is None

    def close(self, timeout_ms: int) -> None:
        """Flush, stop the threads, let go."""
        self._producer.flush(timeout_ms / 1000)
        self._stopping.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(REQUEST_S * 2 + POLL_S)
        self._drop_queue(self._producer)

    def abandon(self) -> None:
        """Keep the clients from being destroyed in a forked child: that would wait for threads which are not there."""
        for client in (self._producer, self._consumer):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))

    def _read(self, sink: Sink) -> None:
        while not self._stopping.is_set():
            if self._assign():
                sink.ready()
                break
            self._stopping.wait(POLL_S)
        while not self._stopping.is_set():
            try:
                self._drain(sink)
            except KafkaException as error:
                self._trouble(error.args[0].str())
                self._stopping.wait(POLL_S)
        self._consumer.close()

    def _drain(self, sink: Sink) -> None:
        """Wait for one record, then take what is there: asking for many at once would wait for many."""
        message = self._consumer.poll(POLL_S)
        if message is None:
            return
        self._hand_over(message, sink)
        for following in self._consumer.consume(DRAIN_MAX, 0):
            self._hand_over(following, sink)

    def _assign(self) -> bool:
        """Fix the position, once; whether that worked."""
        try:
            found = self._consumer.list_topics(self._topic, timeout=REQUEST_S).topics[self._topic]
            if found.error is not None or not found.partitions:
                self._trouble(f"the topic {self._topic} is not there: create the topics first")
                return False
            partition = partition_for(self._instance.encode(), len(found.partitions))
            place = TopicPartition(self._topic, partition)
            watermarks = cast(
                "tuple[int, int] | None",  # None after a time-out, which the stub leaves out
                self._consumer.get_watermark_offsets(place, timeout=REQUEST_S, cached=False),
            )
            if watermarks is None:
                self._trouble(f"the end of {self._topic} is not known yet")
                return False
            # What the producer knows already, the first ask does not wait for.
            self._producer.list_topics(self._actions_topic, timeout=REQUEST_S)
            self._consumer.assign([TopicPartition(self._topic, partition, watermarks[1])])
        except KafkaException as error:
            self._consumer.poll(0)
            self._trouble(error.args[0].str())
            return False
        self._address = ReplyAddress(self._topic, partition)
        return True

    def _hand_over(self, message: Message, sink: Sink) -> None:
        error = message.error()
        if error is not None:
            self._trouble(error.str())
            return
        try:
            sink.answer(message.value() or b"", cast("list[tuple[str, bytes | None]]", message.headers() or []))
        except Exception:  # noqa: BLE001 - a bug of ours in one answer must not end all others
            _log.exception("an answer could not be handled")

    def _poll(self, sink: Sink) -> None:
        tick_at = 0.0
        while not self._stopping.wait(REPORT_S):
            self.report()
            try:
                if self._fatal:
                    self._replace_producer()
                if time.monotonic() >= tick_at:
                    tick_at = time.monotonic() + POLL_S
                    sink.tick()
            except Exception:  # noqa: BLE001 - a bug of ours in one report must not end all others
                _log.exception("house-keeping failed")

    def _replace_producer(self) -> None:
        """An idempotent producer that met a fatal error never works again (librdkafka, "Idempotent Producer")."""
        _log.warning("the producer is replaced after a fatal error: %s", self._problem)
        self._fatal = False
        broken, self._producer = self._producer, Producer(self._producer_settings)
        self._drop_queue(broken)

    def _drop_queue(self, producer: Producer) -> None:
        producer.purge()
        producer.poll(0)

    def _on_error(self, error: KafkaError) -> None:
        self._fatal = self._fatal or error.fatal()
        self._trouble(error.str())

    def _trouble(self, problem: str) -> None:
        """Log each problem once a minute, however often it comes."""
        self._problem = problem = _VARYING.sub("", problem)
        now = time.monotonic()
        if now - self._told.get(problem, -TELL_AGAIN_S) >= TELL_AGAIN_S:
            self._told = {text: at for text, at in self._told.items() if now - at < TELL_AGAIN_S} | {problem: now}
            _log.warning("%s", problem)


def client_settings(config: GuardConfig) -> dict[str, Any]:
    """Every client: quick to come back, quiet about it, and whatever the user passes through."""
    return {
        "client.id": f"stayhand-{config.point}" if config.point else "stayhand",
        "socket.keepalive.enable": True,
        "socket.timeout.ms": 6_000,
        "socket.connection.setup.timeout.ms": 3_000,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        "log.connection.close": False,
        "allow.auto.create.topics": False,
        **config.kafka,
        "bootstrap.servers": config.bootstrap,
        "logger": _librdkafka,
    }


def producer_settings(config: GuardConfig) -> dict[str, Any]:
    """What an ask needs of a producer: at once, once, and not after its asker gave up.

    The JVM's partitioner, as every writer of a topic that is keyed by identity must agree.
    """
    return {
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": config.kafka.get("linger.ms", 0),
        "message.timeout.ms": config.deadline_ms_max,
        "partitioner": "murmur2_random",
        "retry.backoff.ms": config.kafka.get("retry.backoff.ms", 50),
    }


def consumer_settings(instance: str) -> dict[str, Any]:
    """What an answer needs of a consumer; the group's name is required by librdkafka and never used."""
    return {
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "fetch.min.bytes": 1,
        "group.id": f"stayhand-{instance}",
        "isolation.level": "read_uncommitted",
        "queued.max.messages.kbytes": 16_384,
    }
