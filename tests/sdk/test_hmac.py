"""A signature is HMAC-SHA256 over the framed fields, however it is computed."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stayhand import signing

_FIELDS = st.lists(st.none() | st.binary(max_size=9) | st.integers(1_020, 1_030).map(bytes), max_size=6)


@given(_FIELDS)
def test_a_frame_is_each_field_behind_its_length(fields: list[bytes | None]) -> None:
    framed = b"".join(b"\xff" * 4 if field is None else len(field).to_bytes(4, "big") + field for field in fields)
    assert signing.frame(fields) == framed


@pytest.mark.parametrize("size", [0, 1, 32, 63, 64, 65, 200])
@given(_FIELDS)
def test_a_signature_is_hmac_sha256_of_the_frame(size: int, fields: list[bytes | None]) -> None:
    key = bytes(range(200))[:size]
    expected = hmac.digest(key, signing.frame(fields), hashlib.sha256)
    assert signing.sign(key, fields) == expected
    assert signing.verify(key, fields, expected)
    assert not signing.verify(key, [*fields, b"x"], expected)
