"""Headers that were seen before are read as others are; signatures are HMAC-SHA256 of the framed fields."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stayhand import headers, signing
from stayhand.headers import AskHeaders, Header, InvalidHeaders, decode_ask

_SOUND = AskHeaders(
    "id", "type", "/source", "2026-11-25T12:00:00Z", "point", "k1", b"c" * 16, "topic", 3, 2_000, "00-ab", b"s" * 32
).encode()
_NAMES = st.sampled_from([name for name, _ in headers._PICKED] + ["content-type", "x", "y" * 400, "z" * 700])
_VALUES = st.one_of(
    st.none(),
    st.binary(max_size=6),
    st.sampled_from(
        [b"1.0", b"", b"\xff", b"007", b"\0\0\0\7", b"\xff\xff\xff\xff", b"x" * 512, b"x" * 513, "é".encode()]
    ),
)


def _told(read: Any, raw: Any) -> AskHeaders | tuple[str, str]:
    try:
        told: AskHeaders = read(raw)
    except InvalidHeaders as error:
        return error.field, error.expected
    return told


@given(
    st.permutations(_SOUND), st.lists(st.tuples(_NAMES, _VALUES), max_size=4), st.lists(_VALUES, max_size=14), st.data()
)
def test_headers_of_known_names_are_read_or_refused_as_those_read_one_by_one(
    sound: list[Header], added: list[tuple[str, bytes | None]], changed: list[bytes | None], data: st.DataObject
) -> None:
    kept: list[tuple[str, bytes | None]] = [*sound[data.draw(st.integers(0, 3)) :], *added]
    _told(decode_ask, kept)
    for at, value in enumerate(changed[: len(kept)]):
        other = [*kept[:at], (kept[at][0], value), *kept[at + 1 :]]
        assert _told(decode_ask, other) == _told(headers._decoded, other)
    assert _told(decode_ask, kept) == _told(decode_ask, iter(kept)) == _told(headers._decoded, kept)


def test_what_is_remembered_of_headers_is_bounded() -> None:
    for number in range(2 * headers._SHAPES_MAX):
        decode_ask([*_SOUND, (f"x{number}", b"")])
    decode_ask([*_SOUND, ("x" * headers._NAMES_CHARS_MAX, b"")])
    assert 0 < len(headers._SHAPES) <= headers._SHAPES_MAX
    assert max(sum(map(len, names)) for names in headers._SHAPES) <= headers._NAMES_CHARS_MAX


@given(
    st.builds(
        AskHeaders,
        *[st.text(max_size=5)] * 6,
        st.binary(max_size=5),
        st.text(max_size=5),
        st.none() | st.integers(0, 2**31 - 1),
        st.integers(0, 10**8),
    ),
    st.binary(max_size=9),
    st.integers(0, 1_030),
)
def test_the_signed_bytes_are_the_framed_fields(ask: AskHeaders, key: bytes, size: int) -> None:
    value = b"v" * size
    assert ask.signed(key, value) == signing.frame(ask.signable(key, value))


@given(st.lists(st.none() | st.binary(max_size=9) | st.integers(1_020, 1_030).map(bytes), max_size=6))
def test_a_frame_is_each_field_behind_its_length(fields: list[bytes | None]) -> None:
    framed = b"".join(b"\xff" * 4 if field is None else len(field).to_bytes(4, "big") + field for field in fields)
    assert signing.frame(fields) == framed


@pytest.mark.parametrize("size", [0, 1, 32, 63, 64, 65, 200])
@given(st.binary(max_size=200))
def test_a_signature_is_hmac_sha256(size: int, framed: bytes) -> None:
    key = bytes(range(200))[:size]
    expected = hmac.digest(key, framed, hashlib.sha256)
    assert signing.sign_framed(key, framed) == expected
    assert signing.verify_framed(key, framed, expected)
    assert not signing.verify_framed(key, framed + b"x", expected)
