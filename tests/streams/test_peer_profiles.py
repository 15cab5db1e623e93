"""Profiles from what identities learned, back into their scores: the whole circle, without a broker."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pytest

from models import baseline, peers
from models.epoch import NO_HABITS, WHOLE_WINDOW
from models.explain import explained
from models.profiles import NO_PROFILES, Profile, Profiles
from models.transition import NEW, State, World, decide, redecide, settle
from streams.answers import decision_bytes
from streams.audit import AuditEntry
from tests.fold import empty_ownership, fold
from tests.models.asks import START_MS, ask, default_pack, point, prior
from tests.streams.audits import record

Json = dict[str, Any]
IDENTITIES = [f"token:ci-{n}" for n in range(8)]
WORDS = [f"svc.do{n}" for n in range(40)]
ALONE, BEFORE, AFTER = 400, 150, 150
STEP_MS = 7_000


def habit(seed: int, size: int) -> list[str]:
    """What one identity does: some things often, some seldom, and for each identity others."""
    rnd = random.Random(seed)
    words = rnd.sample(WORDS, 12)
    return [words[min(len(words) - 1, int(rnd.expovariate(0.4)))] for _ in range(size)]


class Fleet:
    """Some tokens' lives and the audit of them."""

    def __init__(self, start_ms: int = START_MS) -> None:
        self.states: dict[str, State] = dict.fromkeys(IDENTITIES, NEW)
        self.audit: list[Json] = []
        self.profiles: dict[str, Profile] = {}
        self.now_ms = start_ms

    def live(self, actions: dict[str, Sequence[str]], profiles: Profiles) -> None:
        world = World(default_pack(), None, prior(), None, observe=False, profiles=profiles)
        for turn in range(max(map(len, actions.values()))):
            self.now_ms += STEP_MS
            for identity, names in actions.items():
                if turn < len(names):
                    self._one(identity, names[turn], world)

    def _one(self, identity: str, name: str, world: World) -> None:
        n = len(self.audit)
        given = ask(name, at_ms=self.now_ms, n=n)
        subject = given.action.subject.model_copy(update={"id": identity.partition(":")[2]})
        action = given.action.model_copy(update={"subject": subject})
        given = given._replace(identity=identity, action=action)
        ruling = decide(self.states[identity], given, world)
        self.states[identity] = settle(self.states[identity], ruling.effects)
        self.audit.append(record(given, ruling, world, n))

    def publish(self, version: str) -> Profiles:
        """Profiles of what was learned so far, as the command builds them."""
        members = [
            (identity, "", found)
            for identity, state in self.states.items()
            if (found := peers.member(state.baseline.habits)) is not None
        ]
        everybody, tokens = (each.profile for each in peers.built(version, members))
        assert everybody is not None
        assert tokens is not None
        self.profiles[tokens.hash] = tokens
        return Profiles(types={"token": tokens}, everybody=everybody)


@lru_cache(maxsize=1)
def lived() -> Fleet:
    """First without profiles, then with one, then with a later one; at last somebody else has the first token."""
    fleet = Fleet()
    every = {identity: habit(n, ALONE + BEFORE + AFTER) for n, identity in enumerate(IDENTITIES)}
    fleet.live({identity: names[:ALONE] for identity, names in every.items()}, NO_PROFILES)
    fleet.live({identity: names[ALONE : ALONE + BEFORE] for identity, names in every.items()}, fleet.publish("1"))
    later = fleet.publish("2")
    fleet.live({identity: names[ALONE + BEFORE :] for identity, names in every.items()}, later)
    fleet.live({IDENTITIES[0]: habit(5, 100)}, later)
    return fleet


def of(identity: str, fleet: Fleet) -> list[Json]:
    return [body for body in fleet.audit if body["identity"] == identity]


def test_the_epoch_score_is_ready_once_sixty_actions_were_compared() -> None:
    for identity in IDENTITIES:
        ready = [body["scores"]["epoch"] is not None for body in of(identity, lived())]
        first = ALONE + WHOLE_WINDOW - 1
        assert ready == [False] * first + [True] * (len(ready) - first)
        named = [body["vector"]["profile"] for body in of(identity, lived())[: ALONE + BEFORE + AFTER]]
        assert len(set(named)) == 3
        assert named[: ALONE + 1].count("") == ALONE


def test_profiles_that_come_and_change_alarm_nobody_who_goes_on_as_before() -> None:
    own = [body for identity in IDENTITIES for body in of(identity, lived())[ALONE : ALONE + BEFORE + AFTER]]
    heights = [body["scores"]["epoch"] for body in own if body["scores"]["epoch"] is not None]
    assert len(heights) > 1_000
    assert max(heights) < -4 * 1024
    told = {reason["code"] for body in own for reason in body["decision"].get("reasons", ())}
    assert not told & {"somebody-else-lately", "somebody-else-harmful"}


def test_somebody_else_with_the_same_token_is_told_by_the_peers() -> None:
    theirs = of(IDENTITIES[0], lived())[-100:]
    assert max(body["scores"]["epoch"] for body in theirs) > 0
    assert "guide" in {body["decision"]["verdict"] for body in theirs}
    sentences = {told.term: told.text for body in theirs for told in explained(body, most=9)}
    assert "peers ever did" in sentences["action"]


def test_every_record_follows_from_the_fold_before_it_while_profiles_come_and_change() -> None:
    fleet = lived()
    history = [AuditEntry(0, n, body) for n, body in enumerate(fleet.audit)]
    topics = (bytes.fromhex("ab" * 16), bytes.fromhex("cd" * 16))
    own = fold(history, empty_ownership(topics), default_pack(), prior(), point(), fleet.profiles)
    for identity, state in fleet.states.items():
        assert baseline.encode(own.entry(identity).state.baseline) == baseline.encode(state.baseline)


def test_a_record_replays_alone_without_its_profile() -> None:
    for body in lived().audit[::97]:
        assert redecide(body, default_pack()) == decision_bytes(body["decision"])


def test_another_profile_gives_another_record() -> None:
    fleet = lived()
    history = [AuditEntry(0, n, body) for n, body in enumerate(fleet.audit)]
    one, two = fleet.profiles
    other = {one: fleet.profiles[two], two: fleet.profiles[one]}
    topics = (bytes.fromhex("ab" * 16), bytes.fromhex("cd" * 16))
    with pytest.raises(AssertionError):
        fold(history, empty_ownership(topics), default_pack(), prior(), point(), other)


def test_an_identity_is_counted_from_its_first_whole_epoch() -> None:
    assert peers.member(NO_HABITS) is None
    found = peers.member(lived().states[IDENTITIES[1]].baseline.habits)
    assert found is not None
    assert found.epochs == (ALONE + BEFORE + AFTER) // 100
    assert found.events == 100 * found.epochs
    assert abs(sum(often for often, _ in found.values.values()) - found.events) < 0.1 * found.events
    assert all(count <= found.epochs + 1 for _, count in found.values.values())
