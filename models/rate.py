"""How fast an identity acts: decayed counters over three time constants, and what is usual for their logarithm.

A counter is ``C <- C * exp(-dt / tau) + 1`` at each event, kept in 1/65,536; ``ln C`` is kept in 1/1024. All that lasts
is integer, so that it comes back from storage exactly.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, floor, log, sqrt

# The time constants: a burst, a task, a working day.
SHORT_MS, MIDDLE_MS, LONG_MS = 10_000, 600_000, 21_600_000
UNIT = 65_536
CAP = 1 << 52
MAX_SAMPLES = 4_096
# What is usual for nobody in particular, as that many samples: mean and variance of ln C by window, a guess of ours.
PRIOR_SAMPLES = 20
PRIOR_MEANS = (1.0, 2.5, 4.0)
PRIOR_VARIANCE = 1.0
# Added to the variance: the logarithm of a counter jitters by about this much for a steady, slow identity.
FLOOR = 0.15
# A float, for it is compared with floats: with an integer that takes several times as long.
MAX_Z = 64.0
# The most that ln C of a counter at its cap, and its square, add to a sum.
MAX_LN = 25_600
MAX_SQUARE = MAX_LN * MAX_LN >> 10

Counters = tuple[int, int, int]
Sums = tuple[int, int, int, int, int, int]
NO_COUNTERS: Counters = (0, 0, 0)
NO_SUMS: Sums = (0, 0, 0, 0, 0, 0)


def stepped(counters: Counters, gap_ms: int) -> Counters:
    """The counters after one more event, ``gap_ms`` (>= 0) after the last one."""
    first, second, third = counters
    first = floor(first * exp(-gap_ms / SHORT_MS) + 0.5) + UNIT
    second = floor(second * exp(-gap_ms / MIDDLE_MS) + 0.5) + UNIT
    third = floor(third * exp(-gap_ms / LONG_MS) + 0.5) + UNIT
    if first > CAP or second > CAP or third > CAP:
        return (min(CAP, first), min(CAP, second), min(CAP, third))
    return (first, second, third)


def logarithms(counters: Counters) -> tuple[int, int, int]:
    """``ln C`` of each counter in 1/1024; a counter that holds an event is never below 0."""
    first, second, third = counters
    return (_ln(first), _ln(second), _ln(third))


def _ln(counter: int) -> int:
    return floor(log(counter / UNIT) * 1024 + 0.5) if counter > UNIT else 0


def summed(sums: Sums, counters: Counters) -> Sums:
    """The sums of ``ln C`` and of its square with one event more."""
    a, b, c = logarithms(counters)
    s, ss, t, tt, u, uu = sums
    return (s + a, ss + (a * a >> 10), t + b, tt + (b * b >> 10), u + c, uu + (c * c >> 10))


def lessened(sums: Sums, counters: Counters) -> Sums:
    """The sums with one event less, never below 0."""
    a, b, c, d, e, f = (max(0, x - y) for x, y in zip(sums, summed(NO_SUMS, counters), strict=True))
    return (a, b, c, d, e, f)


def joined(samples: int, sums: Sums, more: int, others: Sums) -> tuple[int, Sums]:
    """Two sets of samples as one; halved once they pass `MAX_SAMPLES`, so that the usual can move."""
    samples += more
    a, b, c, d, e, f = sums
    g, h, i, j, k, m = others
    a, b, c, d, e, f = a + g, b + h, c + i, d + j, e + k, f + m
    if samples > MAX_SAMPLES:
        return samples >> 1, (a >> 1, b >> 1, c >> 1, d >> 1, e >> 1, f >> 1)
    return samples, (a, b, c, d, e, f)


def deviations(counters: Counters, samples: int, sums: Sums) -> tuple[int, int, int]:
    """``z = (ln C - mean) / sqrt(variance + .15)`` of each counter in 1/1024, with the prior among the samples."""
    first, second, third = counters
    a, b, c, d, e, f = _usual(samples, sums)
    one, two, three = (log(first) - a) * b, (log(second) - c) * d, (log(third) - e) * f
    if -MAX_Z < one < MAX_Z and -MAX_Z < two < MAX_Z and -MAX_Z < three < MAX_Z:
        return (int(one * 1024), int(two * 1024), int(three * 1024))
    return (_z(one), _z(two), _z(three))


def _z(z: float) -> int:
    return int(min(MAX_Z, max(-MAX_Z, z)) * 1024)


@lru_cache(maxsize=4_096)
def _usual(samples: int, sums: Sums) -> tuple[float, float, float, float, float, float]:
    """Mean of the stored counter's logarithm and 1 / deviation, by window; they change only when an epoch matures."""
    found: list[float] = []
    for prior, total, squares in zip(PRIOR_MEANS, sums[::2], sums[1::2], strict=True):
        weight = samples + PRIOR_SAMPLES
        mean = (total / 1024 + PRIOR_SAMPLES * prior) / weight
        square = (squares / 1024 + PRIOR_SAMPLES * (prior * prior + PRIOR_VARIANCE)) / weight
        found += (mean + log(UNIT), 1 / sqrt(max(0.0, square - mean * mean) + FLOOR))
    a, b, c, d, e, f = found
    return (a, b, c, d, e, f)
