"""Dead letters tell what was wrong and hold nothing that could be a secret, whatever came in."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.documents import DeadLetter, EnforcementPoint, PointKey
from stayhand.headers import AskHeaders
from streams.deadletters import LEFT_OUT, MAX_VALUE_CHARS, build, holds_secret
from streams.ports import Record
from streams.receipts import Receipts
from streams.refusal import Refusal
from streams.registry import InvalidGlobal

NOW = 1_795_000_000_000
# Put together here so that no scanner takes this file for a leak.
TOKEN = "gh" + "p_" + "A1b2" * 9
SECRETS = [TOKEN, "AK" + "IA" + "QWERTYUIOPASDFGH", "https://bob:" + "hunter22@example.org/x"]
CAUSE = Refusal("bad-json", "not JSON at character 3", "value")


def letter(record: Record, cause: Any = CAUSE) -> DeadLetter:
    return DeadLetter.model_validate(orjson.loads(build(record, cause)[1]))


def record(value: bytes | None = b"{}", key: bytes | None = b"token:a", headers: Any = ()) -> Record:
    return Record("stayhand.actions", 3, 9, NOW, key, value, headers)


def test_a_dead_letter_tells_where_from_why_and_what() -> None:
    key, value, headers = build(record(b'{"a', headers=[("ce_id", b"ask-1")]), CAUSE)
    told = DeadLetter.model_validate(orjson.loads(value))
    assert key == b"token:a"
    assert (told.topic, told.partition, told.offset, told.size_bytes) == ("stayhand.actions", 3, 9, 3)
    assert (told.code, told.field, told.message) == ("bad-json", "value", "not JSON at character 3")
    assert (told.value, told.truncated, told.headers) == ('{"a', False, {"ce_id": "ask-1"})
    assert dict(headers)["ce_id"] == b"stayhand.actions/3/9"
    assert dict(headers)["ce_type"] == b"stayhand.deadletter.v1"


def test_the_same_record_and_cause_give_the_same_bytes() -> None:
    assert build(record(), CAUSE) == build(record(), CAUSE)


def test_a_record_of_the_registry_can_be_a_dead_letter_too() -> None:
    told = letter(record(key=b"policy"), InvalidGlobal("policy", "active", "expected a hash"))
    assert (told.code, told.field, told.point) == ("invalid-global", "active", "")


def test_a_long_value_is_cut_and_says_so() -> None:
    told = letter(record(b"x" * 5_000))
    assert told.value == "x" * MAX_VALUE_CHARS
    assert told.truncated
    assert told.size_bytes == 5_000


def test_a_record_without_value_or_key_is_told_as_such() -> None:
    key, _, _ = build(record(None, None), CAUSE)
    assert key is None
    assert letter(record(None, None)).value is None


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "hide",
    [
        lambda secret: secret,
        lambda secret: json.dumps({"text": f"line\n{secret}"}),
        lambda secret: json.dumps({"text": json.dumps({"inner": f"\n{secret}\t"})}),
        lambda secret: "".join(f"\\u{ord(c):04x}" for c in secret),
        lambda secret: "x" * 2_000 + " " + secret,
        lambda secret: " " * (MAX_VALUE_CHARS - 8) + secret,
    ],
    ids=["plain", "escaped", "escaped twice", "code points", "behind the cut", "across the cut"],
)
def test_a_value_with_a_secret_is_left_out(secret: str, hide: Any) -> None:
    told = letter(record(f'["{hide(secret)}"]'.encode()))
    assert told.value is None
    assert told.size_bytes > 0


@pytest.mark.parametrize("value", [b"\xff\xfe", b"a\x00b", b"x" * 65_537, b'"' + b"\\" * 600 + b'n"'])
def test_a_value_that_cannot_be_looked_through_is_left_out(value: bytes) -> None:
    assert letter(record(value)).value is None


def test_a_receipt_is_left_out_of_body_and_headers() -> None:
    receipt = Receipts(b"m" * 32).seal("ab" * 16, "token:a", b"lesson")
    body = json.dumps({"receipt": receipt, "decision_id": "ab" * 16, "result": "won"}).encode()
    sent = record(body, headers=[("stayhand_receipt", receipt.encode()), ("stayhand_signature", b"s" * 32)])
    assert receipt.encode() not in build(sent, CAUSE)[1]
    assert letter(sent).headers == {"stayhand_receipt": LEFT_OUT, "stayhand_signature": LEFT_OUT}
    assert letter(record(b'{"action":{"name":"receipt.print"}}')).value == '{"action":{"name":"receipt.print"}}'


def test_a_secret_shows_neither_as_key_nor_in_header_name_field_or_message() -> None:
    sent = record(
        b"{}",
        key=f"token:{TOKEN}".encode(),
        headers=[(TOKEN, b"x"), ("ce_id", TOKEN.encode()), ("authorization", b"Bearer abc")],
    )
    key, value, _ = build(sent, Refusal("bad-headers", f"expected {TOKEN}", TOKEN))
    assert key is None
    assert TOKEN.encode() not in value
    assert b"Bearer" not in value


def test_binary_headers_of_the_reply_address_are_told_in_hexadecimal() -> None:
    asked = AskHeaders("a", "t", "s", "n", correlation_id=b"\x01" * 16, reply_topic="x", reply_partition=258)
    shown = letter(record(headers=asked.encode())).headers
    assert shown["kafka_correlationId"] == "01" * 16
    assert shown["kafka_replyPartition"] == "00000102"


def test_a_point_is_named_once_it_is_verified() -> None:
    point = EnforcementPoint(
        point="gateway", keys=(PointKey(key_id="k"),), identities=("*",), actions=("*",), reply_topics=()
    )
    assert letter(record(), Refusal("stale", "x", "ce_time")).point == ""
    assert letter(record(), Refusal("stale", "x", "ce_time", point)).point == "gateway"


@given(
    st.binary(max_size=3_000),
    st.none() | st.binary(max_size=700),
    st.lists(st.tuples(st.text(max_size=300), st.none() | st.binary(max_size=600)), max_size=40),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=2_000),
)
def test_any_record_has_a_dead_letter_of_bounded_size(
    value: bytes, key: bytes | None, headers: list[tuple[str, bytes | None]], at_ms: int, text: str
) -> None:
    came = Record("stayhand.actions", 0, 0, at_ms, key, value, headers)
    kept, body, _ = build(came, Refusal("bad-headers", text, text))
    DeadLetter.model_validate(orjson.loads(body))
    assert len(body) < 32_768
    assert kept in {None, key}


@given(st.text(max_size=30), st.text(max_size=30), st.integers(0, 9), st.booleans())
def test_no_number_of_escapes_hides_a_secret(before: str, after: str, levels: int, ascii_only: bool) -> None:
    text = f"{before}\n{TOKEN}\n{after}"
    for _ in range(levels):
        text = json.dumps(text, ensure_ascii=ascii_only)
    assert holds_secret(text)


@given(st.text(alphabet='ab\\u00n"', max_size=40))
def test_escapes_alone_are_no_secret(text: str) -> None:
    assert not holds_secret(text)
