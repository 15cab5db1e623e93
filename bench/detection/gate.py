"""The scorer's own decisions without Kafka: asks by many identities through `decide` and `settle`, in their order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from models.prior import load_prior
from models.profiles import Profile, Profiles
from models.transition import NEW, Ask, Ruling, State, World, decide, settle
from schemas.documents import EnforcementPoint, PointKey
from stayhand.wire import PendingAction
from streams.shipped import shipped_pack

LEVELS = ("slow", "guide", "block")
_POINT = EnforcementPoint(
    point="bench",
    keys=(PointKey(key_id="k1"),),
    identities=("*",),
    actions=("*",),
    reply_topics=("stayhand.decisions",),
)


class Gate:
    """What a scorer remembers of each identity; it decides as one does that a point with every obligation asks."""

    def __init__(self, profile: Profile | None = None, states: dict[str, State] | None = None) -> None:
        """Without a profile the scores over longer stretches are not ready, as in a scorer that was given none."""
        self.states: dict[str, State] = {} if states is None else states
        profiles = Profiles(everybody=profile)
        self._world = World(shipped_pack(), None, load_prior(), None, observe=False, profiles=profiles)
        self._asked = 0

    def ask(self, action: PendingAction, at_ms: int, ce_id: str | None = None) -> Ruling:
        """The ruling on one action at this append time, and what it taught."""
        self._asked += 1
        number, identity = self._asked, action.identity
        ask = Ask(
            identity=identity,
            action=action,
            at_ms=at_ms,
            ce_id=ce_id or f"{number}",
            decision_id=f"{number:032x}",
            actions_offset=number,
            late=False,
            point=_POINT,
            key_id="k1",
            correlation_id=number.to_bytes(8, "big"),
            reply_topic="stayhand.decisions",
            reply_partition=0,
        )
        state = self.states.get(identity, NEW)
        ruling = decide(state, ask, self._world)
        self.states[identity] = settle(state, ruling.effects)
        return ruling


class First(NamedTuple):
    """How much passes until a verdict at least as severe: actions, that one included, and seconds."""

    actions: int
    seconds: float


def firsts(ruled: Iterable[tuple[int, str]]) -> dict[str, First | None]:
    """The first slow, guide and block of these verdicts, each with its time in milliseconds; None where none came."""
    found: dict[str, First | None] = dict.fromkeys(LEVELS)
    start_ms: int | None = None
    for number, (at_ms, verdict) in enumerate(ruled, 1):
        start_ms = at_ms if start_ms is None else start_ms
        if verdict not in LEVELS:
            continue
        for level in LEVELS[: LEVELS.index(verdict) + 1]:
            found[level] = found[level] or First(number, (at_ms - start_ms) / 1_000)
    return found
