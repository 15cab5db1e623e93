"""A bounded table of habits: how often, and in how many epochs, an identity did something.

An entry is three levels of logarithmic counters (Morris 1978): events, epochs, and epochs of the anchor, in 18 bits.
What rounding would lose is made up for by a chance that depends on the value and the epoch alone, so that the same
history gives the same table everywhere. Codes are stored as Elias (1974) and Fano (1971) do: their upper bytes in
unary, their lower bytes as they are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from math import log
from typing import Final

CAPACITY = 128
_COUNT_BASE, _COUNT_LEVELS = 1.05, 256
_EPOCH_BASE, _EPOCH_LEVELS = 1.05, 64
_ANCHOR_BASE, _ANCHOR_LEVELS = 1.25, 16
# The most that the share of epochs with a value counts: nothing is certain to come again.
_SUREST = 0.97
_MASK = 0xFFFFFFFF


def _values(base: float, levels: int) -> tuple[float, ...]:
    return tuple((base**level - 1) / (base - 1) for level in range(levels))


# What a level stands for: 0, 1, and then in steps that grow with the value.
COUNTS: Final = _values(_COUNT_BASE, _COUNT_LEVELS)
EPOCHS: Final = _values(_EPOCH_BASE, _EPOCH_LEVELS)
ANCHORS: Final = _values(_ANCHOR_BASE, _ANCHOR_LEVELS)
NEVER: Final = (0, 0, 0)

Levels = tuple[int, int, int]


class InvalidSketch(ValueError):
    """The bytes are not a table of habits in its canonical form."""


class Sketch:
    """Levels of count, epochs and anchor's epochs by 16-bit code; not changed once made."""

    __slots__ = ("_mass", "_raw", "entries")

    def __init__(self, entries: Mapping[int, Levels], raw: bytes = b"") -> None:
        """Take the entries over: whoever made them must not change them again."""
        self.entries = entries
        self._raw = raw
        self._mass: tuple[int, int] = (-1, 0)

    @property
    def raw(self) -> bytes:
        """Size, upper bytes in unary, lower bytes, counts, then epochs and anchor's epochs in 10 bits each."""
        if not self._raw:
            self._raw = _written(self.entries)
        return self._raw

    def mass(self, epochs: int) -> int:
        """How much all usual values together weigh that could be missed in an epoch, in 1/1024."""
        if self._mass[0] != epochs:
            weights = [missed(level, epochs) for level in range(_EPOCH_LEVELS)]
            self._mass = (epochs, sum([weights[level] for _, level, _ in self.entries.values()]))
        return self._mass[1]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sketch):
            return NotImplemented
        return self.entries == other.entries

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Sketch({dict(self.entries)})"


EMPTY_SKETCH: Final = Sketch({})


def missed(level: int, epochs: int) -> int:
    """``-ln(1 - share of the epochs)``, in 1/1024: what it says that a value of this level is missing from an epoch."""
    return round(-log(1.0 - min(EPOCHS[level] / (epochs + 2), _SUREST)) * 1024) if level else 0


def merged(old: Sketch, counts: Mapping[int, int], number: int, *, anchoring: bool) -> tuple[Sketch, int]:
    """The table with one epoch's counts added, and how many values were new to it.

    What this epoch did not have makes room first: the fewest epochs, then the lowest count, then the lowest code.
    """
    entries, new = dict(old.entries), 0
    for code, count in counts.items():
        often, epochs, anchor = entries.get(code, NEVER)
        new += not often
        chance = _chance(code, number)
        entries[code] = (
            raised(COUNTS, often, count, chance),
            raised(EPOCHS, epochs, 1, chance),
            raised(ANCHORS, anchor, 1, chance) if anchoring else anchor,
        )
    if len(entries) > CAPACITY:
        ranked = sorted((code in counts, levels[1], levels[0], code) for code, levels in entries.items())
        for *_, code in ranked[: len(entries) - CAPACITY]:
            del entries[code]
    return Sketch(entries), new


def halved(old: Sketch) -> Sketch:
    """Counts and epochs at half their value; nothing that was there is forgotten for it."""
    entries = {
        code: (lowered(COUNTS, often), lowered(EPOCHS, epochs), anchor)
        for code, (often, epochs, anchor) in old.entries.items()
    }
    return Sketch(entries)


def anchored(old: Sketch, scale: float) -> Sketch:
    """The anchor put where the epochs are now, times ``scale``."""
    entries = {
        code: (often, epochs, raised(ANCHORS, 0, EPOCHS[epochs] * scale, 0.5))
        for code, (often, epochs, _) in old.entries.items()
    }
    return Sketch(entries)


def raised(values: tuple[float, ...], level: int, by: float, chance: float) -> int:
    """The level ``by`` higher in value; between two levels the upper one where ``chance`` (0 to 1) says so."""
    wanted = values[level] + by
    below = bisect_right(values, wanted) - 1
    if below + 1 >= len(values):
        return len(values) - 1
    step = values[below + 1] - values[below]
    return below + (wanted - values[below] > chance * step)


def lowered(values: tuple[float, ...], level: int) -> int:
    """The level of half the value, at least 1 for what was there."""
    return max(1, raised(values, 0, values[level] / 2, 0.5)) if level else 0


def _chance(code: int, number: int) -> float:
    """A share of one that looks drawn, by value and epoch alone (the finaliser of MurmurHash3)."""
    mixed = (code * 0x9E3779B1 + number * 0x85EBCA6B + 0x27D4EB2F) & _MASK
    mixed = ((mixed ^ mixed >> 16) * 0x85EBCA6B) & _MASK
    mixed = ((mixed ^ mixed >> 13) * 0xC2B2AE35) & _MASK
    return (mixed ^ mixed >> 16) / (_MASK + 1)


def _written(entries: Mapping[int, Levels]) -> bytes:
    codes = sorted(entries)
    if not codes:
        return b"\0"
    unary = packed = 0
    for index, code in enumerate(codes):
        unary |= 1 << (code >> 8) + index
        _, epochs, anchor = entries[code]
        packed |= (epochs << 4 | anchor) << 10 * index
    size = len(codes)
    return b"".join(
        (
            bytes((size,)),
            unary.to_bytes(_unary_bytes(size), "little"),
            bytes([code & 0xFF for code in codes]),
            bytes([entries[code][0] for code in codes]),
            packed.to_bytes(_packed_bytes(size), "little"),
        )
    )


def _unary_bytes(size: int) -> int:
    return (256 + size + 7) // 8


def _packed_bytes(size: int) -> int:
    return (10 * size + 7) // 8


def read(raw: bytes, at: int) -> tuple[Sketch, int]:
    """The table that starts at this position, and where it ends.

    Raises:
        InvalidSketch: where it is cut short, too large, or not as it would be written.
    """
    size = raw[at] if at < len(raw) else CAPACITY + 1
    end = at + 1 + (_unary_bytes(size) + 2 * size + _packed_bytes(size) if size else 0)
    if size > CAPACITY or end > len(raw):
        raise InvalidSketch(f"expected all of at most {CAPACITY} entries")
    if not size:
        return EMPTY_SKETCH, end
    lows = at + 1 + _unary_bytes(size)
    unary = int.from_bytes(raw[at + 1 : lows], "little")
    packed = int.from_bytes(raw[lows + 2 * size : end], "little")
    if unary.bit_count() != size or unary.bit_length() > 256 + size - 1:
        raise InvalidSketch(f"expected {size} codes")
    entries: dict[int, Levels] = {}
    for index in range(size):
        lowest = unary & -unary
        unary ^= lowest
        both = packed >> 10 * index & 0x3FF
        code = (lowest.bit_length() - 1 - index) << 8 | raw[lows + index]
        entries[code] = (raw[lows + size + index], both >> 4, both & 0xF)
    if any(not often or not epochs for often, epochs, _ in entries.values()) or _written(entries) != raw[at:end]:
        raise InvalidSketch("expected rising codes, each counted")
    return Sketch(entries, raw[at:end]), end
