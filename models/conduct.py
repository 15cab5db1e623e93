"""How an identity conducts itself, beyond the values of single events: volume, spread, pauses, sequence, credential.

Five questions that no table of values answers: how many bytes leave within ten minutes; how many different things are
touched in them; how long it was silent before; whether it sends after it read much or what is sensitive, whichever
tools and sessions it used; and whether it comes with a credential that it never had. Each compares the identity with
itself.

A window of ten minutes, aligned to the clock, teaches one sample when it is over, and none where something in it was
refused: a burst cannot make itself normal. What the slow way back in takes is taught too. All that lasts is integers,
at most `MAX_CONDUCT_BYTES`; reals are in 1/1024. Nothing here reads a clock.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from functools import cache, lru_cache
from math import exp, log, sqrt
from typing import Final, NamedTuple
from zlib import crc32

from models.made import made

WINDOW_MS = 600_000
CELLS = 24
KIB = 1_024
MAX_KIB = (1 << 24) - 1
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
# What is a pause: less is a coffee. A pause is counted by the longest of these that it reaches.
PAUSES_MS = (8 * HOUR_MS, 2 * DAY_MS, 7 * DAY_MS, 30 * DAY_MS)
# Of nobody in particular, the share of pauses that are at least so long; and of somebody else's first use, any of them.
PAUSE_SHARES = (1.0, 0.25, 0.06, 0.015)
PAUSE_OTHERS, PAUSE_SAMPLES, PAUSE_MOST = 0.3, 4, 3.0
# Reads: points of one read (see ``flows`` of the prior), and from how many on a send comes after much reading.
READ_TAU_MS = 1_800_000
READ_UNIT = 256
READ_ENOUGH = 4 * READ_UNIT
MAX_READS = 0xFFFF
FLOW_OTHERS, FLOW_SHARE, FLOW_SAMPLES, FLOW_MOST = 0.8, 0.3, 4, 3.0
# A credential that was issued within a day before it is first seen is what rotation looks like.
FRESH_MS = DAY_MS
CREDENTIALS = 3
CREDENTIAL_THETA, CREDENTIAL_DISCOUNT, CREDENTIAL_WEIGHT, FRESH_WEIGHT = 5.0, 0.5, 0.6, 0.5
# ln KiB and ln of different things in a window: mean and variance of nobody in particular, as so many windows.
USUAL_SAMPLES, MAX_USUAL = 5, 60
VOLUME_PRIOR, SPREAD_PRIOR = (4.0, 4.0), (0.7, 0.5)
FLOOR = 0.25
FROM_Z, VOLUME_MOST, SPREAD_MOST = 2.0, 6.0, 2.5
MAX_Z = 64
_COUNT_MOST = 255

SPOILT, BACK, SENT, AFTER, SHOWN, NEW = 1, 2, 4, 8, 16, 32
_FLAGS = 64

# Windows, mean of ln in 1/1024, variance in 1/256.
Usual = tuple[int, int, int]


class InvalidConduct(ValueError):
    """The bytes are not a conduct in its canonical form."""


class Kept(NamedTuple):
    """What lasts beyond a window.

    Attributes:
        volume, spread: what is usual for ``ln KiB`` and for the logarithm of different things in a window.
        heavy, wide: above so many KiB, and from so many cells on, a window is far above that; made from it, not stored.
        pauses: how many reached each of `PAUSES_MS` and not the next.
        sends: windows with a send; ``after`` those of them where it came after much reading.
        credentials: codes of the last ones, the newest first, 0 for none.
        shown: windows with a credential; ``changes`` how often a new one was learned.
    """

    volume: Usual
    spread: Usual
    heavy: int
    wide: int
    pauses: tuple[int, int, int, int]
    sends: int
    after: int
    credentials: tuple[int, int, int]
    shown: int
    changes: int


class Conduct(NamedTuple):
    """What is kept of one identity.

    Attributes:
        sent: KiB that left in the open window; ``touched`` a bit for each cell of a hash of what was touched in it.
        flags: of the open window.
        reads: decayed points of what was read, in 1/256.
        kept: what lasts.
    """

    sent: int
    touched: int
    flags: int
    reads: int
    kept: Kept


class Step(NamedTuple):
    """What one action adds; integers only.

    Attributes:
        kib: that leave with it, 0 where its point does not say.
        cell: of what it touches.
        reads: points of what it reads; ``sends`` 1 where it sends, publishes or opens something to others.
        credential: code of the credential, 0 for none; ``fresh`` 1 where that was just issued.
    """

    kib: int
    cell: int
    reads: int
    sends: int
    credential: int
    fresh: int


class Amount(NamedTuple):
    """How much there is in the open window, over how many windows the usual is known, and z in 1/1024."""

    amount: int
    windows: int
    z: int


class Pause(NamedTuple):
    """A silence of so many hours, how many were at least of its class, and how many pauses there were."""

    hours: int
    longer: int
    pauses: int


class Flow(NamedTuple):
    """A send after ``points`` of reading; windows in which that happened, of those in which anything was sent."""

    points: int
    after: int
    sends: int


class Change(NamedTuple):
    """A credential that is new; in how many windows one was shown, how often it was new, and whether it is fresh."""

    shown: int
    changes: int
    fresh: int


class Seen(NamedTuple):
    """What one action adds, and what speaks against the identity in it: None for what does not."""

    step: Step
    volume: Amount | None = None
    spread: Amount | None = None
    pause: Pause | None = None
    flow: Flow | None = None
    change: Change | None = None


def things(cells: int) -> float:
    """How many different things fill so many cells (linear counting, Whang et al. 1990); about 100 fill all of them."""
    return CELLS * log(CELLS / (CELLS - cells)) if cells < CELLS else 100.0


_LN: Final = (0, *(round(log(things(cells)) * 1024) for cells in range(1, CELLS + 1)))


def cell(resource: str) -> int:
    """The cell of a resource's name: its CRC-32 (ISO 3309), which is quick and the same everywhere."""
    return crc32(resource.encode("utf-8", "surrogatepass")) % CELLS


def kib(sent_bytes: int | None) -> int:
    """Bytes as KiB, rounded up, bounded."""
    return 0 if not sent_bytes else min(MAX_KIB, (sent_bytes + KIB - 1) // KIB)


def _over(amount: int, ln: float, usual: Usual, prior: tuple[float, float]) -> Amount | None:
    """An amount that is far above the usual; None where it is not."""
    middle, deviation = _usually(usual, prior)
    z = (ln - middle) / deviation
    return Amount(amount, usual[0], int(min(MAX_Z, z) * 1024)) if z > FROM_Z else None


@lru_cache(maxsize=4_096)
def _usually(usual: Usual, prior: tuple[float, float]) -> tuple[float, float]:
    """Mean and deviation of the logarithm, with nobody in particular among the windows; they change with a window."""
    windows, mean, variance = usual
    m, v = mean / 1024, variance / 256
    weight = windows + USUAL_SAMPLES
    middle = (windows * m + USUAL_SAMPLES * prior[0]) / weight
    square = (windows * (v + m * m) + USUAL_SAMPLES * (prior[1] + prior[0] ** 2)) / weight
    return middle, sqrt(max(0.0, square - middle * middle) + FLOOR)


def _heavy(volume: Usual) -> int:
    middle, deviation = _usually(volume, VOLUME_PRIOR)
    return int(min(MAX_KIB, exp(middle + FROM_Z * deviation)))


def _wide(spread: Usual) -> int:
    middle, deviation = _usually(spread, SPREAD_PRIOR)
    return bisect_right(_LN, (middle + FROM_Z * deviation) * 1024)


NO_CONDUCT: Final = Conduct(
    0, 0, 0, 0, Kept((0, 0, 0), (0, 0, 0), _heavy((0, 0, 0)), _wide((0, 0, 0)), (0, 0, 0, 0), 0, 0, (0, 0, 0), 0, 0)
)


def plain(resource: str, reads: int, sends: int) -> Seen:
    """An action that tells neither bytes nor a credential, before anything speaks against it."""
    return _plain(cell(resource), reads, sends)


@cache
def _plain(place: int, reads: int, sends: int) -> Seen:
    return Seen(Step(0, place, reads, sends, 0, 0))


def seen(c: Conduct, ask: Seen, last_ms: int, at_ms: int) -> Seen:
    """What conduct says of this action at this time, the last one having been at ``last_ms`` (0 before the first)."""
    step = ask.step
    more, place, _, sending, credential, fresh = step
    gap_ms = at_ms - last_ms
    if at_ms // WINDOW_MS != last_ms // WINDOW_MS:
        c = closed(c)
    kept, cells = c.kept, (c.touched | 1 << place).bit_count()
    spread = _over(cells, _LN[cells] / 1024, kept.spread, SPREAD_PRIOR) if cells >= kept.wide else None
    amount = c.sent + more
    volume = _volume(min(MAX_KIB, amount), kept.volume) if more and amount > kept.heavy else None
    pause = _pause(kept.pauses, gap_ms) if gap_ms >= PAUSES_MS[0] and last_ms else None
    flow = _flow(c, gap_ms) if sending else None
    new = credential and credential not in kept.credentials
    change = Change(kept.shown, kept.changes, fresh) if new else None
    if volume or spread or pause or flow or change:
        return Seen(step, volume, spread, pause, flow, change)
    return ask


def _volume(amount: int, usual: Usual) -> Amount | None:
    return _over(amount, log(amount), usual, VOLUME_PRIOR)


def _flow(c: Conduct, gap_ms: int) -> Flow | None:
    """A send after much reading: the first in a window, for the others say nothing new."""
    if c.flags & AFTER or c.reads < READ_ENOUGH:
        return None
    points = faded(c.reads, gap_ms)
    return Flow(points // READ_UNIT, c.kept.after, c.kept.sends) if points >= READ_ENOUGH else None


def faded(reads: int, gap_ms: int) -> int:
    """Points of reading after a silence; half an hour leaves 37 %."""
    return int(reads * exp(-gap_ms / READ_TAU_MS) + 0.5) if gap_ms else reads


def _class(gap_ms: int) -> int:
    return sum(gap_ms >= pause for pause in PAUSES_MS) - 1


def _pause(pauses: tuple[int, int, int, int], gap_ms: int) -> Pause:
    return Pause(gap_ms // HOUR_MS, sum(pauses[_class(gap_ms) :]), sum(pauses))


def silent(s: Seen) -> bool:
    """Whether nothing speaks against the identity."""
    return s[1:] == _SILENT


_SILENT: Final = (None,) * 5


def without(s: Seen, term: str) -> Seen:
    """The same action if this term had nothing to say; unknown terms change nothing."""
    return Seen(
        s.step,
        None if term == "volume" else s.volume,
        None if term == "spread" else s.spread,
        None if term == "dormancy" else s.pause,
        None if term == "sequence" else s.flow,
        None if term == "credential" else s.change,
    )


def evidence(s: Seen) -> list[tuple[str, int]]:
    """What this action itself says, by term, in 1/1024; never below 0, for being ordinary is what tables are for."""
    told: list[tuple[str, int]] = []
    if s.pause is not None:
        told.append(("dormancy", _dormancy(s.pause)))
    if s.flow is not None:
        p = (s.flow.after + FLOW_SAMPLES * FLOW_SHARE) / (s.flow.sends + FLOW_SAMPLES)
        told.append(("sequence", _bounded(log(FLOW_OTHERS / p), FLOW_MOST)))
    if s.change is not None:
        new = log((s.change.shown + CREDENTIAL_THETA) / (CREDENTIAL_THETA + CREDENTIAL_DISCOUNT * s.change.changes))
        told.append(("credential", _bounded(CREDENTIAL_WEIGHT * (FRESH_WEIGHT if s.change.fresh else 1.0) * new, 8.0)))
    return told


def pace(s: Seen) -> list[tuple[str, int]]:
    """What the window so far says, by term, in 1/1024: it lasts as long as the window, so no session adds it up."""
    told: list[tuple[str, int]] = []
    if s.volume is not None:
        told.append(("volume", _far(s.volume.z, VOLUME_MOST)))
    if s.spread is not None:
        told.append(("spread", _far(s.spread.z, SPREAD_MOST)))
    return told


def _dormancy(pause: Pause) -> int:
    at = _class(pause.hours * HOUR_MS)
    p = (pause.longer + PAUSE_SAMPLES * PAUSE_SHARES[at]) / (pause.pauses + PAUSE_SAMPLES)
    return _bounded(log(PAUSE_OTHERS / p), PAUSE_MOST)


def _far(z: int, most: float) -> int:
    return _bounded((z / 1024) ** 2 / 2 - 2, most)


def _bounded(value: float, most: float) -> int:
    return round(min(most, max(0.0, value)) * 1024)


def observe(c: Conduct, step: Step, last_ms: int, at_ms: int, *, learn: bool, usual: bool) -> Conduct:
    """The next conduct; ``learn`` and ``usual`` as in a lesson."""
    gap_ms = at_ms - last_ms
    if at_ms // WINDOW_MS != last_ms // WINDOW_MS:
        c = closed(c)
    sent, touched, flags, reads, kept = c
    more, place, points, sending, credential, _ = step
    if reads:
        reads = faded(reads, gap_ms)
    if sending:
        flags |= SENT | AFTER if reads >= READ_ENOUGH else SENT
    if points:
        reads = min(MAX_READS, reads + points * READ_UNIT)
    if more:
        sent = min(MAX_KIB, sent + more)
    if not usual:
        flags |= BACK if learn else SPOILT
    if credential:
        flags, credentials = _shown(flags, kept.credentials, credential)
        if credentials is not kept.credentials:
            kept = kept._replace(credentials=credentials)
    if gap_ms >= PAUSES_MS[0] and last_ms and learn:
        kept = kept._replace(pauses=_one_more(kept.pauses, _class(gap_ms)))
    return made(Conduct, (sent, touched | 1 << place, flags, reads, kept))


def _shown(flags: int, known: tuple[int, int, int], code: int) -> tuple[int, tuple[int, int, int]]:
    """The newest first; at most one of them is new in a window, and that one stands first."""
    first, second, third = known
    if code == first:
        return flags | SHOWN, known
    if flags & NEW:
        # One that is known already must not be taken for the new one; a second new one takes its place.
        return flags | SHOWN, known if code in known else (code, second, third)
    if code == second:
        return flags | SHOWN, (second, first, third)
    if code == third:
        return flags | SHOWN, (third, first, second)
    return flags | SHOWN | NEW, (code, first, second)


def _one_more(pauses: tuple[int, int, int, int], at: int) -> tuple[int, int, int, int]:
    a, b, c, d = (count + (place == at) for place, count in enumerate(pauses))
    return (a, b, c, d) if max(a, b, c, d) <= _COUNT_MOST else (a >> 1, b >> 1, c >> 1, d >> 1)


def closed(c: Conduct) -> Conduct:
    """The conduct when its window is over: one sample is learned, or none."""
    asked, answer = _LAST[0]
    if asked is not c:
        answer = _closed(c)
        _LAST[0] = (c, answer)
    return answer


# The last answer: an action is looked at and then learned, both times after the same window.
_LAST: Final = [(NO_CONDUCT, NO_CONDUCT)]


def _closed(c: Conduct) -> Conduct:
    flags, kept = c.flags, c.kept
    if flags & SPOILT and not flags & BACK:
        if flags & NEW:
            kept = kept._replace(credentials=(*kept.credentials[1:], 0))
        return Conduct(0, 0, 0, c.reads, kept)
    volume, spread, heavy, wide, pauses, sends, after, credentials, shown, changes = kept
    if flags & SENT:
        sends, after = _both(sends + 1, after + (flags & AFTER > 0))
    if flags & SHOWN:
        shown, changes = _both(shown + 1, changes + (flags & NEW > 0))
    if c.sent:
        volume = _joined(volume, round(log(c.sent) * 1024))
        heavy = _heavy(volume)
    if c.touched:
        spread = _joined(spread, _LN[c.touched.bit_count()])
        wide = _wide(spread)
    kept = Kept(volume, spread, heavy, wide, pauses, sends, after, credentials, shown, changes)
    return Conduct(0, 0, 0, c.reads, kept)


def spoilt(c: Conduct) -> Conduct:
    """The conduct whose open window teaches nothing, because something in it was cancelled or failed."""
    return c._replace(flags=c.flags & ~BACK | SPOILT)


def _both(whole: int, part: int) -> tuple[int, int]:
    return (whole, part) if whole <= _COUNT_MOST else (whole >> 1, part >> 1)


def _joined(usual: Usual, ln: int) -> Usual:
    """Mean and variance with one window more (Welford 1962); after `MAX_USUAL` windows old ones fade."""
    windows, mean, variance = usual
    windows = min(MAX_USUAL, windows + 1)
    off = ln - mean
    mean += (2 * off + windows) // (2 * windows)
    variance += (2 * ((off * (ln - mean) >> 12) - variance) + windows) // (2 * windows)
    return (windows, min(0xFFFF, max(0, mean)), min(0xFFFF, max(0, variance)))


_CONDUCT: Final = struct.Struct("<6sBBHHBHH4BHBB3HBB")
MAX_CONDUCT_BYTES: Final = _CONDUCT.size


def encode_conduct(c: Conduct) -> bytes:
    """The section's content; nothing for an identity that has not acted yet."""
    if c is NO_CONDUCT or c == NO_CONDUCT:
        return b""
    sent, touched, flags, reads, kept = c
    volume, spread, _, _, pauses, sends, after, credentials, shown, changes = kept
    window = (sent | touched << 24).to_bytes(6, "little")
    return _CONDUCT.pack(window, flags, *volume, *spread, *pauses, reads, sends, after, *credentials, shown, changes)


def decode_conduct(raw: bytes) -> Conduct:
    """Read a section's content.

    Raises:
        InvalidConduct: where it is not one that could have been written.
    """
    if len(raw) != _CONDUCT.size:
        raise InvalidConduct(f"conduct: expected {_CONDUCT.size} bytes, got {len(raw)}")
    window, flags, *rest = _CONDUCT.unpack(raw)
    both = int.from_bytes(window, "little")
    a, b, c, d, e, f, g, h, i, j, reads, sends, after, one, two, three, shown, changes = rest
    volume, spread = (a, b, c), (d, e, f)
    kept = Kept(
        volume, spread, _heavy(volume), _wide(spread), (g, h, i, j), sends, after, (one, two, three), shown, changes
    )
    found = Conduct(both & MAX_KIB, both >> 24, flags, reads, kept)
    if not _sound(found) or encode_conduct(found) != raw:
        raise InvalidConduct("conduct: expected parts within their bounds that agree")
    return found


def _sound(c: Conduct) -> bool:
    kept = c.kept
    known = [code for code in kept.credentials if code]
    return (
        c.flags < _FLAGS
        and max(kept.volume[0], kept.spread[0]) <= MAX_USUAL
        and kept.after <= kept.sends
        and kept.changes <= kept.shown
        and kept.credentials == (*known, *[0] * (CREDENTIALS - len(known)))
        and len(set(known)) == len(known)
        and (not c.flags & NEW or bool(known))
    )
