"""What a baseline learned from an agent's clean runs says of its calls: the scorer's event score, one agent a suite."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench.detection.traces import Call, Session
from models.baseline import EMPTY, Baseline
from models.event import features, lesson, observe, score
from models.prior import load_prior
from stayhand.agents import ToolTable
from stayhand.agents.values import typed
from stayhand.wire import Action, PendingAction, Resource, Subject

_START_MS = 1_700_000_000_000
_CALL_MS = 5_000
_DAY_MS = 86_400_000
_SCALE = 1_024
_MAX_KEY = 200


@dataclass(slots=True)
class Agent:
    """One suite's agent: its baseline, when its next session begins, and what it was seen to do."""

    baseline: Baseline = EMPTY
    at_ms: int = _START_MS
    seen: set[tuple[str, str]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Learned:
    """One call against its agent's baseline.

    ``event`` in nats; ``first_seen`` 1 where the agent never made this call; ``impact`` 0 to 3 by the prior.
    """

    session: Session
    call: Call
    event: float
    first_seen: int
    impact: int


def learned(sessions: Iterable[Session], table: ToolTable) -> dict[str, Agent]:
    """The agents after these sessions, one a day, so that all of it has matured."""
    agents: dict[str, Agent] = {}
    prior = load_prior()
    for number, session in enumerate(sessions):
        agent = agents.setdefault(session.suite, Agent())
        for place, call in enumerate(session.calls):
            action = pending(session, call, table)
            seen = features(agent.baseline, action, agent.at_ms + place * _CALL_MS, prior)
            agent.baseline = observe(agent.baseline, lesson(seen, score(seen), f"{number}.{place}", learn=True))
            agent.seen.add((call.tool, action.resource.id))
        agent.at_ms += _DAY_MS
    return agents


def acted(agents: dict[str, Agent], sessions: Sequence[Session], table: ToolTable) -> list[Learned]:
    """Every call of these sessions against the agents as they are; nothing of it is learned."""
    found: list[Learned] = []
    prior = load_prior()
    for session in sessions:
        agent = agents[session.suite]
        baseline = agent.baseline
        for place, call in enumerate(session.calls):
            action = pending(session, call, table)
            seen = features(baseline, action, agent.at_ms + place * _CALL_MS, prior)
            scores = score(seen)
            new = int((call.tool, action.resource.id) not in agent.seen)
            found.append(Learned(session, call, (scores.event or 0) / _SCALE, new, seen.impact))
            baseline = observe(baseline, lesson(seen, scores, f"{place}", learn=False))
    return found


def pending(session: Session, call: Call, table: ToolTable) -> PendingAction:
    """The call as a gateway without context would publish it: the tool, and what it acts on or reads."""
    tool = table.tool(call.tool)
    keys = [
        typed(str(value))[1]
        for name, given in call.arguments.items()
        if tool.arguments.get(name) in {"effect", "selector"}
        for value in (given if isinstance(given, list) else [given])
    ]
    key = "".join(character for character in ",".join(keys) if character.isprintable())[:_MAX_KEY]
    return PendingAction(
        subject=Subject(type="agent", id=session.suite),
        action=Action(name=f"tool.call.{call.tool}"),
        resource=Resource(type=tool.family, id=key or "-"),
    )
