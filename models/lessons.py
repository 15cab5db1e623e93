"""What one event teaches: the lesson that the audit keeps, and the only two ways in which a baseline moves by it."""

# ruff: noqa: FURB136, PLR1730
# On the way of every action a comparison takes a fifth of what a call of ``min`` or ``max`` takes.

from __future__ import annotations

import struct
from typing import NamedTuple

from models import bar, conduct, epoch, rate
from models.baseline import (
    HASH_BYTES,
    HOUR,
    MAX_SESSION,
    RING,
    Baseline,
    fitted,
    noticed,
    one_more,
    ripened,
    waited,
    without,
)
from models.codes import ce_hash
from models.epoch import NO_HABITS
from models.event import Features, Scores
from models.made import made


class Lesson(NamedTuple):
    """What observing one event changes.

    Attributes:
        at_ms: the state's clock.
        epoch: number of the epoch where it waits, 0 where there was no room.
        keys: channel << 16 | code of each value, and of the hour.
        counters: rate counters after it.
        session: W after it, bounded.
        ce: 6 bytes by which a repeated ce_id is known.
        learn: whether it may become normal.
        usual: whether the gate let it, and not the slow way back in.
        habit: number of the epoch of habits that it is in, 0 for none.
        mark: what it adds there; a lesson of the first release has none.
        step: what it adds to the conduct; lessons of earlier releases have none.
        alarm: whether its total reached the identity's own bar.
    """

    at_ms: int
    epoch: int
    keys: tuple[int, ...]
    counters: rate.Counters
    session: int
    ce: bytes
    learn: bool
    usual: bool
    habit: int = 0
    mark: epoch.Mark | None = None
    step: conduct.Step | None = None
    alarm: bool = False


class Taught(NamedTuple):
    """What an event added to its epochs, so that a cancelled one can be taken back; epoch 0 added nothing."""

    epoch: int
    keys: tuple[int, ...]
    counters: rate.Counters
    habit: int = 0
    habit_code: int = 0


def lesson(f: Features, s: Scores, ce_id: str, learn: bool, usual: bool = True, habit: bool | None = None) -> Lesson:
    """What `observe` shall do about this event; ``learn`` False moves clock, rate and session only.

    ``habit`` says whether it may become a habit, as it may where it is learned unless that is said: habits have a gate
    of their own, which an event that the epoch score itself found suspicious must be able to reach.
    """
    session, signs, code, seen = s.session, f.signs, f.habit_code, f.conduct
    return made(
        Lesson,
        (
            f.at_ms,
            f.epoch if learn else 0,
            f.keys,
            f.counters,
            session if session < MAX_SESSION else MAX_SESSION,
            ce_hash(ce_id),
            learn,
            learn and usual,
            f.habit if (learn if habit is None else habit) else 0,
            epoch.unscored(code) if signs is None else epoch.judge(signs, code)[1],
            None if seen is None else seen.step,
            False,
        ),
    )


def observe(b: Baseline, lesson: Lesson) -> Baseline:
    """The next baseline: what is due at this time matures first, then the event is added."""
    at, _, keys, counters, session, ce, learn, usual, in_habit, mark, step, alarm = lesson
    if at < b.last_ms:
        at = b.last_ms
    b = ripened(b, at)
    if b.habits is NO_HABITS and b.events:
        b = fitted(b)
    habit = in_habit > 0
    if mark is None:
        mark, habit = epoch.unscored(keys[0] & 0xFFFF if keys else 0), learn
    (
        first_ms, last_ms, accepted_ms, events, refused, skipped, matured, number, _, tables, _, samples, sums, ring,
        recent, opened, waiting, extra, habits, held,
    ) = b  # fmt: skip
    if learn:
        opened, waiting, room = waited(b, keys, at, counters)
        if not room:
            skipped = one_more(skipped)
        elif opened is not None and opened.number == number:
            number = one_more(number)
        if alarm and room and opened is not None:
            extra = bar.counted(extra, opened.number, fine=False)
    else:
        refused = one_more(refused)
    return made(
        Baseline,
        (
            first_ms if events else at,
            at,
            at if usual or not events else accepted_ms,
            one_more(events),
            refused,
            skipped,
            matured,
            number,
            session,
            tables,
            counters,
            samples,
            sums,
            (ring + ce)[-RING * HASH_BYTES :],
            noticed(recent, keys, at),
            opened,
            waiting,
            extra,
            epoch.observe(habits, mark, at, learn=habit),
            held if step is None else conduct.observe(held, step, last_ms, at, learn=learn, usual=usual),
        ),
    )


def take_back(b: Baseline, taught: Taught) -> Baseline:
    """The baseline without what a cancelled event added, where that still waits; otherwise the same one."""
    if taught.habit:
        habits = epoch.take_back(b.habits, taught.habit, taught.habit_code)
        b = b if habits is b.habits else b._replace(habits=habits)
    if taught.epoch and b.open is not None and b.open.number == taught.epoch:
        less = without(b.open, taught.keys, taught.counters)
        return b._replace(open=less, conduct=conduct.spoilt(b.conduct))
    if taught.epoch and b.waiting is not None and b.waiting.number == taught.epoch:
        return b._replace(waiting=without(b.waiting, taught.keys, taught.counters))
    return b


_TAUGHT = struct.Struct("<IQQQB")
_HABIT = struct.Struct("<IH")


def teaches(lesson: Lesson) -> bool:
    """Whether the event teaches anything that could be taken back: to the tables, or to the habits alone."""
    return lesson.learn or lesson.habit > 0


def taught(lesson: Lesson) -> bytes:
    """What the receipt carries of a lesson, at most 50 bytes; epoch 0 where nothing was learned."""
    keys, mark = lesson.keys, lesson.mark
    written = bytearray(struct.pack(f"<{len(keys)}I", *keys))
    # A key has three bytes: of each four the highest is 0.
    del written[3::4]
    habit = _HABIT.pack(lesson.habit, mark.code) if lesson.habit and mark else b""
    return _TAUGHT.pack(lesson.epoch, *lesson.counters, len(keys)) + written + habit


def taught_from(raw: bytes) -> Taught:
    """Read what `taught` wrote.

    Raises:
        ValueError: where it is not that.
    """
    if len(raw) < _TAUGHT.size:
        raise ValueError(f"taught: expected at least {_TAUGHT.size} bytes, got {len(raw)}")
    number, one, two, three, size = _TAUGHT.unpack_from(raw)
    rest = raw[_TAUGHT.size :]
    if len(rest) - 3 * size not in {0, _HABIT.size} or size > HOUR + 1 or max(one, two, three) > rate.CAP:
        raise ValueError("taught: expected its keys, an epoch of habits, and nothing else")
    habit, code = _HABIT.unpack_from(rest, 3 * size) if len(rest) > 3 * size else (0, 0)
    keys = tuple(int.from_bytes(rest[at : at + 3], "little") for at in range(0, 3 * size, 3))
    if any(key >> 16 > HOUR for key in keys):
        raise ValueError("taught: expected keys of known channels")
    return Taught(number, keys, (one, two, three), habit, code)
