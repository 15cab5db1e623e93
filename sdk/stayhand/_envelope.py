"""Signed envelopes: asks, outcomes and fallbacks on their way out, and answers that are believed or not."""

from __future__ import annotations

import os
import re
import time

from pydantic import ValidationError

from stayhand._config import GuardConfig
from stayhand._transport import Outgoing, RawHeaders, ReplyAddress
from stayhand.errors import InvalidAction
from stayhand.headers import (
    TYPE_DECISION,
    TYPE_FALLBACK,
    TYPE_OUTCOME,
    TYPE_PENDING,
    TYPE_REJECTION,
    AskHeaders,
    InvalidHeaders,
    decision_signable,
    rfc3339,
    unique,
)
from stayhand.signing import sign, verify
from stayhand.wire import Decision, Rejection

# W3C Trace Context, section 3.2.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.{0,200})?")


class Unverified(Exception):
    """An answer whose signature is missing or wrong: it does not count."""


class Unreadable(Exception):
    """An answer with a right signature that this version cannot read: it must not become a permit."""


def new_id() -> str:
    """32 random hexadecimal digits."""
    return os.urandom(16).hex()


def check_traceparent(text: str) -> None:
    """Accept nothing or a W3C ``traceparent``.

    Raises:
        InvalidAction: naming ``traceparent``.
    """
    if text and not _TRACEPARENT.fullmatch(text):
        raise InvalidAction("traceparent", "expected version-traceid-parentid-flags in lower-case hexadecimal")


class Envelopes:
    """Writes and reads envelopes in the name of one enforcement point."""

    def __init__(self, config: GuardConfig) -> None:
        """Hold the point's key; nothing is signed or verified where there is none."""
        self._config = config
        self._key = config.key_bytes
        self._source = f"/stayhand/point/{config.point or 'unsigned'}"

    @property
    def signs(self) -> bool:
        """Whether asks are signed and answers verified."""
        return self._key is not None

    def ask(
        self, key: str, value: bytes, correlation_id: bytes, reply: ReplyAddress, deadline_ms: int, traceparent: str
    ) -> Outgoing:
        """A pending action with its reply address; the 16 random bytes of its correlation id are its event's id too."""
        headers = AskHeaders(
            ce_id=correlation_id.hex(),
            ce_type=TYPE_PENDING,
            ce_source=self._source,
            ce_time=rfc3339(time.time_ns() // 1_000_000),
            point=self._config.point,
            key_id=self._config.key_id,
            correlation_id=correlation_id,
            reply_topic=reply.topic,
            reply_partition=reply.partition,
            deadline_ms=deadline_ms,
            traceparent=traceparent,
        )
        return self._seal(self._config.actions_topic, key, value, headers)

    def outcome(self, key: str, value: bytes, ce_id: str) -> Outgoing:
        """What became of an action; the same id however often it is sent."""
        return self._seal(self._config.actions_topic, key, value, self._plain(ce_id, TYPE_OUTCOME))

    def fallback(self, key: str, value: bytes, ce_id: str) -> Outgoing:
        """What the point decided by itself; the same id however often it is sent."""
        return self._seal(self._config.fallbacks_topic, key, value, self._plain(ce_id, TYPE_FALLBACK))

    def open(self, value: bytes, raw_headers: RawHeaders) -> Decision | Rejection:
        """Read an answer.

        Raises:
            Unverified: it does not come from a scorer that knows this point's key.
            Unreadable: it does, and cannot be understood.
        """
        try:
            headers = unique(raw_headers)
        except InvalidHeaders as error:
            raise Unverified(str(error)) from error
        if self._key is not None:
            signature = headers.get("stayhand_signature", b"")
            if not verify(self._key, decision_signable(value, headers), signature):
                raise Unverified("the signature is missing or wrong")
        try:
            return _read(value, headers)
        except ValidationError as error:
            raise Unreadable(str(error.errors(include_url=False, include_input=False)[0]["msg"])) from error

    def _plain(self, ce_id: str, ce_type: str) -> AskHeaders:
        return AskHeaders(
            ce_id=ce_id,
            ce_type=ce_type,
            ce_source=self._source,
            ce_time=rfc3339(time.time_ns() // 1_000_000),
            point=self._config.point,
            key_id=self._config.key_id,
        )

    def _seal(self, topic: str, key: str, value: bytes, headers: AskHeaders) -> Outgoing:
        raw_key = key.encode()
        encoded = headers.encode()
        if self._key is not None:
            encoded.append(("stayhand_signature", sign(self._key, headers.signable(raw_key, value))))
        return Outgoing(topic, raw_key, value, encoded)


def _read(value: bytes, headers: dict[str, bytes]) -> Decision | Rejection:
    ce_type = headers.get("ce_type", b"").decode("utf-8", "replace")
    if ce_type == TYPE_REJECTION:
        return Rejection.model_validate_json(value)
    if ce_type != TYPE_DECISION:
        raise Unreadable(f"the type {ce_type[:64]!r} is unknown")
    decision = Decision.model_validate_json(value)
    receipt = headers.get("stayhand_receipt", b"").decode("ascii", "replace")
    # Both stand outside the body; a body that claims them is not believed.
    return decision.model_copy(update={"receipt": receipt, "origin": "gate"})
