"""What an identity normally does, in one immutable record of at most 1,972 bytes.

Four channels and the hour of the day are counted in bounded tables; what the epoch score needs stands beside them
(`models.epoch`), and how the identity conducts itself (`models.conduct`). What is new waits in an epoch and moves into
the tables only when every event of its epoch is at least ten minutes old, so a burst cannot make itself normal. At most
two epochs wait: the open one, and one before it. Time is an argument and never goes back.

The body is a version byte and tagged sections (tag, 16-bit length, content; little-endian). A section that this version
does not know is kept as it came, as long as the unknown ones together stay within `ROOM_BYTES`.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from functools import cache
from operator import or_
from typing import Final, NamedTuple

from models import bar, rate
from models.codes import ce_hash, taken_back_hash
from models.conduct import NO_CONDUCT, Conduct, InvalidConduct, decode_conduct, encode_conduct
from models.epoch import NO_HABITS, Habits
from models.habitform import InvalidHabits, decode_habits, encode_habits
from models.tables import EMPTY_TABLE, InvalidTable, Table, merged, read

VERSION = 1
# With its envelope a record has at most 2,048 bytes.
MAX_BODY_BYTES = 1_972
ROOM_BYTES = 14
CHANNELS = ("action", "resource", "source", "client", "hour")
ACTION, RESOURCE, SOURCE, CLIENT, HOUR = range(5)
CAPACITIES = (36, 20, 16, 8, 24)
MATURE_AFTER_MS = 600_000
EPOCH_EVENTS = 250
# Values in one epoch, and in both that wait; what is above finds no room and is not learned.
EPOCH_ENTRIES = 26
PENDING_ENTRIES = 38
RECENT_ENTRIES = 20
# Records of the first release, which had no habits, may hold more than that until the next event.
_OLD_CAPACITIES = (96, 40, 28, 16, 24)
_OLD_ENTRIES = 44
MAX_SEEN = 255
RING = 32
HASH_BYTES = 6
MAX_SESSION = 48 * 1024
MAX_TIME_MS = 1 << 53
_MAX_U32 = (1 << 32) - 1
# One a second for 60 years; a baseline that was made up could otherwise leave no numbers for those to come.
MOST_EPOCHS = 1 << 31

# A key is channel << 16 | code, so that one table serves all channels of a window.
Counts = Mapping[int, int]


class InvalidBaseline(ValueError):
    """The bytes are not a baseline; the message names the section and what was expected."""


class Epoch(NamedTuple):
    """What is learned but not yet mature: counts by key, and by rate window the sums of ``ln C`` and its square."""

    number: int
    first_ms: int
    last_ms: int
    events: int
    counts: Counts
    sums: rate.Sums


class Recent(NamedTuple):
    """How often each value came in the window that is open now, learned or not; it damps repeats."""

    start_ms: int
    events: int
    counts: Counts


class Baseline(NamedTuple):
    """The part of an identity's state that is learned; `models.event.observe` gives the next one.

    Attributes:
        first_seen_ms: time of the first event, 0 before it.
        last_ms: the state's clock.
        accepted_ms: time of the last event that the gate let be learned as usual, at first that of the first event.
        events: all events; ``refused`` were not to be learned, ``skipped`` found both epochs full.
        matured: events that are in the tables.
        next_epoch: number of the next epoch that opens, from 1.
        session: the session accumulator W after the last event, in 1/1024.
        tables: one for each of `CHANNELS`.
        counters: rate counters C in 1/65,536.
        samples: events in ``sums``, the matured sums of ``ln C`` and its square.
        ring: hashes of the last 32 ce_ids, the newest last.
        extra: sections of later versions, and that of `models.bar`, by tag.
        habits: what the epoch score rests on; `NO_HABITS` before the first event.
        conduct: volume, spread, pauses, sequence, credentials; `NO_CONDUCT` before the first event.
    """

    first_seen_ms: int
    last_ms: int
    accepted_ms: int
    events: int
    refused: int
    skipped: int
    matured: int
    next_epoch: int
    session: int
    tables: tuple[Table, ...]
    counters: rate.Counters
    samples: int
    sums: rate.Sums
    ring: bytes
    recent: Recent | None
    open: Epoch | None
    waiting: Epoch | None
    extra: tuple[tuple[int, bytes], ...] = ()
    habits: Habits = NO_HABITS
    conduct: Conduct = NO_CONDUCT


EMPTY: Final = Baseline(
    0, 0, 0, 0, 0, 0, 0, 1, 0, (EMPTY_TABLE,) * 5, rate.NO_COUNTERS, 0, rate.NO_SUMS, b"", None, None, None
)


def seen_before(b: Baseline, ce_id: str) -> bool:
    """Whether this ce_id is among the last 32 events."""
    return _in_ring(b.ring, ce_hash(ce_id))


def was_taken_back(b: Baseline, decision_id: str) -> bool:
    """Whether `taking_back` was told of this decision, 32 events ago at most."""
    return _in_ring(b.ring, taken_back_hash(decision_id))


def _in_ring(ring: bytes, wanted: bytes) -> bool:
    at = ring.find(wanted)
    while at > 0 and at % HASH_BYTES:
        at = ring.find(wanted, at + 1)
    return at >= 0


def taking_back(b: Baseline, decision_id: str) -> Baseline:
    """The baseline that knows that this decision's lesson was taken back."""
    return b._replace(ring=(b.ring + taken_back_hash(decision_id))[-RING * HASH_BYTES :])


def ripened(b: Baseline, at_ms: int) -> Baseline:
    """The baseline with everything merged that is due at this time (not before the state's own clock)."""
    waiting, opened = b.waiting, b.open
    first = opened.first_ms if waiting is None and opened is not None else at_ms if waiting is None else waiting.last_ms
    if at_ms < first + MATURE_AFTER_MS:
        return b
    asked, asked_ms, answer = _LAST[0]
    if asked is not b or asked_ms != at_ms:
        answer = _ripened(b, at_ms)
        _LAST[0] = (b, at_ms, answer)
    return answer


# The last answer: an event is looked at and then learned at the same time from the same baseline.
_LAST: Final = [(EMPTY, 0, EMPTY)]


def _ripened(b: Baseline, at_ms: int) -> Baseline:
    waiting, opened, due = b.waiting, b.open, list[Epoch]()
    if waiting is not None and at_ms >= waiting.last_ms + MATURE_AFTER_MS:
        due.append(waiting)
        waiting = None
    if waiting is None and opened is not None and at_ms >= opened.first_ms + MATURE_AFTER_MS:
        waiting, opened = opened, None
        if at_ms >= waiting.last_ms + MATURE_AFTER_MS:
            due.append(waiting)
            waiting = None
    tables, samples, sums, matured, extra = b.tables, b.samples, b.sums, b.matured, b.extra
    for epoch in due:
        tables = _with(tables, epoch.counts)
        samples, sums = rate.joined(samples, sums, epoch.events, epoch.sums)
        matured = min(_MAX_U32, matured + epoch.events)
        extra = bar.matured(extra, epoch.number, epoch.events)
    # In the order of the fields: `_replace` takes three times as long.
    return Baseline(
        b.first_seen_ms,
        b.last_ms,
        b.accepted_ms,
        b.events,
        b.refused,
        b.skipped,
        matured,
        b.next_epoch,
        b.session,
        tables,
        b.counters,
        samples,
        sums,
        b.ring,
        b.recent,
        opened,
        waiting,
        extra,
        b.habits,
        b.conduct,
    )


def _with(tables: tuple[Table, ...], counts: Counts) -> tuple[Table, ...]:
    lessons: tuple[dict[int, int], ...] = ({}, {}, {}, {}, {})
    for key, count in counts.items():
        lessons[key >> 16][key & 0xFFFF] = count
    return tuple(
        [
            merged(table, lesson, capacity) if lesson else table
            for table, lesson, capacity in zip(tables, lessons, CAPACITIES, strict=True)
        ]
    )


def fitted(b: Baseline) -> Baseline:
    """The baseline within the bounds of this version: a record of the first release may hold more."""
    recent, room, pending = b.recent, PENDING_ENTRIES, list[Epoch | None]()
    if recent is not None and len(recent.counts) > RECENT_ENTRIES:
        recent = recent._replace(counts=_most(recent.counts, RECENT_ENTRIES))
    for epoch in (b.waiting, b.open):
        most = min(room, EPOCH_ENTRIES)
        kept = epoch if epoch is None or len(epoch.counts) <= most else epoch._replace(counts=_most(epoch.counts, most))
        room -= 0 if kept is None else len(kept.counts)
        pending.append(kept)
    sizes = zip(b.tables, CAPACITIES, strict=True)
    tables = tuple([merged(t, {}, most) if len(t.counts) > most else t for t, most in sizes])
    waiting, opened = pending
    found = (recent, waiting, opened, *tables)
    if all(new is old for new, old in zip(found, (b.recent, b.waiting, b.open, *b.tables), strict=True)):
        return b
    return b._replace(recent=recent, waiting=waiting, open=opened, tables=tables)


def _most(counts: Counts, limit: int) -> Counts:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit])


def landing(b: Baseline, keys: tuple[int, ...]) -> int:
    """The number of the epoch in which an event with these keys would wait now; 0 where both are full."""
    if b.open is None:
        return b.next_epoch if _fits(None, b.waiting, keys) else 0
    if _fits(b.open, b.waiting, keys):
        return b.open.number
    return b.next_epoch if b.waiting is None and _fits(None, b.open, keys) else 0


def _fits(epoch: Epoch | None, waiting: Epoch | None, keys: tuple[int, ...]) -> bool:
    room = EPOCH_ENTRIES if waiting is None else min(EPOCH_ENTRIES, PENDING_ENTRIES - len(waiting.counts))
    if epoch is None:
        return len(keys) <= room
    if epoch.events >= EPOCH_EVENTS:
        return False
    counts, left = epoch.counts, room - len(keys)
    return len(counts) <= left or len(counts) - sum(map(counts.__contains__, keys)) <= left


def waited(
    b: Baseline, keys: tuple[int, ...], at_ms: int, counters: rate.Counters
) -> tuple[Epoch | None, Epoch | None, bool]:
    """The open and the waiting epoch with one more event in the open one, and whether there was room for it."""
    opened, waiting = b.open, b.waiting
    if opened is not None and not _fits(opened, waiting, keys):
        if waiting is not None or not _fits(None, opened, keys):
            return opened, waiting, False
        opened, waiting = None, opened
    if opened is None:
        if not _fits(None, waiting, keys):
            return None, waiting, False
        counts = dict.fromkeys(keys, 1)
        return Epoch(b.next_epoch, at_ms, at_ms, 1, counts, rate.summed(rate.NO_SUMS, counters)), waiting, True
    counts = dict(opened.counts)
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
    sums = rate.summed(opened.sums, counters)
    return Epoch(opened.number, opened.first_ms, at_ms, opened.events + 1, counts, sums), waiting, True


def noticed(recent: Recent | None, keys: tuple[int, ...], at_ms: int) -> Recent:
    """The window of repeats with one more event; it starts anew when it is older than ten minutes."""
    if recent is None or at_ms >= recent.start_ms + MATURE_AFTER_MS:
        return Recent(at_ms, 1, dict.fromkeys(keys, 1))
    counts = dict(recent.counts)
    for key in keys:
        seen = counts.get(key, 0)
        if seen < MAX_SEEN and (seen or len(counts) < RECENT_ENTRIES):
            counts[key] = seen + 1
    return Recent(recent.start_ms, one_more(recent.events), counts)


def one_more(count: int) -> int:
    """The next count; the largest that is stored stays."""
    return count + 1 if count < _MAX_U32 else _MAX_U32


def without(epoch: Epoch, keys: tuple[int, ...], counters: rate.Counters) -> Epoch | None:
    """The epoch with one event less; None when nothing is left, the same one where no such event can be in it."""
    if not all(key in epoch.counts for key in keys):
        return epoch
    left = epoch.events - 1
    # No value can have come more often than there are events, whatever was taken back before.
    counts = {key: min(left, count - (key in keys)) for key, count in epoch.counts.items()}
    counts = {key: count for key, count in counts.items() if count}
    return epoch._replace(events=left, counts=counts, sums=rate.lessened(epoch.sums, counters)) if left else None


_HEAD = struct.Struct("<qqqIIIIII")
_RATE = struct.Struct("<QQQI6I")
_RECENT = struct.Struct("<qI")
_EPOCH = struct.Struct("<IqqB6I")
_SECTION = struct.Struct("<BH")
_TAGS = range(1, 10)
_VERSION_BYTE = bytes((VERSION,))


def encode(b: Baseline) -> bytes:
    """The body, at most 1,972 bytes; equal baselines give equal bytes."""
    (
        first_ms, last_ms, accepted_ms, events, refused, skipped, matured, next_epoch, session,
        tables, counters, samples, sums, ring, recent, opened, waiting, extra, habits, conduct,
    ) = b  # fmt: skip
    sections = (
        _HEAD.pack(first_ms, last_ms, accepted_ms, events, refused, skipped, matured, next_epoch, session),
        b"".join([table.raw for table in tables]),
        _RATE.pack(*counters, samples, *sums),
        ring,
        b"" if recent is None else _encode_recent(recent),
        b"" if opened is None else _encode_epoch(opened),
        b"" if waiting is None else _encode_epoch(waiting),
        encode_habits(habits),
        encode_conduct(conduct),
    )
    parts, written = [_VERSION_BYTE], _SECTION.pack
    for tag, content in enumerate(sections, 1):
        if content:
            parts += (written(tag, len(content)), content)
    for tag, content in extra:
        parts += (written(tag, len(content)), content)
    return b"".join(parts)


def _encode_counts(counts: Counts) -> bytes:
    """How many values each channel has, then all codes, then all counts, in the order of the keys."""
    keys = sorted(counts)
    size = len(keys)
    resource, source = bisect_left(keys, RESOURCE << 16), bisect_left(keys, SOURCE << 16)
    client, hour = bisect_left(keys, CLIENT << 16), bisect_left(keys, HOUR << 16)
    sizes = (resource, source - resource, client - source, hour - client, size - hour)
    return _counts(size).pack(*sizes, *[key & 0xFFFF for key in keys], *map(counts.get, keys))


@cache
def _counts(size: int) -> struct.Struct:
    return struct.Struct(f"<5B{size}H{size}B")


def _encode_recent(recent: Recent) -> bytes:
    start_ms, events, counts = recent
    return _RECENT.pack(start_ms, events) + _encode_counts(counts)


def _encode_epoch(epoch: Epoch) -> bytes:
    number, first_ms, last_ms, events, counts, sums = epoch
    return _EPOCH.pack(number, first_ms, last_ms, events, *sums) + _encode_counts(counts)


def decode(body: bytes) -> Baseline:
    """Read a body; what it gives encodes to the same bytes again.

    Raises:
        InvalidBaseline: where a section is cut short, out of order, out of range, or not in canonical form.
    """
    if not body or body[0] != VERSION:
        raise InvalidBaseline(f"version: expected {VERSION}")
    if len(body) > MAX_BODY_BYTES:
        raise InvalidBaseline(f"body: expected at most {MAX_BODY_BYTES} bytes, got {len(body)}")
    sections = dict(_sections(body))
    extra = tuple((tag, content) for tag, content in sections.items() if tag not in _TAGS)
    if sum(len(content) + _SECTION.size for _, content in extra) > ROOM_BYTES:
        raise InvalidBaseline(f"sections: expected at most {ROOM_BYTES} bytes of unknown sections")
    try:
        bar.bar_of(extra)
    except bar.InvalidBar as error:
        raise InvalidBaseline(str(error)) from error
    try:
        return _decoded(sections, extra)
    except (KeyError, struct.error) as error:
        raise InvalidBaseline(f"sections: one is missing or cut short ({error})") from error


def _sections(body: bytes) -> Iterator[tuple[int, bytes]]:
    at, before = 1, 0
    while at < len(body):
        if at + _SECTION.size > len(body):
            raise InvalidBaseline("sections: expected a tag and a length")
        tag, length = _SECTION.unpack_from(body, at)
        at += _SECTION.size
        if tag <= before or at + length > len(body) or (not length and tag in _TAGS):
            raise InvalidBaseline(f"section {tag}: expected rising tags and all of its {length} bytes")
        yield tag, body[at : at + length]
        at, before = at + length, tag


def _decoded(sections: Mapping[int, bytes], extra: tuple[tuple[int, bytes], ...]) -> Baseline:
    first, last, accepted, events, refused, skipped, matured, epoch, session = _HEAD.unpack(sections[1])
    if not (0 <= first <= accepted <= last <= MAX_TIME_MS and session <= MAX_SESSION and epoch >= 1):
        raise InvalidBaseline("head: expected times in order, a session within its bound and an epoch")
    one, two, three, samples, *sums = _RATE.unpack(sections[3])
    ring = sections.get(4, b"")
    if len(ring) % HASH_BYTES or len(ring) > RING * HASH_BYTES:
        raise InvalidBaseline(f"ring: expected at most {RING} whole hashes")
    if max(one, two, three) > rate.CAP or samples > rate.MAX_SAMPLES:
        raise InvalidBaseline("rates: expected counters and samples within their bounds")
    return _checked(
        Baseline(
            first_seen_ms=first,
            last_ms=last,
            accepted_ms=accepted,
            events=events,
            refused=refused,
            skipped=skipped,
            matured=matured,
            next_epoch=epoch,
            session=session,
            tables=tuple(_decode_tables(sections[2])),
            counters=(one, two, three),
            samples=samples,
            sums=_bounded(sums, samples),
            ring=ring,
            recent=_decode_recent(sections[5]) if 5 in sections else None,
            open=_decode_epoch(sections[6]) if 6 in sections else None,
            waiting=_decode_epoch(sections[7]) if 7 in sections else None,
            extra=extra,
            habits=_decode_habits(sections[8], last) if 8 in sections else NO_HABITS,
            conduct=_decode_conduct(sections[9]) if 9 in sections else NO_CONDUCT,
        )
    )


def _decode_habits(raw: bytes, last_ms: int) -> Habits:
    try:
        return decode_habits(raw, last_ms)
    except InvalidHabits as error:
        raise InvalidBaseline(str(error)) from error


def _decode_conduct(raw: bytes) -> Conduct:
    try:
        return decode_conduct(raw)
    except InvalidConduct as error:
        raise InvalidBaseline(str(error)) from error


def _checked(b: Baseline) -> Baseline:
    """The baseline itself, where its parts agree: what waits is in order and not of the future."""
    if b.habits is not NO_HABITS and b is not fitted(b):
        raise InvalidBaseline(f"tables: expected at most {CAPACITIES} entries and {PENDING_ENTRIES} that wait")
    times = [0]
    for epoch in (b.waiting, b.open):
        if epoch is not None:
            times += (epoch.first_ms, epoch.last_ms)
    if times != sorted(times) or max(times[-1], b.recent.start_ms if b.recent else 0) > b.last_ms:
        raise InvalidBaseline("epochs: expected times in order, none after the last event")
    numbers = [epoch.number for epoch in (b.waiting, b.open) if epoch is not None]
    if sorted({0, *numbers, b.next_epoch}) != [0, *numbers, b.next_epoch]:
        raise InvalidBaseline("epochs: expected rising numbers below that of the next one")
    return b


def _bounded(sums: list[int], samples: int) -> rate.Sums:
    one, first, two, second, three, third = sums
    if max(one, two, three) > samples * rate.MAX_LN or max(first, second, third) > samples * rate.MAX_SQUARE:
        raise InvalidBaseline("rates: expected sums that so many samples can have")
    return (one, first, two, second, three, third)


def _decode_tables(raw: bytes) -> Iterator[Table]:
    at = 0
    for name, capacity in zip(CHANNELS, _OLD_CAPACITIES, strict=True):
        try:
            found, at = read(raw, at, capacity)
        except InvalidTable as error:
            raise InvalidBaseline(f"table {name}: {error}") from error
        yield found
    if at != len(raw):
        raise InvalidBaseline("tables: expected nothing after the last one")


def _decode_counts(raw: bytes, name: str, limit: int) -> Counts:
    sizes, rest = raw[: len(CHANNELS)], raw[len(CHANNELS) :]
    entries = sum(sizes)
    if len(sizes) < len(CHANNELS) or len(rest) != 3 * entries or entries > limit:
        raise InvalidBaseline(f"{name}: expected at most {limit} values, nothing after them")
    bases = [channel << 16 for channel, size in enumerate(sizes) for _ in range(size)]
    keys = list(map(or_, bases, struct.unpack_from(f"<{entries}H", rest)))
    counts = rest[2 * entries :]
    if 0 in counts or keys != sorted(set(keys)):
        raise InvalidBaseline(f"{name}: expected rising codes, each counted")
    return dict(zip(keys, counts, strict=True))


def _decode_recent(raw: bytes) -> Recent:
    start, events = _RECENT.unpack_from(raw)
    return Recent(start, events, _decode_counts(raw[_RECENT.size :], "recent", _OLD_ENTRIES))


def _decode_epoch(raw: bytes) -> Epoch:
    number, first, last, events, *sums = _EPOCH.unpack_from(raw)
    counts = _decode_counts(raw[_EPOCH.size :], "epoch", _OLD_ENTRIES)
    if not 1 <= events <= EPOCH_EVENTS or max(counts.values(), default=0) > events:
        raise InvalidBaseline(f"epoch: expected 1 to {EPOCH_EVENTS} events, no value more often than that")
    return Epoch(number, first, last, events, counts, _bounded(sums, events))
