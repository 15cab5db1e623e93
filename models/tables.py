"""A bounded table of counts: which values of one channel an identity is known for."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache

MAX_COUNT = 65_535
MAX_TOTAL = (1 << 32) - 1
MAX_DISTINCT = 65_535
_HEAD = struct.Struct("<BIH")


class InvalidTable(ValueError):
    """The bytes are not a table in its canonical form."""


class Table:
    """Counts by 16-bit code, the total N of events, and the number U of values that were ever new (evicted ones too).

    It is not changed once made. Its bytes are made when they are first asked for, and kept: a table changes only when
    an epoch matures, but is written at every checkpoint.
    """

    __slots__ = ("_raw", "counts", "distinct", "total")

    def __init__(self, counts: Mapping[int, int], total: int, distinct: int, raw: bytes = b"") -> None:
        """Take the counts over: whoever made them must not change them again."""
        self.counts = counts
        self.total = total
        self.distinct = distinct
        self._raw = raw

    @property
    def raw(self) -> bytes:
        """Size, N, U, then codes and counts in the order of the codes (little-endian)."""
        if not self._raw:
            size, counts = len(self.counts), dict(sorted(self.counts.items()))
            self._raw = _layout(size).pack(size, self.total, self.distinct, *counts, *counts.values())
        return self._raw

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
            return NotImplemented
        return (self.total, self.distinct, self.counts) == (other.total, other.distinct, other.counts)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Table({dict(self.counts)}, {self.total}, {self.distinct})"


@cache
def _layout(size: int) -> struct.Struct:
    return struct.Struct(f"<BIH{2 * size}H")


EMPTY_TABLE = Table({}, 0, 0)


def read(raw: bytes, at: int, capacity: int) -> tuple[Table, int]:
    """The table that starts at this position, and where it ends.

    Raises:
        InvalidTable: where it holds more than ``capacity`` codes, an empty count, or codes out of order.
        struct.error: where it is cut short.
    """
    size, total, distinct = _HEAD.unpack_from(raw, at)
    flat = struct.unpack_from(f"<{2 * size}H", raw, at + _HEAD.size)
    codes, numbers = list(flat[:size]), flat[size:]
    if size > capacity or codes != sorted(set(codes)) or 0 in numbers:
        raise InvalidTable(f"expected at most {capacity} rising codes, each counted")
    end = at + _HEAD.size + 4 * size
    return Table(dict(zip(codes, numbers, strict=True)), total, distinct, raw[at:end]), end


def merged(old: Table, lessons: Mapping[int, int], capacity: int) -> Table:
    """The table with these counts by code added; it never holds more than ``capacity`` codes.

    What was not met this time makes room first, the lowest count before others, then the lowest code. A count or a
    total that would pass its bound halves the table.
    """
    counts, total, distinct, highest = dict(old.counts), old.total, old.distinct, 0
    for code, count in lessons.items():
        before = counts.get(code, 0)
        counts[code] = after = before + count
        distinct += not before
        total += count
        if after > highest:  # noqa: PLR1730  a call of ``max`` for each takes longer than all the rest
            highest = after
    excess = len(counts) - capacity
    if excess > 0:
        # Count and code as one number: several times as fast to order as tuples are.
        ranked = sorted([count << 16 | code for code, count in old.counts.items() if code not in lessons])
        if len(ranked) < excess:
            ranked += sorted([counts[code] << 16 | code for code in lessons])
        for rank in ranked[:excess]:
            del counts[rank & 0xFFFF]
    while total > MAX_TOTAL or highest > MAX_COUNT:
        counts = {code: max(1, count >> 1) for code, count in counts.items()}
        total, highest = total >> 1, highest >> 1
    return Table(counts, total, min(MAX_DISTINCT, distinct))
