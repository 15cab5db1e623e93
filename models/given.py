"""The facts that a decision may use, gathered as the JSON that its audit record keeps; no other facts are looked at.

Always: ``at_ms`` (the state's clock), ``point`` (its obligations, fallbacks and lease; absent where it is gone).
Where it holds: ``registered``, ``owner``, ``group``, ``credential_issued_at_ms``, ``first_seen_ms``, ``bar`` (the
identity's own, where it has moved), ``called_bad_ms``, ``offboarded``, ``frozen``, ``switch``, ``observe``, ``grant``
(the one that fits), ``grants`` and ``holds`` (how many live), ``repeated``, ``key_spent``, ``key_reused``, ``held``
(the hold that this ask repeats), ``no_room`` (its hold does not fit), ``answer`` (the control that answers a hold, and
what the hold says). Told, and not used: ``failed_rules``, and ``baseline_shift`` where nothing was usual for an hour,
so that this is learned all the same.
"""

from __future__ import annotations

from models.ask import Ask, State, World
from models.bar import START_AT, bar_of
from models.baseline import seen_before
from models.facts import (
    NO_FACTS,
    argument_digest,
    held_under,
    key_digest,
    resource_name,
    usable_grant,
)
from models.scene import Used
from schemas.documents import EnforcementPoint, Facts
from stayhand.wire import PendingAction


def facts_for(state: State, ask: Ask, world: World, at_ms: int) -> Used:
    """The facts that the decision on this ask may use; what is empty is left out."""
    used = identity_facts(state, at_ms)
    world_facts(used, world, ask.point)
    if seen_before(state.baseline, ask.ce_id):
        used["repeated"] = True
    facts = state.facts
    if facts is NO_FACTS:
        return used
    # A late ask spends nothing, so it must not lean on what it would have to spend.
    grant = usable_grant(facts, ask.action, at_ms, spendable=not ask.late)
    if grant is not None:
        used["grant"] = grant.model_dump(mode="json")
    key = ask.action.context.idempotency_key
    if key and (facts.spent_keys or facts.holds):
        _key_used(used, facts, key_digest(key), ask.action, at_ms)
    return used


def identity_facts(state: State, at_ms: int) -> Used:
    """What is true of the identity, whatever it asks."""
    used: Used = {"at_ms": at_ms}
    facts, first_ms = state.facts, state.baseline.first_seen_ms
    if facts.first_seen_ms and (not first_ms or facts.first_seen_ms < first_ms):
        first_ms = facts.first_seen_ms
    if first_ms:
        used["first_seen_ms"] = first_ms
    if state.baseline.extra and (bar := bar_of(state.baseline.extra).at) != START_AT:
        used["bar"] = bar
    if facts is NO_FACTS:
        return used
    for name in ("registered", "owner", "group", "offboarded"):
        if value := getattr(facts, name):
            used[name] = value
    if facts.credential_issued_at_ms is not None:
        used["credential_issued_at_ms"] = facts.credential_issued_at_ms
    if facts.frozen is not None:
        used["frozen"] = facts.frozen.model_dump(mode="json")
    if facts.called_bad_ms is not None:
        used["called_bad_ms"] = facts.called_bad_ms
    if grants := sum(grant.not_before_ms <= at_ms < grant.expires_at_ms for grant in facts.grants):
        used["grants"] = grants
    if holds := sum(at_ms < hold.expires_at_ms for hold in facts.holds):
        used["holds"] = holds
    return used


def world_facts(used: Used, world: World, point: EnforcementPoint | None) -> None:
    """Add what is true of the point and of everybody."""
    if point is not None:
        used["point"] = {
            "obligations": list(point.obligations),
            "fallbacks": list(point.fallbacks),
            "fallback_lease_ms": point.fallback_lease_ms,
        }
    if world.observe or (point is not None and point.observe):
        used["observe"] = True
    if world.switch is not None:
        used["switch"] = world.switch.model_dump(mode="json")


def _key_used(used: Used, facts: Facts, digest: str, action: PendingAction, at_ms: int) -> None:
    if digest in facts.spent_keys:
        used["key_spent"] = True
        return
    hold = held_under(facts, digest, at_ms)
    if hold is None:
        return
    # The answer goes to whoever repeats the ask, so it must be the very same one.
    bound = (action.action.name, resource_name(action), argument_digest(action))
    if (hold.action, hold.resource, hold.argument_digest) == bound:
        used["held"] = {"hold_id": hold.hold_id, "expires_at_ms": hold.expires_at_ms}
    else:
        used["key_reused"] = True
