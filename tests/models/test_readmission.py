"""The slow way back in: a lasting change is learned in the end, a burst and what can do harm are not."""

from __future__ import annotations

import itertools

import pytest

from models.baseline import EMPTY, Baseline
from models.event import features, readmitted, score
from models.lessons import lesson, observe
from models.policy import compile_pack
from models.prior import load_prior
from models.transition import NEW, decide, redecide, settle
from stayhand import canonical
from stayhand.wire import pending_action
from tests.models.asks import ask, audit, world

PRIOR = load_prior()
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
START_MS = 1_700_000_000_000


def action(name: str):
    return pending_action(
        {
            "subject": {"type": "token", "id": "ci"},
            "action": {"name": name},
            "resource": {"type": "thing", "id": "t"},
        }
    )


def refuse(b: Baseline, name: str, at_ms: int, number: int) -> tuple[Baseline, bool]:
    """One event that the gate itself never lets be learned; says whether the way back in did."""
    seen = features(b, action(name), at_ms, PRIOR)
    back = readmitted(b, seen)
    return observe(b, lesson(seen, score(seen), f"e{number}", learn=back, usual=False)), back


def admitted_at(name: str, every_ms: int, lasts_ms: int) -> list[int]:
    """The times, from the start, of the events that the way back in took."""
    b, taken = EMPTY, []
    for number, since_ms in enumerate(range(0, lasts_ms, every_ms)):
        b, back = refuse(b, name, START_MS + since_ms, number)
        taken += [since_ms] if back else []
    return taken


def test_nothing_comes_back_in_within_an_hour() -> None:
    assert admitted_at("s3:GetObject", 1_000, HOUR_MS) == []


def test_after_an_hour_one_event_a_minute_comes_back_in() -> None:
    taken = admitted_at("s3:GetObject", 10_000, 2 * HOUR_MS)
    assert len(taken) in range(59, 62)
    assert all(later - earlier >= MINUTE_MS - 10_000 for earlier, later in itertools.pairwise(taken))


def test_what_can_do_much_harm_never_does() -> None:
    assert PRIOR.impact("iam:PutUserPolicy") >= 2
    assert admitted_at("iam:PutUserPolicy", 30_000, 3 * HOUR_MS) == []


@pytest.mark.parametrize("usual", [True, False])
def test_only_a_usual_event_closes_the_way_again(usual: bool) -> None:
    b, _ = refuse(EMPTY, "s3:GetObject", START_MS, 0)
    seen = features(b, action("s3:GetObject"), START_MS + HOUR_MS, PRIOR)
    b = observe(b, lesson(seen, score(seen), "e1", learn=True, usual=usual))
    later = features(b, action("s3:GetObject"), START_MS + HOUR_MS + 5 * MINUTE_MS, PRIOR)
    assert readmitted(b, later) is not usual


def test_the_way_back_in_gives_notice_in_the_facts_and_changes_no_decision() -> None:
    """A pack that calls nothing usual refuses all of it, as a lasting change does to any pack."""
    pack = compile_pack("""
name: wary
version: "1"
rules:
  - {id: all, actions: ["*"], verdict: guide, obligations: {message: M.}, reason: {code: all, message: Look.}}
""")
    state, noticed = NEW, list[int]()
    for number in range(90):
        given = ask("s3:GetObject", at_ms=START_MS + number * MINUTE_MS, n=number)
        ruling = decide(state, given, world(pack))
        state = settle(state, ruling.effects)
        assert ruling.decision["verdict"] == "guide"
        assert redecide(audit(ruling, given), pack) == canonical.canonical(ruling.decision)
        if "baseline_shift" in ruling.facts:
            assert ruling.facts["baseline_shift"] is True
            noticed.append(number)
    assert noticed == list(range(60, 90))
    assert state.baseline.refused == 60
