"""What a session remembers of values it saw: keyed fingerprints with their class, never a text, in bounded room."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple

MAX_VALUES = 128
_BITS = 1 << 16
_FINGERPRINT_BYTES = 8


class ArgumentClass(IntEnum):
    """Where a value comes from, the best first.

    T stands in the task; L is linked to a name in it; D is the identity's own directory or record; C a whole field of a
    third party's record; N is nowhere; f spells a name of the task but only in a third party's text; F stands only in
    third parties' free text.
    """

    T = 0
    L = 1
    D = 2
    C = 3
    N = 4
    f = 5
    F = 6


class Origin(NamedTuple):
    """Of one value: its class, how many steered reads led to it, its source's trust and whether the task named it."""

    kind: ArgumentClass
    hops: int
    trust: str
    named: bool


_SOURCES = (("internal", False), ("external", True), ("external", False))


def worse(one: Origin, other: Origin) -> bool:
    """Whether the first origin deserves less trust than the second."""
    return _rank(one) > _rank(other)


def _rank(origin: Origin) -> tuple[int, bool, bool, int]:
    return (origin.kind, origin.trust == "external", not origin.named, origin.hops)


class Memory:
    """Values with their origin, at most 128, and the words of free texts as bits.

    What was seen keeps its class or gets a better one; by a steered read nothing improves, nor does a value that the
    agent itself used while it was foreign (no laundering). When it is full, an address that is not in it counts as the
    worst of those that found no room, and never better than one seen nowhere: a flood of addresses hides nothing.
    """

    __slots__ = ("_bits", "_frozen", "_key", "_spilled", "_values")

    def __init__(self, key: bytes) -> None:
        """``key``: 32 random bytes of this session, which makes the fingerprints worthless elsewhere."""
        self._key = key
        self._values: dict[bytes, Origin] = {}
        self._frozen: set[bytes] = set()
        self._bits: dict[tuple[str, bool], bytearray] = {}
        self._spilled: Origin | None = None

    def __len__(self) -> int:
        return len(self._values)

    def fingerprint(self, text: str) -> bytes:
        """8 bytes of keyed BLAKE2b."""
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_FINGERPRINT_BYTES, key=self._key).digest()

    def add(self, value: str, origin: Origin, *, improves: bool) -> None:
        """Remember where a value was seen."""
        mark = self.fingerprint(value)
        known = self._values.get(mark)
        if known is not None:
            if worse(known, origin) and improves and mark not in self._frozen:
                self._values[mark] = origin
        elif len(self._values) < MAX_VALUES:
            self._values[mark] = origin
        elif self._spilled is None or worse(origin, self._spilled):
            self._spilled = origin

    def add_words(self, words: Iterable[str], trust: str, *, named: bool) -> None:
        """Remember the words of a free text."""
        bits = self._bits.setdefault((trust, named and trust == "external"), bytearray(_BITS // 8))
        for word in words:
            for place in _places(self.fingerprint(word)):
                bits[place >> 3] |= 1 << (place & 7)

    def overflow(self, origin: Origin) -> None:
        """From now on any address and any word may have stood in this source: more was given than is looked through."""
        if self._spilled is None or worse(origin, self._spilled):
            self._spilled = origin
        self._bits[origin.trust, origin.named and origin.trust == "external"] = bytearray(b"\xff" * (_BITS // 8))

    def freeze(self, value: str) -> None:
        """Let nothing improve this value any more."""
        if len(self._frozen) < MAX_VALUES:
            self._frozen.add(self.fingerprint(value))

    def find(self, mark: bytes, *, address: bool) -> Origin | None:
        """The origin of a whole value by its fingerprint, None where it was not seen."""
        known = self._values.get(mark)
        if known is None and address and self._spilled is not None:
            return self._spilled._replace(kind=max(ArgumentClass.N, self._spilled.kind), named=False)
        return known

    def find_words(self, marks: Iterable[bytes]) -> Origin | None:
        """The best source whose texts hold all of these words; a rare false hit makes an unseen value foreign."""
        places = [place for mark in marks for place in _places(mark)]
        if not places:
            return None
        for trust, named in _SOURCES:
            bits = self._bits.get((trust, named))
            if bits is not None and all(bits[place >> 3] & 1 << (place & 7) for place in places):
                return Origin(ArgumentClass.F, 0, trust, named)
        return None


def _places(mark: bytes) -> tuple[int, int]:
    return int.from_bytes(mark[:2], "little"), int.from_bytes(mark[2:4], "little")
