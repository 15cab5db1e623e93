"""How habits are written into a baseline's section, at most `MAX_HABITS_BYTES`, and read back exactly."""

from __future__ import annotations

import struct

from models.epoch import (
    ANCHOR_EPOCHS,
    BAD,
    BLOOM_BITS,
    CALM,
    EPOCH_EVENTS,
    FINE,
    MAX_EPOCHS,
    NO_HABITS,
    NOBODY,
    NOTHING,
    SUB_EVENTS,
    SUBS,
    Habits,
    Sub,
)
from models.sketch import CAPACITY, InvalidSketch, read
from schemas.profiles import BINS

_HEAD = struct.Struct("<BHHBIhhBHIqHBiIiIBBB")
_SUB = struct.Struct("<iHih")
# The most that the sums over one event can grow by, with room: weight, value, first occurrence.
_WEIGHT_MOST, _VALUE_MOST, _MET_MOST = 1_024, 64 * 1_024, 8 * 1_024
_WAITS, _ALARMED, _STARTED, _SAID, _SAID_MOST = 1, 2, 4, 8, 3
# A sub-epoch's `h` is the one before its first event. Records of earlier releases tell the one after its last.
BEFORE = 32
_BLOOM_BYTES = BLOOM_BITS // 8
_TABLE_BYTES = 1 + (256 + CAPACITY + 7) // 8 + 2 * CAPACITY + (10 * CAPACITY + 7) // 8
MAX_HABITS_BYTES = (
    _HEAD.size + BINS + _BLOOM_BYTES + (SUBS + 1) * _SUB.size + 1 + _TABLE_BYTES + 2 * EPOCH_EVENTS + 2 * 13
)


class InvalidHabits(ValueError):
    """The bytes are not habits; the message names the part and what was expected."""


def encode_habits(h: Habits) -> bytes:
    """The section's content; nothing for an identity that has not acted yet."""
    return b"" if h is NO_HABITS or h == NO_HABITS else _encoded(h, BEFORE)


def _encoded(habits: Habits, before: int) -> bytes:
    (
        epochs, events, distinct, anchor_epochs, anchor_day, table, bigrams, h, drift, refused, notices, number,
        first_ms, codes, learn, rare, waits, value, weight, anchor_value, met, unscored, alarmed, last, subs, opened,
        histogram, said,
    ) = habits  # fmt: skip
    size, started = len(codes), last != NOBODY
    flags = waits * _WAITS | alarmed * _ALARMED | started * _STARTED | said * _SAID | before
    head = _HEAD.pack(
        epochs, events, distinct, anchor_epochs, anchor_day, h, drift, refused, notices, number,
        first_ms, last if started else 0, flags,
        value, weight, anchor_value, met, unscored, size, len(subs),
    )  # fmt: skip
    parts = [head, bytes(histogram)]
    for sub_value, sub_weight, sub_met, _, sub_h in (*subs, opened):
        parts.append(_SUB.pack(sub_value, sub_weight, sub_met, sub_h))
    masks = _mask_bytes(size)
    parts += (
        bytes((opened.events,)),
        learn.to_bytes(masks, "little"),
        rare.to_bytes(masks, "little"),
        bigrams.to_bytes(_BLOOM_BYTES, "little"),
        struct.pack(f"<{size}H", *codes),
        table.raw,
    )
    return b"".join(parts)


def _mask_bytes(size: int) -> int:
    return (size + 7) // 8


def decode_habits(raw: bytes, last_ms: int) -> Habits:
    """Read a section's content; ``last_ms`` is the state's clock, after which nothing can have happened.

    Raises:
        InvalidHabits: where a part is cut short, out of range, or not in canonical form.
    """
    try:
        habits, before, end = _decoded(raw)
    except (struct.error, IndexError) as error:
        raise InvalidHabits(f"habits: expected all parts ({error})") from error
    except InvalidSketch as error:
        raise InvalidHabits(f"habits: table: {error}") from error
    found = habits if before else _moved(habits)
    if end != len(raw) or not _sound(habits, last_ms) or found == NO_HABITS or _encoded(habits, before) != raw:
        raise InvalidHabits("habits: expected parts within their bounds that agree, and nothing after them")
    return found


def _moved(habits: Habits) -> Habits:
    """Habits of an earlier release: what a sub-epoch ended with is what the next one begins with.

    What the oldest one began with is not known any more: what it ended with stands for it, as it did then.
    """
    subs, before = list[Sub](), habits.subs[0].h if len(habits.subs) == SUBS else CALM
    for sub in habits.subs:
        subs.append(sub._replace(h=before))
        before = sub.h
    return habits._replace(subs=tuple(subs), sub=habits.sub._replace(h=before))


def _decoded(raw: bytes) -> tuple[Habits, int, int]:
    (
        epochs, events, distinct, anchor_epochs, anchor_day, h, drift, refused, notices, number,
        first_ms, last, flags, value, weight, anchor_value, met, unscored, size, count,
    ) = _HEAD.unpack_from(raw)  # fmt: skip
    at = _HEAD.size + BINS
    histogram = tuple(raw[_HEAD.size : at])
    subs: list[Sub] = []
    for _ in range(min(count, SUBS) + 1):
        a, b, c, d = _SUB.unpack_from(raw, at)
        subs.append(Sub(a, b, c, SUB_EVENTS, d))
        at += _SUB.size
    opened = subs.pop()._replace(events=raw[at])
    at += 1
    masks = _mask_bytes(size)
    learn, rare = (int.from_bytes(raw[at + n * masks : at + (n + 1) * masks], "little") for n in (0, 1))
    at += 2 * masks
    bigrams = int.from_bytes(raw[at : at + _BLOOM_BYTES], "little")
    at += _BLOOM_BYTES
    codes = struct.unpack_from(f"<{size}H", raw, at)
    table, end = read(raw, at + 2 * size)
    return Habits(
        epochs, events, distinct, anchor_epochs, anchor_day, table, bigrams, h, drift, refused, notices, number,
        first_ms, codes, learn, rare, bool(flags & _WAITS), value, weight, anchor_value, met, unscored,
        bool(flags & _ALARMED), last if flags & _STARTED else NOBODY, tuple(subs), opened, histogram,
        flags // _SAID & _SAID_MOST,
    ), flags & BEFORE, end  # fmt: skip


def _sound(h: Habits, last_ms: int) -> bool:
    """Whether habits could have come about; what they are later used for needs no more than this."""
    size = len(h.codes)
    return (
        h.epochs <= MAX_EPOCHS
        and h.events <= h.epochs * EPOCH_EVENTS
        and h.anchor_epochs <= ANCHOR_EPOCHS
        and (h.epochs > 0 or not h.table.entries)
        and h.number >= 1
        and 0 <= h.first_ms <= last_ms
        and size == (EPOCH_EVENTS if h.waits else min(size, EPOCH_EVENTS - 1))
        and max(h.learn, h.rare).bit_length() <= size
        and h.unscored <= size
        and (size > 0 or (h.value, h.weight, h.anchor_value, h.met, h.first_ms, h.alarmed) == (0, 0, 0, 0, 0, False))
        and (h.sub.events > 0 or h.sub[:4] == (0, 0, 0, 0))
        and h.sub.events < SUB_EVENTS
        and abs(h.drift) <= 8 * 1024
        and h.said in ({NOTHING} if h.waits else {NOTHING, FINE, BAD})
        and max(abs(h.value), abs(h.anchor_value)) <= size * _VALUE_MOST
        and h.weight <= size * _WEIGHT_MOST
        and abs(h.met) <= size * _MET_MOST
        and all(_sound_sub(sub) for sub in (*h.subs, h.sub))
    )


def _sound_sub(sub: Sub) -> bool:
    most = sub.events
    return (
        abs(sub.value) <= most * _VALUE_MOST and sub.weight <= most * _WEIGHT_MOST and abs(sub.met) <= most * _MET_MOST
    )
