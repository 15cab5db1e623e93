"""Ledger: every event has one fate, the digest tells any difference, the top is the top whatever the order."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stayhand.wire import Severity
from streams.replay.errors import ReplayFailed
from streams.replay.ledger import TOP, VERDICTS, Ledger, states
from streams.replay.ordering import Queued

VERDICT = st.sampled_from(VERDICTS)


def body(identity="t:x", verdict="permit", total=0):
    """An audit record with what a ledger reads."""
    return {
        "identity": identity,
        "at_ms": 5,
        "decision": {"verdict": verdict, "reasons": [{"code": "c", "message": "m"}]},
        "scores": {"total": total, "terms": [["action", total], ["hour", -3]]},
        "action": {"action": {"name": "a:b"}, "resource": {"type": "r", "id": "1"}},
    }


def event(number):
    """The event of that number."""
    return Queued(number, 5, f"id{number}", "t:x", b"{}")


def digest_of(folder, fates, order=None):
    """The digest where event n met fates[n] = (verdict, total), told in some order."""
    with Ledger(folder) as ledger:
        for number in order or range(len(fates)):
            ledger.recorded(number, body(verdict=fates[number][0], total=fates[number][1]))
            ledger.answered(number, fates[number][0])
        return ledger.digest(event(number) for number in range(len(fates)))


@settings(deadline=None)
@given(
    st.lists(st.tuples(VERDICT, st.integers(-5_000, 60_000)), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
def test_the_digest_does_not_depend_on_when_answers_come(tmp_path_factory, fates, chance):
    order = list(range(len(fates)))
    chance.shuffle(order)
    folder = tmp_path_factory.mktemp("ledger")
    assert digest_of(folder / "one", fates) == digest_of(folder / "two", fates, order)


def test_the_digest_tells_one_other_verdict_total_or_refusal(tmp_path):
    fates = [("permit", 10), ("slow", 20)]
    digests = {
        digest_of(tmp_path / "a", fates),
        digest_of(tmp_path / "b", [("permit", 10), ("guide", 20)]),
        digest_of(tmp_path / "c", [("permit", 11), ("slow", 20)]),
    }
    with Ledger(tmp_path / "d") as ledger:
        for number in range(2):
            ledger.rejected(number, "bad-shape")
        digests.add(ledger.digest([event(0), event(1)]))
        assert ledger.refused == {"bad-shape": 2}
    assert len(digests) == 4


def test_an_event_without_answer_or_with_another_audit_is_a_failure(tmp_path):
    with Ledger(tmp_path / "a") as ledger:
        with pytest.raises(ReplayFailed, match="never answered"):
            ledger.digest([event(0)])
        ledger.answered(0, "permit")
        with pytest.raises(ReplayFailed, match="audit"):
            ledger.digest([event(0)])
        ledger.recorded(0, body(verdict="block", total=1))
        with pytest.raises(ReplayFailed, match="audit"):
            ledger.digest([event(0)])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), VERDICT, st.integers(0, 50)), min_size=1, max_size=80),
    st.integers(0, 2**32),
)
def test_the_top_is_the_highest_peaks_whatever_the_order(tmp_path_factory, events, seed):
    numbered = [(number, f"t:{who}", verdict, total) for number, (who, verdict, total) in enumerate(events)]
    best = {}
    for number, identity, verdict, total in numbered:
        best[identity] = max(best.get(identity, (-1, 0, 0)), (int(Severity[verdict]), total, -number))
    expected = sorted(best, key=lambda identity: best[identity], reverse=True)[:TOP]
    random.Random(seed).shuffle(numbered)
    with Ledger(tmp_path_factory.mktemp("ledger") / "db") as ledger:
        for number, identity, verdict, total in numbered:
            ledger.recorded(number, body(identity, verdict, total))
        top = ledger.top()
    assert [peak.identity for peak, _ in top] == expected
    for peak, counts in top:
        assert sum(counts.values()) == sum(1 for each in numbered if each[1] == peak.identity)


def test_a_lost_answer_is_what_the_audit_says(tmp_path):
    with Ledger(tmp_path / "a") as ledger:
        ledger.recorded(0, body(verdict="guide", total=9))
        ledger.answer_lost(0)
        assert (ledger.lost, ledger.verdicts["guide"]) == (1, 1)
        lost = ledger.digest([event(0)])
    assert lost == digest_of(tmp_path / "b", [("guide", 9)])


def test_states_are_the_last_value_of_each_key_and_tombstones_take_away(tmp_path):
    found = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"c", b"4"), (b"b", None)]
    assert list(states(tmp_path / "s", found)) == [(b"a", b"3"), (b"c", b"4")]
