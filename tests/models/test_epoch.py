"""The epoch score's laws: bounded, exact through storage, slow to believe, and able to tell somebody else."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import epoch, habitform
from models.baseline import EMPTY, MAX_BODY_BYTES, PENDING_ENTRIES, Baseline, InvalidBaseline, decode, encode
from models.epoch import EPOCH_EVENTS, MATURE_AFTER_MS, NO_HABITS, Habits, judge, observe, ripened, signs, unscored
from models.event import features, score
from models.habitform import MAX_HABITS_BYTES, InvalidHabits, decode_habits, encode_habits
from models.lessons import lesson, take_back, taught, taught_from
from models.lessons import observe as see
from models.prior import load_prior
from models.profiles import Profile, build_profile, counted
from models.sketch import CAPACITY, EMPTY_SKETCH, InvalidSketch, Sketch, merged, read
from stayhand.wire import PendingAction, pending_action

START = 1_760_000_000_000
STEP_MS = 7_000
# Where a record of habits has its flags.
FLAGS_AT = 31
PRIOR = load_prior()
WORDS = [f"tool{number}" for number in range(60)]


def habit(rnd: random.Random, words: Sequence[str], size: int) -> list[str]:
    """A history in which some words come often and some seldom, in runs."""
    found: list[str] = []
    while len(found) < size:
        word = words[min(len(words) - 1, int(rnd.expovariate(0.15)))]
        found += [word] * rnd.randrange(1, 4)
    return found[:size]


OTHERS = [habit(random.Random(seed), random.Random(seed).sample(WORDS, 40), 3_000) for seed in range(6)]
OWN = random.Random(99).sample(WORDS, 25)
PROFILE = build_profile("test", [counted(names, EPOCH_EVENTS) for names in OTHERS])


def play(
    names: Sequence[str], h: Habits = NO_HABITS, at: int = START, profile: Profile | None = PROFILE
) -> tuple[Habits, int, list[int]]:
    """The habits after these actions, the time, and each event's score."""
    scores: list[int] = []
    for name in names:
        at += STEP_MS
        h = ripened(h, at)
        code = PROFILE.code(name, 7)
        if profile is None:
            mark = unscored(code)
        else:
            found, mark = judge(signs(h, code, profile), code)
            scores.append(found.h)
        h = observe(h, mark, at, learn=True)
    return h, at, scores


LIVED, LAST, _ = play(habit(random.Random(3), OWN, 60 * EPOCH_EVENTS))


def test_somebody_else_is_told_within_a_hundred_actions_and_the_identity_itself_is_not() -> None:
    mine = play(habit(random.Random(4), OWN, 1_000), LIVED, LAST)[2]
    theirs = play(OTHERS[0][: 2 * EPOCH_EVENTS], LIVED, LAST)[2]
    assert max(mine) < -3 * 1024
    assert theirs[EPOCH_EVENTS - 1] > -1024
    assert theirs[-1] > 0
    assert min(theirs[60:]) > max(mine)


def test_where_an_epoch_ends_the_score_of_its_last_event_is_that_of_the_epoch() -> None:
    h, at = LIVED, LAST
    for name in habit(random.Random(4), WORDS, 30 * EPOCH_EVENTS):
        number = h.number
        h, at, (last,) = play([name], h, at)
        if h.number != number:
            assert abs(last - h.h) <= 4


def test_what_the_epoch_refuses_is_not_learned_and_a_long_run_of_it_ends_in_a_notice() -> None:
    h, at = LIVED, LAST
    wanted = OTHERS[1]
    for refused in range(1, epoch.REFUSED_OLD + 1):
        h, at, _ = play(wanted[:EPOCH_EVENTS], h, at)
        assert (h.refused, h.notices, h.table) == (refused, 0, LIVED.table)
    h, at, _ = play(wanted[:EPOCH_EVENTS], h, at)
    assert (h.refused, h.notices, h.epochs) == (0, 1, LIVED.epochs + 1)
    assert h.table != LIVED.table


def test_poison_that_is_learned_drifts_from_the_anchor() -> None:
    h, at = LIVED, LAST
    rnd, own, theirs = random.Random(8), habit(random.Random(9), OWN, 6_000), OTHERS[2]
    for step in range(40):
        share = 2 * step
        block = [rnd.choice(theirs) if rnd.randrange(100) < share else own[100 * step + n] for n in range(100)]
        h, at, _ = play(block, h, at)
    assert h.anchor_epochs == epoch.ANCHOR_EPOCHS
    assert h.drift > LIVED.drift + 512


def test_an_epoch_waits_ten_minutes_whatever_its_pace() -> None:
    h = NO_HABITS
    for number in range(5 * EPOCH_EVENTS):
        h = observe(h, unscored(number % 9), START + number, learn=True)
        assert not h.table.entries
    assert h.waits
    assert ripened(h, START + MATURE_AFTER_MS - 1) is h
    late = ripened(h, START + MATURE_AFTER_MS)
    assert (late.epochs, late.events, late.waits) == (1, EPOCH_EVENTS, False)


def test_without_a_profile_habits_are_collected_and_nothing_is_said() -> None:
    names = habit(random.Random(3), OWN, 10 * EPOCH_EVENTS)
    h, _, _ = play(names, profile=None)
    assert (h.epochs, h.h, h.drift, sum(h.histogram)) == (10, NO_HABITS.h, NO_HABITS.drift, 0)


def test_an_event_that_is_taken_back_is_not_in_the_table() -> None:
    names = ["tool1"] * 99 + ["tool2"]
    h, at, _ = play(names[:99])
    once = epoch.take_back(h, h.number, PROFILE.code("tool1", 7))
    merged_all, _, _ = play(names[99:], h, at)
    merged_less, _, _ = play(names[99:], once, at)
    assert merged_less.events == merged_all.events - 1
    assert epoch.take_back(h, h.number + 1, PROFILE.code("tool1", 7)) is h


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(1, 100)), max_size=300), st.booleans())
@settings(deadline=None, max_examples=50)
def test_a_table_is_bounded_and_exact_through_storage(lessons: list[tuple[int, int]], anchoring: bool) -> None:
    table = EMPTY_SKETCH
    for number in range(0, len(lessons), 40):
        table, _ = merged(table, dict(lessons[number : number + 40]), number, anchoring=anchoring)
    assert len(table.entries) <= CAPACITY
    assert read(table.raw, 0) == (table, len(table.raw))
    assert read(b"ab" + table.raw, 2)[0].raw == table.raw


@pytest.mark.parametrize("raw", [b"", b"\x81", b"\x01", bytes((1,)) + bytes(33) + b"\0\1\0\0"])
def test_what_is_no_table_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidSketch):
        read(raw, 0)


@given(st.integers(0, 400), st.integers(0, 3), st.booleans())
@settings(deadline=None, max_examples=60)
def test_habits_pass_through_storage_exactly_at_any_moment(more: int, words: int, profiled: bool) -> None:
    names = habit(random.Random(words), WORDS, more)
    h, at, _ = play(names, LIVED, LAST, PROFILE if profiled else None)
    raw = encode_habits(h)
    assert decode_habits(raw, at) == h
    assert encode_habits(decode_habits(raw, at)) == raw
    assert len(raw) <= MAX_HABITS_BYTES


@given(st.integers(0, 400), st.booleans())
@settings(deadline=None, max_examples=60)
def test_habits_of_an_earlier_release_are_read_as_what_each_sub_epoch_began_with(more: int, watched: bool) -> None:
    h, at, scores = play(habit(random.Random(3), OWN, 100 + more))
    h = epoch.disowned(h, h.number) if watched else h
    subs, starts = h.subs, [sub.h for sub in (*h.subs, h.sub)]
    ends = starts[1:]
    opened = h.sub._replace(h=scores[-1] if h.sub.events else 0)
    old = h._replace(subs=tuple(sub._replace(h=end) for sub, end in zip(subs, ends, strict=True)), sub=opened)
    raw = bytearray(encode_habits(old))
    raw[FLAGS_AT] &= ~habitform.BEFORE
    read_back = decode_habits(bytes(raw), at)
    assert [sub.h for sub in (*read_back.subs, read_back.sub)][1:] == ends
    assert read_back._replace(subs=h.subs, sub=h.sub) == h
    assert decode_habits(encode_habits(read_back), at) == read_back


@given(st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 2_000))
@settings(deadline=None, max_examples=200)
def test_bytes_that_are_read_as_habits_are_written_back_alike(edits: list[tuple[int, int]], cut: int) -> None:
    whole = bytearray(encode_habits(LIVED))
    for at, value in edits:
        whole[at % len(whole)] = value
    raw = bytes(whole[: max(cut, 1)])
    try:
        h = decode_habits(raw, LAST)
    except InvalidHabits:
        return
    if raw[FLAGS_AT] & habitform.BEFORE:
        assert encode_habits(h) == raw
    assert decode_habits(encode_habits(h), LAST) == h
    play(habit(random.Random(1), WORDS, 120), h, LAST)


@given(st.integers(0, 255), st.integers(0, 255))
def test_a_rarer_value_never_weighs_less(one: int, other: int) -> None:
    seen = signs(LIVED, PROFILE.code(OWN[0], 7), PROFILE)
    rare, usual = sorted((one, other))
    weights = [epoch.weigh(seen._replace(levels=(level, 20, 9)))[0] for level in (rare, usual)]
    assert weights[0] >= weights[1]


def act(name: str) -> PendingAction:
    return pending_action(
        {
            "subject": {"type": "token", "id": "ci"},
            "action": {"name": name},
            "resource": {"type": "bucket", "id": name},
            "context": {"source": name, "client": name},
        }
    )


def test_a_record_with_everything_full_fits() -> None:
    rnd, b, at = random.Random(2), EMPTY, START
    for number in range(3_500):
        at += rnd.choice([0, 10, 20_000])
        name = f"svc:Do{rnd.randrange(10**6)}" if number % 3 else WORDS[number % 60]
        seen = features(b, act(name), at, PRIOR, PROFILE)
        b = see(b, lesson(seen, score(seen), str(number), True))
        if number % 97 == 0 or number > 3_400:
            assert decode(encode(b)) == b
            assert len(encode(b)) <= MAX_BODY_BYTES
    assert len(b.habits.table.entries) == CAPACITY


def test_a_record_of_the_first_release_is_read_as_it_is_and_fits_from_its_next_event_on() -> None:
    b, at = EMPTY, START
    for number in range(400):
        at += 3_000
        seen = features(b, act(f"svc:Do{number % 50}"), at, PRIOR)
        b = see(b, lesson(seen, score(seen), str(number), True))
    table = b.tables[0]
    full = {code: 1 + code % 9 for code in range(96)}
    old = b._replace(habits=NO_HABITS, tables=(type(table)(full, 500, 96), *b.tables[1:]))
    raw = encode(old)
    assert encode(decode(raw)) == raw
    seen = features(decode(raw), act("svc:Do1"), at, PRIOR)
    after = see(decode(raw), lesson(seen, score(seen), "x", True))
    assert len(after.tables[0].counts) == 36
    assert after.habits.codes
    assert decode(encode(after)) == after
    with pytest.raises(InvalidBaseline, match="tables"):
        decode(encode(after._replace(tables=old.tables)))
    assert PENDING_ENTRIES < 44


def test_the_scores_reach_the_event_and_what_was_taught_can_be_taken_back() -> None:
    b: Baseline = EMPTY._replace(habits=LIVED, last_ms=LAST, events=6_000, first_seen_ms=START)
    name = OWN[0]
    seen = features(b, act(name), LAST + STEP_MS, PRIOR, PROFILE)
    found = score(seen)
    assert None not in (found.epoch, found.q, found.drift)
    note = lesson(seen, found, "a", True)
    after = see(b, note)
    undone = take_back(after, taught_from(taught(note)))
    assert after.habits.learn.bit_count() == undone.habits.learn.bit_count() + 1
    bare = score(features(b, act(name), LAST + STEP_MS, PRIOR))
    assert (bare.epoch, bare.drift, bare.q, bare.p) == (None, None, None, None)


def test_sketches_of_equal_entries_are_equal() -> None:
    assert Sketch({5: (1, 1, 0)}) == Sketch({5: (1, 1, 0)})
    assert Sketch({5: (1, 1, 0)}) != EMPTY_SKETCH
