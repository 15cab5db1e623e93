"""The pure heart: state and one input give a ruling and its effects; `settle` alone turns effects into the next state.

Nothing here reads a clock, draws a number or touches a network. What `decide` used beside the features and the action
is in `Ruling.facts`, so `redecide` makes the same decision from an audit record alone, byte for byte.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from models import reviews
from models.agent import agent_points
from models.ask import NEW, Ask, Ruling, State, World
from models.bar import START_AT
from models.baseline import EMPTY, MOST_EPOCHS, Baseline, InvalidBaseline, decode, taking_back, was_taken_back
from models.body import VERDICTS, decision_body
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
from models.event import Scores, features, readmitted, score
from models.eventform import features_from_json
from models.facts import (
    BrokenEffect,
    ControlRefused,
    InvalidFacts,
    controlled,
    decode_facts,
    encode_facts,
    find_hold,
    fits,
    moved_hold,
    pruned,
    roomy,
    spent,
    with_hold,
    with_key,
    without_hold,
)
from models.given import facts_for, identity_facts, world_facts
from models.holds import admitted, consequences, planned
from models.judge import BLOCK, SLOW, Judged, judge, judge_answer, obey
from models.lessons import lesson, observe, take_back, taught, taught_from, teaches
from models.policy import CompiledPack
from models.scene import Scene, Used
from schemas.documents import Approve, Control, Deny, EnforcementPoint, Facts, Import, Reset, Review
from stayhand import canonical
from stayhand.wire import OutcomeResult, PendingAction, Verdict

__all__ = [
    "NEW",
    "Ask",
    "BrokenEffect",
    "ControlRefused",
    "Effect",
    "InvalidFacts",
    "Rejudged",
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
    "rejudged",
    "report",
    "settle",
    "verdict_under",
]


class WrongPack(ValueError):
    """The record was decided by another pack than the one given."""


def decide(state: State, ask: Ask, world: World) -> Ruling:
    """Rule on a fresh ask; the same arguments give the same ruling."""
    profile = world.profiles.of(ask.identity, state.facts.group)
    seen = features(state.baseline, ask.action, ask.at_ms, world.prior, profile)
    scores = score(seen)
    used = facts_for(state, ask, world, seen.at_ms)
    name = ask.action.action.name
    point, lists = ask.point.point, world.pack.lists
    agent = agent_points(ask.action.context)
    scene = Scene(ask.identity, name, ask.action, used, scores, seen.impact, point, ask.late, lists, agent)
    judged = obey(judge(world.pack, scene), ask.point.obligations)
    if judged.failed:
        used["failed_rules"] = list(judged.failed)
    plan = planned(state, ask, judged, used, seen, world.pack)
    judged = admitted(judged, scene)
    effects: list[Effect] = []
    teach: bytes | None = None
    if "repeated" not in used:
        usual = judged.severity <= SLOW and scores.total < world.pack.learn_below
        learn = usual or (_happens(judged) and readmitted(state.baseline, seen))
        if learn and not usual:
            used["baseline_shift"] = True
        # Habits have a gate of their own when their epoch closes, where there is a profile to judge by. What this gate
        # refuses must reach that one, or an identity whose actions are often new would never come to have habits.
        habit = learn or (_happens(judged) and (seen.signs is not None or scores.total < world.pack.learn_below))
        note = lesson(seen, scores, ask.ce_id, learn, usual, habit)
        if learn and scores.total >= used.get("bar", START_AT):
            note = note._replace(alarm=True)
        effects.append(Observe(note))
        effects.extend(consequences(ask, judged, used, plan))
        teach = taught(note) if teaches(note) else None
    waits = any(isinstance(effect, Spend) for effect in effects)
    decision = decision_body(ask.decision_id, judged, used, world.pack)
    shadow, compared = _shadowed(world.shadow, scene), "" if profile is None else profile.hash
    return Ruling(seen, scores, used, decision, shadow, effects, teach, waits, compared)


def _happens(judged: Judged) -> bool:
    """Whether the action may go on by itself; what is blocked or held is never learned."""
    return judged.severity < BLOCK and not judged.approval_ms


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
    used = identity_facts(state, max(at_ms, state.baseline.last_ms))
    world_facts(used, world, point)
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
    decision = decision_body(decision_id, judged, used, world.pack)
    allowed = decision["verdict"] in {"permit", "slow"}
    effects: list[Effect] = [Unhold(hold.hold_id)]
    if allowed and hold.idempotency_key:
        effects.append(Key(hold.idempotency_key))
    return Ruling(seen, scores, used, decision, None, effects, None, allowed)


def report(state: State, decision_id: str, outcome: OutcomeResult, taught_bytes: bytes, at_ms: int) -> list[Effect]:
    """What an outcome changes: an action that failed or was cancelled does not become normal.

    A receipt works once: the ids of decisions whose lesson was taken back stand in the ring beside those of asks.

    Raises:
        ValueError: where ``taught_bytes`` is not what a receipt carries.
    """
    if outcome not in {"failed", "cancelled"} or not taught_bytes:
        return []
    taught_from(taught_bytes)
    if was_taken_back(state.baseline, decision_id):
        return []
    return [TakeBack(taught_bytes, decision_id, at_ms)]


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
    elif isinstance(control, Review):
        if not reviews.changes(state.baseline, state.facts, control, at_ms):
            return []
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
            baseline = taking_back(take_back(baseline, taught_from(effect.taught)), effect.decision_id)
        elif isinstance(effect, Apply):
            baseline, facts = _applied(baseline, facts, effect)
        else:
            facts = _changed(facts, effect)
    if facts is not state.facts and facts.reviews:
        facts = roomy(facts)
    return state if baseline is state.baseline and facts is state.facts else State(baseline, facts)


def redecide(record: Mapping[str, Any], pack: CompiledPack) -> bytes:
    """The canonical bytes of the decision that an audit record (kind decision or final) must hold.

    Raises:
        WrongPack: where ``pack`` is not the one that decided.
        KeyError: where the record lacks a part.
    """
    if record["decision"]["policy"]["hash"] != pack.hash:
        raise WrongPack(f"policy.hash: expected {pack.hash}, the record has {record['decision']['policy']['hash']}")
    return canonical.canonical(rejudged(record, pack).decision)


class Rejudged(NamedTuple):
    """What a pack makes of an audit record.

    The decision's body, the scores as this release computes them, and the ids of the rules whose condition could not be
    evaluated.
    """

    decision: dict[str, Any]
    scores: Scores
    failed: tuple[str, ...]


def rejudged(record: Mapping[str, Any], pack: CompiledPack) -> Rejudged:
    """What any pack makes of an audit record (kind decision or final): what if it had decided?

    Facts and features are those of the record, so what earlier decisions taught, held and spent is not asked again.

    Raises:
        KeyError: where the record lacks a part.
    """
    scene = _recorded(record, pack)
    judged = judge_answer(pack, scene) if record["kind"] == "final" else _admitted(pack, scene)
    decision = decision_body(record["decision"]["decision_id"], judged, scene.used, pack)
    return Rejudged(decision, scene.scores, judged.failed)


def verdict_under(ruling: Ruling, ask: Ask, pack: CompiledPack) -> Verdict:
    """The verdict that another pack would have given on an ask that was just ruled on, observe mode aside."""
    name, point = ask.action.action.name, ask.point.point
    impact, agent = ruling.features.impact, agent_points(ask.action.context)
    scene = Scene(
        ask.identity, name, ask.action, ruling.facts, ruling.scores, impact, point, ask.late, pack.lists, agent
    )
    return VERDICTS[_admitted(pack, scene).severity]


def _admitted(pack: CompiledPack, scene: Scene) -> Judged:
    return admitted(obey(judge(pack, scene), scene.used["point"]["obligations"]), scene)


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
        name = given.action.name if isinstance(given, PendingAction) else given["action"]["name"]
        action, late, point = _asked(given, name, pack), record["ask"]["late"], record["ask"]["point"]
    agent = None if action is None else agent_points(action.context)
    return Scene(record["identity"], name, action, used, score(seen), seen.impact, point, late, pack.lists, agent)


def _asked(given: PendingAction | Mapping[str, Any], name: str, pack: CompiledPack) -> PendingAction | None:
    """The action itself, where a condition may look at it: reading it is what takes longest."""
    if isinstance(given, PendingAction):
        return given
    if all(rule.when is None for rule in pack.rules_for(name)):
        return None
    return PendingAction.model_validate(given)


def _shadowed(shadow: CompiledPack | None, scene: Scene) -> dict[str, Any] | None:
    """The shadow pack's verdict on the same scene; holds and grants are the active pack's and are not touched."""
    if shadow is None:
        return None
    judged = obey(judge(shadow, scene._replace(lists=shadow.lists)), scene.used["point"]["obligations"])
    told: dict[str, Any] = {"policy": shadow.ref_body, "verdict": VERDICTS[judged.severity]}
    if judged.reasons:
        told["reasons"] = [said["code"] for said in judged.reasons]
    if judged.approval_ms:
        told["approval"] = True
    if judged.failed:
        told["failed_rules"] = list(judged.failed)
    return told


def _imported(control: Import) -> Baseline:
    try:
        found = decode(base64.b64decode(control.baseline, validate=True))
    except (InvalidBaseline, ValueError) as error:
        raise ControlRefused("invalid-baseline", f"baseline: {error}") from error
    if found.next_epoch > MOST_EPOCHS:
        raise ControlRefused("invalid-baseline", f"baseline: expected at most {MOST_EPOCHS} epochs")
    return found


def _applied(baseline: Baseline, facts: Facts, effect: Apply) -> tuple[Baseline, Facts]:
    control = effect.control
    try:
        if isinstance(control, Reset):
            return EMPTY, _remembered(facts, baseline.first_seen_ms)
        if isinstance(control, Import):
            return _imported(control), facts
        if isinstance(control, Review):
            return reviews.reviewed(baseline, facts, control, effect.at_ms)
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
        return _within(moved_hold(facts, effect))
    return _within(with_hold(pruned(facts, effect.at_ms), effect.hold))


def _within(facts: Facts) -> Facts:
    if not fits(facts):
        raise BrokenEffect("a hold does not fit the facts")
    return facts
