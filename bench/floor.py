"""The floor: what a scorer in Python cannot do without, and nothing else; no model, no policy, no state.

``python -m bench.floor FILE`` takes a file with one JSON object (see ``Settings``) and runs until it is killed. For
each ask it decodes headers and body, verifies the signature, seals a receipt, encodes and signs a decision, produces
it, encodes an audit record as large as a scorer's and produces that on a second producer which reports each delivery.
Both producers have the scorer's own settings.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import KafkaError, Message, Producer, TopicPartition

from bench.echo import consumer, drained
from bench.errors import BenchFailed
from stayhand.headers import TYPE_DECISION, decision_headers, decision_signable, decode_ask, rfc3339
from stayhand.signing import sign, verify
from stayhand.wire import PendingAction
from streams.kafka.clients import Clients
from streams.kafka.errors import Faults
from streams.receipts import Receipts

_SORTED = orjson.OPT_SORT_KEYS
_ROOM_S = 0.01


@dataclass(frozen=True, slots=True)
class Settings:
    """What the floor must know; ``sample`` is an audit record of a scorer, ``key`` the point's key in hexadecimal."""

    bootstrap: str
    source: str
    partitions: int
    audit: str
    key: str
    taught_bytes: int
    sample: dict[str, Any]

    def text(self) -> str:
        """As the process takes it."""
        return json.dumps(asdict(self))


class Floor:
    """The loop."""

    def __init__(self, settings: Settings) -> None:
        """Make the clients."""
        clients = Clients(settings.bootstrap, "bench", {}, "floor")
        self._settings, self._key = settings, bytes.fromhex(settings.key)
        places = [TopicPartition(settings.source, number, 0) for number in range(settings.partitions)]
        self._consumer = consumer(settings.bootstrap, places)
        self._answers = Producer(clients.replies(Faults("answers")))
        self._audit = Producer(clients.journal(Faults("audit")))
        self._receipts = Receipts(self._key)
        self._taught = bytes(settings.taught_bytes)
        self._recorded = 0

    def run(self) -> None:
        """For ever."""
        while True:
            for message in drained(self._consumer):
                self._take(message)
            self._answers.poll(0)
            self._audit.poll(0)

    def _take(self, message: Message) -> None:
        headers = decode_ask(message.headers() or ())  # type: ignore[arg-type]  # as read: a list of (str, bytes)
        key, value = message.key(), message.value()
        assert isinstance(key, bytes)
        assert isinstance(value, bytes)
        if not verify(self._key, headers.signable(key, value), headers.signature):
            raise BenchFailed("an ask's signature is wrong")
        action = PendingAction.model_validate_json(value)
        at_ms, partition, offset = message.timestamp()[1], message.partition(), message.offset()
        assert partition is not None
        decision_id = hashlib.sha256(f"{self._settings.source}|{partition}|{offset}".encode()).hexdigest()[:32]
        sample = self._settings.sample
        decision = {**sample["decision"], "decision_id": decision_id}
        ask = {**sample["ask"], "ce_id": headers.ce_id, "correlation_id": headers.correlation_id.hex()}
        told = {
            **sample,
            "identity": action.identity,
            "at_ms": at_ms,
            "ask": ask,
            "vector": {**sample["vector"], "actions": offset},
            "action": orjson.Fragment(value),
            "decision": decision,
        }
        self._produce(
            self._audit, self._settings.audit, partition, key, orjson.dumps(told, option=_SORTED), [], self._delivered
        )
        receipt = self._receipts.seal(decision_id, action.identity, self._taught)
        answer = decision_headers(
            decision_id, TYPE_DECISION, rfc3339(at_ms), headers.correlation_id, receipt, headers.traceparent
        )
        body = orjson.dumps(decision, option=_SORTED)
        answer.append(("stayhand_signature", sign(self._key, decision_signable(body, dict(answer)))))
        target, reply_partition = headers.reply_topic, headers.reply_partition or 0
        self._produce(self._answers, target, reply_partition, decision_id.encode(), body, answer, None)

    def _produce(
        self, to: Producer, topic: str, partition: int, key: bytes, value: bytes, headers: Any, report: Any
    ) -> None:
        while True:
            try:
                to.produce(topic, value, key, partition, headers=headers, on_delivery=report)
            except BufferError:
                to.poll(_ROOM_S)
            else:
                return

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            raise BenchFailed(f"an audit record was not written: {error.str()}")
        self._recorded += 1


if __name__ == "__main__":
    Floor(Settings(**json.loads(Path(sys.argv[1]).read_text()))).run()
