"""The event score: how much likelier one pending action is from somebody else than from the identity itself.

Each channel gives a log-likelihood ratio between "somebody else" and the identity's own Pitman-Yor back-off to the
shipped prior (Heard and Rubin-Delanchy 2016 for the process; Gold, Priest and Carter for user-against-attacker models),
clipped, with repeats damped. Their sum feeds a session that forgets within half an hour; the total adds the rate. All
reals are integers of 1/1024 before they are stored, compared or shown. Nothing here reads a clock, and state moves by
`observe` and `take_back` alone.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log, sqrt
from typing import Any, NamedTuple

from models import rate
from models.baseline import (
    HASH_BYTES,
    HOUR,
    MATURE_AFTER_MS,
    MAX_SESSION,
    MAX_TIME_MS,
    RING,
    Baseline,
    landing,
    noticed,
    ripened,
    waited,
    without,
)
from models.codes import ce_hash, container_code, network_code
from models.prior import Prior
from stayhand.wire import PendingAction

MODEL_VERSION = "event-1"

THETA = 5.0
DISCOUNT = 0.5
LOWEST, HIGHEST = -1.0, 8.0
# One for each categorical channel: action, resource, source, client.
WEIGHTS = (1.0, 0.5, 0.8, 0.6)
NAMES = ("action", "resource", "source", "client")
HOUR_WEIGHT = 0.5
HOUR_SMOOTHING = 2.0
IMPACT_POINTS = (0.0, 1.0, 3.0, 6.0)
SESSION_TAU_MS = 1_800_000
SESSION_COST = 1024
SESSION_FLOOR = -512
RATE_FROM_Z, RATE_MOST = 2 * 1024, 6.0
# Enough of a history that a score may block: this many events matured, and this long known.
MATURE_EVENTS = 50
MATURE_AGE_MS = 3_600_000
_MAX_U32 = (1 << 32) - 1


class Evidence(NamedTuple):
    """What one categorical channel has to say.

    ``code`` of the value, its matured count ``k``, the channel's total ``n`` and distinct ``u``, the ``r``-th time in
    the window of repeats (from 1), the prior's share ``g`` and somebody else's ``q`` in parts in a million.
    """

    code: int
    k: int
    n: int
    u: int
    r: int
    g: int
    q: int


@dataclass(frozen=True, slots=True)
class Features:
    """All that the score of one event depends on; integers only.

    Attributes:
        at_ms: the state's clock for this event, never before the last one.
        gap_ms: since the last event, 0 for the first.
        channels: evidence of action, resource, source, client; None where the event has no such value.
        hour: of the day in UTC; ``hour_count`` four times its smoothed count, ``hour_total`` the matured events.
        repeats: events in the window of repeats, with this one.
        impact: 0 to 3 by the prior.
        counters: rate counters with this event, in 1/65,536; ``z`` their deviations in 1/1024.
        session: W before this event, decayed to now, in 1/1024.
        matured: matured events; ``age_ms`` since the identity was first seen.
        epoch: number of the epoch where the event would wait, 0 where there is no room.
    """

    at_ms: int
    gap_ms: int
    channels: tuple[Evidence | None, Evidence | None, Evidence | None, Evidence | None]
    hour: int
    hour_count: int
    hour_total: int
    repeats: int
    impact: int
    counters: rate.Counters
    z: tuple[int, int, int]
    session: int
    matured: int
    age_ms: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one event in 1/1024; ``epoch`` and ``drift`` are None: not ready, which is not 0.

    Attributes:
        event: S of this event alone.
        session: W after it.
        rate: evidence of the rate.
        total: T = W + rate.
        terms: what T is made of, the largest first: channels, hour, impact, rate, and ``session``, what W brought.
        mature: whether the baseline has enough history for a score to block.
    """

    event: int | None
    session: int
    rate: int
    total: int
    terms: tuple[tuple[str, int], ...]
    mature: bool
    epoch: int | None = None
    drift: int | None = None


@dataclass(frozen=True, slots=True)
class Lesson:
    """What observing one event changes.

    Attributes:
        at_ms: the state's clock.
        epoch: number of the epoch where it waits, 0 where there was no room.
        keys: channel << 16 | code of each value, and of the hour.
        counters: rate counters after it.
        session: W after it, bounded.
        ce: 6 bytes by which a repeated ce_id is known.
        learn: whether it may become normal.
    """

    at_ms: int
    epoch: int
    keys: tuple[int, ...]
    counters: rate.Counters
    session: int
    ce: bytes
    learn: bool


@dataclass(frozen=True, slots=True)
class Taught:
    """What an event added to its epoch, so that a cancelled one can be taken back; epoch 0 added nothing."""

    epoch: int
    keys: tuple[int, ...]
    counters: rate.Counters


def features(b: Baseline, action: PendingAction, at_ms: int, prior: Prior) -> Features:
    """What the baseline and the prior say of this action at this time (milliseconds of the append time)."""
    at = min(MAX_TIME_MS, max(at_ms, b.last_ms, 0))
    b = ripened(b, at)
    recent = b.recent
    seen: Mapping[int, int] = {}
    repeats = 1
    if recent is not None and at < recent.start_ms + MATURE_AFTER_MS:
        seen, repeats = recent.counts, recent.events + 1
    known = prior.action(action.action.name)
    context = action.context
    source = network_code(context.source) if context.source else None
    client = prior.client(context.client) if context.client else None
    resource = container_code(action.resource.type, action.resource.id)
    channels = (
        _evidence(b, 0, seen, known.code, known.g, known.q),
        _evidence(b, 1, seen, resource, prior.resources, prior.resources),
        None if source is None else _evidence(b, 2, seen, source, prior.sources, prior.sources),
        None if client is None else _evidence(b, 3, seen, client.code, client.share, client.share),
    )
    hour = at // 3_600_000 % 24
    hours = b.tables[HOUR]
    count = hours.counts.get
    gap = at - b.last_ms if b.events else 0
    counters = rate.stepped(b.counters, gap)
    return Features(
        at_ms=at,
        gap_ms=gap,
        channels=channels,
        hour=hour,
        hour_count=2 * count(hour, 0) + count((hour + 1) % 24, 0) + count((hour + 23) % 24, 0),
        hour_total=sum(hours.counts.values()),
        repeats=repeats,
        impact=known.impact,
        counters=counters,
        z=rate.deviations(counters, b.samples, b.sums),
        session=int(b.session * exp(-gap / SESSION_TAU_MS) + 0.5),
        matured=b.matured,
        age_ms=at - b.first_seen_ms if b.events else 0,
        epoch=landing(b, _keys(channels, hour)),
    )


def _evidence(b: Baseline, channel: int, seen: Mapping[int, int], code: int, g: int, q: int) -> Evidence:
    table = b.tables[channel]
    r = seen.get(channel << 16 | code, 0) + 1
    return Evidence(code, table.counts.get(code, 0), table.total, table.distinct, r, g, q)


def _keys(channels: Sequence[Evidence | None], hour: int) -> tuple[int, ...]:
    keys = [channel << 16 | found.code for channel, found in enumerate(channels) if found is not None]
    keys.append(HOUR << 16 | hour)
    return tuple(keys)


def _damp(r: int) -> float:
    """The weight of the r-th repeat: ``r`` repeats together weigh ``sqrt(r)``."""
    return 1.0 if r <= 1 else sqrt(r) - sqrt(r - 1)


def _ratio(found: Evidence) -> float:
    """``ln(Q / P)`` of one value, clipped: Q is somebody else's share, P the identity's own Pitman-Yor estimate."""
    _, k, n, u, _, g, q = found
    own = (k - DISCOUNT if k else 0.0) + (THETA + DISCOUNT * u) * g * 1e-6
    return min(HIGHEST, max(LOWEST, log(q * 1e-6 * (n + THETA) / own)))


def score(f: Features) -> Scores:
    """The scores of one event; the same features give the same scores."""
    terms: list[tuple[str, int]] = []
    for name, weight, found in zip(NAMES, WEIGHTS, f.channels, strict=True):
        if found is not None:
            value = weight * _ratio(found)
            terms.append((name, _fixed(value * _damp(found.r) if value > 0.0 else value)))
    action = f.channels[0]
    if f.impact and action is not None and not action.k:
        terms.append(("impact", _fixed(IMPACT_POINTS[f.impact] * _damp(action.r))))
    terms.append(("hour", _hour(f)))
    event = sum(value for _, value in terms)
    session = max(0, f.session + max(event - SESSION_COST, SESSION_FLOOR))
    fast = _rate(f.z)
    terms.append(("rate", fast))
    terms.append(("session", f.session))
    terms.sort(key=_size, reverse=True)
    mature = f.matured >= MATURE_EVENTS and f.age_ms >= MATURE_AGE_MS
    return Scores(event, session, fast, session + fast, tuple(terms), mature)


def _size(term: tuple[str, int]) -> int:
    return term[1]


def _fixed(value: float) -> int:
    return round(value * 1024)


def _hour(f: Features) -> int:
    if not f.hour_total:
        return 0
    own = (f.hour_count / 4 + HOUR_SMOOTHING) / (f.hour_total + 24 * HOUR_SMOOTHING)
    value = HOUR_WEIGHT * min(HIGHEST, max(LOWEST, log(1 / 24 / own)))
    return _fixed(value * _damp(f.repeats) if value > 0.0 else value)


def _rate(z: tuple[int, int, int]) -> int:
    top = max(z)
    if top <= RATE_FROM_Z:
        return 0
    top_z = top / 1024
    return _fixed(min(RATE_MOST, top_z * top_z / 2 - 2))


def lesson(f: Features, s: Scores, ce_id: str, learn: bool) -> Lesson:
    """What `observe` shall do about this event; ``learn`` False moves clock, rate and session only."""
    keys = _keys(f.channels, f.hour)
    epoch = f.epoch if learn else 0
    return Lesson(f.at_ms, epoch, keys, f.counters, min(MAX_SESSION, s.session), ce_hash(ce_id), learn)


def observe(b: Baseline, lesson: Lesson) -> Baseline:
    """The next baseline: what is due at this time matures first, then the event is added."""
    at = max(lesson.at_ms, b.last_ms)
    b = ripened(b, at)
    opened, waiting, number = b.open, b.waiting, b.next_epoch
    refused, skipped = b.refused, b.skipped
    if lesson.learn:
        opened, waiting, room = waited(b, lesson.keys, at, lesson.counters)
        if not room:
            skipped = min(_MAX_U32, skipped + 1)
        elif opened is not None and opened.number == number:
            number = min(_MAX_U32, number + 1)
    else:
        refused = min(_MAX_U32, refused + 1)
    return Baseline(
        b.first_seen_ms if b.events else at,
        at,
        min(_MAX_U32, b.events + 1),
        refused,
        skipped,
        b.matured,
        number,
        lesson.session,
        b.tables,
        lesson.counters,
        b.samples,
        b.sums,
        (b.ring + lesson.ce)[-RING * HASH_BYTES :],
        noticed(b.recent, lesson.keys, at),
        opened,
        waiting,
        b.extra,
    )


def take_back(b: Baseline, taught: Taught) -> Baseline:
    """The baseline without what a cancelled event added, where that still waits; otherwise the same one."""
    if taught.epoch and b.open is not None and b.open.number == taught.epoch:
        return replace(b, open=without(b.open, taught.keys, taught.counters))
    if taught.epoch and b.waiting is not None and b.waiting.number == taught.epoch:
        return replace(b, waiting=without(b.waiting, taught.keys, taught.counters))
    return b


_TAUGHT = struct.Struct("<IQQQB")


def taught(lesson: Lesson) -> bytes:
    """What the receipt carries of a lesson, at most 49 bytes; epoch 0 where nothing was learned."""
    keys = b"".join(key.to_bytes(3, "little") for key in lesson.keys)
    return _TAUGHT.pack(lesson.epoch, *lesson.counters, len(lesson.keys)) + keys


def taught_from(raw: bytes) -> Taught:
    """Read what `taught` wrote.

    Raises:
        ValueError: where it is not that.
    """
    if len(raw) < _TAUGHT.size:
        raise ValueError(f"taught: expected at least {_TAUGHT.size} bytes, got {len(raw)}")
    epoch, one, two, three, size = _TAUGHT.unpack_from(raw)
    rest = raw[_TAUGHT.size :]
    if len(rest) != 3 * size or size > HOUR + 1 or max(one, two, three) > rate.CAP:
        raise ValueError("taught: expected its keys and nothing else")
    keys = tuple(int.from_bytes(rest[at : at + 3], "little") for at in range(0, len(rest), 3))
    if any(key >> 16 > HOUR for key in keys):
        raise ValueError("taught: expected keys of known channels")
    return Taught(epoch, keys, (one, two, three))


def features_json(f: Features) -> dict[str, Any]:
    """The features as JSON with integers only, short because a hold keeps them; `features_from_json` restores them."""
    return {
        "at": [f.at_ms, f.gap_ms, f.age_ms],
        "channels": [None if found is None else list(found) for found in f.channels],
        "hour": [f.hour, f.hour_count, f.hour_total],
        "repeats": f.repeats,
        "impact": f.impact,
        "counters": list(f.counters),
        "z": list(f.z),
        "session": f.session,
        "matured": f.matured,
        "epoch": f.epoch,
    }


def features_from_json(d: Mapping[str, Any]) -> Features:
    """Restore features from what `features_json` gave."""
    at, gap, age = d["at"]
    hour, count, total = d["hour"]
    one, two, three, four = (None if found is None else Evidence(*found) for found in d["channels"])
    return Features(
        at_ms=at,
        gap_ms=gap,
        channels=(one, two, three, four),
        hour=hour,
        hour_count=count,
        hour_total=total,
        repeats=d["repeats"],
        impact=d["impact"],
        counters=_three(d["counters"]),
        z=_three(d["z"]),
        session=d["session"],
        matured=d["matured"],
        age_ms=age,
        epoch=d["epoch"],
    )


def _three(values: Sequence[int]) -> tuple[int, int, int]:
    one, two, three = values
    return (one, two, three)


def scores_json(s: Scores) -> dict[str, Any]:
    """The scores as JSON: integers of 1/1024; null for what is not ready."""
    return {
        "event": s.event,
        "session": s.session,
        "rate": s.rate,
        "total": s.total,
        "terms": [list(term) for term in s.terms],
        "mature": s.mature,
        "epoch": s.epoch,
        "drift": s.drift,
    }


def lesson_json(lesson: Lesson) -> dict[str, Any]:
    """A lesson as JSON with integers only; `lesson_from_json` restores it."""
    return {
        "at": lesson.at_ms,
        "epoch": lesson.epoch,
        "keys": list(lesson.keys),
        "counters": list(lesson.counters),
        "session": lesson.session,
        "ce": lesson.ce.hex(),
        "learn": lesson.learn,
    }


def lesson_from_json(d: Mapping[str, Any]) -> Lesson:
    """Restore a lesson from what `lesson_json` gave."""
    return Lesson(
        at_ms=d["at"],
        epoch=d["epoch"],
        keys=tuple(d["keys"]),
        counters=_three(d["counters"]),
        session=d["session"],
        ce=bytes.fromhex(d["ce"]),
        learn=d["learn"],
    )
