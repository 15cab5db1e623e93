"""The envelope of a state record: a fixed header with version, source positions, clock and checksum, then the body."""

from __future__ import annotations

import struct
import zlib
from typing import Literal, NamedTuple

StateKind = Literal["baseline", "facts"]

VERSION = 1
_MAGIC = b"SH"
_HEADER = struct.Struct(">2sBBI16s16sIqqqI")
_CRC = struct.Struct(">I")
HEADER_BYTES = _HEADER.size + _CRC.size
_KIND_BYTE: dict[StateKind, int] = {"baseline": 1, "facts": 2}
_KIND_NAME: dict[int, StateKind] = {1: "baseline", 2: "facts"}
_KEY_PREFIX: dict[StateKind, bytes] = {"baseline": b"b:", "facts": b"f:"}


class CorruptRecord(ValueError):
    """A state record is damaged, or of a version that this program does not know."""


class Source(NamedTuple):
    """What a state record was last changed by: topic ids (16 bytes each), partition, the last offsets, clock and term.

    An action or control at or below these offsets, of these topics, is already in the record.
    """

    actions_topic: bytes
    controls_topic: bytes
    partition: int
    actions_offset: int
    controls_offset: int
    clock_ms: int
    term: int


def state_key(kind: StateKind, identity: str) -> bytes:
    """The key of a state record: its kind, then the identity."""
    return _KEY_PREFIX[kind] + identity.encode()


def parse_key(key: bytes) -> tuple[StateKind, str]:
    """Kind and identity of a state record's key.

    Raises:
        CorruptRecord: where the key has no known kind.
    """
    for kind, prefix in _KEY_PREFIX.items():
        if key.startswith(prefix):
            return kind, key[len(prefix) :].decode()
    raise CorruptRecord(f"state key of unknown kind {key[:2]!r}")


def pack(kind: StateKind, source: Source, body: bytes) -> bytes:
    """Header, checksum (CRC-32 over header and body) and body."""
    header = _HEADER.pack(
        _MAGIC,
        VERSION,
        _KIND_BYTE[kind],
        len(body),
        source.actions_topic,
        source.controls_topic,
        source.partition,
        source.actions_offset,
        source.controls_offset,
        source.clock_ms,
        source.term,
    )
    return header + _CRC.pack(zlib.crc32(body, zlib.crc32(header))) + body


def unpack(raw: bytes) -> tuple[StateKind, Source, bytes]:
    """Kind, source and body of a state record.

    Raises:
        CorruptRecord: when magic, version, length or checksum are wrong.
    """
    if len(raw) < HEADER_BYTES:
        raise CorruptRecord(f"expected at least {HEADER_BYTES} bytes, got {len(raw)}")
    header, body = raw[: _HEADER.size], raw[HEADER_BYTES:]
    magic, version, kind, length, *rest = _HEADER.unpack(header)
    if magic != _MAGIC or kind not in _KIND_NAME:
        raise CorruptRecord("not a state record")
    if version != VERSION:
        raise CorruptRecord(f"expected version {VERSION}, got {version}")
    if length != len(body) or _CRC.unpack_from(raw, _HEADER.size)[0] != zlib.crc32(body, zlib.crc32(header)):
        raise CorruptRecord("the checksum is wrong")
    return _KIND_NAME[kind], Source(*rest), body
