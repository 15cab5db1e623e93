"""Answers: a decision's or a rejection's bytes, headers, receipt and signature, addressed to its asker."""

from __future__ import annotations

from typing import Any

import orjson

from models import lessons
from models.effects import Effect, Observe
from stayhand import headers as wire_headers
from stayhand.headers import AskHeaders, Header
from stayhand.signing import sign
from stayhand.wire import Rejection
from streams.keyring import KeyRing
from streams.ports import Answer
from streams.receipts import Receipts


def decision_bytes(decision: dict[str, Any]) -> bytes:
    """The body of a decision: equal decisions are equal bytes (RFC 8785, for it holds no floats)."""
    return orjson.dumps(decision, option=orjson.OPT_SORT_KEYS)


class Answers:
    """Builds answers for one scorer."""

    def __init__(self, keys: KeyRing, receipts: Receipts) -> None:
        """Bind to the keys of points and to the receipts' seal."""
        self._keys, self._receipts = keys, receipts

    def decision(
        self, ask: dict[str, Any], identity: str, at_ms: int, decision_id: str, body: bytes, taught: bytes
    ) -> Answer:
        """The answer that carries a decision.

        Args:
            ask: where it goes, in the shape of ``schemas.documents.AskRecord``.
            identity: whom the receipt binds.
            at_ms: the action's time; the answer carries no wall time.
            decision_id: its id, which is in the body too.
            body: what `decision_bytes` gave.
            taught: what the receipt carries, so that it can be taken back; see `taught_by`.
        """
        receipt = self._receipts.seal(decision_id, identity, taught)
        headers = wire_headers.decision_headers(
            decision_id,
            wire_headers.TYPE_DECISION,
            wire_headers.rfc3339(at_ms),
            bytes.fromhex(ask["correlation_id"]),
            receipt,
            ask.get("traceparent", ""),
        )
        return self._addressed(ask, decision_id, body, headers)

    def rejection(self, ask: AskHeaders, refusal_id: str, at_ms: int, told: Rejection) -> Answer:
        """The answer that says why an ask was refused."""
        headers = wire_headers.decision_headers(
            refusal_id,
            wire_headers.TYPE_REJECTION,
            wire_headers.rfc3339(at_ms),
            ask.correlation_id,
            "",
            ask.traceparent,
        )
        address = {
            "reply_topic": ask.reply_topic,
            "reply_partition": ask.reply_partition,
            "point": ask.point,
            "key_id": ask.key_id,
        }
        return self._addressed(address, refusal_id, told.model_dump_json().encode(), headers)

    def _addressed(self, ask: dict[str, Any], key: str, value: bytes, headers: list[Header]) -> Answer:
        if not self._keys.unsigned:
            secret = self._keys.key(ask["point"], ask["key_id"])
            signature = sign(secret, wire_headers.decision_signable(value, dict(headers)))
            headers.append(("stayhand_signature", signature))
        return Answer(ask["reply_topic"], ask["reply_partition"], key.encode(), value, headers)


def taught_by(effects: list[Effect]) -> bytes:
    """What the event among these effects taught the baseline, as the receipt carries it; empty where nothing."""
    for effect in effects:
        if isinstance(effect, Observe) and lessons.teaches(effect.lesson):
            return lessons.taught(effect.lesson)
    return b""
