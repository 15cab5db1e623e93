"""What must hold at the end of every run, whatever the schedule and the faults were."""

from __future__ import annotations

import json

import orjson

from models import baseline
from models.transition import encode_facts
from streams import record as state_record
from streams.audit import AuditEntry
from streams.ownership import Ownership
from streams.registry import Registry
from tests.fold import empty_ownership, fold
from tests.simulation import world as simulated
from tests.simulation.kafka import TOPIC_IDS, Sent
from tests.simulation.world import IDENTITY, POINT

DEPLOY = "deploy.prod"


def check(run: simulated.World) -> None:
    """Every law, each by its own name."""
    history = run.history()
    every_ask_has_one_effective_record(run, history)
    terms_only_rise_among_effective_records(history)
    folded = each_record_follows_from_the_fold_before_it(history)
    state_is_the_fold_of_the_effective_records(run, folded)
    each_decision_names_the_profile_in_force(run, history)
    answers_are_the_recorded_bytes(run, history)
    a_one_use_grant_lets_at_most_one_ask_act(run, history)
    no_permit_after_an_acknowledged_freeze(run, history)


def every_ask_has_one_effective_record(run: simulated.World, history: list[AuditEntry]) -> None:
    """Nothing is decided twice, nothing is lost."""
    for topic, kinds in (("actions", {"decision", "outcome"}), ("controls", {"control", "final"})):
        offsets = [entry.body["vector"][topic] for entry in history if entry.body["kind"] in kinds]
        refused = sum(json.loads(letter)["topic"] == topic for letter in run.kafka.dead_letters)
        assert len(set(offsets)) == len(offsets), f"two effective records for one of {topic}"
        assert offsets == sorted(offsets), f"{topic} out of order"
        missing = set(range(len(run.kafka.log(topic, 0)))) - set(offsets)
        assert len(missing) <= refused, f"{topic} {missing} have no effective record"


def terms_only_rise_among_effective_records(history: list[AuditEntry]) -> None:
    """A reader of the audit alone can tell which records count."""
    terms = [entry.term for entry in history]
    assert terms == sorted(terms)


def each_record_follows_from_the_fold_before_it(history: list[AuditEntry]) -> Ownership:
    """The laws of ``tests.fold`` over the simulation's one partition."""
    own = empty_ownership((TOPIC_IDS["actions"], TOPIC_IDS["controls"]))
    published = {each.hash: each for each in simulated.profiles()}
    return fold(history, own, simulated.pack(), simulated.prior(), POINT, published)


def each_decision_names_the_profile_in_force(run: simulated.World, history: list[AuditEntry]) -> None:
    """The audit's word on which peers an ask was compared with follows from the global topic and the group."""
    changes, registry = iter(run.kafka.log("global", 0)), Registry(simulated.prior())
    for body in (entry.body for entry in history if entry.body["kind"] == "decision"):
        while registry.offset < body["vector"]["globals"]:
            change = next(changes)
            registry.apply((change.key or b"").decode(), change.value, change.offset)
        if registry.offset > body["vector"]["globals"]:
            raise AssertionError("a decision looks at an older global topic than one before it")
        peers = registry.world(POINT, "x").profiles.of(body["identity"], body["facts"].get("group", ""))
        assert body["vector"]["profile"] == ("" if peers is None else peers.hash)


def state_is_the_fold_of_the_effective_records(run: simulated.World, folded: Ownership) -> None:
    """The changelog's last committed values, and every disk that follows it, hold the folded state byte for byte."""
    changelog = {key: value for key, value, written in run.kafka.state[0] if written.status == "committed"}
    state = folded.entry(IDENTITY).state
    expected = {"baseline": baseline.encode(state.baseline), "facts": encode_facts(state.facts)}
    for raw_key, raw in changelog.items():
        kind, _ = state_record.parse_key(raw_key)
        assert state_record.unpack(raw)[2] == expected[kind], f"{kind} in the changelog is not the fold"
    owner = run.stores[run.kafka.owner[0] or ""]
    assert {key: value for (_, key), value in owner.rows.items()} == changelog


def answers_are_the_recorded_bytes(run: simulated.World, history: list[AuditEntry]) -> None:
    """Each effective decision that is not late was sent, and as the bytes that stand in the record."""
    sent: dict[str, set[bytes]] = {}
    for answer in run.kafka.sent:
        sent.setdefault(answer.answer.key.decode(), set()).add(answer.answer.value)
    for entry in history:
        if entry.body.get("decision") is not None and not entry.body["ask"]["late"]:
            decision = entry.body["decision"]
            recorded = orjson.dumps(decision, option=orjson.OPT_SORT_KEYS)
            assert recorded in sent.get(decision["decision_id"], set()), "an answer was never sent"


def first_answers(run: simulated.World) -> dict[str, Sent]:
    """What each asker acts on: the first answer to its correlation id."""
    first: dict[str, Sent] = {}
    for sent in run.kafka.arrived:
        first.setdefault(dict(sent.answer.headers)["kafka_correlationId"].hex(), sent)
    return first


def a_one_use_grant_lets_at_most_one_ask_act(run: simulated.World, history: list[AuditEntry]) -> None:
    """Deployments are permitted by a grant alone, so no more of them act than grants were given."""
    given = sum(entry.body["kind"] == "control" and entry.body["control"]["kind"] == "grant" for entry in history)
    deploys = {
        entry.body["ask"]["correlation_id"]
        for entry in history
        if entry.body["kind"] == "decision" and entry.body["action"]["action"]["name"] == DEPLOY
    }
    acting = [
        correlation
        for correlation, sent in first_answers(run).items()
        if correlation in deploys and json.loads(sent.answer.value)["verdict"] == "permit"
    ]
    assert len(acting) <= given, f"{len(acting)} deployments act on {given} grants"


def no_permit_after_an_acknowledged_freeze(run: simulated.World, history: list[AuditEntry]) -> None:
    """Once the effective record of a freeze is readable, no answer permits what was not decided before it."""
    frozen_at: float | None = None
    decided_before: set[str] = set()
    for entry in history:
        body = entry.body
        kind = body["control"]["kind"] if body["kind"] == "control" else ""
        if kind == "freeze" and frozen_at is None:
            frozen_at = run.kafka.audit_landed_s[entry.offset]
        elif kind == "unfreeze":
            return
        elif body.get("decision") is not None:
            if frozen_at is None:
                decided_before.add(body["decision"]["decision_id"])
            else:
                assert body["decision"]["verdict"] == "block"
    for sent in run.kafka.sent:
        told = json.loads(sent.answer.value)
        if frozen_at is not None and sent.at_s > frozen_at and told["decision_id"] not in decided_before:
            assert told["verdict"] == "block", "a permit left after the freeze was acknowledged"
