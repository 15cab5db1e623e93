"""Guards, rules and score bands to one verdict: the most severe wins, and no point gets one that it cannot obey."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from models import reasons
from models.conditions import ConditionFailed
from models.event import HARMFUL
from models.policy import CompiledPack, Duties, Rule
from models.reasons import ReasonBody
from models.scene import Scene
from stayhand.wire import Severity

PERMIT, SLOW, GUIDE, BLOCK = (int(level) for level in Severity)
MAX_REASONS = 8
MAX_MESSAGES = 4
# A term of at least one nat is worth a word to the asker.
_TELLING_TERM = 1_024
_TOLD_AGENT_TERMS = 3
_NO_DUTIES = Duties()


class Judged(NamedTuple):
    """A verdict before it becomes a decision.

    ``operator``: an operator's own stop, which observe mode does not lift. ``grant_used``: a grant made a difference.
    ``failed``: ids of the rules whose condition could not be evaluated and that were taken to hold.
    """

    severity: int
    reasons: tuple[ReasonBody, ...] = ()
    wait_ms: int = 0
    messages: tuple[str, ...] = ()
    approval_ms: int = 0
    reconfirms: tuple[str, ...] = ()
    operator: bool = False
    grant_used: bool = False
    failed: tuple[str, ...] = ()


class _Hit(NamedTuple):
    severity: int
    duties: Duties
    reasons: tuple[ReasonBody, ...]


_CLEAR = Judged(PERMIT)
_STOPS = (("switch", reasons.STOPPED), ("offboarded", reasons.OFFBOARDED), ("frozen", reasons.FROZEN))
_REFUSALS = (
    ("repeated", reasons.REPEATED),
    ("key_spent", reasons.KEY_SPENT),
    ("key_reused", reasons.KEY_REUSED),
)
# Looked at first: most asks have none of them, and one look costs less than two generators.
_STOPPING = frozenset(name for name, _ in _STOPS)
_REFUSING = frozenset(name for name, _ in _REFUSALS)


def judge(pack: CompiledPack, scene: Scene) -> Judged:
    """The verdict on a fresh ask: guards alone where one holds, else the most severe of rules and bands."""
    stopped = guarded(scene)
    if stopped is not None:
        return stopped
    used = scene.used
    if not _REFUSING.isdisjoint(used):
        return Judged(BLOCK, tuple(told for name, told in _REFUSALS if name in used))
    hits, grant_used, failed = _rules(pack.rules_for(scene.name), scene)
    band = _band(pack, scene)
    if band is not None:
        hits.append(band)
    if not hits:
        return _CLEAR._replace(grant_used=grant_used, failed=failed) if grant_used or failed else _CLEAR
    return _merged(hits)._replace(grant_used=grant_used, failed=failed)


def guarded(scene: Scene) -> Judged | None:
    """The block of an operator's own stop: kill switch, offboarding, freeze."""
    used = scene.used
    if _STOPPING.isdisjoint(used):
        return None
    return Judged(BLOCK, tuple(told for name, told in _STOPS if name in used), operator=True)


def judge_answer(pack: CompiledPack, scene: Scene) -> Judged:
    """The verdict on a held ask whose answer came: everything that can be checked again is."""
    stopped = guarded(scene)
    if stopped is not None:
        return stopped
    answer = scene.used["answer"]
    if answer["kind"] != "approve":
        return Judged(BLOCK, (reasons.DENIED,))
    if scene.used["at_ms"] >= answer["expires_at_ms"]:
        return Judged(BLOCK, (reasons.LAPSED,))
    if "point" not in scene.used:
        return Judged(BLOCK, (reasons.POINT_GONE,))
    return _rechecked(pack, scene, changed=answer["policy"] != pack.hash)


def obey(judged: Judged, can: Sequence[str]) -> Judged:
    """The verdict that a point with these obligations can carry out: never milder, at last a block."""
    if judged.severity == SLOW and "wait" not in can:
        said = judged.messages or tuple(told["message"] for told in judged.reasons[:1])
        judged = judged._replace(severity=GUIDE, wait_ms=0, messages=said)
    if judged.severity == GUIDE and not _obeyable(judged, can):
        judged = blocked(judged, reasons.CANNOT_OBEY)
    if judged.messages and "message" not in can:
        judged = judged._replace(messages=())
    return judged


def blocked(judged: Judged, why: ReasonBody) -> Judged:
    """The same as a block, with one more reason at the front."""
    told = (why, *judged.reasons)[:MAX_REASONS]
    return judged._replace(severity=BLOCK, reasons=told, wait_ms=0, approval_ms=0, reconfirms=())


def _obeyable(judged: Judged, can: Sequence[str]) -> bool:
    if (judged.wait_ms and "wait" not in can) or (judged.approval_ms and "approval" not in can):
        return False
    if judged.reconfirms and "reconfirm" not in can:
        return False
    return "message" in can or bool(judged.approval_ms or judged.reconfirms)


def _rules(rules: Iterable[Rule], scene: Scene) -> tuple[list[_Hit], bool, tuple[str, ...]]:
    hits: list[_Hit] = []
    failed: list[str] = []
    granted = "grant" in scene.used
    grant_used = False
    for rule in rules:
        holds = True
        if rule.when is not None:
            try:
                holds = not (rule.when.needs and not scene.ready(rule.when.needs)) and rule.when.holds(scene.value)
            except ConditionFailed:
                failed.append(rule.id)
        # A condition that saw the grant may owe its answer to it, so it counts as use whatever the answer was.
        if granted and (rule.when_reads_grant or (holds and rule.unless_grant)):
            grant_used = True
        if holds and not (granted and rule.unless_grant):
            told = (rule.reason, *_agent_telling(scene)) if rule.when_reads_agent else (rule.reason,)
            hits.append(_Hit(rule.severity, rule.duties, told))
    return hits, grant_used, tuple(failed)


def _band(pack: CompiledPack, scene: Scene) -> _Hit | None:
    total = scene.scores.total
    if not pack.bands or total < pack.lowest:
        return None
    harmful = scene.impact >= HARMFUL
    for band in pack.bands:
        if total >= (band.harmful_at if harmful else band.at) and (band.severity < BLOCK or scene.scores.mature):
            return _Hit(band.severity, band.duties, (band.reason, *_telling(scene)))
    return None


def _telling(scene: Scene) -> list[ReasonBody]:
    """Plain words for the two largest terms of the score."""
    largest = [reasons.term_reason(name) for name, value in scene.scores.terms[:2] if value >= _TELLING_TERM]
    return [told for told in largest if told is not None]


def _agent_telling(scene: Scene) -> list[ReasonBody]:
    """Plain words for the largest terms of an agent's call."""
    if scene.agent is None:
        return []
    return [reasons.agent_reason(name) for name, _ in scene.agent.terms[:_TOLD_AGENT_TERMS]]


def _merged(hits: list[_Hit]) -> Judged:
    hits.sort(key=_by_severity)
    severity = hits[0].severity
    told: list[ReasonBody] = []
    for hit in hits:
        told.extend(said for said in hit.reasons if said not in told)
    duties = [hit.duties for hit in hits if hit.severity == severity]
    return Judged(
        severity=severity,
        reasons=tuple(told[:MAX_REASONS]),
        wait_ms=max(duty.wait_ms for duty in duties),
        messages=_distinct(duty.message for duty in duties),
        approval_ms=min((duty.approval_ms for duty in duties if duty.approval_ms), default=0),
        reconfirms=_distinct(duty.reconfirm for duty in duties),
    )


def _by_severity(hit: _Hit) -> int:
    return -hit.severity


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))[:MAX_MESSAGES]


def _rechecked(pack: CompiledPack, scene: Scene, *, changed: bool) -> Judged:
    """An approval does not outweigh a block: by the score as it was, or by a rule that can be looked at again."""
    blocking = [rule for rule in pack.rules_for(scene.name) if rule.severity == BLOCK]
    answerable = [rule for rule in blocking if rule.answerable]
    hits, _, failed = _rules(answerable, scene)
    band = _band(pack, scene)
    if band is not None and band.severity == BLOCK:
        hits.append(band)
    if hits:
        return _merged(hits)._replace(failed=failed)
    if changed and len(answerable) < len(blocking):
        return Judged(BLOCK, (reasons.POLICY_CHANGED,))
    return Judged(PERMIT, (reasons.APPROVED,))
