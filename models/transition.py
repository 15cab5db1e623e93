"""The pure heart: state and one input give a ruling and its effects; `settle` alone turns effects into the next state.

Nothing here reads a clock, draws a number or touches a network. What `decide` used beside the features and the action
is in `Ruling.facts`, so `redecide` makes the same decision from an audit record alone, byte for byte.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models import reasons
from models.baseline import EMPTY, Baseline, InvalidBaseline, decode, seen_before
from models.effects import (
    Apply,
    Effect,
    Hold,
    Key,
    MoveHold,
    Observe,
    Spend,
    TakeBack,
    Unhold,
    effect_from_json,
    effect_json,
)
from models.event import (
    Features,
    Scores,
    features,
    features_from_json,
    features_json,
    lesson,
    observe,
    score,
    take_back,
    taught,
    taught_from,
)
from models.facts import (
    NO_FACTS,
    BrokenEffect,
    ControlRefused,
    InvalidFacts,
    argument_digest,
    controlled,
    decode_facts,
    encode_facts,
    find_hold,
    fits,
    held_under,
    key_digest,
    moved_hold,
    pruned,
    resource_name,
    spent,
    usable_grant,
    with_hold,
    with_key,
    without_hold,
)
from models.judge import BLOCK, SLOW, Judged, blocked, judge, judge_answer, obey
from models.policy import CompiledPack
from models.prior import Prior
from models.scene import Scene, Used
from schemas.documents import (
    Approve,
    Control,
    Deny,
    EnforcementPoint,
    Facts,
    HoldFact,
    Import,
    KillSwitch,
    Reset,
)
from stayhand import canonical
from stayhand.wire import OutcomeResult, PendingAction, Verdict

__all__ = [
    "NEW",
    "Ask",
    "BrokenEffect",
    "ControlRefused",
    "Effect",
    "InvalidFacts",
    "Ruling",
    "State",
    "World",
    "WrongPack",
    "answer_hold",
    "control_effects",
    "decide",
    "decode_facts",
    "effect_from_json",
    "effect_json",
    "encode_facts",
    "find_hold",
    "redecide",
    "redecide_shadow",
    "report",
    "settle",
]

_VERDICTS: tuple[Verdict, ...] = ("permit", "slow", "guide", "block")
# Where a pack has no band for slow: learn below this total (1/1024).
_LEARN_BELOW = 12 * 1_024
_CLOSED = ("closed",)


class WrongPack(ValueError):
    """The record was decided by another pack than the one given."""


@dataclass(frozen=True, slots=True)
class State:
    """All that is kept of one identity: what was learned, and what is true now."""

    baseline: Baseline
    facts: Facts


NEW = State(EMPTY, NO_FACTS)


@dataclass(frozen=True, slots=True)
class Ask:
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
    """What holds for everybody, narrowed to one ask: packs, prior, the switch and observe mode that apply to it."""

    pack: CompiledPack
    shadow: CompiledPack | None
    prior: Prior
    switch: KillSwitch | None
    observe: bool


@dataclass(frozen=True, slots=True)
class Ruling:
    """What was decided, why, and what follows from it.

    Attributes:
        facts: what was used beside features and action; JSON, without floats.
        decision: the body of the decision; JSON, without floats, minimal.
        shadow: what the shadow pack would have said; never part of the decision.
        effects: for `settle`, in order.
        taught: what the receipt carries, None where nothing was learned.
        waits: the answer must wait for the commit that contains the effects.
    """

    features: Features
    scores: Scores
    facts: dict[str, Any]
    decision: dict[str, Any]
    shadow: dict[str, Any] | None
    effects: list[Effect]
    taught: bytes | None
    waits: bool


def decide(state: State, ask: Ask, world: World) -> Ruling:
    """Rule on a fresh ask; the same arguments give the same ruling."""
    seen = features(state.baseline, ask.action, ask.at_ms, world.prior)
    scores = score(seen)
    used = _used(state, ask, world, seen.at_ms)
    scene = _scene(ask, used, scores, seen.impact, world.pack)
    judged = obey(judge(world.pack, scene), ask.point.obligations)
    if judged.failed:
        used["failed_rules"] = list(judged.failed)
    hold = _hold(state, ask, judged, used, seen, world.pack)
    judged = _admitted(judged, scene)
    effects: list[Effect] = []
    teach: bytes | None = None
    if "repeated" not in used:
        learn = judged.severity <= SLOW and scores.total < _slow_at(world.pack)
        note = lesson(seen, scores, ask.ce_id, learn)
        effects.append(Observe(note))
        effects.extend(_consequences(ask, judged, used, hold))
        teach = taught(note) if learn else None
    waits = any(isinstance(effect, Spend) for effect in effects)
    decision = _decision(ask.decision_id, judged, used, world.pack)
    return Ruling(seen, scores, used, decision, _shadowed(world.shadow, scene), effects, teach, waits)


def answer_hold(
    state: State,
    control: Approve | Deny,
    at_ms: int,
    decision_id: str,
    world: World,
    identity: str,
    point: EnforcementPoint | None,
) -> Ruling | None:
    """The second and final decision of a hold, or None where no such hold is left.

    Freeze, offboarding, kill switch, the score and the blocking rules are looked at again: an approval is no permit.
    ``point`` is the one named in the hold, None where it is not registered any more. The reply address is the hold's
    (`find_hold`), to be read before the effects are settled.
    """
    hold = find_hold(state.facts, control.hold_id)
    if hold is None:
        return None
    seen = features_from_json(hold.features)
    scores = score(seen)
    used = _facts_used(state, max(at_ms, state.baseline.last_ms))
    _world_used(used, world, point)
    used["answer"] = {
        "kind": control.kind,
        "hold_id": hold.hold_id,
        "expires_at_ms": hold.expires_at_ms,
        "policy": hold.policy,
        "action": hold.action,
        "resource": hold.resource,
        "argument_digest": hold.argument_digest,
    }
    scene = Scene(
        identity, hold.action, None, used, scores, seen.impact, hold.point, late=False, lists=world.pack.lists
    )
    judged = judge_answer(world.pack, scene)
    effects: list[Effect] = [Unhold(hold.hold_id)]
    allowed = judged.severity <= SLOW
    if allowed and hold.idempotency_key:
        effects.append(Key(hold.idempotency_key))
    decision = _decision(decision_id, judged, used, world.pack)
    return Ruling(seen, scores, used, decision, None, effects, None, allowed)


def report(outcome: OutcomeResult, taught_bytes: bytes, at_ms: int) -> list[Effect]:
    """What an outcome changes: an action that failed or was cancelled does not become normal.

    Raises:
        ValueError: where ``taught_bytes`` is not what a receipt carries.
    """
    if outcome not in {"failed", "cancelled"} or not taught_bytes:
        return []
    taught_from(taught_bytes)
    return [TakeBack(taught_bytes, at_ms)]


def control_effects(state: State, control: Control, at_ms: int) -> list[Effect]:
    """What a control changes; the answers to holds change nothing here, `answer_hold` does that.

    Raises:
        ControlRefused: where it does not fit or makes no sense as things stand.
    """
    if isinstance(control, (Approve, Deny)):
        if find_hold(state.facts, control.hold_id) is None:
            raise ControlRefused("hold-unknown", "no ask waits under this id any more")
        return []
    if isinstance(control, Import):
        _imported(control)
    else:
        controlled(state.facts, control, at_ms)
    return [Apply(control, at_ms)]


def settle(state: State, effects: Sequence[Effect]) -> State:
    """The state after these effects: the only function that changes it, live, in recovery and in a fold of the audit.

    Raises:
        BrokenEffect: where an effect does not fit the state, which no sound log can bring about.
    """
    baseline, facts = state.baseline, state.facts
    for effect in effects:
        if isinstance(effect, Observe):
            baseline = observe(baseline, effect.lesson)
            facts = pruned(facts, effect.lesson.at_ms)
        elif isinstance(effect, TakeBack):
            baseline = take_back(baseline, taught_from(effect.taught))
        elif isinstance(effect, Apply):
            baseline, facts = _applied(baseline, facts, effect)
        else:
            facts = _changed(facts, effect)
    return state if baseline is state.baseline and facts is state.facts else State(baseline, facts)


def redecide(record: Mapping[str, Any], pack: CompiledPack) -> bytes:
    """The canonical bytes of the decision that an audit record (kind decision or final) must hold.

    Raises:
        WrongPack: where ``pack`` is not the one that decided.
        KeyError: where the record lacks a part.
    """
    if record["decision"]["policy"]["hash"] != pack.hash:
        raise WrongPack(f"policy.hash: expected {pack.hash}, the record has {record['decision']['policy']['hash']}")
    scene = _recorded(record, pack)
    if record["kind"] == "final":
        judged = judge_answer(pack, scene)
    else:
        judged = _admitted(obey(judge(pack, scene), scene.used["point"]["obligations"]), scene)
    return canonical.canonical(_decision(record["decision"]["decision_id"], judged, scene.used, pack))


def redecide_shadow(record: Mapping[str, Any], shadow: CompiledPack) -> dict[str, Any] | None:
    """What a pack would have said to a recorded decision; equal to its ``shadow`` where that pack was the shadow."""
    return _shadowed(shadow, _recorded(record, shadow)) if record["kind"] == "decision" else None


def _recorded(record: Mapping[str, Any], pack: CompiledPack) -> Scene:
    used: Used = dict(record["facts"])
    seen = features_from_json(record["features"])
    if record["kind"] == "final":
        name, action, late, point = used["answer"]["action"], None, False, ""
    else:
        given = record["action"]
        action = given if isinstance(given, PendingAction) else PendingAction.model_validate(given)
        name, late, point = action.action.name, record["ask"]["late"], record["ask"]["point"]
    return Scene(record["identity"], name, action, used, score(seen), seen.impact, point, late, pack.lists)


def _scene(ask: Ask, used: Used, scores: Scores, impact: int, pack: CompiledPack) -> Scene:
    name = ask.action.action.name
    return Scene(ask.identity, name, ask.action, used, scores, impact, ask.point.point, ask.late, pack.lists)


def _used(state: State, ask: Ask, world: World, at_ms: int) -> Used:
    """The facts that this decision may use; what is empty is left out."""
    used = _facts_used(state, at_ms)
    _world_used(used, world, ask.point)
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


def _facts_used(state: State, at_ms: int) -> Used:
    used: Used = {"at_ms": at_ms}
    facts, first_ms = state.facts, state.baseline.first_seen_ms
    if facts.first_seen_ms and (not first_ms or facts.first_seen_ms < first_ms):
        first_ms = facts.first_seen_ms
    if first_ms:
        used["first_seen_ms"] = first_ms
    if facts is NO_FACTS:
        return used
    for name in ("registered", "owner", "group", "offboarded"):
        if value := getattr(facts, name):
            used[name] = value
    if facts.credential_issued_at_ms is not None:
        used["credential_issued_at_ms"] = facts.credential_issued_at_ms
    if facts.frozen is not None:
        used["frozen"] = facts.frozen.model_dump(mode="json")
    if grants := sum(grant.not_before_ms <= at_ms < grant.expires_at_ms for grant in facts.grants):
        used["grants"] = grants
    if holds := sum(at_ms < hold.expires_at_ms for hold in facts.holds):
        used["holds"] = holds
    return used


def _world_used(used: Used, world: World, point: EnforcementPoint | None) -> None:
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


def _hold(state: State, ask: Ask, judged: Judged, used: Used, seen: Features, pack: CompiledPack) -> HoldFact | None:
    """The hold that this ask needs; where it does not fit, ``used`` says so."""
    if not judged.approval_ms or ask.late or "observe" in used or "held" in used:
        return None
    hold = HoldFact(
        hold_id=_hold_id(ask.decision_id),
        actions_offset=ask.actions_offset,
        correlation_id=ask.correlation_id.hex(),
        reply_topic=ask.reply_topic,
        reply_partition=ask.reply_partition,
        point=ask.point.point,
        key_id=ask.key_id,
        expires_at_ms=used["at_ms"] + judged.approval_ms,
        policy=pack.hash,
        idempotency_key=key_digest(key) if (key := ask.action.context.idempotency_key) else "",
        action=ask.action.action.name,
        resource=resource_name(ask.action),
        argument_digest=argument_digest(ask.action),
        features=features_json(seen),
    )
    if fits(with_hold(pruned(state.facts, used["at_ms"]), hold)):
        return hold
    used["no_room"] = True
    return None


def _hold_id(decision_id: str) -> str:
    return hashlib.sha256(b"hold|" + decision_id.encode()).hexdigest()[:16]


def _admitted(judged: Judged, scene: Scene) -> Judged:
    """An approval that cannot be waited for is a block."""
    if not judged.approval_ms or "observe" in scene.used:
        return judged
    if scene.late:
        return blocked(judged, reasons.TOO_LATE)
    if "no_room" in scene.used:
        return blocked(judged, reasons.HOLDS_FULL)
    return judged


def _consequences(ask: Ask, judged: Judged, used: Used, hold: HoldFact | None) -> list[Effect]:
    """What is held or spent. In observe mode nothing is: what would have been asked for was not."""
    if ask.late or judged.severity == BLOCK or "observe" in used:
        return []
    effects: list[Effect] = []
    held = used.get("held")
    grant = used.get("grant")
    if hold is not None:
        effects.append(Hold(hold, used["at_ms"]))
    elif held is not None and judged.approval_ms:
        effects.append(_move(held["hold_id"], ask))
    elif held is not None:
        effects.append(Unhold(held["hold_id"]))
    if judged.grant_used and grant is not None and grant["uses_left"] is not None:
        effects.append(Spend(grant["grant_id"]))
        key = ask.action.context.idempotency_key
        if key and not judged.approval_ms:
            effects.append(Key(key_digest(key)))
    return effects


def _move(hold_id: str, ask: Ask) -> MoveHold:
    return MoveHold(
        hold_id=hold_id,
        actions_offset=ask.actions_offset,
        correlation_id=ask.correlation_id.hex(),
        reply_topic=ask.reply_topic,
        reply_partition=ask.reply_partition,
        point=ask.point.point,
        key_id=ask.key_id,
    )


def _decision(decision_id: str, judged: Judged, used: Used, pack: CompiledPack) -> dict[str, Any]:
    """The body as `stayhand.wire.Decision` reads it; an empty field is left out, ``final`` never is."""
    verdict = _VERDICTS[judged.severity]
    body: dict[str, Any] = {"decision_id": decision_id, "verdict": verdict, "final": True, "policy": pack.ref_body}
    body["fallback"] = _lease(judged, used)
    if judged.reasons:
        body["reasons"] = list(judged.reasons)
    if "observe" in used and not judged.operator:
        body["verdict"] = "permit"
        body["would_be"] = verdict
        return body
    duties = _obligations(decision_id, judged, used)
    if duties:
        body["obligations"] = duties
    if judged.approval_ms:
        body["final"] = False
    return body


def _lease(judged: Judged, used: Used) -> dict[str, Any]:
    """What the point may do without an answer; an operator's stop must not be slept through, so it leases nothing."""
    point = used.get("point")
    if point is None or judged.operator:
        return {"modes": list(_CLOSED), "expires_at_ms": used["at_ms"]}
    return {"modes": point["fallbacks"], "expires_at_ms": used["at_ms"] + point["fallback_lease_ms"]}


def _obligations(decision_id: str, judged: Judged, used: Used) -> list[dict[str, Any]]:
    duties: list[dict[str, Any]] = []
    if judged.wait_ms:
        duties.append({"type": "wait", "wait_ms": judged.wait_ms})
    duties.extend({"type": "message", "text": text} for text in judged.messages)
    duties.extend({"type": "reconfirm", "text": text} for text in judged.reconfirms)
    if judged.approval_ms:
        held = used.get("held")
        duties.append(
            {
                "type": "approval",
                "hold_id": held["hold_id"] if held else _hold_id(decision_id),
                "expires_at_ms": held["expires_at_ms"] if held else used["at_ms"] + judged.approval_ms,
            }
        )
    return duties


def _shadowed(shadow: CompiledPack | None, scene: Scene) -> dict[str, Any] | None:
    """The shadow pack's verdict on the same scene; holds and grants are the active pack's and are not touched."""
    if shadow is None:
        return None
    seen = Scene(
        scene.identity,
        scene.name,
        scene.action,
        scene.used,
        scene.scores,
        scene.impact,
        scene.point,
        scene.late,
        shadow.lists,
    )
    judged = obey(judge(shadow, seen), scene.used["point"]["obligations"])
    told: dict[str, Any] = {"policy": shadow.ref_body, "verdict": _VERDICTS[judged.severity]}
    if judged.reasons:
        told["reasons"] = [said["code"] for said in judged.reasons]
    if judged.approval_ms:
        told["approval"] = True
    if judged.failed:
        told["failed_rules"] = list(judged.failed)
    return told


def _slow_at(pack: CompiledPack) -> int:
    """Below this total an event may be learned: the pack's lowest band, which is slow where there is one."""
    return pack.lowest or _LEARN_BELOW


def _imported(control: Import) -> Baseline:
    try:
        return decode(base64.b64decode(control.baseline, validate=True))
    except (InvalidBaseline, ValueError) as error:
        raise ControlRefused("invalid-baseline", f"baseline: {error}") from error


def _applied(baseline: Baseline, facts: Facts, effect: Apply) -> tuple[Baseline, Facts]:
    control = effect.control
    try:
        if isinstance(control, Reset):
            return EMPTY, _remembered(facts, baseline.first_seen_ms)
        if isinstance(control, Import):
            return _imported(control), facts
        return baseline, controlled(facts, control, effect.at_ms)
    except ControlRefused as error:
        raise BrokenEffect(f"control {control.kind}: {error}") from error


def _remembered(facts: Facts, first_seen_ms: int) -> Facts:
    """A forgotten baseline does not make the identity a new one."""
    known = min((ms for ms in (facts.first_seen_ms, first_seen_ms) if ms), default=0)
    return facts.model_copy(update={"first_seen_ms": known}) if known != facts.first_seen_ms else facts


def _changed(facts: Facts, effect: Spend | Hold | MoveHold | Unhold | Key) -> Facts:
    if isinstance(effect, Spend):
        return spent(facts, effect.grant_id)
    if isinstance(effect, Key):
        return with_key(facts, effect.digest)
    if isinstance(effect, Unhold):
        return without_hold(facts, effect.hold_id)
    if isinstance(effect, MoveHold):
        changes = {name: getattr(effect, name) for name in MoveHold.__slots__ if name != "hold_id"}
        return _within(moved_hold(facts, effect.hold_id, changes))
    return _within(with_hold(pruned(facts, effect.at_ms), effect.hold))


def _within(facts: Facts) -> Facts:
    if not fits(facts):
        raise BrokenEffect("a hold does not fit the facts")
    return facts
