"""Checkpoints take turns: no change waits longer than it may, few partitions at a time, a waiting answer at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from math import ceil
from typing import Any

import pytest

from schemas.documents import ActivePolicy, PackDocument
from stayhand.headers import TYPE_PENDING, AskHeaders, Header, rfc3339
from stayhand.partition import partition_for
from streams.answers import Answers
from streams.keyring import KeyRing
from streams.limits import Limiter
from streams.ports import Answer, Batch, Fenced, Kind, Listener, Position, Record
from streams.reading import Reader, ReaderSettings
from streams.receipts import Receipts
from streams.registry import Registry
from streams.worker import Pace, Worker
from tests.fold import MemoryStore
from tests.simulation.kafka import TOPIC_IDS
from tests.simulation.world import PACK, POINT, pack, prior

# All exact in binary, so that what is due at a moment is due at that moment.
TICK_S, PACE = 1 / 32, Pace(checkpoint_s=2.0, transaction_s=0.25)
SIZES = pytest.mark.parametrize("partitions", [1, 5, 8, 20])


class Kafka:
    """`streams.ports.Log` and the clock of one worker alone, where all that is written stands at once."""

    def __init__(self, partitions: int) -> None:
        self.partitions, self.now_s = partitions, 1_000.0
        self.transactions: list[tuple[float, list[int]]] = []
        self.replies: list[Answer] = []
        self.audits, self.refuses = 0, False
        self.offsets: dict[tuple[str, int], int] = {}
        self.next: dict[str, list[Record]] = {"actions": [], "controls": []}
        document = PackDocument(hash=pack().hash, name="simulation", version="1", source=PACK, by="op")
        changes = {
            "point/sim": POINT,
            f"pack/{pack().hash}": document,
            "policy": ActivePolicy(active=pack().hash, by="op"),
        }
        self.globals = [
            Record("global", 0, at, 0, key.encode(), value.model_dump_json().encode(), ())
            for at, (key, value) in enumerate(changes.items())
        ]

    def say(self, kind: str, identity: str, value: Any, headers: Sequence[Header] = ()) -> None:
        partition = partition_for(identity.encode(), self.partitions)
        offset = self.offsets.get((kind, partition), 0)
        self.offsets[kind, partition] = offset + 1
        body = json.dumps(value).encode()
        self.next[kind].append(Record(kind, partition, offset, self.wall_ms(), identity.encode(), body, headers))

    def wall_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic_s(self) -> float:
        return self.now_s

    def topic_id(self, kind: Kind) -> bytes:
        return TOPIC_IDS[kind]

    def start(self, listener: Listener) -> None:
        listener.assigned(range(self.partitions))

    def poll(self, records_max: int, timeout_s: float) -> Batch:
        found, self.next = self.next, {"actions": [], "controls": []}
        return Batch((), found["controls"], found["actions"])

    def read(self, kind: Kind, partition: int, start: int, end: int, *, committed: bool = False) -> Iterator[Record]:
        return iter(self.globals[start:end] if kind == "global" else ())

    def bounds(self, kind: Kind, partition: int) -> tuple[int, int]:
        return 0, len(self.globals) if kind == "global" else 0

    def follow(self, partition: int, controls_next: int) -> None: ...

    def unfollow(self, partitions: Sequence[int]) -> None: ...

    def position(self, partition: int) -> Position:
        return Position()

    def open_transaction(self, partition: int) -> bool:
        return False

    def end_transaction(self, worker: str) -> None: ...

    def alive(self, worker: str) -> bool:
        return False

    def commit(self, positions: Mapping[int, Position]) -> None: ...

    def transact(
        self, writes: Mapping[int, Sequence[tuple[bytes, bytes]]], positions: Mapping[int, Position]
    ) -> Mapping[int, int]:
        if self.refuses:
            raise Fenced("not a member of this generation")
        self.transactions.append((self.now_s, sorted(positions)))
        return dict.fromkeys(writes, 0)

    def reply(self, answer: Answer) -> None:
        self.replies.append(answer)

    def audit(self, partition: int, key: bytes, value: bytes, done: Callable[[int], None]) -> None:
        self.audits += 1
        done(self.audits)

    def dead_letter(self, key: bytes | None, value: bytes, headers: Sequence[Header]) -> None:
        raise AssertionError(value)

    def serve(self, timeout_s: float) -> None: ...

    def close(self) -> None: ...


class Beside:
    """Commits at once, and says so only when it is told to."""

    def __init__(self) -> None:
        self.under_way: tuple[Future[Any], Any] | None = None

    def submit(self, call: Callable[..., Any], *args: Any) -> Future[Any]:
        assert self.under_way is None, "two checkpoints at a time"
        future: Future[Any] = Future()
        try:
            self.under_way = future, call(*args)
        except Fenced as error:
            future.set_exception(error)
        return future

    def end(self) -> None:
        if self.under_way is not None:
            future, committed = self.under_way
            self.under_way = None
            future.set_result(committed)


class Gate:
    """A worker that owns all partitions, an identity in each, and when the oldest change in each came."""

    def __init__(self, partitions: int) -> None:
        self.kafka, self.beside = Kafka(partitions), Beside()
        registry, keys, receipts, limits = Registry(prior()), KeyRing(None), Receipts(None), Limiter()
        reading = ReaderSettings(topic_id=TOPIC_IDS["actions"].hex(), partitions=partitions, freshness_ms=0)
        self.worker = Worker(
            "w1",
            self.kafka,
            MemoryStore(),
            self.kafka,
            self.beside,
            registry=registry,
            reader=Reader(registry, keys, limits, receipts, lambda _topic: 1, reading),
            limits=limits,
            answers=Answers(keys, receipts),
            partitions=partitions,
            pace=PACE,
        )
        found: dict[int, str] = {}
        for n in range(100 * partitions):
            found.setdefault(partition_for(f"token:t{n}".encode(), partitions), f"token:t{n}")
        self.identities = [found[partition] for partition in range(partitions)]
        self.changed_s: dict[int, float] = {}
        self.longest_s = 0.0
        self.n = 0
        self.worker.start()

    def change(self, partition: int) -> None:
        self.n += 1
        self._control(partition, kind="register", owner=f"owner {self.n}")
        self.changed_s.setdefault(partition, self.kafka.now_s)

    def grant(self, partition: int, uses: int) -> None:
        grant = {"grant_id": "ab" * 8, "action": "deploy.*", "resource": "*"}
        self._control(partition, kind="grant", grant=grant | {"expires_at_ms": 1 << 50, "uses_left": uses})

    def _control(self, partition: int, **said: Any) -> None:
        self.kafka.say("controls", self.identities[partition], {"control_id": f"{self.n:016x}", "by": "op", **said})

    def spend(self, partition: int) -> None:
        """Ask for what only the grant permits: the answer waits for the commit."""
        self.n += 1
        headers = AskHeaders(
            ce_id=f"ask-{self.n}",
            ce_type=TYPE_PENDING,
            ce_source="/sim",
            ce_time=rfc3339(self.kafka.wall_ms()),
            point="sim",
            key_id="k1",
            correlation_id=self.n.to_bytes(16, "big"),
            reply_topic="stayhand.decisions",
            reply_partition=0,
            deadline_ms=60_000,
        )
        identity = self.identities[partition]
        value = {
            "subject": {"type": "token", "id": identity.removeprefix("token:")},
            "action": {"name": "deploy.prod"},
            "resource": {"type": "thing", "id": "t"},
        }
        self.kafka.say("actions", identity, value, headers.encode())

    def tick(self, *, ends: bool = True) -> list[list[int]]:
        """Time passes, and the loop turns once; returns what was committed meanwhile."""
        before = len(self.kafka.transactions)
        self.worker.run_once()
        committed = [partitions for _, partitions in self.kafka.transactions[before:]]
        for partition in (each for partitions in committed for each in partitions):
            self.longest_s = max(self.longest_s, self.kafka.now_s - self.changed_s.pop(partition, self.kafka.now_s))
        if ends:
            self.beside.end()
        self.kafka.now_s += TICK_S
        return committed

    def waits_s(self) -> float:
        """How long a change waited, or waits, for its commit."""
        return max(self.longest_s, *(self.kafka.now_s - since_s for since_s in self.changed_s.values()), 0.0)


@SIZES
def test_each_partition_is_committed_in_time_and_few_at_a_time(partitions: int) -> None:
    gate = Gate(partitions)
    seen: list[list[int]] = []
    for _ in range(320):
        for partition in range(partitions):
            gate.change(partition)
        seen += gate.tick()
    assert {each for committed in seen for each in committed} == set(range(partitions))
    assert max(map(len, seen)) <= ceil(partitions * PACE.transaction_s / PACE.checkpoint_s)
    assert gate.waits_s() <= PACE.checkpoint_s


@SIZES
def test_checkpoints_that_take_long_delay_a_change_by_no_more_than_one_of_them(partitions: int) -> None:
    gate = Gate(partitions)
    for turn in range(480):
        for partition in range(partitions):
            gate.change(partition)
        gate.tick(ends=turn % 24 == 0)
    assert gate.waits_s() <= PACE.checkpoint_s + 24 * TICK_S


def test_after_a_rest_all_change_at_once_and_none_waits_longer() -> None:
    gate = Gate(20)
    for _ in range(400):
        gate.tick()
    for partition in range(20):
        gate.change(partition)
    for _ in range(64):
        gate.tick()
    assert not gate.changed_s
    assert gate.waits_s() <= PACE.checkpoint_s


def test_a_partition_at_rest_is_never_committed() -> None:
    gate = Gate(8)
    seen: list[list[int]] = []
    for _ in range(320):
        gate.change(3)
        seen += gate.tick()
    assert seen
    assert all(committed == [3] for committed in seen)
    gate.tick()
    rest = [gate.tick() for _ in range(320)]
    assert sum(map(len, rest)) == 1, "what changed last is committed, and nothing after it"


def test_an_answer_that_waits_is_committed_at_once_and_leaves_once_it_is() -> None:
    gate = Gate(8)
    gate.grant(5, 1)
    for _ in range(80):
        gate.tick()
    gate.change(2)
    gate.spend(5)
    assert [partitions for committed in [gate.tick(ends=False)] for partitions in committed if 5 in partitions]
    for _ in range(3):
        assert not gate.tick(ends=False)
    assert not gate.kafka.replies, "it waits for its commit"
    gate.tick()
    gate.tick()
    assert [json.loads(answer.value)["verdict"] for answer in gate.kafka.replies] == ["permit"]


def test_an_answer_that_came_during_a_commit_waits_for_the_next_one_which_begins_at_once() -> None:
    gate = Gate(8)
    gate.grant(5, 1)
    gate.grant(6, 1)
    for _ in range(80):
        gate.tick()
    gate.spend(5)
    gate.tick(ends=False)
    gate.spend(6)
    assert not gate.tick()
    assert [6] in [sorted({6} & set(partitions)) for partitions in gate.tick()]
    assert len(gate.kafka.replies) == 1
    gate.tick()
    assert len(gate.kafka.replies) == 2


@SIZES
def test_answers_that_never_cease_to_wait_hold_no_other_partition_up(partitions: int) -> None:
    gate = Gate(partitions)
    gate.grant(0, 10_000)
    for _ in range(320):
        gate.spend(0)
        for partition in range(1, partitions):
            gate.change(partition)
        gate.tick()
    gate.tick()
    assert len(gate.kafka.replies) == 320
    assert gate.waits_s() <= PACE.checkpoint_s


@pytest.mark.parametrize(("lost", "ends"), [([0, 1], False), ([0], True)])
def test_a_refused_commit_ends_a_worker_that_still_owns_a_partition_of_it(lost: list[int], *, ends: bool) -> None:
    """What it held of that partition is nowhere, so it must not go on as if it were."""
    gate = Gate(2)
    gate.grant(0, 1)
    gate.grant(1, 1)
    gate.tick()
    gate.spend(0)
    gate.spend(1)
    gate.kafka.refuses = True
    gate.worker.run_once()
    with pytest.raises(Fenced) if ends else nullcontext():
        gate.worker.lost(lost)
    assert not gate.kafka.replies
    assert ends or not gate.worker.owned
