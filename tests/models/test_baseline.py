"""The baseline's laws: immutable, bounded, exact through storage, and slow to believe."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import bar
from models import baseline as module
from models.baseline import (
    EMPTY,
    EPOCH_EVENTS,
    MATURE_AFTER_MS,
    MAX_BODY_BYTES,
    MAX_SESSION,
    ROOM_BYTES,
    VERSION,
    Baseline,
    InvalidBaseline,
    Recent,
    decode,
    encode,
    ripened,
    seen_before,
)
from models.conduct import PAUSE_MOST
from models.event import Features, Scores, features, score
from models.lessons import lesson, observe, take_back, taught, taught_from
from models.prior import load_prior
from models.rate import CAP, MAX_SAMPLES
from models.tables import MAX_COUNT, Table
from schemas import documents
from stayhand.wire import PendingAction, pending_action
from streams import record

START = 1_760_000_000_000
DAY_MS = 86_400_000
PRIOR = load_prior()


def act(
    name: str = "s3:GetObject", resource: str = "logs/a", source: str = "10.0.0.1", client: str = "boto3/1"
) -> PendingAction:
    return pending_action(
        {
            "subject": {"type": "token", "id": "ci"},
            "action": {"name": name},
            "resource": {"type": "bucket", "id": resource},
            "context": {"source": source, "client": client},
        }
    )


def step(b: Baseline, action: PendingAction, at_ms: int, ce_id: str = "x", learn: bool = True) -> Baseline:
    seen = features(b, action, at_ms, PRIOR)
    return observe(b, lesson(seen, score(seen), ce_id, learn))


class Move(NamedTuple):
    """One event of a made-up history."""

    gap_ms: int
    name: str
    resource: str
    source: str
    client: str
    learn: bool
    take_back: bool
    store: bool


def _few_or_many(prefix: str) -> st.SearchStrategy[str]:
    return st.integers(0, 3).map(lambda n: f"{prefix}{n}") | st.integers(0, 10**6).map(lambda n: f"{prefix}{n}")


LABEL = st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), max_size=40)
MOVES = st.builds(
    Move,
    gap_ms=st.sampled_from([-5, 0, 1, 900, 30_000, 400_000, MATURE_AFTER_MS, DAY_MS, 3_650 * DAY_MS]),
    name=_few_or_many("svc:Get") | LABEL.filter(bool) | st.just("iam:PutUserPolicy"),
    resource=_few_or_many("bucket") | LABEL.filter(bool),
    source=_few_or_many("10.0.0.") | LABEL,
    client=_few_or_many("client") | LABEL,
    learn=st.booleans(),
    take_back=st.booleans(),
    store=st.booleans(),
)


def play(moves: Iterable[Move], *, storing: bool, b: Baseline = EMPTY) -> Baseline:
    at = START
    for number, move in enumerate(moves):
        at += move.gap_ms
        if storing and move.store:
            b = decode(encode(b))
        seen = features(b, act(move.name, move.resource, move.source, move.client), at, PRIOR)
        note = lesson(seen, score(seen), str(number), move.learn)
        b = observe(b, note)
        if move.take_back:
            b = take_back(b, taught_from(taught(note)))
    return b


@given(st.lists(MOVES, max_size=60))
@settings(deadline=None)
def test_a_history_ends_in_the_same_bytes_with_and_without_storage_between(moves: list[Move]) -> None:
    straight = play(moves, storing=False)
    stored = play(moves, storing=True)
    assert encode(stored) == encode(straight)
    assert decode(encode(straight)) == straight


@given(st.lists(MOVES, max_size=60), st.integers(1, 40))
@settings(deadline=None)
def test_every_history_fits_and_leaves_room_for_later_sections(moves: list[Move], times: int) -> None:
    b = EMPTY
    for _ in range(min(times, 3)):
        b = play(moves, storing=False, b=b)
    assert len(encode(b)) <= MAX_BODY_BYTES - bar.OTHERS_MOST_BYTES


def test_the_fullest_history_fits_and_comes_near_the_bound() -> None:
    rnd, b, at = random.Random(7), EMPTY, START
    for number in range(9_000):
        at += rnd.choice([0, 10, 5_000, 200_000])
        fresh = rnd.randrange(10**9)
        b = step(b, act(f"svc:Do{fresh}", f"b{fresh}", f"net{fresh}", f"c{fresh}"), at, str(number))
        b = b if number % 50 else decode(encode(b))
    for number in range(100):
        b = step(b, act(f"svc:Last{number}", f"r{number}", f"n{number}", f"k{number}"), at, f"last{number}")
    size = len(encode(b))
    assert 1_600 < size <= MAX_BODY_BYTES - bar.OTHERS_MOST_BYTES
    assert MAX_BODY_BYTES + record.HEADER_BYTES <= documents.MAX_STATE_BYTES
    assert [len(table.counts) for table in b.tables] == list(module.CAPACITIES)
    assert decode(encode(b)) == b


def test_counts_and_totals_beyond_their_bounds_halve_and_still_fit() -> None:
    b, at = EMPTY, START
    for number in range(80):
        for _ in range(EPOCH_EVENTS):
            b = step(b, act(), at, str(number))
        at += 2 * MATURE_AFTER_MS
    heavy = b._replace(tables=tuple(_grown(table) for table in b.tables))
    after = step(step(heavy, act(), at), act(), at + 3 * MATURE_AFTER_MS)
    assert decode(encode(after)) == after
    assert 0 < max(after.tables[0].counts.values()) < max(heavy.tables[0].counts.values())


def _grown(table: Table) -> Table:
    return Table(dict.fromkeys(table.counts, MAX_COUNT), MAX_COUNT, table.distinct)


@given(st.binary(max_size=64), st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=6), st.data())
@settings(deadline=None, max_examples=300)
def test_bytes_that_are_read_are_written_back_alike_and_can_go_on(
    tail: bytes, edits: list[tuple[int, int]], data: st.DataObject
) -> None:
    body = bytearray(encode(_lived()))
    for at, value in edits:
        body[at % len(body)] = value
    cut = data.draw(st.integers(0, len(body)))
    raw = bytes(body[:cut]) + tail if data.draw(st.booleans()) else bytes(body)
    try:
        b = decode(raw)
    except InvalidBaseline:
        return
    assert encode(b) == raw
    for gap in (0, 1, MATURE_AFTER_MS, 10 * MATURE_AFTER_MS):
        b = step(b, act("svc:New"), b.last_ms + gap)
        assert decode(encode(b)) == b


def _lived() -> Baseline:
    b = EMPTY
    for number in range(30):
        b = step(b, act(f"svc:Get{number % 5}", source=f"10.0.{number % 3}.1"), START + 90_000 * number, str(number))
    return step(b, act(), START + 90_000 * 30)


def test_a_body_of_pure_chance_is_refused() -> None:
    rnd = random.Random(3)
    for _ in range(500):
        with pytest.raises(InvalidBaseline):
            decode(rnd.randbytes(rnd.randrange(0, 3_000)))


@pytest.mark.parametrize("cut", [0, 1, 2, 5, 40, 200])
def test_a_body_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(InvalidBaseline):
        decode(encode(_lived())[:cut])


def test_another_version_is_refused_by_name() -> None:
    with pytest.raises(InvalidBaseline, match="version"):
        decode(bytes((VERSION + 1,)) + encode(EMPTY)[1:])


def test_sections_of_a_later_version_are_kept_through_learning() -> None:
    later = encode(_lived()._replace(extra=())) + struct.pack("<BH", 99, 5) + b"later" + struct.pack("<BH", 200, 0)
    b = step(decode(later), act(), START + DAY_MS)
    assert encode(b).endswith(later[-11:])


def test_more_unknown_sections_than_the_room_for_them_are_refused() -> None:
    fits = encode(EMPTY) + struct.pack("<BH", 10, ROOM_BYTES - 3) + bytes(ROOM_BYTES - 3)
    assert encode(decode(fits)) == fits
    with pytest.raises(InvalidBaseline, match="unknown"):
        decode(encode(EMPTY) + struct.pack("<BH", 10, ROOM_BYTES - 2) + bytes(ROOM_BYTES - 2))


@given(st.lists(MOVES, min_size=1, max_size=30), MOVES)
@settings(deadline=None)
def test_observing_leaves_the_older_baseline_as_it_was(moves: list[Move], last: Move) -> None:
    before = play(moves, storing=False)
    bytes_before = encode(before)
    play([last], storing=False, b=before)
    take_back(before, taught_from(taught(lesson(*_scored(before), "x", True))))
    assert encode(before) == bytes_before
    assert Baseline(*EMPTY) == EMPTY
    assert not EMPTY.tables[0].counts


def _scored(b: Baseline) -> tuple[Features, Scores]:
    seen = features(b, act(), b.last_ms, PRIOR)
    return seen, score(seen)


def test_tables_are_shared_until_something_matures() -> None:
    first = step(EMPTY, act(), START)
    later = step(first, act("svc:Other"), START + MATURE_AFTER_MS - 1)
    assert later.tables is first.tables
    assert step(later, act(), START + 3 * MATURE_AFTER_MS).tables is not first.tables


@given(st.lists(st.integers(0, 2_000), min_size=1, max_size=600))
@settings(deadline=None, max_examples=30)
def test_nothing_matures_before_ten_minutes_after_the_first_event_that_waits(gaps: list[int]) -> None:
    b, at = EMPTY, START
    for number, gap in enumerate(gaps):
        at += gap
        if at >= START + MATURE_AFTER_MS:
            break
        b = step(b, act(f"svc:Get{number % 7}"), at, str(number))
        assert b.matured == 0
        assert not any(table.counts for table in b.tables)


@given(st.lists(st.sampled_from([1_000, 60_000, 200_000, 599_999, 700_000]), min_size=20, max_size=80))
@settings(deadline=None, max_examples=50)
def test_every_event_waits_ten_minutes_of_its_own(gaps: list[int]) -> None:
    b, at, born = EMPTY, START, []
    for number, gap in enumerate(gaps):
        at += gap
        b = step(b, act(), at, str(number))
        born.append(at)
        old_enough = sum(at - moment >= MATURE_AFTER_MS for moment in born)
        assert b.matured <= old_enough
    assert ripened(b, at + 3 * MATURE_AFTER_MS).matured == len(born) - b.skipped


def test_a_burst_fills_both_epochs_and_is_then_counted_but_not_learned() -> None:
    b = EMPTY
    for number in range(3 * EPOCH_EVENTS):
        b = step(b, act(), START + number, str(number))
    assert b.events == 3 * EPOCH_EVENTS
    assert b.skipped == EPOCH_EVENTS
    assert b.matured == 0
    assert decode(encode(b)) == b
    assert ripened(b, START + 5 * MATURE_AFTER_MS).tables[0].total == 2 * EPOCH_EVENTS


def test_what_is_not_to_be_learned_never_matures() -> None:
    b = step(EMPTY, act("iam:PutUserPolicy"), START, learn=False)
    assert b.refused == 1
    assert ripened(b, START + DAY_MS).tables[0].total == 0


@given(st.lists(MOVES, max_size=25), MOVES)
@settings(deadline=None)
def test_taking_back_at_once_leaves_what_waits_as_if_the_event_was_not_learned(moves: list[Move], last: Move) -> None:
    before = play([move._replace(take_back=False) for move in moves], storing=False)
    at = START + sum(move.gap_ms for move in moves) + last.gap_ms
    seen = features(before, act(last.name, last.resource, last.source, last.client), at, PRIOR)
    note = lesson(seen, score(seen), "last", True)
    undone = take_back(observe(before, note), taught_from(taught(note)))
    never = observe(before, note._replace(learn=False))
    assert _learned(ripened(undone, at + DAY_MS)) == _learned(ripened(never, at + DAY_MS))


def _learned(b: Baseline) -> tuple[object, ...]:
    return b.tables, b.samples, b.sums, b.matured


def test_what_has_matured_is_not_taken_back() -> None:
    seen = features(EMPTY, act(), START, PRIOR)
    note = lesson(seen, score(seen), "a", True)
    b = step(observe(EMPTY, note), act(), START + 3 * MATURE_AFTER_MS, "b")
    after = take_back(b, taught_from(taught(note)))
    assert after._replace(habits=b.habits) == b
    assert (b.habits.learn, after.habits.learn) == (0b11, 0b01)


def test_taking_back_the_same_event_again_and_again_never_breaks_the_record() -> None:
    notes, b = [], EMPTY
    for number in range(12):
        seen = features(b, act(f"svc:Get{number % 3}", f"r{number % 4}"), START + number, PRIOR)
        notes.append(lesson(seen, score(seen), str(number), True))
        b = observe(b, notes[-1])
    for _ in range(12):
        b = take_back(b, taught_from(taught(notes[0])))
        assert decode(encode(b)) == b


def test_time_never_goes_back() -> None:
    b = step(step(EMPTY, act(), START), act(), START - DAY_MS)
    assert b.last_ms == START
    assert features(b, act(), -1, PRIOR).at_ms == START


@pytest.mark.parametrize("gap_ms", [3_650 * DAY_MS, 1 << 62])
def test_a_long_sleep_is_safe(gap_ms: int) -> None:
    b = step(_lived(), act(), START + gap_ms)
    assert decode(encode(b)) == b
    assert 0 < b.session < PAUSE_MOST * 1024
    assert step(b, act(), START + gap_ms).events == b.events + 1


def test_the_last_32_events_are_known_again_and_no_older_one() -> None:
    b = EMPTY
    for number in range(40):
        b = step(b, act(), START + number, f"event-{number}")
    known = [number for number in range(40) if seen_before(b, f"event-{number}")]
    assert known == list(range(8, 40))
    assert not seen_before(b, "another")


def test_a_hash_across_two_others_is_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ce_hash", lambda _: b"cdefab")
    straddling = EMPTY._replace(ring=b"abcdef" + b"abcdef")
    assert not seen_before(straddling, "x")
    assert seen_before(EMPTY._replace(ring=b"abcdef" + b"abcdef" + b"cdefab"), "x")


def test_taking_back_twice_what_shares_its_values_with_others_leaves_a_record_that_can_be_read() -> None:
    seen = features(EMPTY, act(source=""), START, PRIOR)
    note = lesson(seen, score(seen), "a", True)
    b = step(step(observe(EMPTY, note), act(), START, "b"), act(), START, "c")
    again = take_back(take_back(b, taught_from(taught(note))), taught_from(taught(note)))
    assert again.open is not None
    assert again.open.events == 1
    assert decode(encode(again)) == again


def test_a_lesson_that_was_not_learned_has_nothing_to_take_back() -> None:
    b = step(EMPTY, act(), START)
    seen = features(b, act(), START, PRIOR)
    note = lesson(seen, score(seen), "a", False)
    after = observe(b, note)
    assert taught_from(taught(note)).epoch == 0
    assert take_back(after, taught_from(taught(note))) is after


def _waiting() -> Baseline:
    """One epoch waits, another is open."""
    b = EMPTY
    for number in range(EPOCH_EVENTS + 3):
        b = step(b, act(), START + number, str(number))
    assert b.open is not None
    assert b.waiting is not None
    return b


def _epochs(name: str, **changes: int) -> Baseline:
    b = _waiting()
    return b._replace(**{name: getattr(b, name)._replace(**changes)})


WRONG = {
    "more of a value than events": _epochs("open", events=1),
    "no events": _epochs("open", events=0),
    "more events than an epoch holds": _epochs("waiting", events=EPOCH_EVENTS + 1),
    "open before waiting": _epochs("open", first_ms=START),
    "an epoch of the future": _epochs("open", last_ms=START + DAY_MS),
    "an epoch that ends before it begins": _epochs("open", last_ms=0),
    "a number twice": _epochs("open", number=1),
    "a number that is still to come": _epochs("open", number=99),
    "repeats of the future": _waiting()._replace(recent=Recent(START + DAY_MS, 1, {})),
    "too many samples": _waiting()._replace(samples=MAX_SAMPLES + 1),
    "sums that no samples can have": _waiting()._replace(sums=(1, 0, 0, 0, 0, 0)),
    "a counter beyond its cap": _waiting()._replace(counters=(CAP + 1, 0, 0)),
    "a session beyond its bound": _waiting()._replace(session=MAX_SESSION + 1),
    "seen after the last event": _waiting()._replace(first_seen_ms=START + DAY_MS),
    "half a hash": _waiting()._replace(ring=b"abc"),
    "too many hashes": _waiting()._replace(ring=bytes(33 * 6)),
    "an empty count": _waiting()._replace(recent=Recent(START, 1, {7: 0})),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_could_not_have_been_written_is_refused(wrong: Baseline) -> None:
    assert decode(encode(_waiting())) == _waiting()
    with pytest.raises(InvalidBaseline):
        decode(encode(wrong))


@pytest.mark.parametrize("entries", [(5, 3, 1, 1), (3, 3, 1, 1), (3, 5, 1, 0)])
def test_a_table_out_of_order_or_with_an_empty_count_is_refused(entries: tuple[int, ...]) -> None:
    table = Table({}, 2, 2, struct.pack("<BIH4H", 2, 2, 2, *entries))
    with pytest.raises(InvalidBaseline, match="table action"):
        decode(encode(EMPTY._replace(tables=(table, *EMPTY.tables[1:]))))


def test_a_table_beyond_its_capacity_is_refused() -> None:
    table = Table(dict.fromkeys(range(97), 1), 97, 97)
    with pytest.raises(InvalidBaseline, match="at most 96"):
        decode(encode(EMPTY._replace(tables=(table, *EMPTY.tables[1:]))))


KEYS = st.builds(lambda channel, code: channel << 16 | code, st.integers(0, 4), st.integers(0, 0xFFFF))


@given(st.dictionaries(KEYS, st.integers(1, 255), max_size=44))
def test_counts_are_laid_out_as_sizes_by_channel_then_codes_then_counts(counts):
    ordered = sorted(counts.items())
    told = bytes(sum(key >> 16 == channel for key, _ in ordered) for channel in range(5))
    told += b"".join((key & 0xFFFF).to_bytes(2, "little") for key, _ in ordered)
    told += bytes(count for _, count in ordered)
    stored = encode(EMPTY._replace(last_ms=5, recent=Recent(5, 1, counts)))
    assert told in stored
    assert decode(stored).recent == Recent(5, 1, counts)
