"""The circuit breaker, under a clock of the test's own."""

from hypothesis import given, settings
from hypothesis import strategies as st

from stayhand._breaker import COOLDOWN_MS_MAX, COOLDOWN_MS_MIN, Breaker


def opened(timeouts: int = 3) -> Breaker:
    breaker = Breaker(timeouts)
    breaker.lost(0, probe=False)
    return breaker


def test_one_ask_that_never_reached_the_broker_opens_it() -> None:
    breaker = opened()
    assert (breaker.state, breaker.unreachable, breaker.admit(10**9)) == ("open", True, "refuse")


def test_unanswered_asks_open_it_only_when_there_are_enough_in_a_row() -> None:
    breaker = Breaker(3)
    for _ in range(2):
        breaker.unanswered(0, probe=False)
    breaker.answered()
    for _ in range(2):
        breaker.unanswered(0, probe=False)
    assert breaker.state == "closed"
    breaker.unanswered(0, probe=False)
    assert (breaker.state, breaker.unreachable) == ("open", False)


def test_after_a_sign_of_life_exactly_one_ask_probes() -> None:
    breaker = opened()
    breaker.reached()
    assert [breaker.admit(1) for _ in range(3)] == ["probe", "refuse", "refuse"]


def test_a_silent_gate_is_probed_again_after_the_pause() -> None:
    breaker = Breaker(1)
    breaker.unanswered(0, probe=False)
    assert breaker.admit(COOLDOWN_MS_MIN - 1) == "refuse"
    assert breaker.admit(COOLDOWN_MS_MIN) == "probe"


def test_a_probe_that_is_answered_closes_it() -> None:
    breaker = opened()
    breaker.reached()
    breaker.admit(0)
    breaker.answered()
    assert [breaker.admit(0) for _ in range(3)] == ["pass"] * 3


def test_each_failed_probe_doubles_the_pause_up_to_a_limit() -> None:
    breaker = Breaker(1)
    breaker.unanswered(0, probe=False)
    now, pause = 0.0, float(COOLDOWN_MS_MIN)
    for _ in range(10):
        now += pause
        assert breaker.admit(now - 1) == "refuse"
        assert breaker.admit(now) == "probe"
        breaker.unanswered(now, probe=True)
        pause = min(COOLDOWN_MS_MAX, pause * 2)


def test_asks_from_before_the_opening_do_not_disturb_a_probe() -> None:
    breaker = opened()
    breaker.reached()
    assert breaker.admit(0) == "probe"
    breaker.lost(0, probe=False)
    breaker.unanswered(0, probe=False)
    assert breaker.state == "probing"


def test_a_probe_whose_asker_went_away_leaves_the_next_ask_to_probe() -> None:
    breaker = opened()
    breaker.reached()
    breaker.admit(5)
    breaker.abandoned(5, probe=True)
    assert breaker.admit(5) == "probe"


EVENT = st.sampled_from(["admit", "answered", "lost", "unanswered", "reached", "abandoned"])


@settings(deadline=None)
@given(st.lists(EVENT, max_size=60), st.integers(1, 4))
def test_whatever_happens_at_most_one_probe_is_out_and_an_answer_always_closes(events: list[str], limit: int) -> None:
    breaker, now, probing = Breaker(limit), 0.0, False
    for event in events:
        now += 100
        if event == "admit":
            admission = breaker.admit(now)
            assert not (admission == "probe" and probing)
            probing = probing or admission == "probe"
        elif event == "answered":
            breaker.answered()
            probing = False
            assert breaker.state == "closed"
        elif event == "reached":
            breaker.reached()
        else:
            getattr(breaker, event)(now, probe=probing)
            probing = False
    assert (breaker.state == "probing") == probing
