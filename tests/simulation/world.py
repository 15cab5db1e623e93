"""A simulated gate: real workers over a fake Kafka, an asker, an operator, and a driver that deals out the faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from models.policy import CompiledPack, compile_pack
from models.prior import Prior, load_prior
from models.profiles import Member, Profile, peer_profile
from models.reviews import lesson_of
from schemas.documents import ActivePolicy, EnforcementPoint, PackDocument
from schemas.profiles import BINS, ProfileDocument
from stayhand.headers import TYPE_OUTCOME, TYPE_PENDING, AskHeaders, rfc3339
from streams.answers import Answers
from streams.audit import AuditEntry, decode, effective
from streams.keyring import KeyRing
from streams.limits import Limiter
from streams.ports import Fenced, Stale
from streams.reading import Reader, ReaderSettings
from streams.receipts import Receipts
from streams.registry import Registry
from streams.worker import Pace, Worker
from tests.fold import MemoryStore
from tests.simulation.kafka import TOPIC_IDS, FakeKafka, FakeLog
from tests.simulation.schedule import Crashed, Process, Scheduler, Task

EXPECTED = (Fenced, Stale)
# A worker that settled may still be on its way through a line or two, such as sending the answers that waited.
CALM_STEPS = 100
IDENTITY = "token:alice"
POINT = EnforcementPoint.model_validate_json(
    json.dumps(
        {
            "point": "sim",
            "keys": [{"key_id": "k1"}],
            "identities": ["*"],
            "actions": ["*"],
            "reply_topics": ["stayhand.decisions"],
            "fallbacks": ["closed"],
        }
    )
)
PACK = """
name: simulation
version: "1"
rules:
  - id: needs-grant
    actions: ["deploy.*"]
    verdict: block
    unless_grant: true
    reason: {code: needs-grant, message: "This deployment needs a grant."}
  - id: needs-approval
    actions: ["secret.*"]
    verdict: guide
    obligations: {approval: {timeout_s: 600}}
    reason: {code: needs-approval, message: "Somebody must approve this."}
"""


@lru_cache(maxsize=1)
def pack() -> CompiledPack:
    """The simulation's policy pack, compiled once."""
    return compile_pack(PACK)


@lru_cache(maxsize=1)
def prior() -> Prior:
    """The shipped prior, loaded once."""
    return load_prior()


# Where profiles come and go, one after another; the identity is in the group once it is registered.
PLACES = ("everybody/", "type/token", "group/ops", "type/token", "everybody/", "group/ops")


@lru_cache(maxsize=1)
def profiles() -> tuple[Profile, ...]:
    """A profile for each of `PLACES`, no two alike."""
    codes = [prior().action(name).code for name in ("read.thing", "deploy.prod")]
    return tuple(
        peer_profile(f"{n}", [Member(dict.fromkeys(codes, (9 + n, 3)), 40, 9, {}, (9 * n,) * BINS)] * 5)
        for n in range(len(PLACES))
    )


@dataclass
class SimFuture:
    """The future of a checkpoint that runs as a task of the same process."""

    schedule: Scheduler
    task: Task

    def done(self) -> bool:
        return self.task.done

    def result(self, timeout: float | None = None) -> Any:
        if not self.task.done:
            self.schedule.pause_point(lambda: self.task.done)
        if self.task.error is not None:
            raise self.task.error
        return self.task.result


@dataclass
class SimExecutor:
    """Runs each submitted call as a task of its own, interleaved with the loop."""

    schedule: Scheduler
    process: Process

    def submit(self, call: Callable[..., Any], *args: Any) -> SimFuture:
        return SimFuture(self.schedule, self.schedule.spawn(self.process, lambda: call(*args)))


@dataclass
class SimClock:
    """The schedule's time."""

    schedule: Scheduler

    def wall_ms(self) -> int:
        return int(self.schedule.now_s * 1000)

    def monotonic_s(self) -> float:
        return self.schedule.now_s


@dataclass
class Plan:
    """What an asker and an operator will say, in order, and how many faults of which kind there may be."""

    actions: list[tuple[str, str]]
    controls: list[str]
    crashes: int = 0
    pauses: int = 0
    moves: int = 0
    wipes: bool = False
    profiles: int = 0


@dataclass
class World:
    """One run of the simulation."""

    seed: int
    plan: Plan
    names: tuple[str, ...] = ("w1", "w2")
    schedule: Scheduler = field(init=False)
    kafka: FakeKafka = field(init=False)
    lives: dict[str, Process] = field(default_factory=dict)
    mains: dict[str, Task] = field(default_factory=dict)
    stores: dict[str, MemoryStore] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    endings: list[BaseException] = field(default_factory=list)
    asked: int = 0
    said: int = 0
    published: int = 0
    approved: set[str] = field(default_factory=set)
    reported: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.schedule = Scheduler(self.seed)
        self.kafka = FakeKafka(self.schedule)
        self._publish_globals()
        for name in self.names:
            self.stores[name] = MemoryStore()
            self.start(name)

    def start(self, name: str) -> None:
        """Begin a new life of a worker; a static member takes its old life's place."""
        process = Process(name)
        self.lives[name] = process
        self.mains[name] = self.schedule.spawn(process, lambda: self._live(process))

    def run(self) -> None:
        """Deal out the plan and its faults, then heal everything and demand that all is decided."""
        for _ in range(4_000):
            self._deal()
            if self._spent() and self.settled():
                break
        self._heal()
        calm = 0
        for _ in range(60_000):
            calm = calm + 1 if self.settled() else 0
            if calm > CALM_STEPS:
                return
            self._quiet_step()
        raise AssertionError(f"seed {self.seed}: not settled after healing: {self.describe()}")

    def finish(self) -> None:
        """End every thread."""
        for process in self.lives.values():
            self.schedule.kill(process)

    def history(self) -> list[AuditEntry]:
        """The effective audit records, in order."""
        return list(effective(decode(record) for record in self.kafka.log("audit", 0)))

    def settled(self) -> bool:
        """Whether all that was said is decided and durable, and nothing is under way."""
        committed = self.kafka.committed.get(0)
        return bool(
            committed
            and self._spent()
            and committed.actions_next == len(self.kafka.log("actions", 0))
            and committed.controls_next == len(self.kafka.log("controls", 0))
            and not any(self.kafka.flying.values())
            and not any(self.kafka.leaving.values())
            and self._owner_idle()
        )

    def describe(self) -> str:
        """Where things stand, for a failed run."""
        return (
            f"committed {self.kafka.committed.get(0)}, actions {len(self.kafka.log('actions', 0))}, "
            f"controls {len(self.kafka.log('controls', 0))}, owner {self.kafka.owner}, target {self.kafka.target}, "
            f"members {list(self.kafka.members)}, endings {self.endings[-3:]}"
        )

    def _owner_idle(self) -> bool:
        worker = self.workers.get(self.kafka.owner[0] or "")
        if worker is None or 0 not in worker.owned:
            return False
        own = worker.owned[0]
        ready = own.audits_sent > 0 and own.audits_sent == own.audits_acked
        return ready and not (own.dirty or own.committing or own.waiting)

    def _spent(self) -> bool:
        told = self.said == len(self.plan.controls) and self.published == self.plan.profiles
        return told and self.asked == len(self.plan.actions)

    def _deal(self) -> None:
        draw = self.schedule.rng.random()
        if draw < 0.62:
            self.schedule.step()
        elif draw < 0.82:
            self._land_one()
        elif draw < 0.90:
            self._say_next()
        elif draw < 0.95:
            self._revive()
        else:
            self._fault()

    def _quiet_step(self) -> None:
        if self.schedule.rng.random() < 0.2:
            self._land_one()
            self._revive()
            self._say_next()
        elif not self.schedule.step():
            self.schedule.now_s += 0.05

    def _land_one(self) -> None:
        """Let one audit record or one answer arrive, of any process, dead or alive."""
        waiting = [(self.kafka.land, process) for process, flights in self.kafka.flying.items() if flights]
        waiting += [(self.kafka.arrive, process) for process, answers in self.kafka.leaving.items() if answers]
        if waiting:
            arrive, process = self.schedule.rng.choice(waiting)
            arrive(process)

    def _say_next(self) -> None:
        if self.published < self.plan.profiles and self.schedule.rng.random() < 0.3:
            self._publish_profile()
        elif self.asked < len(self.plan.actions) and (
            self.said >= len(self.plan.controls) or self.schedule.rng.random() < 0.6
        ):
            self._ask(*self.plan.actions[self.asked])
        elif self.said < len(self.plan.controls):
            self._control(self.plan.controls[self.said])

    def _ask(self, action: str, key: str) -> None:
        if action == "outcome":
            self._report()
            return
        self.asked += 1
        value = {
            "subject": {"type": "token", "id": "alice"},
            "action": {"name": action},
            "resource": {"type": "thing", "id": f"t{self.asked % 3}"},
            "context": {"idempotency_key": key} if key else {},
        }
        number = len(self.kafka.log("actions", 0))
        headers = AskHeaders(
            ce_id=f"ask-{number}",
            ce_type=TYPE_PENDING,
            ce_source="/sim",
            ce_time=rfc3339(int(self.schedule.now_s * 1000)),
            point="sim",
            key_id="k1",
            correlation_id=number.to_bytes(16, "big"),
            reply_topic="stayhand.decisions",
            reply_partition=0,
            deadline_ms=60_000,
        )
        self.kafka.append("actions", 0, IDENTITY.encode(), json.dumps(value).encode(), headers.encode())

    def _report(self) -> None:
        """Report an answered ask as done or cancelled; without an answer yet, say so later."""
        for sent in self.kafka.arrived:
            told = dict(sent.answer.headers)
            decision_id = json.loads(sent.answer.value)["decision_id"]
            if decision_id in self.reported:
                continue
            self.asked += 1
            self.reported.add(decision_id)
            result = self.schedule.rng.choice(["done", "cancelled"])
            value = {"receipt": told["stayhand_receipt"].decode(), "decision_id": decision_id, "result": result}
            headers = AskHeaders(
                ce_id=f"outcome-{decision_id}",
                ce_type=TYPE_OUTCOME,
                ce_source="/sim",
                ce_time=rfc3339(int(self.schedule.now_s * 1000)),
                point="sim",
                key_id="k1",
            )
            self.kafka.append("actions", 0, IDENTITY.encode(), json.dumps(value).encode(), headers.encode())
            return
        if len(self.reported) >= sum(action != "outcome" for action, _ in self.plan.actions[: self.asked]):
            self.asked += 1

    def _control(self, kind: str) -> None:
        body: dict[str, Any] = {"kind": kind, "control_id": f"{self.said:016x}", "by": "op"}
        if kind == "grant":
            body["grant"] = {
                "grant_id": f"{self.said:08x}",
                "action": "deploy.*",
                "resource": "*",
                "expires_at_ms": int(self.schedule.now_s * 1000) + 10_000_000,
                "uses_left": 1,
            }
        if kind == "register":
            body["group"] = "ops"
        if kind == "approve":
            held = self._open_holds()
            if not held:
                if self.asked == len(self.plan.actions):
                    self.said += 1
                return
            body["hold_id"] = held[0]
            self.approved.add(held[0])
        if kind in {"fine", "bad"}:
            reviewed = self._review(kind)
            if reviewed is None:
                if self.asked == len(self.plan.actions):
                    self.said += 1
                return
            body |= reviewed
        self.said += 1
        self.kafka.append("controls", 0, IDENTITY.encode(), json.dumps(body).encode())

    def _review(self, said: str) -> dict[str, Any] | None:
        """A word on the last decision in the effective audit, as an operator's command reads it."""
        for entry in reversed(self.history()):
            lesson = lesson_of(entry.body) if entry.body["kind"] == "decision" else None
            if lesson is not None:
                decided = entry.body["decision"]["decision_id"]
                return {
                    "kind": "review",
                    "said": said,
                    "decision_id": decided,
                    "lesson": lesson.model_dump(mode="json"),
                }
        return None

    def _publish_profile(self) -> None:
        """The next profile in its place; the last one of a plan is taken away instead."""
        place, profile = PLACES[self.published], profiles()[self.published]
        scope, _, name = place.partition("/")
        document = ProfileDocument.model_validate(
            {"scope": scope, "name": name, "hash": profile.hash, "profile": profile.counts, "by": "op"}
        )
        self.published += 1
        value = None if self.published == len(PLACES) else document.model_dump_json().encode()
        self.kafka.append("global", 0, f"profile/{place}".encode(), value)

    def _open_holds(self) -> list[str]:
        return [
            duty["hold_id"]
            for entry in self.history()
            if entry.body["kind"] == "decision"
            for duty in entry.body["decision"].get("obligations", ())
            if duty["type"] == "approval" and duty["hold_id"] not in self.approved
        ]

    def _fault(self) -> None:
        name = self.schedule.rng.choice(self.names)
        process = self.lives[name]
        kind = self.schedule.rng.choice(("crash", "pause", "move"))
        if process.dead or process.paused:
            return
        if kind == "crash" and self.plan.crashes:
            self.plan.crashes -= 1
            self._crash(name)
        elif kind == "pause" and self.plan.pauses:
            self.plan.pauses -= 1
            process.paused = True
            self.kafka.expel(name)
            self.schedule.now_s += 5.0
        elif kind == "move" and self.plan.moves:
            self.plan.moves -= 1
            self.kafka.target[0] = self.schedule.rng.choice(self.names)

    def _crash(self, name: str) -> None:
        process = self.lives[name]
        self.schedule.kill(process)
        if self.schedule.rng.random() < 0.3:
            self.kafka.drop_flying(process)
        if self.plan.wipes and self.schedule.rng.random() < 0.5:
            self.stores[name] = MemoryStore()
        if self.schedule.rng.random() < 0.5:
            self.kafka.expel(name)

    def _revive(self) -> None:
        """Start what ended, and wake what was paused."""
        for name in self.names:
            process = self.lives[name]
            ended = self.mains[name].error
            if ended is not None and not isinstance(ended, (Crashed, *EXPECTED)):
                raise ended
            if process.dead or self.mains[name].done:
                process.dead = True
                self.start(name)
            elif process.paused and self.schedule.rng.random() < 0.5:
                process.paused = False

    def _heal(self) -> None:
        self.plan.crashes = self.plan.pauses = self.plan.moves = 0
        for process in self.lives.values():
            process.paused = False

    def _live(self, process: Process) -> None:
        """One life of a worker: what ``python -m streams scorer`` does, over the fakes."""
        log, store, clock = FakeLog(self.kafka, process), self.stores[process.name], SimClock(self.schedule)
        registry, keys, receipts, limits = Registry(prior()), KeyRing(None), Receipts(None), Limiter()
        settings = ReaderSettings(topic_id=TOPIC_IDS["actions"].hex(), partitions=1, freshness_ms=0)
        reader = Reader(registry, keys, limits, receipts, lambda _topic: 1, settings)
        worker = Worker(
            process.name,
            log,
            store,
            clock,
            SimExecutor(self.schedule, process),  # type: ignore[arg-type]
            registry=registry,
            reader=reader,
            limits=limits,
            answers=Answers(keys, receipts),
            partitions=1,
            pace=Pace(records_max=4, checkpoint_s=0.02, transaction_s=0.02, lease_s=1.0),
        )
        self.workers[process.name] = worker
        try:
            worker.start()
            while True:
                worker.run_once()
        except EXPECTED as ended:
            self.endings.append(ended)
            process.dead = True
            log.close()

    def _publish_globals(self) -> None:
        compiled = pack()
        document = PackDocument(hash=compiled.hash, name=compiled.name, version=compiled.version, source=PACK, by="op")
        self.kafka.append("global", 0, b"point/sim", POINT.model_dump_json().encode())
        self.kafka.append("global", 0, f"pack/{compiled.hash}".encode(), document.model_dump_json().encode())
        active = ActivePolicy(active=compiled.hash, by="op")
        self.kafka.append("global", 0, b"policy", active.model_dump_json().encode())
