"""Audit records as a scorer writes them, made from a small fleet's life without a broker."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import orjson

from models.event import MODEL_VERSION
from models.eventform import features_json, scores_json
from models.policy import CompiledPack
from models.transition import NEW, Ask, Ruling, State, World, decide, effect_json, settle
from stayhand.headers import rfc3339
from tests.models.asks import START_MS, ask, prior

Json = dict[str, Any]
NAMES = ["ci.job.start", "image.pull", "s3:GetObject", "s3:PutObject", "deploy.token.use", "test.plain"]
RARE = ["iam.key.create", "secret.export", "test.stop", "test.approve"]


def fleet(records: int, pack: CompiledPack, *, identities: int = 20, seed: int = 7) -> Iterator[Json]:
    """The audit of some tokens' asks, of which a few sometimes do something rare."""
    for body, _ in lives(records, pack, pack, identities=identities, seed=seed):
        yield body


def lives(
    records: int, pack: CompiledPack, other: CompiledPack, *, identities: int = 20, seed: int = 7
) -> Iterator[tuple[Json, Json]]:
    """The same, each with the decision that a scorer with ``other`` makes of that ask in that state."""
    draw, states = random.Random(seed), dict[str, State]()
    worlds = [World(each, None, prior(), None, observe=False) for each in (pack, other)]
    for n in range(records):
        name = draw.choice(RARE) if draw.random() < 0.02 else draw.choice(NAMES)
        resource = {"type": "host", "id": f"h{draw.randrange(4)}"}
        given = ask(name, at_ms=START_MS + n * 4_000, n=n, late=draw.random() < 0.01, resource=resource)
        subject = given.action.subject.model_copy(update={"id": f"ci-{draw.randrange(identities)}"})
        action = given.action.model_copy(update={"subject": subject})
        given = given._replace(identity=action.identity, action=action)
        state = states.get(given.identity, NEW)
        ruling = decide(state, given, worlds[0])
        states[given.identity] = settle(state, ruling.effects)
        yield record(given, ruling, worlds[0], n), through_json(decide(state, given, worlds[1]).decision)


def record(given: Ask, ruling: Ruling, world: World, n: int) -> Json:
    """The audit record of a ruling, as JSON gives it back."""
    body = {
        "kind": "decision",
        "term": 1,
        "worker": "w",
        "identity": given.identity,
        "at_ms": given.at_ms,
        "vector": {
            "actions_topic": "ab" * 16,
            "controls_topic": "cd" * 16,
            "partition": 0,
            "actions": n,
            "controls": -1,
            "globals": 0,
            "policy": world.pack.hash,
            "prior": world.prior.hash,
            "profile": ruling.profile,
            "model": MODEL_VERSION,
        },
        "ask": {
            "ce_id": given.ce_id,
            "ce_time": rfc3339(given.at_ms),
            "point": given.point.point,
            "key_id": "k1",
            "correlation_id": f"{n:032x}",
            "reply_topic": "stayhand.decisions",
            "reply_partition": 0,
            "deadline_ms": 250,
            "appended_at_ms": given.at_ms,
            "read_at_ms": given.at_ms + 1 + n % 9,
            "late": given.late,
        },
        "action": given.action.model_dump(mode="json"),
        "features": features_json(ruling.features),
        "scores": scores_json(ruling.scores),
        "facts": ruling.facts,
        "decision": ruling.decision,
        "effects": [effect_json(effect) for effect in ruling.effects],
        "waits": ruling.waits,
    }
    return through_json(body)


def through_json(value: Json) -> Json:
    told: Json = orjson.loads(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))
    return told
