"""The identity's own bar: bounded, slow, moved by what matures, and not to be trained up without a person's word."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import bar
from models.baseline import EMPTY, MATURE_AFTER_MS, ROOM_BYTES, InvalidBaseline, decode, encode, ripened
from models.event import features, score
from models.eventform import lesson_from_json, lesson_json
from models.lessons import lesson, observe
from models.policy import compile_pack
from models.transition import World, redecide
from stayhand import canonical
from tests.models.asks import START_MS, ask, prior
from tests.models.test_reviews import Life, through_json

epochs = st.lists(
    st.tuples(st.integers(1, 250), st.integers(0, 260), st.integers(0, 20), st.booleans()), min_size=1, max_size=60
)


def moved(extra: bar.Extra, number: int, events: int, alarms: int, fine: int) -> bar.Extra:
    for _ in range(alarms):
        extra = bar.counted(extra, number, fine=False)
    for _ in range(fine):
        extra = bar.counted(extra, number, fine=True)
    return bar.matured(extra, number, events)


@given(epochs)
@settings(deadline=None, max_examples=60)
def test_whatever_matures_the_bar_stays_between_its_limits_and_moves_slowly(story: Any) -> None:
    extra: bar.Extra = ()
    for number, (events, alarms, fine, said) in enumerate(story, 1):
        before = bar.bar_of(extra).value
        extra = moved(extra, number, events, alarms, fine if said else 0)
        after = bar.bar_of(extra).value
        assert bar.LOW <= after <= bar.HIGH
        assert abs(after - before) <= bar.MOST
        assert bar.bar_of(extra).waits == ()
        assert bar.with_bar((), bar.bar_of(extra)) == extra


@given(epochs)
@settings(deadline=None, max_examples=60)
def test_without_a_persons_word_nobody_gets_above_where_he_began(story: Any) -> None:
    extra: bar.Extra = ()
    for number, (events, alarms, _, _) in enumerate(story, 1):
        extra = moved(extra, number, events, alarms, 0)
        assert bar.bar_of(extra).value <= bar.START


def test_the_share_that_reaches_it_tends_to_the_target() -> None:
    extra: bar.Extra = ()
    # Scores of a tenth of a nat each, evenly from 4 to 6: the bar is where 1 in 100 lies above.
    reached = 0
    for number in range(1, 3_000):
        scores = [(4 + ((number * 37 + n * 11) % 200) / 100) * 1_024 for n in range(20)]
        above = sum(each >= bar.bar_of(extra).at for each in scores)
        reached += above if number > 1_500 else 0
        extra = moved(extra, number, len(scores), above, 0)
    assert 0.5 * bar.TARGET_PERCENT < 100 * reached / (20 * 1_499) < 2 * bar.TARGET_PERCENT


def test_false_alarms_that_people_confirm_raise_it_up_to_its_limit_and_quiet_lowers_it_again() -> None:
    extra: bar.Extra = ()
    heights = []
    for number in range(1, 60):
        extra = moved(extra, number, 10, 0, 2)
        heights.append(bar.bar_of(extra).value)
    assert heights == sorted(heights)
    assert heights[0] > bar.START
    assert heights[-1] == bar.HIGH
    for number in range(60, 2_000):
        extra = bar.matured(extra, number, 250)
    assert bar.bar_of(extra).value == bar.LOW


def test_it_takes_no_room_until_it_moves_and_sections_of_later_versions_come_first() -> None:
    assert ROOM_BYTES >= bar.OTHERS_MOST_BYTES + bar.MOST_BYTES
    assert bar.with_bar((), bar.START_BAR) == ()
    low = bar.Bar(bar.LOW, (bar.Waits(1, 1, 0), bar.Waits(2, 0, 3)))
    assert sum(len(content) + bar.HEAD_BYTES for _, content in bar.with_bar((), low)) == bar.MOST_BYTES
    later = ((99, bytes(bar.OTHERS_MOST_BYTES)),)
    assert bar.with_bar(later, low) == later
    beside = bar.with_bar(((99, b"yz"),), low)
    assert [tag for tag, _ in beside] == [bar.TAG, 99]
    assert bar.bar_of(beside) == low


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        (bar.HIGH - bar.LOW + 1).to_bytes(2, "little"),
        (bar.START - bar.LOW).to_bytes(2, "little"),
        bytes(2) + bytes((7, 0)),
        bytes(2) + bytes((7, 1, 7, 1)),
        bytes(2) + bytes((7, 1, 6, 1)),
        bytes(2) + bytes((7, 1, 8, 1, 9, 1)),
    ],
)
def test_a_bar_that_could_not_have_come_about_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidBaseline, match="bar"):
        decode(encode(EMPTY._replace(extra=((bar.TAG, content),))))


@given(st.integers(1, 1 << 32), st.integers(1, 3), st.integers(1, 15), st.integers(0, 15))
def test_epochs_that_wait_are_told_apart_by_the_last_byte_of_their_numbers(
    first: int, gap: int, a: int, b: int
) -> None:
    extra: bar.Extra = ()
    for _ in range(a):
        extra = bar.counted(extra, first + gap, fine=False)
    for _ in range(b):
        extra = bar.counted(extra, first, fine=True)
    older = (bar.Waits(first & 0xFF, 0, b),) if b else ()
    assert bar.bar_of(extra).waits == (*older, bar.Waits(first + gap & 0xFF, a, 0))
    assert bar.bar_of(bar.matured(extra, first, 10)).waits == (bar.Waits(first + gap & 0xFF, a, 0),)
    assert bar.bar_of(bar.matured(extra, first + gap, 10)).waits == ()


def test_what_was_taken_back_whole_leaves_nothing_waiting() -> None:
    extra = bar.counted(bar.counted((), 3, fine=True), 3, fine=False)
    extra = bar.uncounted(bar.uncounted(extra, 3, fine=True), 3, fine=False)
    assert extra == bar.uncounted(extra, 3, fine=True) == ()
    stale = bar.counted((), 3, fine=False)
    assert bar.bar_of(bar.matured(stale, 4, 1)).waits == ()


def test_only_what_matures_moves_it() -> None:
    b, at = EMPTY, START_MS
    for n in range(20):
        seen = features(b, ask(n=n).action, at, prior())
        b, at = observe(b, lesson(seen, score(seen), str(n), True)._replace(alarm=True)), at + 1_000
    assert bar.bar_of(b.extra).value == bar.START
    assert bar.bar_of(b.extra).waits == (bar.Waits(1, 15, 0),)
    assert decode(encode(b)) == b
    later = ripened(b, at + 3 * MATURE_AFTER_MS)
    assert bar.bar_of(later.extra).waits == ()
    assert bar.bar_of(later.extra).value == bar.START
    lower = ripened(
        b._replace(extra=bar.with_bar(b.extra, bar.bar_of(b.extra)._replace(value=bar.LOW))),
        later.last_ms + 3 * MATURE_AFTER_MS,
    )
    assert bar.bar_of(lower.extra).value == bar.LOW + bar.MOST


def test_a_lesson_with_an_alarm_survives_the_log() -> None:
    seen = features(EMPTY, ask().action, START_MS, prior())
    plain = lesson(seen, score(seen), "a", True)
    assert "alarm" not in lesson_json(plain)
    for note in (plain, plain._replace(alarm=True)):
        assert lesson_from_json(lesson_json(note)) == note


PACK = """
name: bar
version: "1"
rules:
  - id: above
    actions: ["*"]
    when: score.total >= score.bar
    verdict: slow
    obligations: {wait_ms: 1}
    reason: {code: above-its-bar, message: Above what this identity reaches.}
"""


def test_a_rule_sees_the_bar_and_the_record_replays_with_it() -> None:
    pack = compile_pack(PACK)
    life = Life(World(pack, None, prior(), None, observe=False))
    for _ in range(300):
        life.ask("test.plain", 10_000)
    life.ask("test.plain", 3_600_000).ask("test.plain")
    used = life.records[-1]["facts"]["bar"]
    assert bar.Bar(bar.LOW).at <= used < bar.START_AT
    assert "bar" not in life.records[0]["facts"]
    codes = []
    for total in (used - 1, used):
        record = through_json(life.records[-1])
        assert redecide(record, pack) == canonical.canonical(record["decision"])
        record["facts"]["bar"] = record["scores"]["total"] + used - total
        codes.append(b"above-its-bar" in redecide(record, pack))
    assert codes == [False, True]


def test_an_alarm_that_a_person_called_fine_waits_and_then_raises_the_bar() -> None:
    life = Life()
    life.ask("test.plain")
    while life.records[-1]["scores"]["total"] < bar.START_AT:
        life.ask("test.stop", 1_000, resource={"type": "host", "id": f"h{life.n}"}, source=f"10.{life.n}.0.1")
    life.say("fine")
    found = bar.bar_of(life.baseline.extra)
    assert [(waits.alarms, waits.fine) for waits in found.waits] == [(0, 1)]
    assert found.value <= bar.START
    later = ripened(life.baseline, life.at_ms + 3 * MATURE_AFTER_MS)
    assert found.value < bar.bar_of(later.extra).value <= found.value + bar.RAISE_FINE
    life.say("bad")
    assert bar.bar_of(life.baseline.extra).waits == ()
