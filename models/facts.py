"""What is true of an identity now: its bytes, their limit, and how grants, holds, keys and controls change it."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from models.effects import MoveHold
from schemas.documents import (
    MAX_FACTS_BYTES,
    MAX_GRANTS,
    MAX_HOLDS,
    MAX_REVIEWS,
    MAX_SPENT_KEYS,
    Facts,
    Freeze,
    Frozen,
    Grant,
    GrantFact,
    HoldFact,
    Offboard,
    Register,
    Reviewed,
    Revoke,
    Unfreeze,
)
from stayhand import canonical
from stayhand.wire import PendingAction, invalid

NO_FACTS = Facts()
MAX_RESOURCE = 256
# A freeze and a spent key must never fail for want of room, so grants, holds and registration leave it to them.
_FROZEN_BYTES = 260
_KEYS_BYTES = 640
_ROOM_BYTES = MAX_FACTS_BYTES - _FROZEN_BYTES - _KEYS_BYTES
_BY_BYTES = 64
_WHY_BYTES = 128
_LARGEST = 2**53


class InvalidFacts(ValueError):
    """The bytes are not facts of this contract."""


class ControlRefused(Exception):
    """A control that cannot be applied as things stand; nothing changes.

    Attributes:
        code: the machine-readable cause, such as ``facts-full``.
        message: what would have been right.
        field: of the control, ``value`` for all of it.
    """

    def __init__(self, code: str, message: str, field: str = "value") -> None:
        """Carry the code, a sentence for the operator and the field that it is about."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.field = field


class BrokenEffect(RuntimeError):
    """An effect does not fit the state that it is settled on: an invariant of ours is broken, the worker must stop."""


def encode_facts(facts: Facts) -> bytes:
    """Canonical JSON without defaults, at most 4,096 bytes; equal facts give equal bytes."""
    return canonical.canonical(facts.model_dump(mode="json", exclude_defaults=True))


def decode_facts(raw: bytes) -> Facts:
    """The inverse of :func:`encode_facts`.

    Raises:
        InvalidFacts: naming the field.
    """
    if len(raw) > MAX_FACTS_BYTES:
        raise InvalidFacts(f"facts: expected at most {MAX_FACTS_BYTES} bytes, got {len(raw)}")
    try:
        return Facts.model_validate(canonical.loads(raw))
    except canonical.InvalidJson as error:
        raise InvalidFacts(f"facts: {error}") from error
    except ValidationError as error:
        raise InvalidFacts(str(invalid(error))) from error


def key_digest(idempotency_key: str) -> str:
    """An idempotency key as facts keep it: 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(idempotency_key.encode()).hexdigest()[:16]


def argument_digest(action: PendingAction) -> str:
    """What an approval binds of the arguments: the asker's digest, else one over the properties, empty without any."""
    if action.context.argument_digest:
        return action.context.argument_digest
    properties = {"action": action.action.properties, "resource": action.resource.properties}
    return canonical.digest(properties) if any(properties.values()) else ""


def resource_name(action: PendingAction) -> str:
    """``type:id``, at most 256 characters; a longer one ends in its SHA-256 so that it stays one resource's name."""
    name = f"{action.resource.type}:{action.resource.id}"
    if len(name) <= MAX_RESOURCE:
        return name
    return f"{name[:180]}#{hashlib.sha256(name.encode()).hexdigest()}"


def fits(facts: Facts) -> bool:
    """Whether counts and bytes stay inside their limits whatever freeze, offboarding, key or review may come."""
    if len(facts.grants) > MAX_GRANTS or len(facts.holds) > MAX_HOLDS:
        return False
    times = dict.fromkeys(("first_seen_ms", "reviewed_ms", "called_bad_ms"), _LARGEST)
    worst = facts.model_copy(update={"spent_keys": (), "reviews": (), "frozen": None, "offboarded": True, **times})
    return len(encode_facts(worst)) <= _ROOM_BYTES


def usable_grant(facts: Facts, action: PendingAction, at_ms: int, spendable: bool = True) -> GrantFact | None:
    """The grant that fits this action now: one without a count first, then the one that ends first.

    ``spendable`` false leaves out grants whose uses are counted.
    """
    if not facts.grants:
        return None
    name, digest = f"{action.resource.type}:{action.resource.id}", argument_digest(action)
    found = [
        grant
        for grant in facts.grants
        if grant.not_before_ms <= at_ms < grant.expires_at_ms
        and (grant.uses_left is None or (spendable and grant.uses_left > 0))
        and grant.argument_digest in {"", digest}
        and fnmatch.fnmatchcase(action.action.name, grant.action)
        and fnmatch.fnmatchcase(name, grant.resource)
    ]
    return min(
        found, key=lambda grant: (grant.uses_left is not None, grant.expires_at_ms, grant.grant_id), default=None
    )


def find_hold(facts: Facts, hold_id: str) -> HoldFact | None:
    """The hold with this id, lapsed or not."""
    return next((hold for hold in facts.holds if hold.hold_id == hold_id), None)


def held_under(facts: Facts, digest: str, at_ms: int) -> HoldFact | None:
    """The live hold of an ask with this idempotency key's digest."""
    return next((h for h in facts.holds if h.idempotency_key == digest and at_ms < h.expires_at_ms), None)


def pruned(facts: Facts, at_ms: int) -> Facts:
    """Without the grants and holds that have ended or are used up; the same object where there is none."""
    if not facts.grants and not facts.holds:
        return facts
    grants = tuple(g for g in facts.grants if at_ms < g.expires_at_ms and g.uses_left != 0)
    holds = tuple(h for h in facts.holds if at_ms < h.expires_at_ms)
    if len(grants) == len(facts.grants) and len(holds) == len(facts.holds):
        return facts
    return facts.model_copy(update={"grants": grants, "holds": holds})


def with_hold(facts: Facts, hold: HoldFact) -> Facts:
    """One more hold; whether it fits is for :func:`fits` to say."""
    return facts.model_copy(update={"holds": (*facts.holds, hold)})


def without_hold(facts: Facts, hold_id: str) -> Facts:
    """Without this hold; unchanged where it is gone already."""
    return facts.model_copy(update={"holds": tuple(h for h in facts.holds if h.hold_id != hold_id)})


def moved_hold(facts: Facts, to: MoveHold) -> Facts:
    """The hold answers elsewhere; unchanged where it is gone already."""
    changes = {
        "actions_offset": to.actions_offset,
        "correlation_id": to.correlation_id,
        "reply_topic": to.reply_topic,
        "reply_partition": to.reply_partition,
        "point": to.point,
        "key_id": to.key_id,
    }
    holds = tuple(hold.model_copy(update=changes) if hold.hold_id == to.hold_id else hold for hold in facts.holds)
    return facts.model_copy(update={"holds": holds})


def spent(facts: Facts, grant_id: str) -> Facts:
    """One use less of a counted grant; the last use takes the grant away.

    Raises:
        BrokenEffect: where no such use is left.
    """
    grant = next((g for g in facts.grants if g.grant_id == grant_id), None)
    if grant is None or not grant.uses_left:
        raise BrokenEffect(f"grant {grant_id} has no use left to spend")
    left = grant.uses_left - 1
    kept: Iterable[GrantFact] = (
        g.model_copy(update={"uses_left": left}) if g is grant else g for g in facts.grants if g is not grant or left
    )
    return facts.model_copy(update={"grants": tuple(kept)})


def with_key(facts: Facts, digest: str) -> Facts:
    """The idempotency key is spent; the last 32 are remembered."""
    keys = tuple(key for key in facts.spent_keys if key != digest)
    return facts.model_copy(update={"spent_keys": (*keys, digest)[-MAX_SPENT_KEYS:]})


def reviewed_as(facts: Facts, decision_id: str) -> Reviewed | None:
    """What was said of this decision, as far as it is remembered."""
    return next((known for known in facts.reviews if known.decision == decision_id[-16:]), None)


def with_review(facts: Facts, said: Reviewed) -> Facts:
    """The review in place of an earlier one of the same decision; beyond 16 the oldest decision is forgotten."""
    kept = sorted((said, *(known for known in facts.reviews if known.decision != said.decision)))
    return _forgetting(facts, kept, max(0, len(kept) - MAX_REVIEWS))


def roomy(facts: Facts) -> Facts:
    """Facts within their bytes: the oldest reviews are forgotten where something else needs the room."""
    while facts.reviews and len(encode_facts(facts)) > MAX_FACTS_BYTES:
        facts = _forgetting(facts, facts.reviews, 1)
    return facts


def _forgetting(facts: Facts, reviews: Sequence[Reviewed], most: int) -> Facts:
    """Without the oldest ones; no decision as old is reviewed again, so that none counts twice."""
    forgotten = reviews[most - 1].at_ms if most else 0
    changes = {"reviews": tuple(reviews[most:]), "reviewed_ms": max(facts.reviewed_ms, forgotten)}
    return facts.model_copy(update=changes)


def controlled(facts: Facts, control: Any, at_ms: int) -> Facts:
    """Facts after a control; those that concern the baseline or a hold's answer leave them as they are.

    Raises:
        ControlRefused: where it does not fit, or is without sense as things stand.
    """
    change = _CHANGES.get(type(control))
    return change(pruned(facts, at_ms), control, at_ms) if change else pruned(facts, at_ms)


def _frozen(facts: Facts, control: Freeze, at_ms: int) -> Facts:
    frozen = Frozen(by=_cut(control.by, _BY_BYTES), why=_cut(control.why, _WHY_BYTES), at_ms=at_ms)
    return facts.model_copy(update={"frozen": frozen})


def _unfrozen(facts: Facts, _control: Unfreeze, _at_ms: int) -> Facts:
    return facts.model_copy(update={"frozen": None})


def _offboarded(facts: Facts, _control: Offboard, _at_ms: int) -> Facts:
    return facts.model_copy(update={"offboarded": True, "grants": ()})


def _registered(facts: Facts, control: Register, _at_ms: int) -> Facts:
    if facts.offboarded:
        raise ControlRefused("offboarded", "an identity that has left is not registered again; use a new one")
    changes = {
        "registered": True,
        "owner": control.owner,
        "group": control.group,
        "credential_issued_at_ms": control.credential_issued_at_ms,
    }
    return _room(facts.model_copy(update=changes))


def _granted(facts: Facts, control: Grant, at_ms: int) -> Facts:
    grant = control.grant
    if facts.offboarded:
        raise ControlRefused("offboarded", "an identity that has left gets no grant")
    if grant.expires_at_ms <= max(at_ms, grant.not_before_ms) or grant.uses_left == 0:
        raise ControlRefused("grant-without-use", "expected a grant that ends in the future and has a use left")
    if any(known.grant_id == grant.grant_id for known in facts.grants):
        raise ControlRefused("grant-exists", "expected a grant_id of its own for each grant")
    if len(facts.grants) >= MAX_GRANTS:
        raise ControlRefused("too-many-grants", f"expected at most {MAX_GRANTS} grants at a time")
    return _room(facts.model_copy(update={"grants": (*facts.grants, grant)}))


def _revoked(facts: Facts, control: Revoke, _at_ms: int) -> Facts:
    grants = tuple(grant for grant in facts.grants if grant.grant_id != control.grant_id)
    if len(grants) == len(facts.grants):
        raise ControlRefused("grant-unknown", "no grant with this id is left")
    return facts.model_copy(update={"grants": grants})


def _room(facts: Facts) -> Facts:
    if not fits(facts):
        raise ControlRefused("facts-full", f"expected facts within {MAX_FACTS_BYTES} bytes; shorten or revoke first")
    return facts


_CHANGES: dict[type[Any], Callable[[Facts, Any, int], Facts]] = {
    Freeze: _frozen,
    Unfreeze: _unfrozen,
    Offboard: _offboarded,
    Register: _registered,
    Grant: _granted,
    Revoke: _revoked,
}


def _cut(text: str, most: int) -> str:
    """The longest beginning of ``text`` that takes at most ``most`` bytes as JSON."""
    while len(canonical.canonical(text)) - 2 > most:
        text = text[: max(0, min(len(text) - 1, most))]
    return text
