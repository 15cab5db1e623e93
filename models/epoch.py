"""The epoch score: whether somebody else has acted as this identity over its last hundred actions; and slow drift.

An epoch is 100 events of the action channel. Each event is worth ``v``, a log-likelihood ratio between the others
(`models.profiles`) and the identity's own habits (`models.sketch`), by counts, by presence in epochs and by a bigram
that is new; the r-th repeat weighs ``sqrt(r) - sqrt(r-1)``. An epoch's score is the weighted mean of ``v`` and what was
missing; a two-state filter carries suspicion from one to the next. Only what looks like the identity is learned, ten
minutes after the epoch's first event at the earliest; a long run of refused epochs ends in a notice and one epoch that
is learned all the same. Drift compares what was learned with a frozen anchor, which slow poisoning cannot move.

Between two closes each event has a score of its own, over the last 81 to 100 events (``h``) and the last 21 to 40 of
them beside it (``q``). An event that had no profile is learned and stands in none of these windows: what was not
compared is no evidence either way. All that lasts is integers; reals are in 1/1024. Nothing here reads a clock.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, log, sqrt
from typing import Final, NamedTuple

from models.made import made
from models.profiles import BILLION, LOWEST_BIN, MILLION, Profile
from models.sketch import (
    ANCHORS,
    COUNTS,
    EMPTY_SKETCH,
    EPOCHS,
    NEVER,
    Levels,
    Sketch,
    anchored,
    halved,
    merged,
    missed,
)
from schemas.profiles import BINS

EPOCH_EVENTS = 100
SUB_EVENTS = 20
SUBS = 4
MATURE_AFTER_MS = 600_000
# Weights of the score: fitted on simulated masquerades, without labels.
COUNT_WEIGHT, PRESENCE_WEIGHT, ABSENCE_WEIGHT, BIGRAM_WEIGHT, COST = 2.06, 1.16, 0.10, 1.64, 0.5
CLIP = 6.0
# Above this share others do this right after that so often that it tells nobody apart.
COMMON_BIGRAM = 200_000
# The filter: how a suspicion lasts, how one begins, and how much one epoch may say.
STAYS, BEGINS, SAYS, SAYS_MOST = 0.5, 0.01, 1.5, 8.0
# From so many events on a window says all that it may, and its scores are ready.
WHOLE_WINDOW = 60
LEARN_BELOW_SCORE, LEARN_BELOW = 512, -3 * 1024
# Short windows, beside the long one.
SHORT_RATIO, SHORT_ABSENCE, SHORT_COST, SHORT_PART, SHORT_MOST = 0.80, 1.41, 0.11, 0.5, 6.0
MIDDLE_MOST = 2 * 1024
YOUNG_CREDIT, YOUNG_EPOCHS = 2.0, 15.0
OLD_EPOCHS = 50
# So many in a row are refused before the next one is learned all the same.
REFUSED_YOUNG, REFUSED_OLD = 5, 10
DRIFT_START, DRIFT_MOST = -1024, 2.0
ANCHOR_EPOCHS = 50
ANCHOR_LASTS_DAYS = 30
DAY_MS = 86_400_000
ANCHOR_CALM = 0
MAX_EPOCHS = 250
BLOOM_BITS = 384
NOBODY = -1
# What a person said of the open epoch.
NOTHING, FINE, BAD = 0, 1, 2
# The log-odds that somebody else acts, once a person said so (1/1024).
WATCHED = 4 * 1024
_DAMP = (1.0, *(sqrt(r) - sqrt(r - 1) for r in range(1, EPOCH_EVENTS + 2)))
_MAX_U32, _MAX_U16 = (1 << 32) - 1, (1 << 16) - 1

Sums = tuple[int, int, int, int]


class Sub(NamedTuple):
    """Sums over at most 20 events.

    ``value`` of ``w * v`` and ``weight`` of ``w`` in 1/1024, ``met`` of what first occurrences of usual values weigh,
    the number of ``events``, and ``h`` before the first of them.
    """

    value: int
    weight: int
    met: int
    events: int
    h: int


class Habits(NamedTuple):
    """What is kept of one identity for the epoch score.

    Attributes:
        epochs, events, distinct: E, N and K of the table; ``anchor_epochs`` EA, full since day ``anchor_day``.
        table: levels by code; ``bigrams`` bits of a Bloom filter with one hash.
        h: the filter's log-odds after the last close; ``drift`` D; both in 1/1024.
        refused: epochs refused in a row; ``notices`` how often that ended in a baseline shift.
        number: of the open epoch, from 1; ``first_ms`` of its first event, 0 before it.
        codes: of the open epoch in order; ``learn`` and ``rare`` a bit for each: may be learned, rare after the last.
        waits: the epoch is full and accepted, and not yet ten minutes old.
        value, weight, anchor_value, met: the open epoch's sums; ``unscored`` how many of its events had no profile.
        alarmed: a middle window of this epoch scored too high for learning.
        last: the code before the next one, `NOBODY` at first.
        subs: the last four full sub-epochs, the newest last; ``sub`` the open one.
        histogram: of accepted epochs' ``h``, one nat a bin.
        said: what a person said of the open epoch, which its own score then does not decide.
    """

    epochs: int
    events: int
    distinct: int
    anchor_epochs: int
    anchor_day: int
    table: Sketch
    bigrams: int
    h: int
    drift: int
    refused: int
    notices: int
    number: int
    first_ms: int
    codes: tuple[int, ...]
    learn: int
    rare: int
    waits: bool
    value: int
    weight: int
    anchor_value: int
    met: int
    unscored: int
    alarmed: bool
    last: int
    subs: tuple[Sub, ...]
    sub: Sub
    histogram: tuple[int, ...]
    said: int = NOTHING


CALM: Final = round(log(BEGINS / (1 - BEGINS)) * 1024)
NO_SUB: Final = Sub(0, 0, 0, 0, CALM)
NO_HABITS: Final = Habits(
    0, 0, 0, 0, 0, EMPTY_SKETCH, 0, CALM, DRIFT_START, 0, 0, 1, 0, (), 0, 0, False, 0, 0, 0, 0, 0, False, NOBODY, (),
    NO_SUB, (0,) * BINS,
)  # fmt: skip


class Signs(NamedTuple):
    """All that the epoch score of one event depends on; integers only.

    Attributes:
        levels: of the value in the table; ``r`` its occurrence in the epoch, from 1.
        totals: E, N, K and EA.
        others: share of events in parts in a billion, of epochs and after the last code in parts in a million.
        new: whether the bigram is rare among others and not among the identity's.
        usual: the mass of the table, of which ``met`` is this value's where it is the first of it.
        windows: long, middle, short: value, weight, met and events before this one.
        before: ``h`` where the long window starts; ``drift`` D.
        tails: by bin of ``h`` how often the identity and the others scored as high, in 1/1024; empty if not known.
        peers: how many others ever did this, of how many.
    """

    levels: Levels
    r: int
    totals: Sums
    others: tuple[int, int, int]
    new: bool
    usual: int
    met: int
    windows: tuple[Sums, Sums, Sums]
    before: int
    drift: int
    tails: tuple[int, ...]
    peers: tuple[int, int] = (0, 0)


class Mark(NamedTuple):
    """What an event adds to its epoch: its code and its parts of the sums, all in 1/1024; no weight: no profile."""

    code: int
    value: int
    weight: int
    anchor_value: int
    met: int
    h: int
    rare: bool
    alarmed: bool


class EpochScores(NamedTuple):
    """Scores in 1/1024: ``h``, ``q``, the calibrated ``p`` of ``h`` (None if not known), and the drift."""

    h: int
    q: int
    p: int | None
    drift: int


@lru_cache(maxsize=512)
def credit(epochs: int) -> float:
    """What a young identity is forgiven: its habits are not known yet."""
    return YOUNG_CREDIT / (1 + (epochs / YOUNG_EPOCHS) ** 4)


def signs(habits: Habits, code: int, profile: Profile) -> Signs:
    """What the habits and the profile say of this code as the next event."""
    levels = habits.table.entries.get(code, NEVER)
    epochs, last = habits.epochs, habits.last
    r, usual = habits.codes.count(code) + 1, habits.table.mass(habits.epochs)
    met = missed(levels[1], epochs) if r == 1 else 0
    if habits.waits:
        # What comes after a full epoch that waits is not counted: it weighs as this value did on average in that epoch,
        # and takes the place of what is usual among so many, so that nothing seems to be missing.
        r, met = 1 + r // 4, round(usual / EPOCH_EVENTS)
    share, presence, peers = profile.value(code)
    follows = profile.follows(last, code, share)
    subs = habits.subs
    return Signs(
        levels,
        r,
        (epochs, habits.events, habits.distinct, habits.anchor_epochs),
        (share, presence, follows),
        follows < COMMON_BIGRAM and not habits.bigrams >> _bit(last, code) & 1,
        usual,
        met,
        _windows(subs, habits.sub),
        (subs[0] if subs else habits.sub).h,
        habits.drift,
        tails(habits.histogram, profile.rarer),
        (peers, profile.identities),
    )


def ready(s: Signs) -> bool:
    """Whether ``h`` and ``q`` say something: an epoch was learned, and so many events were compared with others'."""
    return s.totals[0] > 0 and s.windows[0][3] + 1 >= WHOLE_WINDOW


def _windows(subs: tuple[Sub, ...], open_sub: Sub) -> tuple[Sums, Sums, Sums]:
    """The sums over the open sub-epoch and all, two, and one before it."""
    one = _after(open_sub[:4], subs[-1]) if subs else open_sub[:4]
    two = _after(one, subs[-2]) if len(subs) > 1 else one
    three = _after(two, subs[-3]) if len(subs) > 2 else two
    return _after(three, subs[-4]) if len(subs) == SUBS else three, two, one


def _after(sums: Sums, earlier: Sub) -> Sums:
    value, weight, met, events = sums
    a, b, c, d, _ = earlier
    return (value + a, weight + b, met + c, events + d)


def _bit(before: int, code: int) -> int:
    mixed = (before * 0x9E3779B1 + code * 0x85EBCA6B + 0x165667B1) & 0xFFFFFFFF
    mixed = ((mixed ^ mixed >> 15) * 0x2C1B3C6D) & 0xFFFFFFFF
    return (mixed ^ mixed >> 12) % BLOOM_BITS


@lru_cache(maxsize=8_192)
def tails(histogram: tuple[int, ...], rarer: tuple[int, ...]) -> tuple[int, ...]:
    """By bin ``p = (1 + own at least as high + 100 * others' share) / (101 + own)`` in 1/1024; none without others."""
    if not rarer:
        return ()
    found, above, total = [0] * BINS, 0, sum(histogram)
    for at in range(BINS - 1, -1, -1):
        above += histogram[at]
        found[at] = round((1 + above + 100 * rarer[at] / MILLION) / (101 + total) * 1024)
    return tuple(found)


def weigh(s: Signs) -> tuple[int, int, int]:
    """``w * v``, ``w``, and ``w * l3`` of this event in 1/1024."""
    often, epochs, anchor = s.levels
    total_epochs, events, distinct, anchor_epochs = s.totals
    share, presence, after = s.others
    g, gp, follows = share / BILLION, presence / MILLION, after / MILLION * 0.05
    own = ((COUNTS[often] - 0.5 if often else 0.0) + (10 + 0.5 * distinct) * g) / (events + 10)
    theirs, twice = gp + follows, 2 * gp
    l1 = _within(log((0.95 * g + follows) / (0.95 * own + follows)), CLIP)
    l2 = _within(log(theirs / ((EPOCHS[epochs] + twice) / (total_epochs + 2) + follows)), CLIP)
    l3 = _within(log(theirs / ((ANCHORS[anchor] + twice) / (anchor_epochs + 2) + follows)), CLIP)
    w = _DAMP[s.r] * 1024
    return round(w * (COUNT_WEIGHT * l1 + PRESENCE_WEIGHT * l2 + BIGRAM_WEIGHT * s.new)), round(w), round(w * l3)


def _within(value: float, most: float) -> float:
    """The value, no further from 0 than this: a third of what ``max`` and ``min`` take."""
    if -most < value < most:
        return value
    return most if value > 0 else -most


def judge(s: Signs, code: int) -> tuple[EpochScores, Mark]:
    """The scores with this event as the last one, and what it adds where it happens."""
    asked, asked_code, answer = _JUDGED[0]
    if asked is not s or asked_code != code:
        answer = _judged(s, code)
        _JUDGED[0] = (s, code, answer)
    return answer


def _judged(s: Signs, code: int) -> tuple[EpochScores, Mark]:
    value, weight, anchor_value = weigh(s)
    epochs = s.totals[0]
    young = credit(epochs)
    long, middle, short = s.windows
    score = _window_score(long, value, weight, s.met, s.usual) - young
    h = _filtered(s.before, score, (long[3] + 1) / WHOLE_WINDOW)
    near = (short[0] + value) / (short[1] + weight + 3 * 1024)
    extra = SHORT_RATIO * near + SHORT_ABSENCE * _absence(s.usual, short[2] + s.met, short[3] + 1) - SHORT_COST - young
    q = h + round(SHORT_PART * _within(extra, SHORT_MOST) * 1024)
    p = s.tails[min(BINS - 1, max(0, (h >> 10) - LOWEST_BIN))] if s.tails else None
    alarmed = (
        epochs >= OLD_EPOCHS and (_window_score(middle, value, weight, s.met, s.usual) - young) * 1024 > MIDDLE_MOST
    )
    return EpochScores(h, q, p, s.drift), Mark(
        code, value, weight, anchor_value, s.met, h, s.others[2] < COMMON_BIGRAM, alarmed
    )


def _absence(usual: int, met: int, events: int) -> float:
    """What was missing among so many events, as `ABSENCE_WEIGHT` wants it: a tenth of the weights' sum."""
    return ((usual * (events / EPOCH_EVENTS) if events < EPOCH_EVENTS else usual) - met) / 10_240


def _window_score(window: Sums, value: int, weight: int, met: int, usual: int) -> float:
    a, b, c, d = window
    return (a + value) / (b + weight) + ABSENCE_WEIGHT * _absence(usual, c + met, d + 1) - COST


def _filtered(before: int, score: float, part: float) -> int:
    """The log-odds in 1/1024 after one window, from those before it; ``part`` of the window is there."""
    was = 1 / (1 + exp(-before / 1024))
    prior = STAYS * was + BEGINS * (1 - was)
    says = SAYS * (score - 0.5)
    if part < 1.0:
        says *= part
    return round((log(prior / (1 - prior)) + _within(says, SAYS_MOST)) * 1024)


# The last answer: the scores of an event are asked for first, and then what it adds.
_JUDGED: Final[list[tuple[Signs | None, int, tuple[EpochScores, Mark]]]] = [
    (None, 0, (EpochScores(0, 0, None, 0), Mark(0, 0, 0, 0, 0, 0, rare=False, alarmed=False)))
]


@lru_cache(maxsize=8_192)
def unscored(code: int) -> Mark:
    """The mark of an event where there is no profile: it is learned, and says nothing."""
    return Mark(code, 0, 0, 0, 0, CALM, True, False)


def ripened(habits: Habits, at_ms: int) -> Habits:
    """The habits with the epoch that waited in the table, where it is old enough now."""
    if not habits.waits or at_ms < habits.first_ms + MATURE_AFTER_MS:
        return habits
    asked, asked_ms, answer = _LAST[0]
    if asked is not habits or asked_ms != at_ms:
        answer = _merged(habits, at_ms)
        _LAST[0] = (habits, at_ms, answer)
    return answer


# The last answer: an event is looked at and then learned at the same time from the same habits.
_LAST: Final = [(NO_HABITS, 0, NO_HABITS)]


def observe(habits: Habits, mark: Mark, at_ms: int, *, learn: bool) -> Habits:
    """The next habits: an epoch that is due is merged first, then the event is added, and a full epoch is closed."""
    habits = ripened(habits, at_ms)
    subs, sub = _next_sub(habits, mark)
    if habits.waits:
        return habits._replace(last=mark.code, subs=subs, sub=sub)
    (
        epochs, events, distinct, anchor_epochs, anchor_day, table, bigrams, h, drift, refused, notices, number,
        first_ms, codes, learned, rares, _, values, weights, anchor_values, mets, unscored_yet, alarmed_yet, _, _, _,
        histogram, said,
    ) = habits  # fmt: skip
    code, value, weight, anchor_value, met, _, rare, alarmed = mark
    place = len(codes)
    # All fields at once and in their order: `_replace` takes three times as long, the class's call twice.
    added = made(
        Habits,
        (
            epochs, events, distinct, anchor_epochs, anchor_day, table, bigrams, h, drift, refused, notices, number,
            first_ms if place else at_ms,
            codes + (code,),  # noqa: RUF005  unpacking takes three times as long
            learned | learn << place,
            rares | rare << place,
            False,
            values + value,
            weights + weight,
            anchor_values + anchor_value,
            mets + met,
            unscored_yet + (not weight),
            alarmed_yet or alarmed,
            code, subs, sub, histogram, said,
        ),
    )  # fmt: skip
    return _closed(added, at_ms) if place + 1 == EPOCH_EVENTS else added


def _next_sub(habits: Habits, mark: Mark) -> tuple[tuple[Sub, ...], Sub]:
    if not mark.weight:
        return habits.subs, habits.sub
    value, weight, met, events, before = habits.sub
    sub = Sub(value + mark.value, weight + mark.weight, met + mark.met, events + 1, before)
    if sub.events < SUB_EVENTS:
        return habits.subs, sub
    return (*habits.subs, sub)[-SUBS:], Sub(0, 0, 0, 0, mark.h)


def epoch_score(habits: Habits) -> int | None:
    """The score ``s`` of the open epoch in 1/1024; None where no event of it, or not every one, was scored."""
    if habits.unscored or not habits.weight:
        return None
    absent = _absence(habits.table.mass(habits.epochs), habits.met, EPOCH_EVENTS)
    return round((habits.value / habits.weight + ABSENCE_WEIGHT * absent - COST - credit(habits.epochs)) * 1024)


def _closed(habits: Habits, at_ms: int) -> Habits:
    """The full epoch judged: accepted (merged, or waiting for its time), or refused and forgotten."""
    score = epoch_score(habits)
    if score is not None:
        habits = habits._replace(h=_filtered(habits.h, score / 1024, 1.0))
    if habits.said == BAD:
        return _opened(habits._replace(refused=0))
    if score is None:
        return _accepted(habits, at_ms)
    if habits.said == FINE:
        return _accepted(_drifted(habits._replace(refused=0)), at_ms)
    if score < LEARN_BELOW_SCORE and habits.h < LEARN_BELOW and not habits.alarmed:
        return _accepted(_drifted(habits._replace(refused=0)), at_ms)
    if habits.refused >= (REFUSED_YOUNG if habits.epochs < OLD_EPOCHS else REFUSED_OLD):
        return _accepted(_drifted(habits._replace(refused=0, notices=min(_MAX_U16, habits.notices + 1))), at_ms)
    return _opened(habits._replace(refused=habits.refused + 1))


def _drifted(habits: Habits) -> Habits:
    """Drift and histogram with the epoch that is about to be learned."""
    absent = _absence(habits.table.mass(habits.epochs), habits.met, EPOCH_EVENTS)
    step = max(-CLIP, min(DRIFT_MOST, habits.anchor_value / habits.weight + 0.2 * absent))
    counts = list(habits.histogram)
    place = min(BINS - 1, max(0, (habits.h >> 10) - LOWEST_BIN))
    counts[place] += 1
    if counts[place] > 255:
        counts = [count >> 1 for count in counts]
    return habits._replace(drift=round(0.9 * habits.drift + 0.1 * step * 1024), histogram=tuple(counts))


def _accepted(habits: Habits, at_ms: int) -> Habits:
    return (
        _merged(habits, at_ms)
        if at_ms >= habits.first_ms + MATURE_AFTER_MS
        else habits._replace(waits=True, said=NOTHING)
    )


def _opened(habits: Habits) -> Habits:
    """An empty epoch in place of the one that is done with."""
    return habits._replace(
        number=min(_MAX_U32, habits.number + 1), first_ms=0, codes=(), learn=0, rare=0, waits=False,
        value=0, weight=0, anchor_value=0, met=0, unscored=0, alarmed=False, said=NOTHING,
    )  # fmt: skip


def _merged(habits: Habits, at_ms: int) -> Habits:
    """The open epoch in the table."""
    counts: dict[int, int] = {}
    bigrams, before = habits.bigrams, NOBODY
    for place, code in enumerate(habits.codes):
        if habits.learn >> place & 1:
            counts[code] = counts.get(code, 0) + 1
            if place and habits.rare >> place & 1:
                bigrams |= 1 << _bit(before, code)
        before = code
    if not counts:
        return _opened(habits)
    anchoring = habits.anchor_epochs < ANCHOR_EPOCHS
    table, new = merged(habits.table, counts, habits.number, anchoring=anchoring)
    grown = habits._replace(
        table=table,
        bigrams=bigrams,
        epochs=habits.epochs + 1,
        events=habits.events + sum(counts.values()),
        distinct=min(_MAX_U16, habits.distinct + new),
        anchor_epochs=habits.anchor_epochs + anchoring,
        anchor_day=at_ms // DAY_MS if anchoring else habits.anchor_day,
    )
    return _opened(_aged(grown, at_ms))


def _aged(habits: Habits, at_ms: int) -> Habits:
    """The anchor moved where it has lasted and nothing drifts; counts halved where there are too many epochs."""
    if at_ms // DAY_MS >= habits.anchor_day + ANCHOR_LASTS_DAYS and habits.drift < ANCHOR_CALM:
        epochs = min(ANCHOR_EPOCHS, habits.epochs)
        table = anchored(habits.table, epochs / habits.epochs)
        habits = habits._replace(table=table, anchor_epochs=epochs, anchor_day=at_ms // DAY_MS)
    if habits.epochs < MAX_EPOCHS:
        return habits
    return habits._replace(table=halved(habits.table), epochs=habits.epochs // 2, events=habits.events // 2)


def take_back(habits: Habits, number: int, code: int) -> Habits:
    """The habits without one event of this code, where its epoch is still open; otherwise the same ones."""
    if number != habits.number:
        return habits
    for place in range(len(habits.codes) - 1, -1, -1):
        if habits.codes[place] == code and habits.learn >> place & 1:
            return habits._replace(learn=habits.learn & ~(1 << place))
    return habits


def vouched(habits: Habits, number: int, code: int, *, habitual: bool, suspected: bool) -> Habits:
    """The habits after a person said that an action of this code, in the epoch of this number, was fine.

    The action may be learned with its epoch, where that is still open. Where it was the epoch that looked like somebody
    else (``suspected``), the open one is learned whatever its score: the same one, or the next after it was refused.
    """
    if not _remembered(habits, number):
        return habits
    if number == habits.number and not habitual:
        habits = _with_place(habits, code)
    if suspected and not habits.waits and not habits.said:
        habits = habits._replace(said=FINE)
    return habits


def disowned(habits: Habits, number: int) -> Habits:
    """The habits after a person said that an action in this epoch was bad.

    The epoch is not learned, nor the open one where it was in the run of refused ones before it. The run, after which
    one is learned all the same, starts anew; and the next hundred actions are judged as those after an intruder's.
    """
    if not _remembered(habits, number):
        return habits
    *subs, sub = (each._replace(h=max(each.h, WATCHED)) for each in (*habits.subs, habits.sub))
    habits = habits._replace(h=max(habits.h, WATCHED), subs=tuple(subs), sub=sub, refused=0)
    if habits.waits:
        return _opened(habits) if number == habits.number else habits
    return habits._replace(said=BAD)


def _remembered(habits: Habits, number: int) -> bool:
    """Whether this epoch is the open one, or in the run of refused ones before it."""
    return number > 0 and habits.number - habits.refused <= number <= habits.number


def _with_place(habits: Habits, code: int) -> Habits:
    for place in range(len(habits.codes) - 1, -1, -1):
        if habits.codes[place] == code and not habits.learn >> place & 1:
            return habits._replace(learn=habits.learn | 1 << place)
    return habits
