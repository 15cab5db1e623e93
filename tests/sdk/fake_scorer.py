"""A scorer of a few lines for tests on a real broker: reads asks, checks signatures, answers as it is told."""

import threading
from collections.abc import Callable
from typing import cast

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from stayhand import signing
from stayhand._transport import RawHeaders
from stayhand.headers import TYPE_FALLBACK, TYPE_OUTCOME, TYPE_PENDING, AskHeaders, decode_ask
from stayhand.testing import decision, sealed
from stayhand.wire import Decision, Fallback, Outcome, PendingAction, Rejection

Answering = Callable[[PendingAction], list[Decision | Rejection]]


def permit_all(_: PendingAction) -> list[Decision | Rejection]:
    return [decision("permit", fallbacks=("closed", "open"))]


class FakeScorer:
    """Owns every partition of a prefix's actions and fallbacks; records what came with a right signature."""

    def __init__(self, bootstrap: str, prefix: str, key: bytes, answering: Answering = permit_all) -> None:
        self.prefix, self.key, self.answering = prefix, key, answering
        self.sign_key = key
        self.asks: list[tuple[PendingAction, AskHeaders, int]] = []
        self.outcomes: list[Outcome] = []
        self.fallbacks: list[Fallback] = []
        self.badly_signed = 0
        self.answers_each = 1
        self._conf = {"bootstrap.servers": bootstrap, "log_level": 0}
        self._producer = Producer({**self._conf, "linger.ms": 0})
        self._stopped = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failure: BaseException | None = None

    def __enter__(self) -> "FakeScorer":
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(30)
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # noqa: BLE001 - raised again where the scorer is left
            self.failure = error
            self._ready.set()

    def _serve(self) -> None:
        consumer = Consumer({**self._conf, "group.id": "fake", "auto.offset.reset": "earliest"})
        try:
            topics = consumer.list_topics(timeout=10).topics
            names = (f"{self.prefix}.actions", f"{self.prefix}.fallbacks")
            consumer.assign([TopicPartition(name, each, 0) for name in names for each in topics[name].partitions])
            self._ready.set()
            while not self._stopped.is_set():
                message = consumer.poll(0.05)
                if message is not None and message.error() is None:
                    self._take(message)
                self._producer.poll(0)
            self._producer.flush(5)
        finally:
            consumer.close()

    def _take(self, message: Message) -> None:
        headers = decode_ask(cast("RawHeaders", message.headers() or []))
        key, value = message.key() or b"", message.value() or b""
        if not signing.verify(self.key, headers.signable(key, value), headers.signature):
            self.badly_signed += 1
        elif headers.ce_type == TYPE_OUTCOME:
            self.outcomes.append(Outcome.model_validate_json(value))
        elif headers.ce_type == TYPE_FALLBACK:
            self.fallbacks.append(Fallback.model_validate_json(value))
        elif headers.ce_type == TYPE_PENDING:
            action = PendingAction.model_validate_json(value)
            assert action.identity.encode() == key
            self.asks.append((action, headers, message.partition() or 0))
            for answer in self.answering(action):
                self.reply(headers, answer)

    def reply(self, headers: AskHeaders, answer: Decision | Rejection) -> None:
        assert headers.reply_partition is not None
        body, sealed_headers = sealed(answer, headers.correlation_id, self.sign_key)
        answer_headers = cast("list[tuple[str, str | bytes | None]]", sealed_headers)
        for _ in range(self.answers_each):
            self._producer.produce(headers.reply_topic, body, headers=answer_headers, partition=headers.reply_partition)
