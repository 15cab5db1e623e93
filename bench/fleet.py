"""A fleet to measure with: identities, the ten things that they do, and asks of about 500 bytes, signed or not."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import orjson

from stayhand.headers import TYPE_PENDING, AskHeaders, Header, rfc3339
from stayhand.partition import partition_for
from stayhand.signing import sign
from streams.local.ground import KEY_ID, Ground

IDENTITIES = 1_000
# Longer than any run, so that no answer is withheld for being late.
DEADLINE_MS = 600_000
_KINDS = ("token", "service", "agent", "k8s-serviceaccount")
_ACTIONS = (
    ("repo.clone", "repo"),
    ("ci.job.start", "pipeline"),
    ("ci.artifact.write", "artifact"),
    ("s3:GetObject", "s3-object"),
    ("s3:PutObject", "s3-object"),
    ("dynamodb:GetItem", "table"),
    ("sqs:ReceiveMessage", "sqs-queue"),
    ("kms:Decrypt", "kms-key"),
    ("tool.call.search", "tool"),
    ("deploy.staging", "environment"),
)


def identity(number: int) -> tuple[str, str]:
    """Subject type and id of an identity."""
    return _KINDS[number % len(_KINDS)], f"fleet-member-{number:07d}"


def action(chance: random.Random) -> dict[str, Any]:
    """A pending action of some member of the fleet."""
    return action_of(chance.randrange(IDENTITIES), chance)


def action_of(number: int, chance: random.Random) -> dict[str, Any]:
    """A pending action of about 500 bytes as JSON: each identity has three usual actions, a source and a client."""
    subject_type, subject_id = identity(number)
    usual = (number + chance.randrange(3)) % len(_ACTIONS) if chance.random() < 0.95 else chance.randrange(10)
    name, resource_type = _ACTIONS[usual]
    return {
        "subject": {"type": subject_type, "id": subject_id, "properties": {"team": f"team-{number % 40}"}},
        "action": {"name": name, "properties": {"method": "POST", "attempt": 1}},
        "resource": {
            "type": resource_type,
            "id": f"acme/{resource_type}/{number % 200:04d}/{chance.randrange(20):06d}",
            "properties": {"region": "eu-central-1", "account": "123456789012"},
        },
        "context": {
            "source": f"10.{number % 200}.{number // 200 % 200}.{chance.randrange(2)}",
            "client": "acme-deployer/2.14 (linux; amd64) python-sdk/1.50",
            "session": f"{chance.getrandbits(64):016x}",
            "environment": "staging",
            "job": f"{chance.getrandbits(32):08x}",
        },
    }


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed ask, ready to be produced to its partition."""

    partition: int
    key: bytes
    value: bytes
    headers: list[Header]


def signed(ground: Ground, chance: random.Random, count: int, reply_partition: int) -> Iterator[Signed]:
    """Signed asks with the present time, so that they are fresh."""
    topic = ground.session.topic("decisions")
    place = lru_cache(maxsize=IDENTITIES)(partial(partition_for, partitions=ground.partitions))
    for number in range(count):
        told = action(chance)
        key = f"{told['subject']['type']}:{told['subject']['id']}".encode()
        value = orjson.dumps(told)
        headers = AskHeaders(
            ce_id=uuid.uuid4().hex,
            ce_type=TYPE_PENDING,
            ce_source=f"/stayhand/point/{ground.point}",
            ce_time=rfc3339(time.time_ns() // 1_000_000),
            point=ground.point,
            key_id=KEY_ID,
            correlation_id=number.to_bytes(16, "big"),
            reply_topic=topic,
            reply_partition=reply_partition,
            deadline_ms=DEADLINE_MS,
        )
        signature = sign(ground.key, headers.signable(key, value))
        yield Signed(place(key), key, value, [*headers.encode(), ("stayhand_signature", signature)])
