"""Refusal: why a record of the actions topic is not decided."""

from __future__ import annotations

from typing import Literal

from schemas.documents import EnforcementPoint
from stayhand.headers import AskHeaders

Code = Literal[
    "too-large",
    "no-value",
    "no-append-time",
    "bad-headers",
    "unknown-type",
    "unknown-version",
    "bad-key",
    "wrong-partition",
    "unknown-point",
    "unknown-key",
    "revoked-key",
    "expired-key",
    "bad-signature",
    "stale",
    "bad-deadline",
    "no-reply-address",
    "reply-topic-not-allowed",
    "bad-reply-partition",
    "identity-not-allowed",
    "rate-limited",
    "bad-json",
    "bad-shape",
    "over-limit",
    "key-mismatch",
    "action-not-allowed",
    "bad-receipt",
    "replayed",
    "too-many-new-identities",
]
MAX_MESSAGE = 1_024
MAX_FIELD = 128


class Refusal(Exception):
    """A record that is not decided; it becomes a dead letter, and an error answer where ``reply_allowed``.

    Attributes:
        code: the machine-readable cause.
        message: a sentence for a person; it never repeats the input.
        field: the header, the part of the body or the part of the record that is wrong.
        point: the enforcement point, once it is known and its signature verified.
        headers: the record's headers, once they could be read.
        reply_allowed: whether an answer may go to the address in ``headers``: the point is known, its signature is
            right and the address is one of its own.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        field: str = "",
        point: EnforcementPoint | None = None,
        headers: AskHeaders | None = None,
        reply_allowed: bool = False,
    ) -> None:
        """Cap message and field, so that neither grows with the input."""
        super().__init__(f"{code}: {field}: {message}" if field else f"{code}: {message}")
        self.code: Code = code
        self.message = message[:MAX_MESSAGE]
        self.field = field[:MAX_FIELD]
        self.point = point
        self.headers = headers
        self.reply_allowed = reply_allowed
