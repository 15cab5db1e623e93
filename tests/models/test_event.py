"""The event score's laws, and what it must tell apart."""

from __future__ import annotations

import copy
import doctest
import json
import random
from collections.abc import Callable
from types import ModuleType

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models import codes, conduct, epoch, event, eventform, lessons, rate, tables
from models.baseline import EMPTY, MATURE_AFTER_MS, MAX_SESSION, MAX_TIME_MS, Baseline, decode, encode
from models.event import MATURE_AGE_MS, MATURE_EVENTS, SESSION_COST, SESSION_FLOOR, Evidence, Features, features, score
from models.eventform import features_from_json, features_json, lesson_from_json, lesson_json, scores_json
from models.lessons import lesson, observe, taught, taught_from
from models.prior import load_prior
from schemas.profiles import BINS
from stayhand.wire import PendingAction, pending_action

START = 1_760_000_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
PRIOR = load_prior()
SLOW, GUIDE, BLOCK = 6 * 1024, 12 * 1024, 20 * 1024


def act(
    name: str, resource: str = "artifacts/1", source: str = "10.0.0.1", client: str = "github-actions/2"
) -> PendingAction:
    return pending_action(
        {
            "subject": {"type": "token", "id": "ci"},
            "action": {"name": name},
            "resource": {"type": "bucket", "id": resource},
            "context": {"source": source, "client": client},
        }
    )


def total(b: Baseline, action: PendingAction, at_ms: int) -> int:
    return score(features(b, action, at_ms, PRIOR)).total


def lived(days: int = 6) -> tuple[Baseline, int, int]:
    """A pipeline's token after some days: its baseline, the time, and the highest total that it met."""
    rnd, b, at, highest = random.Random(5), EMPTY, START, 0
    run = ["ci.job.start", "image.pull", "s3:GetObject", "s3:PutObject", "image.push", "deploy.token.use"]
    for hour in range(days * 12):
        at = START + hour // 12 * DAY + (8 + hour % 12) * HOUR + rnd.randrange(20 * MINUTE)
        for name in run:
            at += rnd.randrange(500, 30_000)
            f = features(b, act(name, source=f"10.0.0.{rnd.randrange(200)}"), at, PRIOR)
            s = score(f)
            highest = max(highest, s.total)
            b = observe(b, lesson(f, s, f"{hour}{name}", s.total < SLOW))
    return b, at, highest


LIVED, LAST, HIGHEST = lived()

COUNT = st.integers(0, 65_535)
EVIDENCE = st.builds(
    lambda k, more, u, r, g, q: Evidence(k, k + more, max(u, 1 if k else 0), r, g, q),
    COUNT,
    st.integers(0, 1 << 31),
    COUNT,
    st.integers(1, 256),
    st.integers(1, 20_000),
    st.integers(1, 20_000),
)
CODE = st.integers(0, 0xFFFF)
Z = st.integers(-64 * 1024, 64 * 1024)
SHARE = st.integers(1, 1_000_000)
SUM = st.tuples(st.integers(-2_000_000, 2_000_000), *[st.integers(0, 102_400)] * 2, st.integers(0, 99))
SIGNS = st.builds(
    epoch.Signs,
    levels=st.tuples(st.integers(0, 255), st.integers(0, 63), st.integers(0, 15)),
    r=st.integers(1, 100),
    totals=st.tuples(st.integers(0, 250), st.integers(0, 25_000), st.integers(0, 65_535), st.integers(0, 50)),
    others=st.tuples(SHARE, SHARE, SHARE),
    new=st.booleans(),
    usual=st.integers(0, 128 * 3_600),
    met=st.integers(0, 3_600),
    windows=st.tuples(SUM, SUM, SUM),
    before=st.integers(-14_000, 9_000),
    drift=st.integers(-7_000, 2_048),
    tails=st.just(()) | st.tuples(*[st.integers(0, 1_024)] * BINS),
    peers=st.tuples(COUNT, COUNT),
)
SMALL = st.integers(0, 255)
Z_OVER = st.integers(0, 64 * 1024)
AMOUNT = st.builds(conduct.Amount, st.integers(1, conduct.CELLS), st.integers(0, 60), Z_OVER)
SEEN = st.builds(
    conduct.Seen,
    step=st.builds(
        conduct.Step,
        st.integers(0, conduct.MAX_KIB),
        st.integers(0, 23),
        st.integers(0, 4),
        st.integers(0, 1),
        CODE,
        SMALL,
    ),
    volume=st.none() | st.builds(conduct.Amount, st.integers(1, conduct.MAX_KIB), st.integers(0, 60), Z_OVER),
    spread=st.none() | AMOUNT,
    pause=st.none() | st.builds(lambda h, n, m: conduct.Pause(h, n, n + m), st.integers(8, 10**6), SMALL, SMALL),
    flow=st.none() | st.builds(lambda p, n, m: conduct.Flow(p, n, n + m), st.integers(4, 255), SMALL, SMALL),
    change=st.none() | st.builds(lambda n, m, fresh: conduct.Change(n + m, n, fresh), SMALL, SMALL, st.integers(0, 1)),
)
FEATURES = st.builds(
    Features,
    at_ms=st.integers(0, MAX_TIME_MS),
    gap_ms=st.integers(0, MAX_TIME_MS),
    keys=st.lists(CODE, max_size=5).map(tuple),
    channels=st.tuples(EVIDENCE, EVIDENCE, st.none() | EVIDENCE, st.none() | EVIDENCE),
    hour=st.integers(0, 23),
    hour_count=st.integers(0, 4 * 65_535),
    hour_total=st.integers(0, (1 << 32) - 1),
    repeats=st.integers(1, (1 << 32) - 1),
    impact=st.integers(0, 3),
    counters=st.tuples(*[st.integers(rate.UNIT, rate.CAP)] * 3),
    z=st.tuples(Z, Z, Z),
    session=st.integers(0, MAX_SESSION),
    matured=st.integers(0, (1 << 32) - 1),
    age_ms=st.integers(0, MAX_TIME_MS),
    epoch=st.integers(0, (1 << 32) - 1),
    habit=st.integers(0, (1 << 32) - 1),
    habit_code=CODE,
    signs=st.none() | SIGNS,
    abused=st.just(0) | st.integers(1, 1_000_000),
    conduct=st.none() | SEEN,
)
TEXT = st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), max_size=128)


@given(FEATURES)
def test_scores_are_bounded_whole_and_the_same_each_time(f: Features) -> None:
    s = score(f)
    assert s == score(copy.deepcopy(f))
    assert all(type(value) is int for _, value in s.terms)
    assert s.event is not None
    assert -5 * 1024 <= s.event <= 52 * 1024
    assert 0 <= dict(s.terms)["rate"] < GUIDE
    assert 0 <= s.rate < BLOCK
    assert 0 <= s.session <= MAX_SESSION + s.event + 5 * 1024
    assert s.total == s.session + s.rate
    assert [value for _, value in s.terms] == sorted((value for _, value in s.terms), reverse=True)
    assert len({name for name, _ in s.terms}) == len(s.terms)
    signs = f.signs
    ready = signs is not None and signs.totals[0] > 0 and signs.windows[0][3] + 1 >= epoch.WHOLE_WINDOW
    assert [value is not None for value in (s.epoch, s.q)] == [ready] * 2
    assert (s.p is not None) == (ready and signs is not None and bool(signs.tails))
    assert (s.drift is not None) == (signs is not None and signs.totals[3] == epoch.ANCHOR_EPOCHS)
    assert abs(s.epoch or 0) <= 32 * 1024
    assert 0 <= (s.p or 0) <= 1024


@given(FEATURES)
def test_the_terms_add_up_to_what_they_explain(f: Features) -> None:
    s = score(f)
    terms = dict(s.terms)
    paces = {"rate", "volume", "spread"}
    assert s.event == sum(value for name, value in terms.items() if name not in {*paces, "session"})
    conducted = sum(terms.get(name, 0) for name in ("dormancy", "sequence", "credential"))
    gain = max(s.event - conducted - SESSION_COST, SESSION_FLOOR) + conducted
    assert s.session == max(0, terms["session"] + gain)
    assert s.rate == sum(terms.get(name, 0) for name in paces)


@given(FEATURES, st.integers(0, 3), st.integers(0, 65_535))
def test_a_rarer_value_never_scores_lower(f: Features, channel: int, fewer: int) -> None:
    found = f.channels[channel]
    assume(found is not None and fewer < found.k)
    assert found is not None
    channels = list(f.channels)
    channels[channel] = found._replace(k=fewer)
    assert score(f._replace(channels=tuple(channels))).total >= score(f).total  # type: ignore[arg-type]


@given(FEATURES)
def test_a_rarer_hour_never_scores_lower(f: Features) -> None:
    assert score(f._replace(hour_count=f.hour_count // 2)).total >= score(f).total


@given(FEATURES)
def test_a_repeat_never_adds_more_than_the_first_time(f: Features) -> None:
    again = [found and found._replace(r=found.r + 1) for found in f.channels]
    assert score(f._replace(channels=tuple(again))).total <= score(f).total  # type: ignore[arg-type]


@given(FEATURES)
def test_taking_the_top_term_away_lowers_the_total(f: Features) -> None:
    s = score(f)
    assume(s.terms[0][1] > 0)
    without = score(_without(f, s.terms[0][0]))
    assert without.total <= s.total
    if s.event is not None and s.event > SESSION_COST:
        assert without.total < s.total


def _without(f: Features, term: str) -> Features:
    channels = list(f.channels)
    if term in {"volume", "spread", "dormancy", "sequence", "credential"}:
        assert f.conduct is not None
        return f._replace(conduct=conduct.without(f.conduct, term))
    blanks: dict[str, Callable[[], Features]] = {
        "hour": lambda: f._replace(hour_total=0),
        "impact": lambda: f._replace(impact=0),
        "abused": lambda: f._replace(abused=0),
        "rate": lambda: f._replace(z=(0, 0, 0)),
        "session": lambda: f._replace(session=0),
    }
    if term in blanks:
        return blanks[term]()
    channels[("action", "resource", "source", "client").index(term)] = None
    # Impact speaks only of an action that is there.
    return f._replace(channels=tuple(channels), impact=0 if term == "action" else f.impact)  # type: ignore[arg-type]


@given(FEATURES)
def test_features_pass_through_json_exactly(f: Features) -> None:
    assert features_from_json(json.loads(json.dumps(features_json(f)))) == f
    assert len(json.dumps(features_json(f), separators=(",", ":"))) <= 1_000


@given(FEATURES)
def test_features_of_the_release_before_are_read_and_score_as_they_did(f: Features) -> None:
    told = features_json(f._replace(abused=0, conduct=None))
    assert not {"abused", "conduct"} & set(told)
    assert features_from_json(told) == f._replace(abused=0, conduct=None)


@given(FEATURES, st.integers(1, 1_000_000))
def test_an_action_that_is_abused_more_never_scores_lower(f: Features, more: int) -> None:
    assert score(f._replace(abused=min(1_000_000, f.abused + more))).total >= score(f).total


@given(FEATURES, TEXT, st.booleans())
def test_lessons_and_receipts_pass_through_storage_exactly(f: Features, ce_id: str, learn: bool) -> None:
    note = lesson(f, score(f), ce_id, learn)
    assert lesson_from_json(json.loads(json.dumps(lesson_json(note)))) == note
    short = note._replace(keys=(7, 1 << 16 | 9))
    raw = taught(short)
    assert len(raw) <= 64
    assert len(taught(note)) <= 64
    found = taught_from(raw)
    assert found[:3] == (short.epoch, short.keys, short.counters)
    assert found.habit == note.habit
    assert not found.habit or found.habit_code == f.habit_code
    assert note.session <= MAX_SESSION
    before = lesson_json(note._replace(step=None))
    assert "step" not in before
    assert lesson_from_json(before).step is None


@pytest.mark.parametrize("raw", [b"", b"x" * 28, b"x" * 29, b"\xff" * 64])
def test_what_is_no_lesson_in_a_receipt_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="taught"):
        taught_from(raw)


@given(TEXT.filter(bool), TEXT.filter(bool), TEXT, TEXT, st.integers(-(1 << 62), 1 << 62))
@settings(deadline=None)
def test_hostile_text_and_time_give_scores_all_the_same(
    name: str, resource: str, source: str, client: str, at: int
) -> None:
    action = act(name, resource, source, client)
    for b in (EMPTY, LIVED):
        f = features(b, action, at, PRIOR)
        assert f == features(b, action, at, PRIOR)
        after = observe(b, lesson(f, score(f), name, True))
        assert decode(encode(after)) == after


@pytest.mark.parametrize("size", [1_024, 1])
def test_the_longest_and_shortest_values_are_scored(size: int) -> None:
    text = "é" * size
    f = features(LIVED, act(text[:128], text, text[:256], text[:256]), LAST, PRIOR)
    assert score(f).event is not None


def test_features_leave_their_inputs_unmutated() -> None:
    before, action = encode(LIVED), act("iam:PutUserPolicy")
    copied = action.model_copy(deep=True)
    features(LIVED, action, LAST + DAY, PRIOR)
    assert encode(LIVED) == before
    assert action == copied


def test_a_value_that_is_missing_says_nothing() -> None:
    f = features(LIVED, act("s3:GetObject", source="", client=" "), LAST, PRIOR)
    assert f.channels[2:] == (None, None)
    assert {name for name, _ in score(f).terms} & {"source", "client"} == set()


@pytest.mark.parametrize(
    "name", ["iam:PutUserPolicy", "oauth.grant.admin", "cloudtrail:StopLogging", "tool.call.payment"]
)
def test_a_new_identity_is_slowed_at_a_high_impact_and_cannot_be_blocked(name: str) -> None:
    s = score(features(EMPTY, act(name), START, PRIOR))
    assert SLOW < s.total < BLOCK
    assert not s.mature


@pytest.mark.parametrize("name", ["s3:GetObject", "web.post", "tool.call.read_file", "ci.job.start", "k8s:list.pods"])
def test_a_new_identity_may_do_what_is_routine(name: str) -> None:
    assert total(EMPTY, act(name), START) < SLOW


def test_a_usual_life_stays_below_the_slow_band() -> None:
    assert HIGHEST < SLOW
    assert LIVED.refused == 0


def test_a_stolen_token_is_slowed_and_then_blocked_within_its_first_steps() -> None:
    b, at, seen = LIVED, LAST + HOUR, []
    for name in ("sts:GetCallerIdentity", "iam:ListUsers", "secretsmanager:GetSecretValue", "iam:CreateAccessKey"):
        at += 2_000
        f = features(b, act(name, "prod/db", "203.0.113.9", "python-requests/2"), at, PRIOR)
        s = score(f)
        seen.append(s)
        b = observe(b, lesson(f, s, name, s.total < SLOW))
    assert SLOW < seen[0].total < BLOCK
    assert seen[-1].total > BLOCK
    assert seen[-1].mature


def test_another_network_with_usual_actions_is_not_slowed() -> None:
    b, at = LIVED, LAST + HOUR
    for name in ("ci.job.start", "image.pull", "s3:GetObject", "image.push", "deploy.token.use"):
        at += 5_000
        f = features(b, act(name, source="192.0.2.1"), at, PRIOR)
        s = score(f)
        assert s.total < SLOW
        b = observe(b, lesson(f, s, name, True))


def test_a_burst_of_usual_actions_is_slowed_by_its_rate_alone_and_never_blocked() -> None:
    b, at, totals = LIVED, LAST + HOUR, []
    for number in range(600):
        at += 10
        f = features(b, act("s3:GetObject"), at, PRIOR)
        s = score(f)
        totals.append(s.total)
        b = observe(b, lesson(f, s, str(number), s.total < SLOW))
    assert max(totals) > SLOW
    assert max(totals) < GUIDE


def test_impact_speaks_only_of_an_action_that_has_not_matured() -> None:
    usual, new = (score(features(LIVED, act(name), LAST, PRIOR)) for name in ("deploy.token.use", "package.publish"))
    assert "impact" not in dict(usual.terms)
    assert dict(new.terms)["impact"] > 0


def test_the_session_forgets_within_hours() -> None:
    f = features(LIVED, act("iam:PutUserPolicy", source="203.0.113.9"), LAST + HOUR, PRIOR)
    b = observe(LIVED, lesson(f, score(f), "a", False))
    assert b.session > SLOW
    assert total(b, act("s3:GetObject"), LAST + HOUR) > SLOW
    assert total(b, act("s3:GetObject"), LAST + 6 * HOUR) < SLOW


def test_what_was_learned_scores_lower_afterwards() -> None:
    action = act("rds:CreateDBSnapshot", "db")
    first = total(LIVED, action, LAST + HOUR)
    b, at = LIVED, LAST + HOUR
    for number in range(4):
        f = features(b, action, at, PRIOR)
        b = observe(b, lesson(f, score(f), str(number), True))
        at += 2 * MATURE_AFTER_MS
    assert total(b, action, at + 6 * HOUR) < first


def test_young_baselines_are_not_mature_however_busy() -> None:
    b, at = EMPTY, START - 15_000
    for number in range(4 * MATURE_EVENTS):
        at += 15_000
        f = features(b, act("s3:GetObject"), at, PRIOR)
        s = score(f)
        assert not s.mature or (f.matured >= MATURE_EVENTS and at - START >= MATURE_AGE_MS)
        b = observe(b, lesson(f, s, str(number), True))
    assert not score(features(b, act("s3:GetObject"), START + MATURE_AGE_MS - 1, PRIOR)).mature
    assert score(features(b, act("s3:GetObject"), START + MATURE_AGE_MS, PRIOR)).mature


def test_someone_else_is_told_from_oneself_far_better_than_by_chance() -> None:
    rnd, own, other = random.Random(11), [], []
    for _ in range(200):
        at = LAST + HOUR + rnd.randrange(6 * HOUR)
        own.append(_event_score(act(rnd.choice(["image.pull", "s3:GetObject", "image.push"])), at))
        name = rnd.choice(["s3:GetObject", "ec2:DescribeInstances", "secret.fetch", "image.pull"])
        other.append(_event_score(act(name, f"b{rnd.randrange(99)}", f"198.51.{rnd.randrange(99)}.1", "curl/8"), at))
    wins = sum((theirs > mine) + 0.5 * (theirs == mine) for mine in own for theirs in other)
    assert wins / (len(own) * len(other)) > 0.95


def _event_score(action: PendingAction, at_ms: int) -> int:
    value = score(features(LIVED, action, at_ms, PRIOR)).event
    assert value is not None
    return value


def test_scores_as_json_keep_not_ready_apart_from_zero() -> None:
    told = scores_json(score(features(EMPTY, act("s3:GetObject"), START, PRIOR)))
    assert told["epoch"] is None
    assert told["drift"] is None
    assert json.loads(json.dumps(told)) == told


@pytest.mark.parametrize("module", [codes, conduct, event, eventform, lessons, rate, tables])
def test_the_examples_in_the_documentation_hold(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0
