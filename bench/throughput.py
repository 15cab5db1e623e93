"""`throughput`: actions that one scorer decides in a second, against loops that do less, on the same broker."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import orjson
from confluent_kafka import Message, Producer, TopicPartition

from bench import fleet
from bench.echo import consumer, drained
from bench.errors import BenchFailed
from bench.figures import median
from bench.floor import Settings
from bench.stage import Stage, staged
from bench.watching import Speed, Watcher

Say = Callable[[str], None]
KINDS = ("scorer", "floor", "bare")
# The most that a receipt carries beside the decision id.
TAUGHT_BYTES = 49
_READ_S = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it: rounds, and how many asks each loop gets in one, so that each runs for some seconds."""

    rounds: int = 5
    scorer: int = 40_000
    floor: int = 80_000
    bare: int = 400_000
    partitions: int = 8
    look_s: float = 0.05
    seed: int = 7


QUICK = Plan(rounds=1, scorer=6_000, floor=12_000, bare=60_000, partitions=2, look_s=0.005)


def run(bootstrap: str, plan: Plan, say: Say) -> dict[str, Any]:
    """Measure; returns the figures.

    Every loop reads a log that is filled before it starts. ``ratio`` and ``bare_ratio`` are medians over the rounds of
    the scorer's actions a second divided by the other loop's in the same round; the rest are medians of all rounds.

    Raises:
        BenchFailed: a process ended or stood still, or the scorer refused an ask.
    """
    with staged(bootstrap, plan.partitions) as stage:
        bench = _Bench(stage, plan, say)
        try:
            say("warming broker and scorer")
            bench.fill()
            bench.scorer()
            sample = bench.sample()
            bench.bare()
            rounds = [bench.round(number, sample) for number in range(plan.rounds)]
            told = {"answers_lost": bench.lost, "verdicts": sample.verdicts, "audit_bytes": sample.audit_bytes}
            return _figures(plan, rounds) | told
        finally:
            bench.close()


@dataclass(frozen=True, slots=True)
class _Sample:
    """A typical audit record of the scorer: what the floor writes again and again."""

    audit: dict[str, Any]
    audit_bytes: int
    verdicts: dict[str, int]


class _Bench:
    """The three loops over their logs."""

    def __init__(self, stage: Stage, plan: Plan, say: Say) -> None:
        self._stage, self._plan, self._say = stage, plan, say
        self._chance = random.Random(plan.seed)
        session = stage.ground.session
        self._actions, self._decisions = session.topic("actions"), session.topic("decisions")
        self._log = stage.add_topic("load", plan.partitions)
        self._audit = stage.add_topic("load-audit", plan.partitions)
        self._echoes = stage.add_topic("load-echo")
        self._producer = Producer({"bootstrap.servers": stage.bootstrap, "linger.ms": 20, "acks": "all"})
        self._answers = Watcher(stage.bootstrap, self._decisions, 1, plan.look_s)
        self.lost = 0

    def fill(self) -> None:
        """Write the log that floor and bare loop read: signed asks, some of them many times."""
        asks = list(fleet.signed(self._stage.ground, self._chance, min(self._plan.scorer, self._plan.bare), 0))
        self._write(self._log, islice(cycle(asks), self._plan.bare))

    def scorer(self) -> Speed:
        """One scorer, fed with fresh asks that wait for it."""
        count, answered = self._plan.scorer, self._answers.records()
        watcher = self._watcher(self._audit_topic, self._plan.partitions)
        start = watcher.records()
        self._write(self._actions, fleet.signed(self._stage.ground, self._chance, count, 0))
        with self._stage.scorer() as process:
            speed = watcher.watch(process.pid, start, count, process.check)
            watcher.settle()
            process.stop()
        self.lost += count - (self._answers.records() - answered)
        return speed

    def floor(self, sample: _Sample) -> Speed:
        """The floor's loop."""
        settings = Settings(
            bootstrap=self._stage.bootstrap,
            source=self._log,
            partitions=self._plan.partitions,
            audit=self._audit,
            key=self._stage.ground.key.hex(),
            taught_bytes=TAUGHT_BYTES,
            sample=sample.audit,
        )
        file = self._stage.folder / "floor.json"
        file.write_text(settings.text())
        watcher = self._watcher(self._audit, self._plan.partitions)
        start = watcher.records()
        with self._stage.child("bench.floor", str(file)) as process:
            return watcher.watch(process.pid, start, self._plan.floor, process.check)

    def bare(self) -> Speed:
        """The bare loop."""
        watcher = self._watcher(self._echoes, 1)
        start = watcher.records()
        arguments = (self._stage.bootstrap, self._log, str(self._plan.partitions), self._echoes)
        with self._stage.child("bench.bare", *arguments) as process:
            return watcher.watch(process.pid, start, self._plan.bare, process.check)

    def round(self, number: int, sample: _Sample) -> dict[str, Speed]:
        """Each loop once, in an order that turns from round to round."""
        order = KINDS[number % 3 :] + KINDS[: number % 3]
        speeds: dict[str, Speed] = {}
        for kind in order:
            speeds[kind] = {"scorer": self.scorer, "floor": lambda: self.floor(sample), "bare": self.bare}[kind]()
            told = speeds[kind]
            self._say(f"round {number + 1}: {kind} {told.per_s:,.0f}/s, {told.cpu_us:.1f} us of CPU each")
        return speeds

    def sample(self) -> _Sample:
        """The audit record of median size among those of decisions, and what the scorer said so far.

        Raises:
            BenchFailed: an ask was refused.
        """
        if refused := Watcher(self._stage.bootstrap, self._stage.ground.session.topic("deadletter"), 1, 1).records():
            raise BenchFailed(f"the scorer refused {refused} asks")
        places = [TopicPartition(self._audit_topic, number, 0) for number in range(self._plan.partitions)]
        written = self._watcher(self._audit_topic, self._plan.partitions).records()
        records = [_bytes(message) for message in self._read(places, written)]
        decided = sorted((raw for raw in records if b'"kind":"decision"' in raw), key=len)
        if not decided:
            raise BenchFailed("the scorer wrote no decision to the audit")
        raw = decided[len(decided) // 2]
        verdicts = Counter(orjson.loads(each)["decision"]["verdict"] for each in decided)
        return _Sample(orjson.loads(raw), len(raw), dict(sorted(verdicts.items())))

    def _watcher(self, topic: str, partitions: int) -> Watcher:
        return Watcher(self._stage.bootstrap, topic, partitions, self._plan.look_s)

    @property
    def _audit_topic(self) -> str:
        return self._stage.ground.session.topic("audit")

    def close(self) -> None:
        """Remove what was added."""
        for topic in (self._log, self._audit, self._echoes):
            self._stage.drop_topic(topic)

    def _write(self, topic: str, asks: Iterator[fleet.Signed]) -> None:
        for ask in asks:
            while True:
                try:
                    self._producer.produce(topic, ask.value, ask.key, ask.partition, headers=list(ask.headers))
                    break
                except BufferError:
                    self._producer.poll(0.05)
        if self._producer.flush(60):
            raise BenchFailed(f"{topic} could not be filled within a minute")

    def _read(self, places: list[TopicPartition], count: int) -> list[Message]:
        """At least so many records, if there are that many."""
        source = consumer(self._stage.bootstrap, places)
        found: list[Message] = []
        while len(found) < count and (more := drained(source, _READ_S)):
            found.extend(more)
        source.close()
        return found


def _bytes(message: Message) -> bytes:
    value = message.value()
    assert isinstance(value, bytes)
    return value


def _figures(plan: Plan, rounds: list[dict[str, Speed]]) -> dict[str, Any]:
    def middle(kind: str, name: str) -> float:
        return round(median([getattr(each[kind], name) for each in rounds]), 1)

    def ratios(kind: str) -> list[float]:
        return [round(each["scorer"].per_s / each[kind].per_s, 3) for each in rounds]

    cpu = {kind: middle(kind, "cpu_us") for kind in KINDS}
    return {
        "rounds": plan.rounds,
        "actions": {kind: getattr(plan, kind) for kind in KINDS},
        "identities": fleet.IDENTITIES,
        "per_s": middle("scorer", "per_s"),
        "floor_per_s": middle("floor", "per_s"),
        "bare_per_s": middle("bare", "per_s"),
        "cpu_us": cpu["scorer"],
        "floor_cpu_us": cpu["floor"],
        "bare_cpu_us": cpu["bare"],
        "cpu_ratio": round(cpu["floor"] / cpu["scorer"], 3),
        "ratio": median(ratios("floor")),
        "bare_ratio": median(ratios("bare")),
        "ratios": ratios("floor"),
        "bare_ratios": ratios("bare"),
    }
