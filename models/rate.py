"""How fast an identity acts: decayed counters over three time constants, and what is usual for their logarithm.

A counter is ``C <- C * exp(-dt / tau) + 1`` at each event, kept in 1/65,536; ``ln C`` is kept in 1/1024. All that lasts
is integer, so that it comes back from storage exactly.
"""

from __future__ import annotations

from math import exp, log, sqrt

TAUS_MS = (10_000, 600_000, 21_600_000)
WINDOWS = ("10s", "10min", "6h")
UNIT = 65_536
CAP = 1 << 52
MAX_SAMPLES = 4_096
# Fewer matured events than this say nothing about what is usual.
MIN_SAMPLES = 20
# Added to the variance: the logarithm of a counter jitters by about this much for a steady, slow identity.
FLOOR = 0.15
MAX_Z = 64

Counters = tuple[int, int, int]
Sums = tuple[int, int, int, int, int, int]
NO_COUNTERS: Counters = (0, 0, 0)
NO_SUMS: Sums = (0, 0, 0, 0, 0, 0)


def stepped(counters: Counters, gap_ms: int) -> Counters:
    """The counters after one more event, ``gap_ms`` (>= 0) after the last one."""
    first, second, third = counters
    return (
        min(CAP, int(first * exp(-gap_ms / 10_000) + 0.5) + UNIT),
        min(CAP, int(second * exp(-gap_ms / 600_000) + 0.5) + UNIT),
        min(CAP, int(third * exp(-gap_ms / 21_600_000) + 0.5) + UNIT),
    )


def logarithms(counters: Counters) -> tuple[int, int, int]:
    """``ln C`` of each counter in 1/1024; a counter that holds an event is never below 0."""
    first, second, third = counters
    return (_ln(first), _ln(second), _ln(third))


def _ln(counter: int) -> int:
    return int(log(counter / UNIT) * 1024 + 0.5) if counter > UNIT else 0


def summed(sums: Sums, counters: Counters, sign: int = 1) -> Sums:
    """The sums of ``ln C`` and of its square with one event more (or less: ``sign`` -1), never below 0."""
    a, b, c = logarithms(counters)
    s = sums
    return (
        max(0, s[0] + sign * a),
        max(0, s[1] + sign * (a * a >> 10)),
        max(0, s[2] + sign * b),
        max(0, s[3] + sign * (b * b >> 10)),
        max(0, s[4] + sign * c),
        max(0, s[5] + sign * (c * c >> 10)),
    )


def joined(samples: int, sums: Sums, more: int, others: Sums) -> tuple[int, Sums]:
    """Two sets of samples as one; halved once they pass `MAX_SAMPLES`, so that the usual can move."""
    samples += more
    a, b, c, d, e, f = (x + y for x, y in zip(sums, others, strict=True))
    if samples > MAX_SAMPLES:
        return samples >> 1, (a >> 1, b >> 1, c >> 1, d >> 1, e >> 1, f >> 1)
    return samples, (a, b, c, d, e, f)


def deviations(counters: Counters, samples: int, sums: Sums) -> tuple[int, int, int]:
    """``z = (ln C - mean) / sqrt(variance + .15)`` of each counter in 1/1024; 0 while too little is known."""
    if samples < MIN_SAMPLES:
        return (0, 0, 0)
    first, second, third = counters
    return (
        _z(first, samples, sums[0], sums[1]),
        _z(second, samples, sums[2], sums[3]),
        _z(third, samples, sums[4], sums[5]),
    )


def _z(counter: int, samples: int, total: int, squares: int) -> int:
    unit = 1024 * samples
    mean = total / unit
    variance = squares / unit - mean * mean
    z = (log(max(counter, UNIT) / UNIT) - mean) / sqrt(max(0.0, variance) + FLOOR)
    return round(min(MAX_Z, max(-MAX_Z, z)) * 1024)
