"""The nouns of a decision: an identity's state, one ask, the world it is asked in, and the ruling on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from models.baseline import EMPTY, Baseline
from models.effects import Effect
from models.event import Features, Scores
from models.facts import NO_FACTS
from models.policy import CompiledPack
from models.prior import Prior
from models.profiles import NO_PROFILES, Profiles
from schemas.documents import EnforcementPoint, Facts, KillSwitch
from stayhand.wire import PendingAction


@dataclass(frozen=True, slots=True)
class State:
    """All that is kept of one identity: what was learned, and what is true now."""

    baseline: Baseline
    facts: Facts


NEW = State(EMPTY, NO_FACTS)


class Ask(NamedTuple):
    """One pending action with what its record said; ``at_ms`` is the append time."""

    identity: str
    action: PendingAction
    at_ms: int
    ce_id: str
    decision_id: str
    actions_offset: int
    late: bool
    point: EnforcementPoint
    key_id: str
    correlation_id: bytes
    reply_topic: str
    reply_partition: int | None


@dataclass(frozen=True, slots=True)
class World:
    """What holds for everybody, narrowed to one ask: packs, prior, the switch and observe mode that apply to it.

    Which of the ``profiles`` an ask is compared with follows from the identity and its group; without one the epoch
    score and the drift are not ready.
    """

    pack: CompiledPack
    shadow: CompiledPack | None
    prior: Prior
    switch: KillSwitch | None
    observe: bool
    profiles: Profiles = NO_PROFILES


class Ruling(NamedTuple):
    """What was decided, why, and what follows from it.

    Attributes:
        facts: what was used beside features and action; JSON, without floats.
        decision: the body of the decision; JSON, without floats, minimal.
        shadow: what the shadow pack would have said; never part of the decision.
        effects: for `settle`, in order.
        taught: what the receipt carries, None where nothing was learned.
        waits: the answer must wait for the commit that contains the effects.
        profile: hash of the profile that the features compare with; empty where there was none, or where a hold is
            answered, whose features are those of its ask.
    """

    features: Features
    scores: Scores
    facts: dict[str, Any]
    decision: dict[str, Any]
    shadow: dict[str, Any] | None
    effects: list[Effect]
    taught: bytes | None
    waits: bool
    profile: str = ""
