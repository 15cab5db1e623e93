"""Explanations: every reason told did raise the score, and its numbers are those behind the score."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import conduct
from models.epoch import ANCHOR_EPOCHS, WHOLE_WINDOW, Signs
from models.event import Evidence, Features, score
from models.eventform import features_json
from models.explain import explained, in_words, suspicion, weights, without
from models.judge import judge
from models.scene import Scene
from models.transition import NEW, decide, settle
from schemas.profiles import BINS
from tests.models.asks import START_MS, ask, audit, default_pack, world

counts = st.integers(0, 5_000)
evidence = st.builds(
    lambda k, more, u, r, g, q: Evidence(k, k + more, u, r, g, q),
    counts,
    counts,
    st.integers(0, 200),
    st.integers(1, 40),
    st.integers(1, 50_000),
    st.integers(1, 50_000),
)
maybe = st.none() | evidence
share = st.integers(1, 1_000_000)
window = st.tuples(st.integers(-90_000, 90_000), *[st.integers(0, 90_000)] * 2, st.integers(0, 99))
signs = st.builds(
    Signs,
    levels=st.tuples(st.integers(0, 255), st.integers(0, 63), st.integers(0, 15)),
    r=st.integers(1, 100),
    totals=st.tuples(st.integers(0, 250), st.integers(0, 25_000), st.integers(0, 500), st.integers(40, ANCHOR_EPOCHS)),
    others=st.tuples(share, share, share),
    new=st.booleans(),
    usual=st.integers(0, 20_000),
    met=st.integers(0, 3_600),
    windows=st.tuples(window, window, window),
    before=st.integers(-14_000, 9_000),
    drift=st.integers(-7_000, 2_048),
    tails=st.just(()) | st.tuples(*[st.integers(0, 1_024)] * BINS),
    peers=st.tuples(st.integers(0, 41), st.integers(0, 41)),
)
few = st.integers(0, 255)
amount = st.builds(conduct.Amount, st.integers(1, 24), st.integers(0, 60), st.integers(2_048, 20_000))
conducts = st.builds(
    conduct.Seen,
    step=st.just(conduct.Step(0, 0, 0, 0, 0, 0)),
    volume=st.none() | amount,
    spread=st.none() | amount,
    pause=st.none() | st.builds(lambda h, n, m: conduct.Pause(h, n, n + m), st.integers(8, 9_999), few, few),
    flow=st.none() | st.builds(lambda p, n, m: conduct.Flow(p, n, n + m), st.integers(4, 255), few, few),
    change=st.none() | st.builds(lambda n, m, fresh: conduct.Change(n + m, n, fresh), few, few, st.integers(0, 1)),
)
events = st.builds(
    lambda channels, hour, total, impact, z, session, matured, abused, seen, lately: Features(
        at_ms=START_MS,
        gap_ms=1_000,
        keys=(),
        channels=channels,
        hour=3,
        hour_count=min(hour, 4 * total),
        hour_total=total,
        repeats=1,
        impact=impact,
        counters=(65_536, 65_536, 65_536),
        z=z,
        session=session,
        matured=matured,
        age_ms=4_000_000,
        epoch=1,
        abused=abused,
        conduct=seen,
        signs=lately,
    ),
    st.tuples(evidence, maybe, maybe, maybe),
    counts,
    counts,
    st.integers(0, 3),
    st.tuples(*[st.integers(-8_000, 8_000)] * 3),
    st.integers(0, 40_000),
    st.integers(0, 100),
    st.integers(0, 60_000),
    st.none() | conducts,
    st.none() | signs,
)


def verdict(f: Features) -> int:
    """The severity that the shipped bands, and the rules for every action, give."""
    used: dict[str, Any] = {"at_ms": f.at_ms}
    scene = Scene("token:ci", "no.rule.names.this", None, used, score(f), f.impact, "p", late=False, lists={})
    return judge(default_pack(), scene).severity


@settings(deadline=None)
@given(events)
def test_without_its_top_reason_a_decision_scores_lower_and_is_no_more_severe(f: Features) -> None:
    found = weights(f)
    if not found:
        assert suspicion(score(f)) == 0, "a score above 0 has a reason"
        return
    term, weight = found[0]
    less = without(f, term)
    assert suspicion(score(less)) == suspicion(score(f)) - weight < suspicion(score(f))
    assert verdict(less) <= verdict(f)


@settings(deadline=None)
@given(events)
def test_each_reason_told_lowers_the_score_by_its_weight_and_heavier_ones_come_first(f: Features) -> None:
    found = weights(f)
    assert [weight for _, weight in found] == sorted((weight for _, weight in found), reverse=True)
    for term, weight in found:
        assert suspicion(score(f)) - suspicion(score(without(f, term))) == weight > 0


def test_taking_the_top_reason_away_lowers_the_verdict() -> None:
    rare = Evidence(0, 1_412, 3, 1, 10, 10)
    usual = Evidence(1_400, 1_412, 3, 1, 10, 10)
    f = Features(START_MS, 1, (), (rare, usual, None, None), 3, 0, 0, 1, 3, (1, 1, 1), (0, 0, 0), 0, 99, 4_000_000, 1)
    assert verdict(f) > 0
    assert weights(f)[0][0] == "action"
    assert verdict(without(f, "action")) == 0


def lately(h: int, drift: int) -> Features:
    """An ordinary event of an identity of sixty epochs, whose last hundred actions scored about ``h``."""
    usual = Evidence(1_400, 1_412, 3, 1, 10, 10)
    calm = (0, 60_000, 0, 99)
    found = Signs(
        *((100, 20, 9), 5, (60, 6_000, 12, ANCHOR_EPOCHS), (50_000_000, 500_000, 300_000), False, 0, 0),
        *((calm, calm, calm), h, drift, (512,) * BINS, (3, 41)),
    )
    quiet = (*((1, 1, 1), (0, 0, 0)), 0, 99, 4_000_000, 1)
    return Features(START_MS, 1, (), (usual, usual, None, None), 3, 0, 0, 1, 0, *quiet, signs=found)


def test_taking_away_what_was_done_lately_lowers_the_verdict() -> None:
    f = lately(9_000, -1_024)
    assert verdict(f) == 2
    assert weights(f)[0][0] == "epoch"
    assert verdict(without(f, "epoch")) == 0


@pytest.mark.parametrize(("term", "other"), [("epoch", "drift"), ("drift", "epoch")])
def test_what_was_done_lately_and_the_drift_are_reasons_of_their_own(term: str, other: str) -> None:
    found = dict(weights(lately(9_000, 900)))
    assert {"epoch", "drift"} <= found.keys()
    left = dict(weights(without(lately(9_000, 900), term)))
    assert term not in left
    assert left[other] == found[other]


def test_an_identity_that_was_calm_lately_has_no_such_reason() -> None:
    assert not {"epoch", "drift"} & dict(weights(lately(-9_000, -100))).keys()


def test_a_score_that_is_not_ready_is_no_reason() -> None:
    f = lately(9_000, 900)
    assert f.signs is not None
    few = (0, 60_000, 0, WHOLE_WINDOW - 2)
    young = f._replace(signs=f.signs._replace(windows=(few, few, few), totals=(60, 6_000, 12, 49)))
    assert not {"epoch", "drift"} & dict(weights(young)).keys()


def test_peers_and_what_was_done_lately_are_told_with_numbers_and_plainly_without() -> None:
    f = lately(9_000, 900)
    rare = f._replace(channels=(Evidence(0, 1_412, 3, 1, 10, 10), *f.channels[1:]))
    told = {each.term: each for each in explained(record(1) | {"features": features_json(rare)}, most=9)}
    assert told["action"].text == "ci has used iam.key.create 0 times in 1,412 actions; 3 of 41 peers ever did"
    assert "that somebody else did the last 100 actions of ci" in told["epoch"].text
    assert "50.0 % of all such stretches score as high" in told["epoch"].text
    assert told["drift"].text.startswith("what ci learned lately is 0.88 nats away")
    for each in told.values():
        assert each.plain
        assert not any(character.isdigit() for character in each.plain)
    assert "somebody else" in told["epoch"].plain


def record(times: int = 60) -> dict[str, Any]:
    """An audit record of an identity that does one thing many times and then quite another one."""
    state = NEW
    for n in range(times):
        ruling = decide(state, ask("storage.read", at_ms=START_MS + n * 700_000, n=n), world())
        state = settle(state, ruling.effects)
    given = ask(
        "iam.key.create",
        at_ms=START_MS + times * 700_000,
        n=times,
        resource={"type": "host", "id": "vault/root-key-of-the-customer"},
        source="198.51.100.23",
    )
    return audit(decide(state, given, world()), given)


def test_the_sentences_say_what_the_identity_did_how_often() -> None:
    told = {each.term: each.text for each in explained(record(), most=9)}
    assert told["action"] == "ci has used iam.key.create 0 times in 60 actions"
    assert told["resource"] == "ci has touched host vault 0 times in 60 actions"
    assert told["source"] == "ci has come from 198.51.100.0/24 0 times in 60 actions with a known source"
    assert "impact" in told
    assert "harm" in told["impact"]
    assert "client" not in told


def test_reasons_are_limited_and_joined_with_their_weights() -> None:
    told = explained(record(), most=2)
    assert len(told) == 2
    assert in_words(told) == "; ".join(f"{each.text} (+{each.weight / 1024:.1f})" for each in told)


def test_an_objects_own_name_is_not_repeated() -> None:
    assert "root-key" not in in_words(explained(record(), most=9))


def test_an_event_with_nothing_unusual_has_no_reason() -> None:
    f = Features(START_MS, 1, (), (None, None, None, None), 3, 0, 0, 1, 0, (1, 1, 1), (0, 0, 0), 0, 0, 0, 1)
    assert weights(f) == []


def test_rate_and_what_came_before_are_told_with_their_numbers() -> None:
    f = Features(
        *(START_MS, 1, (), (None, None, None, None), 3, 0, 0, 1, 0),
        *((40 * 65_536, 90 * 65_536, 95 * 65_536), (2_100, 5_120, 3_000), 4_096, 99, 4_000_000, 1),
    )
    told = explained(record(1) | {"features": features_json(f)}, most=9)
    texts = [each.text for each in told]
    assert "ci acted about 90 times in 10 minutes, 5.0 deviations above what is usual" in texts
    assert "what ci did just before left 4.0, which fades within half an hour" in texts


def test_what_an_identitys_conduct_says_is_told_with_its_numbers() -> None:
    seen = conduct.Seen(
        conduct.Step(5, 0, 0, 1, 7, 0),
        conduct.Amount(300_000, 60, 5 * 1_024),
        conduct.Amount(24, 0, 3 * 1_024),
        conduct.Pause(40 * 24, 0, 12),
        conduct.Flow(12, 1, 60),
        conduct.Change(200, 1, 0),
    )
    did = Evidence(0, 1_412, 3, 1, 300, 4_240)
    f = Features(
        *(START_MS, 1, (), (did, None, None, None), 3, 0, 0, 1, 0, (1, 1, 1), (0, 0, 0), 5_000, 99, 4_000_000, 1),
        abused=12_240,
        conduct=seen,
    )
    told = {each.term: each.text for each in explained(record(1) | {"features": features_json(f)}, most=9)}
    assert told["volume"] == (
        "ci has sent about 300,000 KiB in these ten minutes, 5.0 deviations above the usual of 60 such windows"
    )
    assert told["spread"] == (
        "ci has touched about 100 different things in these ten minutes, "
        "3.0 deviations above the usual of nobody in particular"
    )
    assert told["dormancy"] == "ci had been silent for 40 days; 0 of its 12 pauses were as long"
    assert told["sequence"] == (
        "ci sends after reading worth 12 points lately (a secret 4, other data 1), "
        "as in 1 of the 60 windows in which it sent anything"
    )
    assert told["credential"] == (
        "ci comes with a credential that is new, not just issued; that happened once in 200 windows with one"
    )
    assert told["abused"] == (
        "iam.key.create is known from abuse: 1.22% of what somebody else does, not 0.42%; it is new to ci"
    )


@pytest.mark.parametrize("missing", ["features", "action"])
def test_a_record_without_its_parts_is_refused(missing: str) -> None:
    broken = {name: part for name, part in record(2).items() if name != missing}
    with pytest.raises(KeyError, match=missing):
        explained(broken)
