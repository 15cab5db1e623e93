"""Test vectors for enforcement points in other languages: identities, partitions, digests, keys and signatures."""

from __future__ import annotations

from typing import Any

from stayhand import canonical, headers, signing
from stayhand.errors import InvalidAction
from stayhand.headers import AskHeaders
from stayhand.identity import identity_of
from stayhand.partition import murmur2, partition_for

Json = dict[str, Any]

# Nothing real is derived from it: it is printed here so that anybody can check the arithmetic.
MASTER = bytes(range(32))
POINT, KEY_ID = "ci-gate", "k1"
_PARTITION_COUNTS = (1, 8, 12)

_SUBJECTS = (
    ("token", "ci-deployer"),
    ("aws", "arn:aws:sts::123456789012:assumed-role/Deploy"),
    ("email", "Ada.Lovelace@Example.ORG"),
    ("host", "Build-7.Example.ORG"),
    ("user", "Ada"),
    ("user", "Zoe\u0308"),
    ("user", "Zo\u00eb"),
    ("agent", "\u30a8\u30fc\u30b8\u30a7\u30f3\u30c8-7"),
    ("agent", "\U0001f916"),
    ("a", "x" * 254),
)
_REFUSED_SUBJECTS = (
    ("", "x"),
    ("Token", "x"),
    ("to:ken", "x"),
    ("t" * 33, "x"),
    ("token", ""),
    ("token", " x"),
    ("token", "x\n"),
    ("token", "x\u0000y"),
    ("token", "x" * 251),
)
_KEYS = (b"", b"a", b"ab", b"abc", b"abcd", b"token:ci-deployer", "user:Zo\u00eb".encode(), bytes(range(256)))
_TEXTS = (
    "null",
    '{"b":2,"a":1}',
    '{"\\u20ac":"Euro Sign","\\r":"Carriage Return","1":"One","\\u00f6":"o","\\ud83d\\ude00":"Smiley","\\u0080":"x"}',
    "[1.0, -0.0, 1e21, 1e20, 1e-6, 1e-7, 0.1, 333333333.33333329, 5e-324, 9007199254740992]",
    '{"z":[{"y":true,"x":null}],"text":"quote \\" back \\\\ slash \\/ tab \\t unit \\u001f"}',
    '{"action":{"name":"deploy.run"},"resource":{"type":"env","id":"prod"}}',
)
_REFUSED_TEXTS = ('{"a":1,"a":2}', "NaN", "Infinity", "9007199254740993", '"\\ud800"', "[1", "01")

_ASK = AskHeaders(
    ce_id="0f8fad5b-d9cb-469f-a165-70867728950e",
    ce_type=headers.TYPE_PENDING,
    ce_source="/ci/gate",
    ce_time="2026-11-25T12:00:00.123Z",
    point=POINT,
    key_id=KEY_ID,
    correlation_id=bytes.fromhex("000102030405060708090a0b0c0d0e0f"),
    reply_topic="stayhand.decisions",
    reply_partition=5,
    deadline_ms=250,
)
_ASK_KEY = b"token:ci-deployer"
_ASK_VALUE = (
    b'{"subject":{"type":"token","id":"ci-deployer"},"action":{"name":"deploy.run"},'
    b'"resource":{"type":"env","id":"prod"}}'
)
_DECISION_VALUE = b'{"decision_id":"00112233445566778899aabbccddeeff","final":true,"verdict":"permit"}'
_DECISION_HEADERS = {
    "ce_type": headers.TYPE_DECISION.encode(),
    "ce_id": b"00112233445566778899aabbccddeeff",
    "kafka_correlationId": _ASK.correlation_id,
    "stayhand_receipt": b"an-opaque-receipt",
}


def vectors() -> Json:
    """All vectors; bytes are hexadecimal. ``identity_refused`` and ``digest_refused`` must be refused."""
    return {
        "identity": [{"type": kind, "id": name, "identity": identity_of(kind, name)} for kind, name in _SUBJECTS],
        "identity_refused": [_refused_subject(kind, name) for kind, name in _REFUSED_SUBJECTS],
        "partition": [_partition(key) for key in _KEYS],
        "digest": [_digest(text) for text in _TEXTS],
        "digest_refused": [_refused_text(text) for text in _REFUSED_TEXTS],
        "key": [_key(POINT, KEY_ID), _key(POINT, "k2"), _key("browser", KEY_ID)],
        "ask_signature": [_signed_ask(_ASK), _signed_ask(_ASK._replace(reply_partition=None))],
        "decision_signature": [
            _signed_decision(_DECISION_HEADERS),
            _signed_decision({name: _DECISION_HEADERS[name] for name in ("ce_type", "ce_id", "kafka_correlationId")}),
        ],
    }


def _refused_subject(kind: str, name: str) -> Json:
    try:
        identity_of(kind, name)
    except InvalidAction as error:
        return {"type": kind, "id": name, "field": error.field}
    raise AssertionError(f"{kind!r}, {name!r} was to be refused")


def _partition(key: bytes) -> Json:
    partitions = {str(count): partition_for(key, count) for count in _PARTITION_COUNTS}
    return {"key": key.hex(), "murmur2": murmur2(key), "partitions": partitions}


def _digest(text: str) -> Json:
    value = canonical.loads(text.encode())
    return {"json": text, "canonical": canonical.canonical(value).decode(), "sha256": canonical.digest(value)}


def _refused_text(text: str) -> Json:
    try:
        canonical.loads(text.encode())
    except canonical.InvalidJson:
        return {"json": text}
    raise AssertionError(f"{text!r} was to be refused")


def _key(point: str, key_id: str) -> Json:
    key = signing.point_key(MASTER, point, key_id)
    return {"master": MASTER.hex(), "point": point, "key_id": key_id, "key": key.hex()}


def _signed_ask(ask: AskHeaders) -> Json:
    fields = ask.signable(_ASK_KEY, _ASK_VALUE)
    return {"key": _ASK_KEY.decode(), "value": _ASK_VALUE.decode(), **_ask_json(ask), **_signed(fields)}


def _ask_json(ask: AskHeaders) -> Json:
    return {
        "headers": {
            "ce_id": ask.ce_id,
            "ce_type": ask.ce_type,
            "ce_time": ask.ce_time,
            "kafka_correlationId": ask.correlation_id.hex(),
            "stayhand_deadline_ms": str(ask.deadline_ms),
            "kafka_replyTopic": ask.reply_topic,
            "kafka_replyPartition": ask.reply_partition,
            "stayhand_point": ask.point,
            "stayhand_key_id": ask.key_id,
        }
    }


def _signed_decision(given: dict[str, bytes]) -> Json:
    shown = {name: value.hex() if name == "kafka_correlationId" else value.decode() for name, value in given.items()}
    fields = headers.decision_signable(_DECISION_VALUE, given)
    return {"value": _DECISION_VALUE.decode(), "headers": shown, **_signed(fields)}


def _signed(fields: headers.Signable) -> Json:
    key = signing.point_key(MASTER, POINT, KEY_ID)
    return {
        "signing_key": key.hex(),
        "signed_bytes": signing.frame(fields).hex(),
        "signature": signing.sign(key, fields).hex(),
    }
