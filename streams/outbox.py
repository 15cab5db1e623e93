"""What leaves a worker: answers at once or after their commit, audit records, dead letters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models import event
from stayhand.headers import AskHeaders
from stayhand.wire import Rejection
from streams import audit, deadletters
from streams.answers import Answers
from streams.deadletters import Cause
from streams.observer import Observer
from streams.ownership import Ownership
from streams.ports import Answer, Log, Record
from streams.refusal import Refusal
from streams.registry import Registry


class Outbox:
    """The only way out for a worker's words.

    ``sequence`` is that of the next checkpoint; ``urgent``: an answer waits for it. ``together`` answers leave at a
    time: each at once while few actions come, some together out of a large batch, where each would else be a request
    of its own.
    """

    def __init__(
        self,
        log: Log,
        answers: Answers,
        registry: Registry,
        observer: Observer,
        worker: str,
        prove_membership: Callable[[], None],
    ) -> None:
        """Bind to Kafka and to what audit records name; no answer leaves before ``prove_membership`` returned."""
        self._log, self._answers, self._registry = log, answers, registry
        self._observer, self._worker = observer, worker
        self._prove_membership = prove_membership
        self.sequence, self.urgent, self.together = 1, False, 1
        self._ready: list[Answer] = []

    def send(self, own: Ownership, answer: Answer, *, waits: bool) -> None:
        """Send an answer now, or once the checkpoint that contains what it spends is committed."""
        if not waits:
            self._leave(answer)
            return
        own.waiting.append((self.sequence, answer))
        self.urgent = True

    def flush(self) -> None:
        """Let go of the answers that are ready."""
        if not self._ready:
            return
        self._prove_membership()
        ready, self._ready = self._ready, []
        for answer in ready:
            self._log.reply(answer)

    def _leave(self, answer: Answer) -> None:
        self._ready.append(answer)
        if len(self._ready) >= self.together:
            self.flush()

    def release(self, own: Ownership, sequence: int) -> None:
        """Send the answers that waited for this checkpoint."""
        for answer in own.release(sequence):
            self._log.reply(answer)

    def write(self, own: Ownership, body: dict[str, Any]) -> None:
        """Append to the audit of the owned partition."""
        own.audits_sent += 1
        self._log.audit(own.partition, body["identity"].encode(), audit.encode(body), own.acked)

    def body(
        self, own: Ownership, kind: str, identity: str = "", at_ms: int = 0, *, action: int | None = None
    ) -> dict[str, Any]:
        """An audit record's common parts.

        The vector's offsets are those of the last records processed; ``action`` is that of the action in hand.
        """
        actions_topic, controls_topic = own.topic_names
        vector = {
            "actions_topic": actions_topic,
            "controls_topic": controls_topic,
            "partition": own.partition,
            "actions": own.actions_next - 1 if action is None else action,
            "controls": own.controls_next - 1,
            "globals": self._registry.offset,
            "policy": "",
            "shadow": "",
            "prior": "",
            "profile": "",
            "model": event.MODEL_VERSION,
        }
        return {
            "kind": kind,
            "term": own.term,
            "worker": self._worker,
            "identity": identity,
            "at_ms": at_ms,
            "vector": vector,
            "effects": [],
        }

    def refuse(self, record: Record, cause: Cause) -> None:
        """Write a record to the dead letters, and tell its asker where that is allowed."""
        key, value, headers = deadletters.build(record, cause)
        self._log.dead_letter(key, value, headers)
        self._observer.refused(cause.code)
        if isinstance(cause, Refusal) and cause.reply_allowed and cause.headers is not None:
            self._leave(self._rejection(record, cause, cause.headers))

    def _rejection(self, record: Record, refusal: Refusal, asked: AskHeaders) -> Answer:
        told = Rejection(code=refusal.code, message=refusal.message, field=refusal.field)
        refusal_id = f"{record.topic}/{record.partition}/{record.offset}"
        return self._answers.rejection(asked, refusal_id, record.timestamp_ms, told)
