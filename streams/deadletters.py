"""Dead letters: a capped copy of a record that was refused, without anything in it that could be a secret."""

from __future__ import annotations

import re
from typing import Protocol

import orjson

from schemas.documents import DeadLetter
from schemas.topics import TYPE_DEADLETTER
from stayhand.headers import Header, event_headers, rfc3339
from stayhand.secrets import matches, suspicious
from streams.ports import Record
from streams.refusal import Refusal

MAX_VALUE_CHARS = 1_024
MAX_SCANNED_BYTES = 65_536
MAX_HEADERS = 24
MAX_HEADER_CHARS = 128
MAX_NAME_CHARS = 64
MAX_MESSAGE_CHARS = 512
MAX_FIELD_CHARS = 128
MAX_KEY_BYTES = 512
LEFT_OUT = "(left out)"
_SOURCE = "/stayhand/scorer"
_LAST_MS = 253_402_300_799_999
_ESCAPES_MAX = 8
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_PLAIN = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
# A receipt lets its bearer report an outcome; the body of an outcome holds one.
_RECEIPT = re.compile(r"receipt\W{1,8}[A-Za-z0-9_-]{24}")
# Only headers of the contract show their values: any other could be a token of somebody's proxy.
_SHOWN = frozenset(
    {
        "ce_specversion",
        "ce_id",
        "ce_type",
        "ce_source",
        "ce_time",
        "content-type",
        "kafka_correlationId",
        "kafka_replyTopic",
        "kafka_replyPartition",
        "stayhand_deadline_ms",
        "stayhand_point",
        "stayhand_key_id",
        "traceparent",
    }
)


class Cause(Protocol):
    """Why a record was refused: ``reading.Refusal``, ``registry.InvalidGlobal``, or what looks like them."""

    @property
    def code(self) -> str:
        """The machine-readable cause."""

    @property
    def message(self) -> str:
        """A sentence for a person."""

    @property
    def field(self) -> str:
        """What is wrong, empty where it is the record as a whole."""


def build(record: Record, cause: Cause) -> tuple[bytes | None, bytes, list[Header]]:
    """The dead letter of a record: key, value (a DeadLetter as JSON, below 32 KiB) and headers.

    The value is at most 1,024 characters of the text, and left out where the text holds a secret or a receipt, is not
    UTF-8, or is too long to be looked through. The key is as it came, or None where it could be a secret. The same
    record and cause give the same bytes.
    """
    raw = record.value
    text = None if raw is None else _safe_text(raw)
    letter = DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        code=cause.code,
        field=_safe(cause.field[:MAX_FIELD_CHARS]),
        message=_safe(cause.message[:MAX_MESSAGE_CHARS]),
        point=cause.point.point if isinstance(cause, Refusal) and cause.point is not None else "",
        size_bytes=len(raw or b""),
        value=None if text is None else text[:MAX_VALUE_CHARS],
        truncated=text is not None and len(text) > MAX_VALUE_CHARS,
        headers=_headers(record),
    )
    headers = event_headers(
        f"{record.topic}/{record.partition}/{record.offset}",
        TYPE_DEADLETTER,
        _SOURCE,
        rfc3339(min(max(record.timestamp_ms, 0), _LAST_MS)),
    )
    return _key(record.key), orjson.dumps(letter.model_dump(), option=orjson.OPT_SORT_KEYS), headers


def _key(key: bytes | None) -> bytes | None:
    return key if key is not None and len(key) <= MAX_KEY_BYTES and _safe_text(key) is not None else None


def _headers(record: Record) -> dict[str, str]:
    shown: dict[str, str] = {}
    for name, value in record.headers[:MAX_HEADERS]:
        shown[name if name in _SHOWN else _safe(name[:MAX_NAME_CHARS])] = _header(name, value)
    return shown


def _header(name: str, value: bytes | None) -> str:
    if value is None or name not in _SHOWN:
        return LEFT_OUT
    text = _safe_text(value)
    if text is not None and text.isprintable():
        return text[:MAX_HEADER_CHARS]
    # The correlation id and the reply partition are binary; neither is a secret.
    return value.hex()[:MAX_HEADER_CHARS] if name.startswith("kafka_reply") or len(value) <= 16 else LEFT_OUT


def _safe(text: str) -> str:
    return LEFT_OUT if holds_secret(text) else text


def _safe_text(raw: bytes) -> str | None:
    """The bytes as text, or None where they are none or could hold a secret."""
    if len(raw) > MAX_SCANNED_BYTES or b"\x00" in raw:
        return None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    return None if holds_secret(text) else text


def holds_secret(text: str) -> bool:
    """Whether a text holds a secret or a receipt as it stands, or once its JSON escapes are read, however often.

    A text with more than 8 levels of escapes cannot be looked through, so it counts as one that does.
    """
    for _ in range(_ESCAPES_MAX):
        if _RECEIPT.search(text) or (suspicious(text) and next(matches(text), None) is not None):
            return True
        plain = _ESCAPE.sub(_unescaped, text) if "\\" in text else text
        if plain == text:
            return False
        text = plain
    return True


def _unescaped(match: re.Match[str]) -> str:
    escape = match[1]
    return chr(int(escape[1:], 16)) if len(escape) > 1 else _PLAIN.get(escape, escape)
