"""What may become a habit: where there is a profile its own gate decides at the close, else the total does before."""

from __future__ import annotations

from asks import ask, default_pack, prior

from models import epoch
from models.effects import Observe
from models.profiles import Profiles, build_profile, counted
from models.transition import NEW, World, decide, report, settle

PROFILE = build_profile("test", [counted([f"svc:Do{n % 40}" for n in range(1_000)], epoch.EPOCH_EVENTS)] * 3)


def after_what_is_unusual(profile):
    """A ruling whose total is above the slow band and that still lets the action happen, and the state before it."""
    state, world = NEW, World(default_pack(), None, prior(), None, observe=False, profiles=Profiles(everybody=profile))
    for number in range(400):
        name = f"svc:Do{number % 5}" if number < 300 else f"svc:Never{number}"
        given = ask(name, n=number, at_ms=1_790_000_000_000 + 30_000 * number)
        ruling = decide(state, given, world)
        if ruling.scores.total >= world.pack.learn_below and ruling.decision["verdict"] in {"slow", "guide"}:
            return state, ruling
        state = settle(state, ruling.effects)
    raise AssertionError("nothing became unusual")


def lesson_of(ruling):
    [effect] = [effect for effect in ruling.effects if isinstance(effect, Observe)]
    return effect.lesson


def test_with_a_profile_what_the_total_refuses_reaches_the_gate_of_habits():
    state, ruling = after_what_is_unusual(PROFILE)
    lesson = lesson_of(ruling)
    assert not lesson.learn, "it does not become normal by the total's own gate"
    assert lesson.habit == state.baseline.habits.number
    grown = settle(state, ruling.effects).baseline.habits
    assert grown.learn >> (len(grown.codes) - 1) & 1


def test_what_only_the_habits_learned_is_taken_back_where_it_was_cancelled():
    state, ruling = after_what_is_unusual(PROFILE)
    assert ruling.taught
    state = settle(state, ruling.effects)
    undone = settle(state, report(state, ruling.decision["decision_id"], "cancelled", ruling.taught, 1_790_100_000_000))
    place = len(state.baseline.habits.codes) - 1
    assert state.baseline.habits.learn >> place & 1
    assert not undone.baseline.habits.learn >> place & 1


def test_without_a_profile_nothing_that_the_total_refuses_becomes_a_habit():
    state, ruling = after_what_is_unusual(None)
    lesson = lesson_of(ruling)
    assert not lesson.learn
    assert lesson.habit == 0
    grown = settle(state, ruling.effects).baseline.habits
    assert not grown.learn >> (len(grown.codes) - 1) & 1
