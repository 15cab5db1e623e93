"""What a rule can see of one ask: the variables of a condition, built from no more than the audit record holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from models.agent import AgentScore
from models.bar import START_AT
from models.conditions import plain
from models.event import Scores
from stayhand.wire import Context, PendingAction

Used = dict[str, Any]
_KNOWN_CONTEXT = frozenset(Context.model_fields)
_FAMILY_END = re.compile(r"[:./]")


class Scene(NamedTuple):
    """One ask as the rules see it.

    Attributes:
        name: of the action; ``action`` itself is None where a hold is answered, which keeps no more than the name.
        used: the facts that may be used, as they stand in the audit record.
        impact: of the action by the prior, 0 to 3.
        lists: the pack's own.
        agent: the points of an agent's call, a quantity of its own; None where the action does not carry its signals.
    """

    identity: str
    name: str
    action: PendingAction | None
    used: Used
    scores: Scores
    impact: int
    point: str
    late: bool
    lists: Mapping[str, list[str]]
    agent: AgentScore | None = None

    def ready(self, quantity: str) -> bool:
        """Whether ``epoch``, ``p``, ``drift`` or ``agent`` was scored: the fields of ``ready``."""
        return (self.agent if quantity == "agent" else getattr(self.scores, quantity)) is not None

    def value(self, variable: str, fields: frozenset[str] | None) -> Any:
        """The variable, narrowed to ``fields`` where they are known."""
        if variable == "point":
            return self.point
        if variable == "lists":
            return {name: self.lists[name] for name in fields} if fields is not None else dict(self.lists)
        if variable == "context":
            return self._context(fields)
        whole: dict[str, Any] = _BUILDERS[variable](self)
        return whole if fields is None else {name: whole[name] for name in fields if name in whole}

    def _context(self, fields: frozenset[str] | None) -> dict[str, Any]:
        context = self._whole().context
        extra = context.model_extra or {}
        if fields is None:
            return {name: _context_value(context, name) for name in _KNOWN_CONTEXT} | {
                name: plain(value) for name, value in extra.items()
            }
        return {
            name: _context_value(context, name) if name in _KNOWN_CONTEXT else plain(extra[name])
            for name in fields
            if name in _KNOWN_CONTEXT or name in extra
        }

    def _whole(self) -> PendingAction:
        if self.action is None:
            raise LookupError("a held ask keeps no more than its action's name")
        return self.action


def family(action: str) -> str:
    """An action's family: its name up to the first ``:``, ``.`` or ``/``."""
    return _FAMILY_END.split(action, maxsplit=1)[0]


def _context_value(context: Context, name: str) -> Any:
    if name == "secrets":
        return [{"rule": s.rule, "fingerprint": s.fingerprint, "where": s.where} for s in context.secrets]
    return getattr(context, name)


def _subject(scene: Scene) -> dict[str, Any]:
    kind, _, name = scene.identity.partition(":")
    known: dict[str, Any] = {"type": kind, "id": name}
    if scene.action is not None:
        known["properties"] = plain(scene.action.subject.properties)
    return known


def _action(scene: Scene) -> dict[str, Any]:
    known: dict[str, Any] = {"name": scene.name, "family": family(scene.name), "impact": scene.impact}
    if scene.action is not None:
        known["properties"] = plain(scene.action.action.properties)
    return known


def _resource(scene: Scene) -> dict[str, Any]:
    resource = scene._whole().resource  # noqa: SLF001  these builders are the class's own
    return {
        "type": resource.type,
        "id": resource.id,
        "id_lower": resource.id.lower(),
        "properties": plain(resource.properties),
    }


def _facts(scene: Scene) -> dict[str, Any]:
    used = scene.used
    issued = used.get("credential_issued_at_ms")
    if issued is None and scene.action is not None:
        issued = scene.action.context.credential_issued_at_ms
    return {
        "registered": used.get("registered", False),
        "owner": used.get("owner", ""),
        "group": used.get("group", ""),
        "frozen": "frozen" in used,
        "offboarded": used.get("offboarded", False),
        "credential_age_s": _age_s(issued, used["at_ms"]),
        "first_seen_age_s": _age_s(used.get("first_seen_ms"), used["at_ms"]),
        "called_bad_age_s": _age_s(used.get("called_bad_ms"), used["at_ms"]),
        "grant": "grant" in used,
        "grants": used.get("grants", 0),
        "holds": used.get("holds", 0),
    }


def _score(scene: Scene) -> dict[str, Any]:
    scores = scene.scores
    return {
        "event": _nats(scores.event),
        "session": _nats(scores.session),
        "rate": _nats(scores.rate),
        "total": _nats(scores.total),
        "mature": scores.mature,
        "epoch": _nats(scores.epoch),
        "drift": _nats(scores.drift),
        "q": _nats(scores.q),
        "p": _nats(scores.p),
        "bar": _nats(scene.used.get("bar", START_AT)),
        "agent": None if scene.agent is None else scene.agent.total,
    }


def _ready(scene: Scene) -> dict[str, Any]:
    return {quantity: scene.ready(quantity) for quantity in ("epoch", "p", "drift", "agent")}


def _age_s(since_ms: int | None, at_ms: int) -> int | None:
    return None if since_ms is None else max(0, at_ms - since_ms) // 1_000


def _nats(value: int | None) -> float | None:
    """Exact: dividing by 1,024 only moves the binary point."""
    return None if value is None else value / 1_024


_BUILDERS = {
    "subject": _subject,
    "action": _action,
    "resource": _resource,
    "facts": _facts,
    "score": _score,
    "ready": _ready,
}
