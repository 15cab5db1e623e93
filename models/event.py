"""The event score: how much likelier one pending action is from somebody else than from the identity itself.

Each channel gives a log-likelihood ratio between "somebody else" and the identity's own Pitman-Yor back-off to the
shipped prior (Heard and Rubin-Delanchy 2016 for the process; Gold, Priest and Carter for user-against-attacker models),
clipped, with repeats damped. Their sum, and what `models.conduct` says of the action, feeds a session that forgets
within half an hour; the total adds the pace: rate, volume and spread. All reals are integers of 1/1024 before they are
stored, compared or shown. Nothing here reads a clock, and state moves by `observe` and `take_back` alone.
"""

# ruff: noqa: FURB136, PLR1730
# On the way of every action a comparison takes a fifth of what a call of ``min`` or ``max`` takes.

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from math import exp, floor, log, sqrt
from operator import itemgetter
from typing import Any, Final, NamedTuple

from models import bar, conduct, epoch, rate
from models.agent import weights_version
from models.baseline import (
    ACTION,
    CLIENT,
    HASH_BYTES,
    HOUR,
    MATURE_AFTER_MS,
    MAX_SEEN,
    MAX_SESSION,
    MAX_TIME_MS,
    RESOURCE,
    RING,
    SOURCE,
    Baseline,
    Recent,
    fitted,
    landing,
    noticed,
    ripened,
    waited,
    without,
)
from models.codes import ce_hash, container_code, network_code, stable_code
from models.epoch import NO_HABITS
from models.prior import ActionPrior, Prior
from models.profiles import Profile
from models.sketch import COUNTS
from stayhand.wire import PendingAction

MODEL_VERSION = f"conduct-2+agent-{weights_version()}"

THETA = 5.0
DISCOUNT = 0.5
LOWEST, HIGHEST = -1.0, 8.0
# One for each categorical channel: action, resource, source, client.
WEIGHTS = (1.0, 0.5, 0.8, 0.6)
HOUR_WEIGHT = 0.5
HOUR_SMOOTHING = 2.0
IMPACT_POINTS = (0.0, 1.0, 3.0, 6.0)
# The most that an action's standing in the list of what was seen in abuse adds.
ABUSED_MOST = 3.0
SESSION_TAU_MS = 1_800_000
SESSION_COST = 1024
SESSION_FLOOR = -512
RATE_FROM_Z, RATE_MOST, RATE_TOGETHER = 2.0, 6.0, 9.0
# Enough of a history that a score may block: this many events matured, and this long known.
MATURE_EVENTS = 50
# From this impact on an action is one that can do much harm.
HARMFUL = 2
READMIT_AFTER_MS, READMIT_EVERY_MS = 3_600_000, 60_000
MATURE_AGE_MS = 3_600_000
_DAMPED = MAX_SEEN + 2
_DAMP = (1.0, *(sqrt(r) - sqrt(r - 1) for r in range(1, _DAMPED)))
_LEAST = _DAMP[-1]
_MAX_U32 = (1 << 32) - 1
_RATE_FROM = round(RATE_FROM_Z * 1024)
# Millionths, a little below exp(LOWEST): where Q / P is less, its logarithm is below `LOWEST` for sure.
_SURELY_USUAL = 367_000


class Evidence(NamedTuple):
    """What one categorical channel has to say of the event's value.

    Its matured count ``k``, the channel's total ``n`` and distinct ``u``, the ``r``-th time in the window of repeats
    (from 1), the prior's share ``g`` and somebody else's ``q`` in parts in a million.
    """

    k: int
    n: int
    u: int
    r: int
    g: int
    q: int


Channels = tuple[Evidence | None, Evidence | None, Evidence | None, Evidence | None]


class Features(NamedTuple):
    """All that the score of one event depends on; integers only.

    Attributes:
        at_ms: the state's clock for this event, never before the last one.
        gap_ms: since the last event, 0 for the first.
        keys: channel << 16 | code of each value that the event has, and of its hour.
        channels: evidence of action, resource, source, client; None where the event has no such value.
        hour: of the day in UTC; ``hour_count`` four times its smoothed count, ``hour_total`` the matured events.
        repeats: events in the window of repeats, with this one.
        impact: 0 to 3 by the prior.
        counters: rate counters with this event, in 1/65,536; ``z`` their deviations in 1/1024.
        session: W before this event, decayed to now, in 1/1024.
        matured: matured events; ``age_ms`` since the identity was first seen.
        epoch: number of the epoch where the event would wait, 0 where there is no room.
        habit: number of the epoch of habits that it would be in, 0 where the last one still waits.
        habit_code: the action's code there.
        signs: what the epoch score depends on; None without a profile.
        abused: somebody else's share of the action by the list of what was seen in abuse, 0 where it is not told there.
        conduct: what volume, spread, pause, sequence and credential say; None in records of earlier releases.
    """

    at_ms: int
    gap_ms: int
    keys: tuple[int, ...]
    channels: Channels
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
    habit: int = 0
    habit_code: int = 0
    signs: epoch.Signs | None = None
    abused: int = 0
    conduct: conduct.Seen | None = None


class Scores(NamedTuple):
    """The scores of one event in 1/1024; ``epoch``, ``drift``, ``q``, ``p`` are None where not ready, which is not 0.

    Attributes:
        event: S of this event alone.
        session: W after it.
        rate: evidence of the pace: rate, volume and spread.
        total: T = W + rate.
        terms: what T is made of, the largest first: channels, hour, impact, abused, dormancy, sequence, credential;
            rate, volume, spread; and ``session``, what W brought.
        mature: whether the baseline has enough history for a score to block.
        epoch: log-odds h that somebody else acted over the last 81 to 100 events; ``q`` with the last 21 to 40 beside.
        drift: D, how far what was learned lately is from the anchor.
        p: how often a score like h is met, calibrated on the identity's and the others' accepted epochs; not ready
            either while the profile has too few of those.
    """

    event: int | None
    session: int
    rate: int
    total: int
    terms: tuple[tuple[str, int], ...]
    mature: bool
    epoch: int | None = None
    drift: int | None = None
    q: int | None = None
    p: int | None = None


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


def features(b: Baseline, action: PendingAction, at_ms: int, prior: Prior, profile: Profile | None = None) -> Features:
    """What baseline, prior and profile say of this action at this time (milliseconds of the append time)."""
    last_ms = b.last_ms
    at = last_ms if at_ms < last_ms else at_ms if at_ms < MAX_TIME_MS else MAX_TIME_MS
    b = ripened(b, at)
    habits = epoch.ripened(b.habits, at)
    name = action.action.name
    known = prior.action(name)
    habit_code = known.code if profile is None else profile.code(name, known.code)
    seen, repeats = _repeats(b.recent, at)
    hour = at // 3_600_000 % 24
    keys, channels = _channels(b, action, prior, known, seen, hour)
    did = channels[ACTION]
    if did is not None and not did.k and habit_code in habits.table.entries:
        channels = (_long_known(did, habits, habit_code), *channels[1:])
    gap = at - b.last_ms if b.events else 0
    counters, hours, session = rate.stepped(b.counters, gap), b.tables[HOUR], b.session
    return _made(
        Features,
        (
            at,
            gap,
            keys,
            channels,
            hour,
            _around(hours.counts, hour) if hours.counts else 0,
            hours.total,
            repeats,
            known.impact,
            counters,
            rate.deviations(counters, b.samples, b.sums),
            floor(session * exp(-gap / SESSION_TAU_MS) + 0.5) if session else 0,
            b.matured,
            at - b.first_seen_ms if b.events else 0,
            landing(b, keys),
            0 if habits.waits else habits.number,
            habit_code,
            None if profile is None else epoch.signs(habits, habit_code, profile),
            known.abused,
            _seen(b, action, known, at),
        ),
    )


def _repeats(recent: Recent | None, at: int) -> tuple[Mapping[int, int], int]:
    """What came in the window of repeats, and how many events with this one."""
    if recent is None or at >= recent.start_ms + MATURE_AFTER_MS:
        return _NOTHING, 1
    return recent.counts, recent.events + 1


_NOTHING: Mapping[int, int] = {}


def _channels(
    b: Baseline, action: PendingAction, prior: Prior, known: ActionPrior, seen: Mapping[int, int], hour: int
) -> tuple[tuple[int, ...], Channels]:
    """The keys of the values that the event has, with its hour's, and the evidence of each channel."""
    code, context, held = known.code, action.context, action.resource
    container = container_code(held.type, held.id)
    keys = [code, RESOURCE << 16 | container]
    source = client = None
    address, program = context.source, context.client
    if address and (network := network_code(address)) is not None:
        keys.append(SOURCE << 16 | network)
        source = _evidence(b, SOURCE, network, seen, prior.sources)
    if program and (family := prior.client(program)) is not None:
        kind, share = family
        keys.append(CLIENT << 16 | kind)
        client = _evidence(b, CLIENT, kind, seen, share)
    keys.append(HOUR << 16 | hour)
    table = b.tables[ACTION]
    k, r = table.counts.get(code, 0), seen.get(code, 0) + 1
    did = _made(Evidence, (k, table.total, table.distinct, r, known.g, known.q))
    return tuple(keys), (did, _evidence(b, RESOURCE, container, seen, prior.resources), source, client)


def _long_known(did: Evidence, habits: epoch.Habits, code: int) -> Evidence:
    """An action that the small table has forgotten, as the habits still know it."""
    return did._replace(k=min(did.n, round(COUNTS[habits.table.entries[code][0]])))


def _around(hours: Mapping[int, int], hour: int) -> int:
    """Four times the smoothed count of an hour: half its own, a quarter of each one beside it."""
    count = hours.get
    return 2 * count(hour, 0) + count((hour + 1) % 24, 0) + count((hour + 23) % 24, 0)


def _seen(b: Baseline, action: PendingAction, known: ActionPrior, at: int) -> conduct.Seen:
    context, resource = action.context, action.resource.id
    shown, sent_bytes = context.credential_id, context.bytes_out
    if not shown and not sent_bytes:
        return conduct.seen(b.conduct, conduct.plain(resource, known.reads, known.sends), b.last_ms, at)
    credential = fresh = 0
    if shown:
        credential, issued = stable_code(shown) + 1, context.credential_issued_at_ms
        fresh = int(issued is not None and at - issued < conduct.FRESH_MS)
    sent = conduct.kib(sent_bytes)
    step = conduct.Step(sent, conduct.cell(resource), known.reads, known.sends, credential, fresh)
    return conduct.seen(b.conduct, conduct.Seen(step), b.last_ms, at)


def _evidence(b: Baseline, channel: int, code: int, seen: Mapping[int, int], share: int) -> Evidence:
    table = b.tables[channel]
    k, r = table.counts.get(code, 0), seen.get(channel << 16 | code, 0) + 1
    return _made(Evidence, (k, table.total, table.distinct, r, share, share))


# A named tuple of its fields in order: calling the class takes twice as long.
_made: Final = tuple.__new__


def _damped(value: float, r: int) -> int:
    """The r-th repeat of what speaks against the identity weighs ``sqrt(r) - sqrt(r-1)``; the rest weighs fully."""
    if value > 0.0:
        value *= _DAMP[r] if r < _DAMPED else _LEAST
    return round(value)


def _ratio(found: Evidence, weight: float) -> int:
    """``ln(Q / P)`` of one value, clipped and weighed, in 1/1024.

    Q is somebody else's share, P the identity's own Pitman-Yor estimate.
    """
    k, n, u, r, g, q = found
    if q * (n + 5) < _SURELY_USUAL * (k - 1):
        # P is more than (k - 1) / (n + THETA), so no logarithm is needed: the case of most values.
        return round(LOWEST * weight * 1024)
    own = (k - DISCOUNT if k else 0.0) + (THETA + DISCOUNT * u) * g * 1e-6
    value = log(q * 1e-6 * (n + THETA) / own)
    if LOWEST < value < HIGHEST:
        return _damped(value * weight * 1024, r)
    return round(LOWEST * weight * 1024) if value <= LOWEST else _damped(HIGHEST * weight * 1024, r)


def score(f: Features) -> Scores:
    """The scores of one event; the same features give the same scores."""
    terms = _values(f)
    event = 0
    for _, value in terms:
        event += value
    gain = event - SESSION_COST
    if gain < SESSION_FLOOR:
        gain = SESSION_FLOOR
    fast = _rate(f.z)
    terms.append(("rate", fast))
    seen, before = f.conduct, f.session
    if seen is not None and not conduct.silent(seen):
        # That each value is usual says nothing against what is unusual in their order, their time or their credential.
        said, paces = conduct.evidence(seen), conduct.pace(seen)
        for _, value in said:
            event += value
            gain += value
        for _, value in paces:
            fast += value
        terms += said + paces
    session = before + gain
    if session < 0:
        session = 0
    terms.append(("session", before))
    terms.sort(key=_size, reverse=True)
    mature = f.matured >= MATURE_EVENTS and f.age_ms >= MATURE_AGE_MS
    total = session + fast
    signs, h, drift, q, p = f.signs, None, None, None, None
    if signs is not None:
        drift = signs.drift if signs.totals[3] == epoch.ANCHOR_EPOCHS else None
        if epoch.ready(signs):
            h, q, p, _ = epoch.judge(signs, f.habit_code)[0]
    return _made(Scores, (event, session, fast, total, tuple(terms), mature, h, drift, q, p))


def _values(f: Features) -> list[tuple[str, int]]:
    """What the event's own values say: hour, channels, and what its action can do where it is new."""
    action, resource, source, client = f.channels
    terms = [("hour", _hour(f))]
    if action is not None:
        terms.append(("action", _ratio(action, WEIGHTS[ACTION])))
        if not action.k:
            if f.impact:
                terms.append(("impact", _damped(IMPACT_POINTS[f.impact] * 1024, action.r)))
            if f.abused:
                terms.append(("abused", min(f.session, _abused(f.abused, action))))
    if resource is not None:
        terms.append(("resource", _ratio(resource, WEIGHTS[RESOURCE])))
    if source is not None:
        terms.append(("source", _ratio(source, WEIGHTS[SOURCE])))
    if client is not None:
        terms.append(("client", _ratio(client, WEIGHTS[CLIENT])))
    return terms


_size = itemgetter(1)


def _abused(q: int, action: Evidence) -> int:
    """What the list adds to somebody else's share, weighed as the action's own channel is.

    It counts no more than what was unusual just before. Honest automation does such things as well, and does them for
    a first time; alone that must not keep the gate from learning them, for then they would be slowed for ever.
    """
    return _damped(min(ABUSED_MOST, max(0.0, log(q / action.q))) * WEIGHTS[ACTION] * 1024, action.r)


def _hour(f: Features) -> int:
    if not f.hour_total:
        return 0
    value = log((f.hour_total + 24 * HOUR_SMOOTHING) / (6 * f.hour_count + 24 * HOUR_SMOOTHING))
    if not LOWEST < value < HIGHEST:
        value = min(HIGHEST, max(LOWEST, value))
    return _damped(value * HOUR_WEIGHT * 1024, f.repeats)


def _rate(z: tuple[int, int, int]) -> int:
    first, second, third = z
    if first <= _RATE_FROM and second <= _RATE_FROM and third <= _RATE_FROM:
        return 0
    found = (value / 1024 for value in z if value > RATE_FROM_Z * 1024)
    return round(1024 * min(RATE_TOGETHER, sum(min(RATE_MOST, value * value / 2 - 2) for value in found)))


def readmitted(b: Baseline, f: Features) -> bool:
    """Whether an event that the gate refuses may be learned all the same: the slow way back in after a real change.

    A gate alone locks out what changed for good, and alarms for ever. After an hour in which nothing was usual the
    first event of each minute is learned, unless its impact is high; a burst is long over by then, and what is slow
    enough to pass is for the drift from the anchor to find (Kloft and Laskov 2012 on poisoning under a gate).
    """
    if not b.events or f.impact >= HARMFUL or f.at_ms - b.accepted_ms < READMIT_AFTER_MS:
        return False
    return f.at_ms // READMIT_EVERY_MS != b.last_ms // READMIT_EVERY_MS


def lesson(f: Features, s: Scores, ce_id: str, learn: bool, usual: bool = True, habit: bool | None = None) -> Lesson:
    """What `observe` shall do about this event; ``learn`` False moves clock, rate and session only.

    ``habit`` says whether it may become a habit, as it may where it is learned unless that is said: habits have a gate
    of their own, which an event that the epoch score itself found suspicious must be able to reach.
    """
    session, signs, code, seen = s.session, f.signs, f.habit_code, f.conduct
    return _made(
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
            skipped = _one_more(skipped)
        elif opened is not None and opened.number == number:
            number = _one_more(number)
        if alarm and room and opened is not None:
            extra = bar.counted(extra, opened.number, fine=False)
    else:
        refused = _one_more(refused)
    return _made(
        Baseline,
        (
            first_ms if events else at,
            at,
            at if usual or not events else accepted_ms,
            _one_more(events),
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


def _one_more(count: int) -> int:
    return count + 1 if count < _MAX_U32 else _MAX_U32


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


def features_json(f: Features) -> dict[str, Any]:
    """The features as JSON with integers only, short because a hold keeps them; `features_from_json` restores them."""
    (
        at_ms, gap_ms, keys, channels, hour, hour_count, hour_total, repeats, impact, counters, z, session, matured,
        age_ms, number, habit, habit_code, signs, abused, seen,
    ) = f  # fmt: skip
    told: dict[str, Any] = {
        "at": [at_ms, gap_ms, age_ms],
        "keys": [*keys],
        "channels": [None if found is None else [*found] for found in channels],
        "hour": [hour, hour_count, hour_total],
        "repeats": repeats,
        "impact": impact,
        "counters": [*counters],
        "z": [*z],
        "session": session,
        "matured": matured,
        "epoch": number,
        "habit": [habit, habit_code],
    }
    if signs is not None:
        told["signs"] = _signs_json(signs)
    if abused:
        told["abused"] = abused
    if seen is not None:
        told["conduct"] = _conduct_json(seen)
    return told


def features_from_json(d: Mapping[str, Any]) -> Features:
    """Restore features from what `features_json` gave."""
    at, gap, age = d["at"]
    hour, count, total = d["hour"]
    one, two, three, four = (None if found is None else Evidence(*found) for found in d["channels"])
    # Records of the first release have no habits.
    habit = d.get("habit", (0, d["keys"][0] & 0xFFFF if d["keys"] else 0))
    return Features(
        at_ms=at,
        gap_ms=gap,
        keys=tuple(d["keys"]),
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
        habit=habit[0],
        habit_code=habit[1],
        signs=_signs_from_json(d["signs"]) if "signs" in d else None,
        abused=d.get("abused", 0),
        conduct=_conduct_from_json(d["conduct"]) if "conduct" in d else None,
    )


def _conduct_json(seen: conduct.Seen) -> list[Any]:
    """The step, then what speaks against the identity, without the parts at the end that do not."""
    if conduct.silent(seen):
        return [list(seen.step)]
    parts = [list(seen.step), *(None if part is None else list(part) for part in seen[1:])]
    while parts[-1] is None:
        parts.pop()
    return parts


def _conduct_from_json(d: Sequence[Any]) -> conduct.Seen:
    step, *parts = d
    found = (None if part is None else make(*part) for make, part in zip(_PARTS, parts, strict=False))
    return conduct.Seen(conduct.Step(*step), *found)


_PARTS: tuple[Any, ...] = (conduct.Amount, conduct.Amount, conduct.Pause, conduct.Flow, conduct.Change)


def _signs_json(s: epoch.Signs) -> list[Any]:
    return [
        list(s.levels), s.r, list(s.totals), list(s.others), int(s.new), s.usual, s.met,
        [list(window) for window in s.windows], s.before, s.drift, list(s.tails), list(s.peers),
    ]  # fmt: skip


def _signs_from_json(d: Sequence[Any]) -> epoch.Signs:
    levels, r, totals, others, new, usual, met, windows, before, drift, tails, (did, of) = d
    long, middle, short = (_four(window) for window in windows)
    return epoch.Signs(
        _three(levels), r, _four(totals), _three(others), bool(new), usual, met, (long, middle, short), before, drift,
        tuple(tails), (did, of),
    )  # fmt: skip


def _four(values: Sequence[int]) -> tuple[int, int, int, int]:
    one, two, three, four = values
    return (one, two, three, four)


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
        "q": s.q,
        "p": s.p,
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
        "usual": lesson.usual,
        **({} if lesson.mark is None else {"habit": [lesson.habit, *map(int, lesson.mark)]}),
        **({} if lesson.step is None else {"step": list(lesson.step)}),
        **({"alarm": True} if lesson.alarm else {}),
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
        usual=d["usual"],
        step=conduct.Step(*d["step"]) if "step" in d else None,
        alarm=d.get("alarm", False),
        **_habit_from_json(d),
    )


def _habit_from_json(d: Mapping[str, Any]) -> dict[str, Any]:
    if "habit" not in d:
        return {}
    habit, code, value, weight, anchor_value, met, h, rare, alarmed = d["habit"]
    mark = epoch.Mark(code, value, weight, anchor_value, met, h, bool(rare), bool(alarmed))
    return {"habit": habit, "mark": mark}
