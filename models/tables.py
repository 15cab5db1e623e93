"""A bounded table of counts: which values of one channel an identity is known for."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

MAX_COUNT = 65_535
MAX_TOTAL = (1 << 32) - 1
MAX_DISTINCT = 65_535
_HEAD = struct.Struct("<BIH")


class InvalidTable(ValueError):
    """The bytes are not a table in its canonical form."""


class Table(NamedTuple):
    """Counts by 16-bit code, the total N of events, and the number U of values that were ever new (evicted ones too).

    ``raw`` is the table as bytes: it changes only when an epoch matures, but is written at every checkpoint. The counts
    stand in the order of their codes.
    """

    counts: Mapping[int, int]
    total: int
    distinct: int
    raw: bytes


def table(counts: Mapping[int, int], total: int, distinct: int) -> Table:
    """A table with its bytes: size, N, U, then codes and counts in the order of the codes (little-endian)."""
    return _packed(dict(sorted(counts.items())), total, distinct)


def _packed(counts: Mapping[int, int], total: int, distinct: int) -> Table:
    size = len(counts)
    return Table(counts, total, distinct, _layout(size).pack(size, total, distinct, *counts, *counts.values()))


@cache
def _layout(size: int) -> struct.Struct:
    return struct.Struct(f"<BIH{2 * size}H")


EMPTY_TABLE = table({}, 0, 0)


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
        highest = max(highest, after)
    if len(counts) > capacity:
        ranked = sorted([(code in lessons, count, code) for code, count in counts.items()])
        for _, _, code in ranked[: len(counts) - capacity]:
            del counts[code]
    while total > MAX_TOTAL or highest > MAX_COUNT:
        counts = {code: max(1, count >> 1) for code, count in counts.items()}
        total, highest = total >> 1, highest >> 1
    if distinct == old.distinct:
        return _packed(counts, total, distinct)
    return table(counts, total, min(MAX_DISTINCT, distinct))
