"""A gate of real processes on a real broker: scorers that can be killed or paused, and asks through the SDK."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from models.policy import CompiledPack, compile_pack
from models.prior import load_prior
from schemas.documents import EnforcementPoint, Freeze, Grant, GrantFact, Unfreeze
from stayhand import AsyncGuard, Decision, GuardConfig
from streams import record as state_record
from streams.audit import AuditEntry, decode, effective
from streams.commands import _kafka
from streams.commands._session import Session
from streams.local.ground import Ground, lay, replay_point
from streams.local.scorer import ScorerProcess
from streams.ports import Record
from tests.fold import empty_ownership, fold
from tests.simulation.world import PACK

PARTITIONS = 4
IDENTITIES = [f"token:ci-{number}" for number in range(24)]


@dataclass
class Gate:
    """Topics, a point, a pack and scorers on one broker."""

    bootstrap: str
    prefix: str
    folder: Path
    rights: dict[str, Any] = field(default_factory=dict)
    ground: Ground = field(init=False)
    point: EnforcementPoint = field(init=False)
    lives: list[ScorerProcess] = field(default_factory=list)
    grants: int = 0
    controls: int = 0

    def __post_init__(self) -> None:
        self.session = Session({"bootstrap.servers": self.bootstrap}, self.prefix, by="tester")
        policy = self.folder / "pack.yaml"
        policy.write_text(PACK)
        self.point = replay_point(self.session, "crash").model_copy(
            update={"fallbacks": ("closed", "open"), **self.rights}
        )
        self.ground = lay(self.session, self.point, policy, self.folder, PARTITIONS)

    def scorer(self, name: str = "s1", module: str = "streams") -> ScorerProcess:
        settings = {**self.ground.settings, "STAYHAND_STATE_DIR": str(self.folder / name)}
        life = ScorerProcess(settings, self.folder / f"{name}.log", module, tied=False)
        self.lives.append(life)
        return life

    def supervise(self) -> None:
        """Start the last scorer again if it ended, as a supervisor would."""
        if self.lives[-1].status is not None:
            self.scorer()

    def guard_config(self, **more: Any) -> GuardConfig:
        return GuardConfig(
            bootstrap=self.bootstrap,
            prefix=self.prefix,
            point=self.ground.point,
            key_id="k1",
            key=self.ground.key,
            spool_dir=self.folder / "spool",
            **more,
        )

    def end(self) -> None:
        for life in self.lives:
            life.kill()

    def control(self, rng: random.Random) -> None:
        """Give a one-use grant, freeze or unfreeze somebody."""
        identity = rng.choice(IDENTITIES)
        self.controls += 1
        control_id = f"{self.controls:016x}"
        kind = rng.choice(("grant", "grant", "freeze", "unfreeze"))
        if kind == "grant":
            self.grants += 1
            fact = GrantFact(
                grant_id=control_id, action="deploy.*", resource="*", expires_at_ms=_soon_ms(), uses_left=1
            )
            document: Any = Grant(control_id=control_id, by="tester", grant=fact)
        elif kind == "freeze":
            document = Freeze(control_id=control_id, by="tester")
        else:
            document = Unfreeze(control_id=control_id, by="tester")
        _kafka.send(self.session, "controls", [(identity, document)])

    async def ask_many(
        self, count: int, *, at: dict[int, Callable[[], None]], deadline_ms: int = 20_000, config: Any = None
    ) -> list[tuple[str, str, Decision]]:
        """Ask ``count`` times with controls among the asks; ``at`` says what happens after so many asks were begun.

        Returns (identity, action, what the asker acts on), one for each ask.
        """
        rng, answers = random.Random(7), []
        room = asyncio.Semaphore(256)
        async with AsyncGuard(config or self.guard_config(deadline_ms=deadline_ms)) as guard:
            await guard.connect()
            loop = asyncio.get_running_loop()

            async def one(identity: str, action: str) -> None:
                async with room:
                    answers.append((identity, action, await guard.check(pending(identity, action))))

            async with asyncio.TaskGroup() as group:
                for number in range(count):
                    if number in at:
                        await loop.run_in_executor(None, at[number])
                    if number % 100 == 50:
                        await loop.run_in_executor(None, self.control, rng)
                    action = rng.choice(("read.thing", "read.thing", "read.other", "write.thing", "deploy.prod"))
                    group.create_task(one(rng.choice(IDENTITIES), action))
                    if number % 64 == 0:
                        await asyncio.sleep(0.01)
        return answers

    def settle(self, timeout_s: float = 90) -> None:
        """Wait until every action and control is decided or refused, and durable."""
        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s:
            if self._committed_all():
                return
            time.sleep(0.3)
        raise AssertionError(f"not settled: {[life.last_words() for life in self.lives]}")

    def _committed_all(self) -> bool:
        for kind in ("actions", "controls"):
            name = self.session.topic(kind)
            with self._consumer(f"{self.prefix}.scorer") as consumer:
                for place in consumer.committed([TopicPartition(name, p) for p in range(PARTITIONS)], timeout=10):
                    high = consumer.get_watermark_offsets(TopicPartition(name, place.partition), timeout=10)[1]
                    if max(place.offset, 0) < high:
                        return False
        return True

    def _consumer(self, group: str = "evidence") -> Any:
        return _Closing({"bootstrap.servers": self.bootstrap, "group.id": group, "enable.auto.commit": False})

    def read(self, kind: str, partition: int, *, committed: bool = False) -> list[Record]:
        """All records of a partition, as they stand now."""
        return list(self._read(kind, partition, "read_committed" if committed else "read_uncommitted"))

    def _read(self, kind: Any, partition: int, isolation: str) -> Iterator[Record]:
        conf = {"bootstrap.servers": self.bootstrap, "group.id": "evidence", "isolation.level": isolation}
        name = self.session.topic(kind)
        with _Closing({**conf, "enable.partition.eof": True, "auto.offset.reset": "earliest"}) as consumer:
            consumer.assign([TopicPartition(name, partition, 0)])
            while (message := consumer.poll(20)) is not None and message.error() is None:
                yield Record(
                    kind,
                    partition,
                    message.offset(),
                    message.timestamp()[1],
                    message.key(),
                    message.value(),
                    tuple(message.headers() or ()),
                )

    def history(self, partition: int) -> list[AuditEntry]:
        return list(effective(decode(record) for record in self.read("audit", partition)))

    def fallbacks(self) -> list[dict[str, Any]]:
        """What the SDK said it decided by itself."""
        return [json.loads(record.value or b"{}") for p in range(PARTITIONS) for record in self.read("fallbacks", p)]

    def pack(self) -> CompiledPack:
        return compile_pack(PACK)

    def changelog(self, partition: int) -> dict[bytes, bytes]:
        return {record.key: record.value for record in self.read("state", partition, committed=True)}

    def check(self, answers: list[tuple[str, str, Decision]], asked: int) -> None:
        """Every law of a gate that was hurt; see the names of the parts."""
        assert len(answers) == asked, "an ask has no verdict, or two, at the SDK"
        decided = 0
        for partition in range(PARTITIONS):
            history = self.history(partition)
            decided += self._each_input_has_one_effective_record(partition, history)
            self._state_is_the_fold(partition, history)
        assert decided >= sum(decision.origin == "gate" for _, _, decision in answers)
        acted = sum(action == "deploy.prod" and told.verdict == "permit" for _, action, told in answers)
        assert acted <= self.grants, f"{acted} deployments act on {self.grants} one-use grants"

    def _each_input_has_one_effective_record(self, partition: int, history: list[AuditEntry]) -> int:
        counted = 0
        for topic, kinds in (("actions", {"decision", "outcome"}), ("controls", {"control", "final"})):
            offsets = [entry.body["vector"][topic] for entry in history if entry.body["kind"] in kinds]
            assert sorted(set(offsets)) == offsets, f"{topic}/{partition}: twice, or out of order"
            said = [record.offset for record in self.read(topic, partition)]
            refused = set(said) - set(offsets)
            letters = {
                (letter["topic"], letter["partition"], letter["offset"])
                for record in self.read("deadletter", 0)
                for letter in [json.loads(record.value or b"{}")]
            }
            name = self.session.topic(topic)
            assert all((name, partition, offset) in letters for offset in refused), (
                f"{topic}/{partition}: lost {refused}"
            )
            counted += len(offsets) if topic == "actions" else 0
        return counted

    def _state_is_the_fold(self, partition: int, history: list[AuditEntry]) -> None:
        vector = history[0].body["vector"]
        topics = (bytes.fromhex(vector["actions_topic"]), bytes.fromhex(vector["controls_topic"]))
        own = fold(history, empty_ownership(topics, partition), self.pack(), load_prior(), self.point)
        folded = {key: state_record.unpack(raw)[2] for key, raw in own.snapshot().records()}
        stored = {key: state_record.unpack(raw)[2] for key, raw in self.changelog(partition).items()}
        assert stored == folded, f"partition {partition}: the state is not the fold of the effective records"


class _Closing(Consumer):
    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def pending(identity: str, action: str) -> dict[str, Any]:
    subject_type, _, subject_id = identity.partition(":")
    return {
        "subject": {"type": subject_type, "id": subject_id},
        "action": {"name": action},
        "resource": {"type": "thing", "id": "t1"},
        "context": {"source": "10.0.0.1", "client": "ci/1"},
    }


def _soon_ms() -> int:
    return time.time_ns() // 1_000_000 + 3_600_000
