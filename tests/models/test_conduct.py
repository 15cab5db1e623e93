"""Conduct: bounded, exact through storage, slow to believe, and monotone: what is rarer never scores lower."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import conduct as module
from models.baseline import EMPTY, Baseline, decode, encode
from models.conduct import (
    CELLS,
    DAY_MS,
    HOUR_MS,
    MAX_CONDUCT_BYTES,
    MAX_KIB,
    MAX_USUAL,
    NO_CONDUCT,
    PAUSES_MS,
    WINDOW_MS,
    Amount,
    Change,
    Conduct,
    Flow,
    InvalidConduct,
    Pause,
    Seen,
    Step,
    cell,
    decode_conduct,
    encode_conduct,
    evidence,
    kib,
    observe,
    pace,
    seen,
    things,
    without,
)
from models.event import features, score
from models.lessons import lesson, take_back, taught, taught_from
from models.lessons import observe as learned
from models.prior import load_prior
from stayhand.wire import PendingAction, pending_action

START = 1_760_000_400_000
MINUTE_MS = 60_000
PRIOR = load_prior()
assert START % WINDOW_MS == 0


STEPS = st.builds(
    Step,
    kib=st.sampled_from([0, 0, 1, 300, MAX_KIB]),
    cell=st.integers(0, CELLS - 1),
    reads=st.sampled_from([0, 1, 4]),
    sends=st.integers(0, 1),
    credential=st.sampled_from([0, 1, 2, 3, 4, 5, 1 << 15]),
    fresh=st.integers(0, 1),
)
MOVES = st.lists(
    st.tuples(
        STEPS, st.sampled_from([0, 1, 30_000, WINDOW_MS, *PAUSES_MS, 900 * DAY_MS]), st.booleans(), st.booleans()
    ),
    max_size=60,
)


def play(moves: list[tuple[Step, int, bool, bool]], *, storing: bool = False) -> tuple[Conduct, int]:
    c, last = NO_CONDUCT, 0
    for step, gap, usual, learn in moves:
        at = (last or START) + gap
        assert_sound(seen(c, Seen(step), last, at))
        c = observe(c, step, last, at, learn=learn or usual, usual=usual)
        last = at
        if storing:
            c = decode_conduct(encode_conduct(c))
    return c, last


def assert_sound(found: Seen) -> None:
    told = [*evidence(found), *pace(found)]
    assert all(type(value) is int and 0 <= value <= 8 * 1024 for _, value in told)
    assert len({term for term, _ in told}) == len(told)


@given(MOVES)
@settings(deadline=None)
def test_a_history_ends_in_the_same_bytes_with_and_without_storage_between(moves: list[Any]) -> None:
    c, last = play(moves)
    stored, _ = play(moves, storing=True)
    assert stored == c
    assert len(encode_conduct(c)) in {0, MAX_CONDUCT_BYTES}
    assert seen(c, Seen(Step(1, 0, 0, 1, 9, 0)), last, last + 1) == seen(
        c, Seen(Step(1, 0, 0, 1, 9, 0)), last, last + 1
    )


@given(st.binary(min_size=MAX_CONDUCT_BYTES, max_size=MAX_CONDUCT_BYTES))
def test_bytes_that_are_read_are_written_back_alike_and_can_go_on(raw: bytes) -> None:
    try:
        c = decode_conduct(raw)
    except InvalidConduct:
        return
    assert encode_conduct(c) == raw
    for gap in (0, WINDOW_MS, 30 * DAY_MS):
        step = Step(MAX_KIB, 3, 4, 1, 7, 0)
        assert_sound(seen(c, Seen(step), START, START + gap))
        c = observe(c, step, START, START + gap, learn=True, usual=True)
        assert decode_conduct(encode_conduct(c)) == c


WRONG = {
    "too many windows": {"volume": (MAX_USUAL + 1, 0, 0)},
    "more after reading than at all": {"sends": 1, "after": 2},
    "more changes than windows": {"changes": 1},
    "a gap among credentials": {"credentials": (0, 5, 0)},
    "a credential twice": {"credentials": (5, 5, 0)},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_could_not_have_been_written_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidConduct):
        decode_conduct(encode_conduct(NO_CONDUCT._replace(touched=1, kept=NO_CONDUCT.kept._replace(**wrong))))


@pytest.mark.parametrize("flags", [64, module.NEW])
def test_an_unknown_flag_and_a_new_credential_that_is_none_are_refused(flags: int) -> None:
    with pytest.raises(InvalidConduct):
        decode_conduct(encode_conduct(NO_CONDUCT._replace(flags=flags)))


@pytest.mark.parametrize("raw", [b"", b"x", bytes(MAX_CONDUCT_BYTES - 1), bytes(MAX_CONDUCT_BYTES)])
def test_another_length_and_an_empty_one_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidConduct):
        decode_conduct(raw)


COUNT = st.integers(0, 255)


def told(**parts: Any) -> int:
    found = Seen(Step(0, 0, 0, 0, 0, 0), **parts)
    return sum(value for _, value in (*evidence(found), *pace(found)))


@given(st.integers(8, 100_000), COUNT, COUNT, st.integers(0, 255))
def test_a_rarer_pause_never_scores_lower(hours: int, longer: int, more: int, fewer: int) -> None:
    pauses = longer + more
    assert told(pause=Pause(hours, min(longer, fewer), pauses)) >= told(pause=Pause(hours, longer, pauses))
    assert told(pause=Pause(2 * hours, longer, pauses)) >= told(pause=Pause(hours, longer, pauses))
    assert told(pause=Pause(hours, longer, pauses)) <= 3 * 1024


@given(COUNT, COUNT, st.integers(0, 255))
def test_a_rarer_send_after_reading_never_scores_lower(after: int, more: int, fewer: int) -> None:
    common, rarer = (told(flow=Flow(9, found, after + more)) for found in (after, min(after, fewer)))
    assert 0 <= common <= rarer <= 3 * 1024


@given(COUNT, COUNT, st.integers(0, 255))
def test_a_rarer_change_of_credential_never_scores_lower_and_rotation_never_higher(
    a: int, more: int, fewer: int
) -> None:
    common, rarer = (told(change=Change(a + more, found, 0)) for found in (a, min(a, fewer)))
    assert common <= rarer <= 3 * 1024
    assert told(change=Change(a + more, a, 1)) <= common


@given(st.integers(0, 64 * 1024), st.integers(0, 64 * 1024))
def test_further_above_the_usual_never_scores_lower(z: int, more: int) -> None:
    for part in ("volume", "spread"):
        assert told(**{part: Amount(9, 9, z)}) <= told(**{part: Amount(9, 9, z + more)}) <= 6 * 1024


@given(MOVES, st.integers(1, MAX_KIB), st.integers(0, MAX_KIB))
@settings(deadline=None)
def test_more_bytes_never_score_lower(moves: list[Any], sent: int, more: int) -> None:
    c, last = play(moves)

    def volume(amount: int) -> int:
        found = seen(c, Seen(Step(min(MAX_KIB, amount), 0, 0, 0, 0, 0)), last, last + 1)
        return dict(pace(found)).get("volume", 0)

    assert volume(sent) <= volume(sent + more)


@given(MOVES, st.integers(0, CELLS - 1))
@settings(deadline=None)
def test_touching_one_thing_more_never_scores_lower(moves: list[Any], where: int) -> None:
    c, last = play(moves)

    def spread(conduct: Conduct) -> int:
        return dict(pace(seen(conduct, Seen(Step(0, where, 0, 0, 0, 0)), last, last))).get("spread", 0)

    assert spread(c) <= spread(c._replace(touched=c.touched | 1 << (where + 1) % CELLS))


def test_looking_changes_nothing_and_taking_a_term_away_leaves_the_others() -> None:
    c, last = play([(Step(1, n % 5, 4, 1, 3, 0), WINDOW_MS, True, True) for n in range(60)])
    before = encode_conduct(c)
    found = seen(c, Seen(Step(MAX_KIB, 0, 0, 1, 8, 0)), last, last + 40 * DAY_MS)
    assert encode_conduct(c) == before
    names = {term for term, _ in (*evidence(found), *pace(found))}
    assert {"volume", "dormancy", "credential"} <= names
    for term in names:
        less = without(found, term)
        assert {each for each, _ in (*evidence(less), *pace(less))} == names - {term}
    assert without(found, "action") == found


def test_a_burst_cannot_make_itself_normal_within_its_window() -> None:
    c, last = play([(Step(1, 0, 0, 1, 1, 0), WINDOW_MS, True, True) for _ in range(40)])
    before = c.kept
    at = last + WINDOW_MS
    for number in range(5_000):
        c = observe(c, Step(9_000, number % CELLS, 4, 1, 77, 0), last, at, learn=True, usual=True)
        last = at
    windows = c.kept.volume[0], c.kept.spread[0]
    assert windows == (before.volume[0] + 1, before.spread[0] + 1)
    assert (c.kept.sends, c.kept.changes) == (before.sends + 1, before.changes)
    assert dict(pace(seen(c, Seen(Step(9_000, 0, 0, 0, 0, 0)), last, at)))["volume"] == 6 * 1024


def test_a_window_in_which_something_was_refused_teaches_nothing() -> None:
    c, last = play([(Step(1, 0, 0, 1, 1, 0), WINDOW_MS, True, True) for _ in range(40)])
    c, last = module.closed(c), last + WINDOW_MS
    after = observe(c, Step(9_000, 5, 4, 1, 77, 0), last - 1, last, learn=True, usual=True)
    spoilt = observe(after, Step(9_000, 6, 4, 1, 77, 0), last, last, learn=False, usual=False)
    assert module.closed(spoilt)._replace(reads=0) == c._replace(reads=0)
    assert module.closed(after).kept.credentials == (77, 1, 0)
    back = observe(spoilt, Step(9_000, 7, 0, 0, 77, 0), last, last, learn=True, usual=False)
    assert module.closed(back).kept.volume != c.kept.volume


def test_a_pause_that_was_refused_is_not_learned() -> None:
    for learn in (True, False):
        c = observe(NO_CONDUCT, Step(0, 0, 0, 0, 0, 0), START, START + 9 * DAY_MS, learn=learn, usual=learn)
        assert sum(c.kept.pauses) == learn


def test_a_second_new_credential_in_a_window_takes_the_place_of_the_first() -> None:
    c, last = play([(Step(0, 0, 0, 0, code, 0), WINDOW_MS, True, True) for code in (1, 2)])
    for code in (7, 8):
        c = observe(c, Step(0, 0, 0, 0, code, 0), last, last, learn=True, usual=True)
    c, last = play([(Step(0, 0, 0, 0, code, 0), WINDOW_MS, True, True) for code in (1, 2)])
    at = last + WINDOW_MS
    for code in (7, 8, 1):
        c = observe(c, Step(0, 0, 0, 0, code, 0), last, at, learn=True, usual=True)
        last = at
    assert c.kept.credentials == (8, 2, 1)


@given(st.text(max_size=64))
def test_every_name_has_a_cell(name: str) -> None:
    assert 0 <= cell(name) < CELLS


@pytest.mark.parametrize(("sent", "told_kib"), [(None, 0), (0, 0), (1, 1), (1_024, 1), (1_025, 2), (10**30, MAX_KIB)])
def test_bytes_are_rounded_up_to_kib_and_bounded(sent: int | None, told_kib: int) -> None:
    assert kib(sent) == told_kib


def test_the_number_of_things_grows_with_their_cells() -> None:
    found = [things(cells) for cells in range(1, CELLS + 1)]
    assert found == sorted(found)
    assert round(found[0]) == 1


def act(name: str = "web.post", resource: str = "host/1", **context: Any) -> PendingAction:
    return pending_action(
        {
            "subject": {"type": "token", "id": "ci"},
            "action": {"name": name},
            "resource": {"type": "url", "id": resource},
            "context": context,
        }
    )


def live(b: Baseline, action: PendingAction, at_ms: int, number: object = "") -> Baseline:
    f = features(b, action, at_ms, PRIOR)
    return learned(b, lesson(f, score(f), f"{number}{at_ms}", True))


def days(count: int, **context: Any) -> tuple[Baseline, int]:
    b, at, rnd = EMPTY, START, random.Random(1)
    for day in range(count):
        at = START + day * DAY_MS
        for _ in range(9):
            at += HOUR_MS + rnd.randrange(MINUTE_MS)
            b = live(b, act(bytes_out=rnd.randrange(500, 4_000), **context), at)
    return b, at


def test_a_record_of_the_version_before_is_read_and_goes_on() -> None:
    b, at = days(4)
    old = encode(b._replace(conduct=NO_CONDUCT))
    assert len(encode(b)) == len(old) + MAX_CONDUCT_BYTES + 3
    assert encode(decode(old)) == old
    assert decode(old).conduct is NO_CONDUCT
    after = live(decode(old), act(), at + HOUR_MS)
    assert after.conduct.touched
    assert decode(encode(after)) == after


def test_a_record_that_is_damaged_in_its_conduct_is_refused_by_name() -> None:
    b, _ = days(1)
    raw = bytearray(encode(b._replace(extra=())))
    raw[-MAX_CONDUCT_BYTES + 6] = 255
    with pytest.raises(ValueError, match="conduct"):
        decode(bytes(raw))


def test_what_was_cancelled_spoils_its_window() -> None:
    b, at = days(2)
    f = features(b, act(bytes_out=10**9), at + HOUR_MS, PRIOR)
    note = lesson(f, score(f), "big", True)
    after = learned(b, note)
    undone = take_back(after, taught_from(taught(note)))
    assert module.closed(after.conduct).kept.volume != module.closed(b.conduct).kept.volume
    assert module.closed(undone.conduct).kept.volume == module.closed(b.conduct).kept.volume


A_DAY = days(1)[0]
LABEL = st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), max_size=256)


@given(LABEL, st.integers(0, 1 << 53), st.integers(0, 1 << 53), st.integers(-(1 << 62), 1 << 62))
@settings(deadline=None)
def test_hostile_credentials_amounts_and_times_are_survived(credential: str, sent: int, issued: int, at: int) -> None:
    action = act(credential_id=credential, bytes_out=sent, credential_issued_at_ms=issued)
    for b in (EMPTY, A_DAY):
        after = live(b, action, at)
        assert decode(encode(after)) == after
        assert features(b, action, at, PRIOR) == features(b, action, at, PRIOR)


def terms(b: Baseline, action: PendingAction, at_ms: int) -> dict[str, int]:
    return dict(score(features(b, action, at_ms, PRIOR)).terms)


def test_a_hundredfold_upload_is_told_and_the_usual_one_is_not() -> None:
    b, at = days(6)
    assert "volume" not in terms(b, act(bytes_out=3_000), at + HOUR_MS)
    assert "volume" not in terms(b, act(), at + HOUR_MS)
    assert terms(b, act(bytes_out=400_000_000), at + HOUR_MS)["volume"] > 4 * 1024


def test_many_different_things_are_told_and_the_same_one_again_is_not() -> None:
    b, at = days(6)
    same, other = b, b
    for number in range(40):
        same = live(same, act(), at + HOUR_MS + number)
        other = live(other, act(resource=f"host/{number}"), at + HOUR_MS + number)
    assert "spread" not in terms(same, act(), at + HOUR_MS + 40)
    assert terms(other, act(), at + HOUR_MS + 40)["spread"] > 1_024


@pytest.mark.parametrize(("gap_ms", "said"), [(12 * HOUR_MS, 0), (40 * DAY_MS, 2 * 1024)])
def test_a_night_is_no_news_and_a_month_is(gap_ms: int, said: int) -> None:
    b, at = days(12)
    found = terms(b, act(), at + gap_ms).get("dormancy", 0)
    assert found >= said
    assert found > 0 or not said


def test_who_wakes_once_a_month_is_not_alarmed_by_it() -> None:
    b, at = EMPTY, START
    for month in range(12):
        at = START + month * 31 * DAY_MS
        for number in range(5):
            b = live(b, act(), at + number * MINUTE_MS)
    assert terms(b, act(), at + 31 * DAY_MS).get("dormancy", 0) == 0


def reads_then_sends(b: Baseline, at: int) -> tuple[dict[str, int], Baseline, int]:
    """Reads secrets with one tool in one session, and sends with another in another, minutes later."""
    b = live(b, act("secret.fetch", "vault/a", session="one"), at)
    b = live(b, act("secret.fetch", "vault/b", session="one"), at + MINUTE_MS)
    at += 3 * MINUTE_MS
    return terms(b, act(session="two"), at), live(b, act(session="two"), at), at


def test_sending_after_reading_secrets_is_told_across_tools_and_sessions_once_a_window() -> None:
    b, at = days(6)
    start = (at // WINDOW_MS + 6) * WINDOW_MS
    assert "sequence" not in terms(b, act(), start)
    found, b, at = reads_then_sends(b, start)
    assert found["sequence"] > 1_024
    assert "sequence" not in terms(b, act(session="two"), at + 1)
    assert "sequence" not in terms(b, act(session="two"), at + 2 * HOUR_MS)


def test_who_always_reads_before_sending_is_not_alarmed_by_it() -> None:
    b, at, found = EMPTY, START, dict[str, int]()
    for hour in range(40):
        found, b, _ = reads_then_sends(b, at + hour * HOUR_MS)
    assert found.get("sequence", 0) == 0


@pytest.mark.parametrize("age_ms", [0, 90 * DAY_MS])
def test_a_credential_that_is_new_is_told_once_a_window_and_less_where_it_was_just_issued(age_ms: int) -> None:
    b, at = days(8, credential_id="AKIA1")
    start = (at // WINDOW_MS + 6) * WINDOW_MS
    assert "credential" not in terms(b, act(credential_id="AKIA1"), start)
    other = act(credential_id="AKIA2", credential_issued_at_ms=start - age_ms)
    found = terms(b, other, start)["credential"]
    assert (found > 1_024) is (age_ms > DAY_MS)
    assert "credential" not in terms(live(b, other, start), other, start + 1)


def test_who_gets_a_new_credential_each_hour_forgives_itself() -> None:
    b, at = EMPTY, START
    for hour in range(120):
        at = START + hour * HOUR_MS
        b = live(b, act(credential_id=f"ASIA{hour}", credential_issued_at_ms=at), at)
    other = act(credential_id="ASIA-other", credential_issued_at_ms=at)
    assert terms(b, other, at + HOUR_MS)["credential"] < 256


def test_somebody_else_is_told_from_oneself_far_better_than_by_chance() -> None:
    b, at = days(12, credential_id="AKIA1")
    rnd, own, theirs = random.Random(4), list[int](), list[int]()
    for _ in range(60):
        when = at + 15 * HOUR_MS + rnd.randrange(5) * HOUR_MS
        own.append(_conduct_alone(b, act(bytes_out=rnd.randrange(500, 5_000), credential_id="AKIA1"), when))
        stolen = act(bytes_out=rnd.randrange(500, 10**8), credential_id=rnd.choice(["AKIA1", "AKIA2", "AKIA3"]))
        theirs.append(_conduct_alone(b, stolen, when + rnd.randrange(60) * DAY_MS))
    wins = sum((other > mine) + 0.5 * (other == mine) for mine in own for other in theirs)
    assert wins / (len(own) * len(theirs)) > 0.9


def _conduct_alone(b: Baseline, action: PendingAction, at_ms: int) -> int:
    found = features(b, action, at_ms, PRIOR).conduct
    assert found is not None
    return sum(value for _, value in (*evidence(found), *pace(found)))
