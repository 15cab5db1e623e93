"""A bounded table of counts: which values of one channel an identity is known for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MAX_COUNT = 65_535
MAX_TOTAL = (1 << 32) - 1
MAX_DISTINCT = 65_535


@dataclass(frozen=True, slots=True)
class Table:
    """Counts by code, the total N of all events, and the number U of values that were ever new (evicted ones too)."""

    counts: Mapping[int, int]
    total: int
    distinct: int


EMPTY_TABLE = Table({}, 0, 0)


def merged(table: Table, lessons: Iterable[tuple[int, int]], capacity: int) -> Table:
    """The table with these ``(code, count)`` added; it never holds more than ``capacity`` codes.

    The code with the lowest count (then the lowest code) makes room. A count that would pass 65,535 halves the table.
    """
    counts, total, distinct = dict(table.counts), table.total, table.distinct
    for code, count in sorted(lessons):
        if code not in counts:
            if len(counts) >= capacity:
                del counts[min(counts, key=lambda known: (counts[known], known))]
            distinct = min(MAX_DISTINCT, distinct + 1)
        counts[code] = counts.get(code, 0) + count
        total += count
        while counts[code] > MAX_COUNT or total > MAX_TOTAL:
            counts = {known: max(1, old >> 1) for known, old in counts.items()}
            total >>= 1
    return Table(counts, total, distinct)
