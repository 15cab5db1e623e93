"""Whatever arrives that is not a sound ask ends in the dead letters with a reason, and nobody else waits for it."""

from __future__ import annotations

import json
import random
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from stayhand import Guard, InvalidAction
from stayhand.headers import TYPE_OUTCOME, TYPE_PENDING, AskHeaders, rfc3339
from stayhand.partition import partition_for
from stayhand.signing import sign
from tests.crash.gate import PARTITIONS, Gate, pending

NOISE = 10_000
IDENTITY = "token:mallory"
SOUND = pending(IDENTITY, "read.thing")


@dataclass(frozen=True)
class Bad:
    """A record that must be refused, and the code and field of its refusal."""

    name: str
    code: str
    field: str
    value: bytes = json.dumps(SOUND).encode()
    key: bytes = IDENTITY.encode()
    headers: Callable[[AskHeaders], AskHeaders] = lambda headers: headers
    forged: bool = False
    partition: int | None = None


def of(**changes: Any) -> Callable[[AskHeaders], AskHeaders]:
    return lambda headers: headers._replace(**changes)


def body(**parts: Any) -> bytes:
    return json.dumps({**SOUND, **parts}).encode()


BAD = [
    Bad("unparsable", "bad-json", "value", b'{"subject": '),
    Bad("not UTF-8", "bad-json", "value", b'{"subject": "\xff"}'),
    Bad("a key twice", "bad-json", "value", b'{"subject": 1, "subject": 2}'),
    Bad("NaN", "bad-json", "value", body(context={"x": float("nan")})),
    Bad("wrong types", "bad-shape", "action.name", body(action={"name": 7})),
    Bad(
        "no resource", "bad-shape", "resource", json.dumps({k: v for k, v in SOUND.items() if k != "resource"}).encode()
    ),
    Bad("large context", "over-limit", "context", body(context={"note": "x" * 9_000})),
    Bad("large value", "too-large", "value", body(context={"note": "x" * 60_000})),
    Bad("deep context", "over-limit", "context", body(context={"x": json.loads("[" * 20 + "]" * 20)})),
    Bad("unknown version", "unknown-version", "ce_type", headers=of(ce_type="stayhand.action.pending.v9")),
    Bad("unknown type", "unknown-type", "ce_type", headers=of(ce_type="something.else")),
    Bad("no reply address", "no-reply-address", "kafka_replyTopic", headers=of(reply_topic="", reply_partition=None)),
    Bad("hostile partition", "bad-reply-partition", "kafka_replyPartition", headers=of(reply_partition=2_000_000_000)),
    Bad("internal topic", "reply-topic-not-allowed", "kafka_replyTopic", headers=of(reply_topic="__consumer_offsets")),
    Bad("own topic", "reply-topic-not-allowed", "kafka_replyTopic", headers=of(reply_topic="stayhand.audit")),
    Bad("wrong signature", "bad-signature", "stayhand_signature", forged=True),
    Bad("no signature", "unknown-point", "stayhand_point", headers=of(point="")),
    Bad("unknown point", "unknown-point", "stayhand_point", headers=of(point="nobody")),
    Bad("unknown key", "unknown-key", "stayhand_key_id", headers=of(key_id="k9")),
    Bad(
        "identity of others", "identity-not-allowed", "key", body(subject={"type": "user", "id": "root"}), b"user:root"
    ),
    Bad("key is another", "key-mismatch", "subject", body(subject={"type": "token", "id": "other"})),
    Bad("action of others", "action-not-allowed", "action.name", body(action={"name": "forbidden.thing"})),
    Bad("stale", "stale", "ce_time", headers=of(ce_time="2020-01-01T00:00:00Z")),
    Bad("no deadline", "bad-deadline", "stayhand_deadline_ms", headers=of(deadline_ms=0)),
    Bad(
        "forged receipt",
        "bad-receipt",
        "receipt",
        json.dumps({"receipt": "AAAA", "decision_id": "ab" * 16, "result": "done"}).encode(),
        headers=of(ce_type=TYPE_OUTCOME),
    ),
    Bad(
        "wrong partition",
        "wrong-partition",
        "partition",
        partition=(partition_for(IDENTITY.encode(), PARTITIONS) + 1) % PARTITIONS,
    ),
]


@pytest.fixture
def gate(bootstrap: str, unique_prefix: str, tmp_path: Path) -> Iterator[Gate]:
    rights = {"identities": ("token:*",), "actions": ("read.*", "write.*", "deploy.*")}
    made = Gate(bootstrap, unique_prefix, tmp_path, rights=rights)
    made.scorer()
    yield made
    made.end()


@pytest.fixture
def producer(bootstrap: str) -> Producer:
    return Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "compression.type": "gzip"})


def headers_for(gate: Gate, bad: Bad, number: int) -> AskHeaders:
    plain = AskHeaders(
        ce_id=f"bad-{number}",
        ce_type=TYPE_PENDING,
        ce_source="/bad",
        ce_time=rfc3339(time.time_ns() // 1_000_000),
        point=gate.ground.point,
        key_id="k1",
        correlation_id=number.to_bytes(16, "big"),
        reply_topic=gate.session.topic("decisions"),
        reply_partition=0,
        deadline_ms=5_000,
    )
    made = bad.headers(plain)
    key = b"\x00" * 32 if bad.forged else gate.ground.key
    return made._replace(signature=sign(key, made.signable(bad.key, bad.value)))


def letters(gate: Gate) -> list[dict[str, Any]]:
    return [json.loads(record.value or b"{}") for record in gate.read("deadletter", 0)]


def wait_for_letters(gate: Gate, count: int) -> list[dict[str, Any]]:
    until_s = time.monotonic() + 90
    while len(found := letters(gate)) < count:
        assert time.monotonic() < until_s, f"{len(found)} of {count} letters; {gate.lives[0].last_words()}"
        time.sleep(0.3)
    return found


@pytest.mark.usefixtures("broker")
def test_each_bad_record_is_refused_by_name_and_the_gate_goes_on(gate: Gate, producer: Producer) -> None:
    topic = gate.session.topic("actions")
    with Guard(gate.guard_config(deadline_ms=20_000)) as guard:
        assert guard.check(SOUND).origin == "gate"
        for number, bad in enumerate(BAD):
            where = {} if bad.partition is None else {"partition": bad.partition}
            producer.produce(topic, bad.value, bad.key, headers=headers_for(gate, bad, number).encode(), **where)
            producer.flush()
            assert guard.check(SOUND).origin == "gate", f"after {bad.name} nobody is answered"
        found = {letter["headers"]["ce_id"]: letter for letter in wait_for_letters(gate, len(BAD))}
    for number, bad in enumerate(BAD):
        letter = found[f"bad-{number}"]
        assert (letter["code"], letter["field"]) == (bad.code, bad.field), bad.name
        assert letter["message"]


@pytest.mark.usefixtures("broker")
def test_noise_ends_in_the_dead_letters_and_delays_nobody(gate: Gate, producer: Producer) -> None:
    topic, rng = gate.session.topic("actions"), random.Random(3)
    with Guard(gate.guard_config(deadline_ms=20_000)) as guard:
        assert guard.check(SOUND).origin == "gate"
        for number in range(NOISE):
            headers = [(rng.choice(["ce_id", "x", "kafka_replyPartition"]), rng.randbytes(rng.randint(0, 40)))]
            producer.produce(
                topic, rng.randbytes(rng.randint(0, 400)), rng.randbytes(rng.randint(1, 30)), headers=headers
            )
            if number % 1_000 == 0:
                producer.flush()
                assert guard.check(SOUND).origin == "gate"
        producer.flush()
        assert guard.check(SOUND).origin == "gate"
    assert len(wait_for_letters(gate, NOISE)) == NOISE


@pytest.mark.usefixtures("broker")
def test_a_refused_ask_is_told_so_where_its_point_may_be_answered(gate: Gate) -> None:
    from stayhand import Rejected

    with Guard(gate.guard_config(deadline_ms=20_000)) as guard, pytest.raises(Rejected, match="action-not-allowed"):
        guard.check(pending(IDENTITY, "forbidden.thing"))


@pytest.mark.usefixtures("broker")
def test_the_sdk_refuses_a_large_context_before_it_is_published(gate: Gate) -> None:
    with Guard(gate.guard_config()) as guard, pytest.raises(InvalidAction, match=r"context: .*8192"):
        guard.check({**SOUND, "context": {"note": "x" * 9_000}})


def test_a_partition_number_is_four_bytes_on_the_wire() -> None:
    encoded = dict(of(reply_partition=7)(AskHeaders("i", "t", "s", "2026-01-01T00:00:00Z")).encode())
    assert encoded["kafka_replyPartition"] == struct.pack(">i", 7)
