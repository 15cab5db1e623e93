"""The blast-radius guard: how many more may be blocked, when a pack returns, and that nothing of it is forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.policy import compile_pack
from models.prior import load_prior
from models.transition import NEW as FRESH
from models.transition import decide, verdict_under
from schemas.documents import ActivePolicy, GuardRecord, PackDocument
from streams.blast import NO_GUARD, Guard, Trial, counted, decode, encode, guard_json, opened, recorded
from streams.registry import InvalidGlobal, Registry
from tests.models import asks

NEW, OLD = asks.pack(), asks.default_pack()
TRIAL = Trial("ab" * 16, NEW, OLD, cap_percent=10, window=20)
asked = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60)
trials = st.builds(Trial, st.just("cd"), st.just(NEW), st.just(OLD), st.integers(0, 99), st.integers(1, 40))


def watched(trial, answers):
    """Every guard from the first ask on, as long as the trial lasts."""
    guard = opened(NO_GUARD, trial)
    seen = [guard]
    for blocked, blocked_before in answers:
        guard = counted(guard, trial, blocked=blocked, blocked_before=blocked_before)
        seen.append(guard)
    return seen


@given(trials, asked)
def test_no_more_than_the_cap_and_one_are_blocked_beyond_the_pack_before(trial, answers):
    stopped = 0
    for guard, (blocked, blocked_before) in zip(watched(trial, answers), answers, strict=False):
        if guard.state == "trial":
            stopped += blocked - blocked_before
    assert stopped <= trial.cap_percent * trial.window // 100 + 1


@given(trials, asked)
def test_it_returns_exactly_when_the_cap_is_passed_within_the_window(trial, answers):
    passed, extra = False, 0
    for blocked, blocked_before in answers[: trial.window]:
        extra += blocked - blocked_before
        passed = passed or 100 * extra > trial.cap_percent * trial.window
    last = watched(trial, answers)[-1]
    assert last.returned == passed
    assert (last.state == "kept") == (not passed and len(answers) >= trial.window)


@given(trials, asked)
def test_what_was_decided_stays_until_another_activation(trial, answers):
    last = watched(trial, answers)[-1]
    assert opened(last, trial) == last
    if last.state != "trial":
        assert counted(last, trial, blocked=True, blocked_before=False) == last
    anew = Trial("ef", trial.active, trial.before, trial.cap_percent, trial.window)
    assert opened(last, anew) == Guard("ef", "trial")
    assert opened(last, None) == NO_GUARD


@given(trials, asked)
def test_audit_and_metadata_keep_it_whole(trial, answers):
    for guard in watched(trial, answers):
        assert decode(encode(guard)) == guard
        assert "|" not in encode(guard)
        told = guard_json(guard)
        assert GuardRecord.model_validate(told).model_dump() == told
        assert recorded({"guard": told}, NO_GUARD) == guard
    assert recorded({}, guard) == guard


def test_blocks_that_the_pack_before_gives_too_do_not_count():
    answers = [(True, True)] * TRIAL.window
    assert watched(TRIAL, answers)[-1].state == "kept"
    assert watched(TRIAL, [(True, False)] * 3)[-1].state == "returned"
    assert watched(TRIAL, [(True, False)] * 2)[-1].state == "trial"


def test_the_pack_before_is_asked_about_the_very_ask_that_was_ruled_on():
    ask = asks.ask("test.stop")
    ruling = decide(FRESH, ask, asks.world(NEW))
    assert ruling.decision["verdict"] == "block"
    assert verdict_under(ruling, ask, NEW) == "block"
    alone = decide(FRESH, ask, asks.world(OLD)).decision["verdict"]
    assert verdict_under(ruling, ask, OLD) == alone != "block"


def registry(previous, *, default=None, **policy):
    made = Registry(load_prior(), default=default)
    for offset, source in enumerate((asks.PACK, OTHER)):
        pack = compile_pack(source)
        document = PackDocument(hash=pack.hash, name=pack.name, version=pack.version, source=source, by="op")
        made.apply(f"pack/{pack.hash}", document.model_dump_json().encode(), offset)
    active = ActivePolicy(active=NEW.hash, previous=previous, by="op", **policy)
    made.apply("policy", active.model_dump_json().encode(), 2)
    return made


OTHER = "name: other\nversion: '1'\n"
BEFORE = compile_pack(OTHER)


def test_an_activation_is_on_trial_against_the_pack_before():
    made = registry(BEFORE.hash, activation="ab", cap_percent=7, window=9)
    trial = made.trial
    assert (trial.activation, trial.cap_percent, trial.window) == ("ab", 7, 9)
    assert (trial.active.hash, trial.before.hash) == (NEW.hash, BEFORE.hash)
    plain, back = (made.world(asks.point(), "test.stop", returned=returned) for returned in (False, True))
    assert (plain.pack.hash, plain.shadow) == (NEW.hash, None)
    assert (back.pack.hash, back.shadow.hash) == (BEFORE.hash, NEW.hash)


def test_without_a_pack_before_or_with_a_cap_of_100_nothing_is_on_trial():
    assert registry(None).trial is None
    assert registry(BEFORE.hash, cap_percent=100).trial is None
    assert registry(NEW.hash).trial is None
    assert registry("ab" * 8).trial is None


def test_the_first_activation_is_on_trial_against_the_pack_that_ships():
    trial = registry(None, default=OLD).trial
    assert (trial.before.hash, trial.activation) == (OLD.hash, NEW.hash[:32])


def test_the_pack_before_cannot_be_taken_away_while_the_new_one_may_return():
    made = registry(BEFORE.hash, activation="ab")
    with pytest.raises(InvalidGlobal, match="give way"):
        made.apply(f"pack/{BEFORE.hash}", None, 3)
    assert made.trial is not None
    unguarded = registry(BEFORE.hash, cap_percent=100)
    assert unguarded.apply(f"pack/{BEFORE.hash}", None, 3)


def test_a_change_of_the_shadow_alone_goes_on_with_the_same_trial():
    made = registry(BEFORE.hash, activation="ab")
    before = made.trial
    policy = ActivePolicy(active=NEW.hash, previous=BEFORE.hash, shadow=BEFORE.hash, activation="ab", by="op")
    made.apply("policy", policy.model_dump_json().encode(), 3)
    assert made.trial == before
