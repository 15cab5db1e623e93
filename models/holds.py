"""What an ask holds and spends: the hold that an approval needs, the grant that made a difference, the key."""

from __future__ import annotations

from models import reasons
from models.ask import Ask, State
from models.body import hold_id_of
from models.effects import Effect, Hold, Key, MoveHold, Spend, Unhold
from models.event import Features
from models.eventform import features_json
from models.facts import (
    argument_digest,
    fits,
    key_digest,
    moved_hold,
    pruned,
    resource_name,
    with_hold,
)
from models.judge import BLOCK, MAX_REASONS, Judged, blocked
from models.policy import CompiledPack
from models.scene import Scene, Used
from schemas.documents import HoldFact


def planned(
    state: State, ask: Ask, judged: Judged, used: Used, seen: Features, pack: CompiledPack
) -> Hold | MoveHold | None:
    """The hold that this ask needs, new or moved to it; where it does not fit, ``used`` says so."""
    if not judged.approval_ms or ask.late or "observe" in used:
        return None
    facts = pruned(state.facts, used["at_ms"])
    plan: Hold | MoveHold
    if "held" in used:
        plan = _moved(used["held"]["hold_id"], ask)
        facts = moved_hold(facts, plan)
    else:
        plan = Hold(_hold(ask, judged, used, seen, pack), used["at_ms"])
        facts = with_hold(facts, plan.hold)
    if fits(facts):
        return plan
    used["no_room"] = True
    return None


def admitted(judged: Judged, scene: Scene) -> Judged:
    """An approval that cannot be waited for is a block; what a counted grant opened says so."""
    if judged.approval_ms and "observe" not in scene.used:
        if scene.late:
            return blocked(judged, reasons.TOO_LATE)
        if "no_room" in scene.used:
            return blocked(judged, reasons.HOLDS_FULL)
    if spends(judged, scene.used):
        return judged._replace(reasons=(*judged.reasons, reasons.GRANTED)[:MAX_REASONS])
    return judged


def spends(judged: Judged, used: Used) -> bool:
    """Whether a use of a counted grant is spent: it made a difference and the action may go on; not in observe mode."""
    grant = used.get("grant")
    if grant is None or not judged.grant_used or judged.severity == BLOCK or "observe" in used:
        return False
    return grant["uses_left"] is not None


def consequences(ask: Ask, judged: Judged, used: Used, plan: Hold | MoveHold | None) -> list[Effect]:
    """What is held or spent. In observe mode nothing is: what would have been asked for was not."""
    if ask.late or judged.severity == BLOCK or "observe" in used:
        return []
    effects: list[Effect] = []
    if plan is not None:
        effects.append(plan)
    elif "held" in used:
        effects.append(Unhold(used["held"]["hold_id"]))
    if spends(judged, used):
        effects.append(Spend(used["grant"]["grant_id"]))
        key = ask.action.context.idempotency_key
        if key and not judged.approval_ms:
            effects.append(Key(key_digest(key)))
    return effects


def _hold(ask: Ask, judged: Judged, used: Used, seen: Features, pack: CompiledPack) -> HoldFact:
    key = ask.action.context.idempotency_key
    return HoldFact(
        hold_id=hold_id_of(ask.decision_id),
        actions_offset=ask.actions_offset,
        correlation_id=ask.correlation_id.hex(),
        reply_topic=ask.reply_topic,
        reply_partition=ask.reply_partition,
        point=ask.point.point,
        key_id=ask.key_id,
        expires_at_ms=used["at_ms"] + judged.approval_ms,
        policy=pack.hash,
        idempotency_key=key_digest(key) if key else "",
        action=ask.action.action.name,
        resource=resource_name(ask.action),
        argument_digest=argument_digest(ask.action),
        features=features_json(seen),
    )


def _moved(hold_id: str, ask: Ask) -> MoveHold:
    return MoveHold(
        hold_id=hold_id,
        actions_offset=ask.actions_offset,
        correlation_id=ask.correlation_id.hex(),
        reply_topic=ask.reply_topic,
        reply_partition=ask.reply_partition,
        point=ask.point.point,
        key_id=ask.key_id,
    )
