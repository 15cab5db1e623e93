"""What a baseline learned from an agent's clean runs says of its calls: the scorer's event score, one agent a suite."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench.detection.baselines import Detector, action_values, detectors
from bench.detection.traces import Call, Session
from models.baseline import EMPTY, Baseline
from models.event import features, score
from models.lessons import lesson, observe
from models.prior import load_prior
from stayhand.agents import ToolTable
from stayhand.agents.values import typed
from stayhand.wire import Action, PendingAction, Resource, Subject

_START_MS = 1_700_000_000_000
_CALL_MS = 5_000
_DAY_MS = 86_400_000
_SCALE = 1_024
_MAX_KEY = 200
_WINDOW = 128


@dataclass(slots=True)
class Agent:
    """One suite's agent: its baseline, when its next session begins, what it was seen to do, and that in numbers."""

    baseline: Baseline = EMPTY
    at_ms: int = _START_MS
    seen: set[tuple[str, str]] = field(default_factory=set)
    shown: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Learned:
    """One call against its agent's baseline.

    ``event`` in nats; ``first_seen`` 1 where the agent never made this call; ``impact`` 0 to 3 by the prior;
    ``detected`` what each detector that is installed says.
    """

    session: Session
    call: Call
    event: float
    first_seen: int
    impact: int
    detected: dict[str, float]


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
            agent.shown.append(action_values(action, agent.at_ms + place * _CALL_MS, place * _CALL_MS))
        agent.at_ms += _DAY_MS
    return agents


def acted(
    agents: dict[str, Agent], sessions: Sequence[Session], table: ToolTable, *, detect: bool = False
) -> list[Learned]:
    """Every call of these sessions against the agents as they are; nothing of it is learned."""
    found: list[Learned] = []
    prior = load_prior()
    taught = {suite: _taught(agent) for suite, agent in agents.items()} if detect else {}
    for session in sessions:
        agent, beside = agents[session.suite], taught.get(session.suite, {})
        baseline = agent.baseline
        for place, call in enumerate(session.calls):
            action = pending(session, call, table)
            seen = features(baseline, action, agent.at_ms + place * _CALL_MS, prior)
            scores = score(seen)
            new = int((call.tool, action.resource.id) not in agent.seen)
            values = action_values(action, agent.at_ms + place * _CALL_MS, place * _CALL_MS)
            said = {name: detector.score(values) for name, detector in beside.items()}
            found.append(Learned(session, call, (scores.event or 0) / _SCALE, new, seen.impact, said))
            baseline = observe(baseline, lesson(seen, scores, f"{place}", learn=False))
    return found


def _taught(agent: Agent) -> dict[str, Detector]:
    """The detectors after calls drawn from what the agent was seen to do, as far as they are installed."""
    made = {name: make() for name, make in detectors(_WINDOW).items() if make is not None}
    # What a window of the last calls holds is one run; drawn from all of them it holds every task.
    drawn = random.Random(1).sample(agent.shown, min(len(agent.shown), 4 * _WINDOW))
    for detector in made.values():
        for values in drawn:
            detector.learn(values)
    return made


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
