"""Signatures of asks and decisions: HMAC-SHA256 over length-prefixed raw bytes, keys by HKDF (RFC 5869, RFC 2104)."""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence
from functools import lru_cache

KEY_BYTES = 32
MASTER_BYTES_MIN = 32
_KEYS_MAX = 4_096
_LENGTH = struct.Struct(">I")
_BLOCK_BYTES = 64
# What RFC 2104 adds to the key of each hash.
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_ABSENT = b"\xff\xff\xff\xff"


def hkdf(secret: bytes, info: bytes, length: int = KEY_BYTES) -> bytes:
    """HKDF-SHA256 with an empty salt (RFC 5869)."""
    prk = hmac.digest(b"\x00" * 32, secret, hashlib.sha256)
    block, okm, counter = b"", b"", 1
    while len(okm) < length:
        block = hmac.digest(prk, block + info + bytes([counter]), hashlib.sha256)
        okm += block
        counter += 1
    return okm[:length]


def point_key(master: bytes, point: str, key_id: str) -> bytes:
    """The key of an enforcement point, 32 bytes, derived so that the server stores no key.

    Raises:
        ValueError: when the master secret is shorter than 32 bytes.
    """
    if len(master) < MASTER_BYTES_MIN:
        raise ValueError(f"expected a master secret of at least {MASTER_BYTES_MIN} bytes")
    return hkdf(master, b"stayhand/point/v1\x00" + point.encode() + b"\x00" + key_id.encode())


def receipt_key(master: bytes) -> bytes:
    """The key under which scorers sign receipts; no enforcement point has it."""
    return hkdf(master, b"stayhand/receipt/v1")


def frame(fields: Sequence[bytes | None]) -> bytes:
    """Each field behind its length (4 bytes, big-endian); an absent field is not an empty one."""
    length = _LENGTH.pack
    return b"".join([_ABSENT if field is None else length(len(field)) + field for field in fields])


def sign(key: bytes, fields: Sequence[bytes | None]) -> bytes:
    """The 32-byte signature of the fields, in this order: HMAC-SHA256 of their frame (RFC 2104)."""
    begun, ended = _keyed(key)
    inner, outer = begun.copy(), ended.copy()
    inner.update(frame(fields))
    outer.update(inner.digest())
    return outer.digest()


@lru_cache(maxsize=_KEYS_MAX)
def _keyed(key: bytes) -> tuple[hashlib._Hash, hashlib._Hash]:  # pyright: ignore[reportPrivateUsage]
    """What both hashes of a key begin with; copies of it take half the time of beginning anew."""
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK_BYTES else key).ljust(_BLOCK_BYTES, b"\x00")
    return hashlib.sha256(block.translate(_INNER)), hashlib.sha256(block.translate(_OUTER))


def verify(key: bytes, fields: Sequence[bytes | None], signature: bytes) -> bool:
    """Whether the signature is right; the comparison takes constant time."""
    return hmac.compare_digest(sign(key, fields), signature)
