"""The event score: how much likelier one pending action is from somebody else than from the identity itself.

Each channel gives a log-likelihood ratio between "somebody else" and the identity's own Pitman-Yor back-off to the
shipped prior (Heard and Rubin-Delanchy 2016 for the process; Gold, Priest and Carter for user-against-attacker models),
clipped, with repeats damped. Their sum, and what `models.conduct` says of the action, feeds a session that forgets
within half an hour; the total adds the pace: rate, volume and spread. All reals are integers of 1/1024 before they are
stored, compared or shown. What an event teaches is `models.lessons`'s, how both are written down `models.eventform`'s.
"""

# ruff: noqa: FURB136, PLR1730
# On the way of every action a comparison takes a fifth of what a call of ``min`` or ``max`` takes.

from __future__ import annotations

from collections.abc import Mapping
from math import exp, floor, log, sqrt
from operator import itemgetter
from typing import NamedTuple

from models import conduct, epoch, rate
from models.agent import weights_version
from models.baseline import (
    ACTION,
    CLIENT,
    HOUR,
    MATURE_AFTER_MS,
    MAX_SEEN,
    MAX_TIME_MS,
    RESOURCE,
    SOURCE,
    Baseline,
    Recent,
    landing,
    ripened,
)
from models.codes import container_code, network_code, stable_code
from models.made import made
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
    return made(
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
    did = made(Evidence, (k, table.total, table.distinct, r, known.g, known.q))
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
    return made(Evidence, (k, table.total, table.distinct, r, share, share))


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
    return made(Scores, (event, session, fast, total, tuple(terms), mature, h, drift, q, p))


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
