"""The identity's own bar: the total score that few of its matured actions reach, slow to move and bounded.

A stochastic quantile (Robbins and Monro 1951; Gibbs and Candes 2021 for the use as a threshold): each matured action
lowers the bar a little, each one that had reached it raises it, so that the share of those tends to `TARGET`. Only what
matures moves it, ten minutes later at the earliest, and no epoch by more than `MOST`. It stays between `LOW` and
`HIGH`; above `START`, where everybody begins, only alarms that a person called fine can raise it. Who wants to train it
up by himself gets no further than where he began.

It lives in a section of the baseline of its own, absent while there is nothing to say, and where sections of later
versions leave no room for it.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

TAG = 12
# The bar is kept in 1/8,000 of a nat, scores are in 1/1024.
UNIT = 8_000
START, LOW, HIGH = 6 * UNIT, 4 * UNIT, 12 * UNIT
# Of 100 matured actions so many may reach the bar.
TARGET_PERCENT = 1
RAISE, RAISE_FINE = UNIT // 16, UNIT // 4
LOWER = RAISE * TARGET_PERCENT // 100
MOST = UNIT // 2
START_AT: Final = START * 1_024 // UNIT
# More alarms in an epoch than this could not raise the bar any further.
_EPOCHS, _COUNT_MOST = 2, 15
_VALUE, _WAITS = struct.Struct("<H"), struct.Struct("<BB")
# With its tag and length; and what the sections of later versions may take beside it.
HEAD_BYTES = 3
MOST_BYTES = HEAD_BYTES + _VALUE.size + _EPOCHS * _WAITS.size
OTHERS_MOST_BYTES = 5

Extra = tuple[tuple[int, bytes], ...]


class InvalidBar(ValueError):
    """The bytes are not a bar; the message says what was expected."""


class Waits(NamedTuple):
    """Of a learning epoch that waits: alarms that were learned, and alarms that a person called fine, 15 at most.

    ``epoch`` is the last byte of its number: two wait at most, and their numbers are near each other.
    """

    epoch: int
    alarms: int
    fine: int


class Bar(NamedTuple):
    """The bar in 1/8,000 of a nat, and what waits to move it, the newest epoch last."""

    value: int
    waits: tuple[Waits, ...] = ()

    @property
    def at(self) -> int:
        """From this total score on an action is above it, in 1/1024."""
        return self.value * 1_024 // UNIT


START_BAR: Final = Bar(START)


def bar_of(extra: Extra) -> Bar:
    """The bar among a baseline's further sections.

    Raises:
        InvalidBar: where the section is not what `with_bar` writes.
    """
    for tag, content in extra:
        if tag == TAG:
            return _read(content)
    return START_BAR


def with_bar(extra: Extra, bar: Bar) -> Extra:
    """The sections with this bar in place of the one there was, in the order of their tags."""
    others = tuple([section for section in extra if section[0] != TAG])
    if bar == START_BAR or (others and sum(len(held) + HEAD_BYTES for _, held in others) > OTHERS_MOST_BYTES):
        return others
    content = _VALUE.pack(bar.value - LOW)
    for epoch, alarms, fine in bar.waits:
        content += _WAITS.pack(epoch, alarms << 4 | fine)
    return tuple(sorted((*others, (TAG, content)))) if others else ((TAG, content),)


def counted(extra: Extra, epoch: int, *, fine: bool) -> Extra:
    """One more alarm among what waits in this epoch; ``fine``: a person called it so."""
    return _changed(extra, epoch, 1, fine=fine)


def uncounted(extra: Extra, epoch: int, *, fine: bool) -> Extra:
    """One alarm less, where one is counted there."""
    return _changed(extra, epoch, -1, fine=fine)


def matured(extra: Extra, epoch: int, events: int) -> Extra:
    """The sections after this epoch of so many events has matured."""
    (held, waiting), number, alarms, fine = bar_of(extra), epoch & 0xFF, 0, 0
    for waits in waiting:
        if waits.epoch == number:
            _, alarms, fine = waits
    step = -events * LOWER
    if alarms or fine:
        step += min(alarms, events) * RAISE + min(fine, events) * RAISE_FINE
    ceiling = HIGH if fine else max(START, held)
    value = max(LOW, min(ceiling, held + max(-MOST, min(MOST, step))))
    # What waited in an older epoch was taken back as a whole.
    return with_bar(extra, Bar(value, tuple([waits for waits in waiting if _later(waits.epoch, number)])))


def _later(epoch: int, other: int) -> bool:
    return 0 < (epoch - other & 0xFF) < 128


def _changed(extra: Extra, epoch: int, by: int, *, fine: bool) -> Extra:
    bar, number = bar_of(extra), epoch & 0xFF
    old = next((waits for waits in bar.waits if waits.epoch == number), Waits(number, 0, 0))
    name = "fine" if fine else "alarms"
    new = old._replace(**{name: max(0, min(_COUNT_MOST, getattr(old, name) + by))})
    before = tuple(waits for waits in bar.waits if _later(number, waits.epoch))
    after = tuple(waits for waits in bar.waits if _later(waits.epoch, number))
    kept = (*before, *((new,) if new.alarms or new.fine else ()), *after)
    return with_bar(extra, bar._replace(waits=kept[-_EPOCHS:]))


def _read(content: bytes) -> Bar:
    rest = len(content) - _VALUE.size
    if rest < 0 or rest % _WAITS.size or rest > _EPOCHS * _WAITS.size:
        raise InvalidBar(f"bar: expected a value and at most {_EPOCHS} epochs that wait")
    value = _VALUE.unpack_from(content)[0] + LOW
    if not rest and value <= HIGH and value != START:
        return Bar(value)
    waits = tuple(Waits(epoch, both >> 4, both & 15) for epoch, both in _WAITS.iter_unpack(content[_VALUE.size :]))
    bar = Bar(value, waits)
    ordered = len(waits) < _EPOCHS or _later(waits[1].epoch, waits[0].epoch)
    if bar == START_BAR or bar.value > HIGH or not ordered or not all(each.alarms or each.fine for each in waits):
        raise InvalidBar("bar: expected a value within its bounds, and epochs in order, each with an alarm")
    return bar
