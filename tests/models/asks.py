"""Asks, points and worlds for tests of the decision: plain, with one thing changed at a time."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from models.eventform import features_json
from models.policy import CompiledPack, compile_pack
from models.prior import Prior, load_prior
from models.transition import Ask, Ruling, World
from schemas.documents import EnforcementPoint, KillSwitch, PointKey
from stayhand.wire import pending_action

START_MS = 1_790_000_000_000
POLICIES = Path(__file__).parents[2] / "policies"

PACK = """
name: test
version: "1"
rules:
  - {id: slow, actions: [test.slow], verdict: slow, obligations: {wait_ms: 100}, reason: {code: slow, message: Slowly.}}
  - {id: warn, actions: [test.warn], verdict: guide, obligations: {message: M.}, reason: {code: warn, message: Look.}}
  - id: confirm
    actions: [test.confirm]
    verdict: guide
    obligations: {reconfirm: Sure?}
    reason: {code: confirm, message: Sure.}
  - {id: stop, actions: [test.stop], verdict: block, reason: {code: stop, message: No.}}
  - id: approve
    actions: [test.approve, test.both]
    verdict: guide
    unless_grant: true
    obligations: {approval: {timeout_s: 600}}
    reason: {code: approve, message: Ask somebody.}
  - id: needs-grant
    actions: [test.grant, test.both]
    verdict: block
    unless_grant: true
    reason: {code: needs-grant, message: Not without a grant.}
  - id: sees-grant
    actions: [test.sees]
    when: "!facts.grant"
    verdict: block
    reason: {code: sees-grant, message: Not without a grant.}
"""


@cache
def pack(source: str = PACK) -> CompiledPack:
    return compile_pack(source)


@cache
def default_pack() -> CompiledPack:
    return compile_pack((POLICIES / "default.yaml").read_text(encoding="utf-8"))


@cache
def prior() -> Prior:
    return load_prior()


def point(**changes: Any) -> EnforcementPoint:
    given: dict[str, Any] = {
        "point": "gate-1",
        "keys": (PointKey(key_id="k1"),),
        "identities": ("*",),
        "actions": ("*",),
        "reply_topics": ("stayhand.decisions",),
        "fallbacks": ("closed", "last-known"),
    }
    return EnforcementPoint(**(given | changes))


def world(
    active: CompiledPack | None = None,
    shadow: CompiledPack | None = None,
    *,
    switch: KillSwitch | None = None,
    observe: bool = False,
) -> World:
    return World(active or pack(), shadow, prior(), switch, observe)


def ask(
    name: str = "test.plain",
    *,
    at_ms: int = START_MS,
    n: int = 0,
    late: bool = False,
    resource: dict[str, Any] | None = None,
    by: EnforcementPoint | None = None,
    **context: Any,
) -> Ask:
    action = pending_action(
        {
            "subject": {"type": "token", "id": "ci"},
            "action": {"name": name},
            "resource": resource or {"type": "host", "id": "a"},
            "context": {"source": "192.0.2.7", "client": "curl/8", **context},
        }
    )
    return Ask(
        identity=action.identity,
        action=action,
        at_ms=at_ms,
        ce_id=f"ce-{n}",
        decision_id=f"{n:032x}",
        actions_offset=n,
        late=late,
        point=by or point(),
        key_id="k1",
        correlation_id=n.to_bytes(8, "big"),
        reply_topic="stayhand.decisions",
        reply_partition=n % 3,
    )


def audit(ruling: Ruling, given: Ask | None, kind: str = "decision") -> dict[str, Any]:
    """The parts of an audit record that a decision is made from again."""
    record: dict[str, Any] = {
        "kind": kind,
        "identity": "token:ci",
        "features": features_json(ruling.features),
        "facts": ruling.facts,
        "decision": ruling.decision,
    }
    if given is not None:
        record["ask"] = {"late": given.late, "point": given.point.point}
        record["action"] = given.action.model_dump(mode="json")
    return record


def codes(ruling: Ruling) -> list[str]:
    return [reason["code"] for reason in ruling.decision.get("reasons", [])]


def duties(ruling: Ruling) -> list[str]:
    return [duty["type"] for duty in ruling.decision.get("obligations", [])]


def no_floats(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and no_floats(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(no_floats(item) for item in value)
    return not isinstance(value, float)
