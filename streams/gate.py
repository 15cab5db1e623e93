"""What happens to one record: an action is decided, an outcome is learned, a control changes facts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson
import structlog
from pydantic import ValidationError

from models import baseline, eventform
from models.transition import (
    Ask,
    ControlRefused,
    Effect,
    Ruling,
    State,
    World,
    answer_hold,
    control_effects,
    decide,
    effect_from_json,
    effect_json,
    find_hold,
    report,
    settle,
    verdict_under,
)
from schemas.documents import CONTROL, Approve, Control, Deny, EnforcementPoint, HoldFact
from stayhand.errors import InvalidAction
from stayhand.headers import AskHeaders
from stayhand.identity import parse_identity
from stayhand.partition import partition_for
from stayhand.wire import invalid
from streams import blast
from streams.answers import Answers, decision_bytes, taught_by
from streams.blast import Guard
from streams.limits import Limiter
from streams.observer import Observer
from streams.outbox import Outbox
from streams.ownership import Entry, Ownership
from streams.ports import Clock, Record
from streams.reading import Reader, Report, decision_id
from streams.refusal import Refusal
from streams.registry import InvalidGlobal, Registry

Json = dict[str, Any]
_LOG = structlog.get_logger("stayhand.gate")


class Read(NamedTuple):
    """A record of the actions topic and what it says."""

    record: Record
    said: Ask | Report | Refusal
    headers: AskHeaders | None = None


class RefusedControl(Exception):
    """A control that cannot be applied; it becomes a dead letter."""

    def __init__(self, code: str, field: str, message: str) -> None:
        """Name the field and what was expected there."""
        super().__init__(f"{code}: {field}: {message}")
        self.code, self.field, self.message = code, field, message


class Gate:
    """Decides for one worker; every change of state goes through ``models.transition.settle`` and into the audit."""

    def __init__(
        self,
        registry: Registry,
        reader: Reader,
        limits: Limiter,
        answers: Answers,
        outbox: Outbox,
        clock: Clock,
        observer: Observer,
        partitions: int,
    ) -> None:
        """Wire the parts together."""
        self._registry, self._reader, self._limits, self._answers = registry, reader, limits, answers
        self._outbox, self._clock, self._observer = outbox, clock, observer
        self._partitions = partitions

    def read(self, records: Sequence[Record], now_ms: int) -> list[Read]:
        """Size, signature, rights and shape of a batch; no state is needed for that."""
        return [self._read(record, now_ms) for record in records]

    def handle(self, own: Ownership, read: Read, now_ms: int) -> None:
        """Decide, learn or refuse one record."""
        if isinstance(read.said, Refusal):
            self._outbox.refuse(read.record, read.said)
        elif isinstance(read.said, Report):
            self._learn_outcome(own, read.record, read.said)
        else:
            self._decide(own, read, read.said, now_ms)
        own.actions_next = read.record.offset + 1

    def control(self, own: Ownership, record: Record) -> None:
        """Apply one control to its identity's facts, or write it to the dead letters."""
        if record.offset < own.controls_next:
            return
        own.controls_next = record.offset + 1
        try:
            self._apply(own, record, *self._parse(record))
        except RefusedControl as refused:
            self._outbox.refuse(record, refused)

    def change(self, record: Record, owned: Iterable[Ownership]) -> None:
        """Apply one change of the global topic, and say so in each owned partition's audit."""
        if record.offset <= self._registry.offset:
            return
        key = (record.key or b"").decode("utf-8", "replace")
        try:
            changed = self._registry.apply(key, record.value, record.offset)
        except InvalidGlobal as error:
            self._outbox.refuse(record, error)
            return
        _LOG.info("global change applied", key=key, offset=record.offset, changed=changed)
        for own in owned:
            self.say_applied(own)

    def say_applied(self, own: Ownership) -> None:
        """Tell the audit up to where the global topic is applied."""
        self._guarded(own)
        body = self._outbox.body(own, "applied")
        body["note"] = {"global": self._registry.offset}
        if own.guard.activation:
            body["guard"] = blast.guard_json(own.guard)
        self._outbox.write(own, body)

    def answer_again(self, own: Ownership, body: Json) -> None:
        """Send a recovered answer again as the same bytes; one that spent waits for the commit, as it did."""
        if body.get("decision") is None or body["ask"]["late"]:
            return
        told, taught = body["decision"], taught_by([effect_from_json(effect) for effect in body["effects"]])
        answer = self._answers.decision(
            body["ask"], body["identity"], body["at_ms"], told["decision_id"], decision_bytes(told), taught
        )
        self._outbox.send(own, answer, waits=body["waits"])

    def _read(self, record: Record, now_ms: int) -> Read:
        try:
            return Read(record, *self._reader.read_with_headers(record, now_ms))
        except Refusal as refusal:
            return Read(record, refusal)

    def _decide(self, own: Ownership, read: Read, ask: Ask, now_ms: int) -> None:
        """Decide one action, answer it at once, record it, and learn from it."""
        began_s, record = self._clock.monotonic_s(), read.record
        identity, action, at_ms, _, decision_id, offset, late, point, _, _, _, _ = ask
        state, decided, _, clock_ms, _, _ = own.entry(identity)
        if offset <= decided:
            return
        if refusal := self._unwelcome(ask, read.headers, state.baseline):
            self._outbox.refuse(record, refusal)
            return
        if at_ms < clock_ms:
            at_ms, ask = clock_ms, ask._replace(at_ms=clock_ms)
        guard = self._guarded(own)
        asked = _asked(read, now_ms)
        world = self._registry.world(point, action.action.name, returned=guard.returned)
        ruling = decide(state, ask, world)
        decision, effects = ruling.decision, ruling.effects
        told = decision_bytes(decision)
        if not late:
            answer = self._answers.decision(asked, identity, at_ms, decision_id, told, ruling.taught or b"")
            self._outbox.send(own, answer, waits=ruling.waits)
        took_s = self._clock.monotonic_s() - began_s
        body = self._outbox.body(own, "decision", identity, at_ms, action=offset)
        body["ask"] = asked
        body["action"] = orjson.Fragment(record.value or b"null")
        self._watch(own, body, ruling, ask)
        self._outbox.write(own, _ruled(body, ruling, told, world))
        if own.guard.returned and not guard.returned:
            self._say_returned(own)
        own.put(identity, settle(state, effects), clock_ms=at_ms, action=offset, control=None)
        self._observer.decided(decision["verdict"], now_ms - record.timestamp_ms, took_s, late=late)

    def _guarded(self, own: Ownership) -> Guard:
        """The guard of the policy that is on trial in this partition."""
        own.guard = blast.opened(own.guard, self._registry.trial)
        return own.guard

    def _watch(self, own: Ownership, body: Json, ruling: Ruling, ask: Ask) -> None:
        """Count what the policy on trial blocks; what is late or observed stops nobody, so it does not count."""
        trial = self._registry.trial
        if trial is None or own.guard.state == "kept":
            return
        if own.guard.state == "trial" and not ask.late and "observe" not in ruling.facts:
            before = verdict_under(ruling, ask, trial.before)
            blocked = ruling.decision["verdict"] == "block"
            own.guard = blast.counted(own.guard, trial, blocked=blocked, blocked_before=before == "block")
        body["guard"] = blast.guard_json(own.guard)

    def _say_returned(self, own: Ownership) -> None:
        """Tell the audit, and whoever watches, that the policy before decides again."""
        trial = self._registry.trial
        assert trial is not None, "only a trial returns"
        note = {
            "active": trial.before.hash,
            "shadow": trial.active.hash,
            "cap_percent": trial.cap_percent,
            "window": trial.window,
        }
        told = blast.guard_json(own.guard)
        self._outbox.write(own, self._outbox.body(own, "returned") | {"guard": told, "note": note})
        _LOG.warning("the new policy blocks too much: back to shadow", partition=own.partition, **told, **note)

    def _unwelcome(self, ask: Ask, headers: AskHeaders | None, known: baseline.Baseline) -> Refusal | None:
        """What only the state can tell: a re-produced record, or one new identity too many."""
        if baseline.seen_before(known, ask.ce_id):
            return Refusal("replayed", "expected a ce_id that was not asked before", "ce_id", ask.point)
        if known is baseline.EMPTY and not self._limits.admit_new(ask.point, ask.at_ms):
            told = "the point's hourly limit of new identities is reached"
            return Refusal("too-many-new-identities", told, "subject", ask.point, headers, reply_allowed=True)
        return None

    def _learn_outcome(self, own: Ownership, record: Record, said: Report) -> None:
        """Take back what a cancelled action taught."""
        entry = own.entry(said.identity)
        if record.offset <= entry.actions_offset:
            return
        at_ms = max(said.at_ms, entry.clock_ms)
        outcome = {"decision_id": said.decision_id, "result": said.result, "point": said.point.point}
        body = self._outbox.body(own, "outcome", said.identity, at_ms, action=record.offset)
        body["outcome"] = outcome
        state = self._settle(own, body, entry, report(entry.state, said.decision_id, said.result, said.taught, at_ms))
        own.put(said.identity, state, clock_ms=at_ms, action=record.offset, control=None)
        self._observer.reported(said.result)

    def _parse(self, record: Record) -> tuple[Control, str]:
        key = record.key or b""
        if partition_for(key, self._partitions) != record.partition:
            raise RefusedControl("wrong-partition", "key", "expected the partition that murmur2 gives for it")
        try:
            return CONTROL.validate_json(record.value or b""), parse_identity(key.decode(), "key")
        except ValidationError as error:
            told = invalid(error)
            raise RefusedControl("invalid-control", told.field, told.expected) from error
        except UnicodeDecodeError as error:
            raise RefusedControl("invalid-control", "key", "expected UTF-8") from error
        except InvalidAction as error:
            raise RefusedControl("invalid-control", error.field, error.expected) from error

    def _apply(self, own: Ownership, record: Record, control: Control, identity: str) -> None:
        entry = own.entry(identity)
        if record.offset <= entry.controls_offset:
            return
        at_ms = max(record.timestamp_ms, entry.clock_ms)
        body = self._outbox.body(own, "control", identity, at_ms)
        body["control"] = control.model_dump(mode="json")
        if isinstance(control, (Approve, Deny)):
            effects = self._answer_hold(own, body, entry, control)
        else:
            effects = _effects(entry, control, at_ms)
        state = self._settle(own, body, entry, effects)
        own.put(identity, state, clock_ms=at_ms, action=None, control=record.offset)
        self._observer.controlled(control.kind)

    def _answer_hold(self, own: Ownership, body: Json, entry: Entry, control: Approve | Deny) -> list[Effect]:
        """Check a held ask again and send its final decision; an approval waits for its commit."""
        hold = find_hold(entry.state.facts, control.hold_id)
        if hold is None:
            raise RefusedControl("unknown-hold", "hold_id", "expected a hold that waits")
        point = self._registry.point(hold.point)
        returned = self._guarded(own).returned
        world = self._registry.world(point or _gone(hold.point), hold.action, returned=returned)
        identity, at_ms, vector = body["identity"], body["at_ms"], body["vector"]
        final_id = decision_id(vector["controls_topic"], own.partition, vector["controls"])
        ruling = answer_hold(entry.state, control, at_ms, final_id, world, identity, point)
        assert ruling is not None, "the hold was found above"
        body["kind"], body["ask"] = "final", _held(hold, at_ms)
        told = decision_bytes(ruling.decision)
        _ruled(body, ruling, told, world)
        answer = self._answers.decision(body["ask"], identity, at_ms, final_id, told, b"")
        self._outbox.send(own, answer, waits=ruling.waits)
        return ruling.effects

    def _settle(self, own: Ownership, body: Json, entry: Entry, effects: list[Effect]) -> State:
        """Record effects in the audit and apply them."""
        body["effects"] = [effect_json(effect) for effect in effects]
        self._outbox.write(own, body)
        return settle(entry.state, effects)


def _gone(point: str) -> EnforcementPoint:
    """Stands for a point that is registered no more: it has no rights, but its holds still end."""
    return EnforcementPoint(point=point, keys=(), identities=(), actions=(), reply_topics=())


def _effects(entry: Entry, control: Control, at_ms: int) -> list[Effect]:
    try:
        return control_effects(entry.state, control, at_ms)
    except ControlRefused as error:
        raise RefusedControl(error.code, error.field, str(error)) from error


def _asked(read: Read, now_ms: int) -> Json:
    """The audit's account of where an ask came from (``schemas.documents.AskRecord``)."""
    record, ask, headers = read
    assert isinstance(ask, Ask)
    assert headers is not None
    ce_id, _, _, ce_time, _, key_id, correlation_id, topic, partition, deadline_ms, traceparent, _ = headers
    return {
        "ce_id": ce_id,
        "ce_time": ce_time,
        "point": ask.point.point,
        "key_id": key_id,
        "correlation_id": correlation_id.hex(),
        "reply_topic": topic,
        "reply_partition": partition,
        "deadline_ms": deadline_ms,
        "appended_at_ms": record.timestamp_ms,
        "read_at_ms": now_ms,
        "late": ask.late,
        "traceparent": traceparent,
    }


def _held(hold: HoldFact, at_ms: int) -> Json:
    """The same for the final decision of a hold."""
    return {
        "ce_id": hold.hold_id,
        "ce_time": "",
        "point": hold.point,
        "key_id": hold.key_id,
        "correlation_id": hold.correlation_id,
        "reply_topic": hold.reply_topic,
        "reply_partition": hold.reply_partition,
        "deadline_ms": 0,
        "appended_at_ms": at_ms,
        "read_at_ms": at_ms,
        "late": False,
        "traceparent": "",
    }


def _ruled(body: Json, ruling: Ruling, told: bytes, world: World) -> Json:
    """Put a ruling, and the bytes that its asker is told, into an audit record."""
    features, scores, facts, _, shadow, effects, _, waits, profile = ruling
    vector = body["vector"]
    vector["policy"] = world.pack.hash
    if world.shadow is not None:
        vector["shadow"] = world.shadow.hash
    vector["prior"] = world.prior.hash
    vector["profile"] = profile
    body["features"] = eventform.features_json(features)
    body["scores"] = eventform.scores_json(scores)
    body["facts"] = facts
    body["decision"] = orjson.Fragment(told)
    if shadow is not None:
        body["shadow"] = shadow
    body["effects"] = [effect_json(effect) for effect in effects]
    body["waits"] = waits
    return body
