"""`state`: reading and writing one identity's state through our store, against the database alone."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch

from bench import fleet
from bench.errors import BenchFailed
from bench.figures import percentile, spread
from models import baseline, event, lessons
from models.baseline import Baseline
from models.prior import Prior, load_prior
from models.transition import State, encode_facts
from schemas.documents import Facts
from stayhand.wire import PendingAction
from streams import record
from streams.ownership import Ownership
from streams.ports import Position
from streams.record import Source
from streams.store import CACHE_BYTES, WRITE_BUFFER_BYTES, RocksStore

Say = Callable[[str], None]
_DAY_MS = 86_400_000
_NOW_MS = 1_770_000_000_000
_PARTITION = 0
_TOPICS = (b"actions-topic-id", b"contrls-topic-id")
_FACTS = Facts(registered=True, owner="team-payments", group="deployers", first_seen_ms=_NOW_MS - 30 * _DAY_MS)
# One identity in so many has facts of its own: most have a baseline alone.
_FACTS_EVERY = 10
_BLOOM_BITS = 10
_RAW_BATCH = 10_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it; ``batch`` is what one turn of a busy scorer loads at once."""

    identities: int = 1_000_000
    samples: int = 20_000
    batches: int = 100
    batch: int = 200
    histories: tuple[int, ...] = (3, 10, 30, 100, 300, 1_000)
    seed: int = 7


QUICK = Plan(identities=2_000, samples=200, batches=2, batch=20, histories=(3, 30))


def run(plan: Plan, say: Say) -> dict[str, Any]:
    """Measure; returns the figures.

    One operation is a get and a put of one identity. Ours: load (baseline and facts, checksum, decoding), then a new
    baseline, encoded and written with its offset in one batch. The database's: get and put of the same baseline's
    bytes. ``p99_us`` is ours; ``ratio`` is our median divided by the database's.

    Raises:
        BenchFailed: what was written is not what was read.
    """
    chance, prior = random.Random(plan.seed), load_prior()
    members = [_Member(chance, prior, number, events) for number, events in enumerate(plan.histories * 4)]
    with tempfile.TemporaryDirectory(prefix="stayhand-bench-") as name:
        say(f"filling two databases with {plan.identities:,} identities each")
        ours, raw = _Ours(Path(name) / "ours", plan, members), _Raw(Path(name) / "raw", plan, members)
        try:
            say("measuring")
            return _measured(plan, chance, ours, raw, members)
        finally:
            ours.close()
            raw.close()


class _Member:
    """A history that many identities share: its state before and after one more event."""

    def __init__(self, chance: random.Random, prior: Prior, number: int, events: int) -> None:
        self._chance, self._prior, self._number = chance, prior, number
        self.state, self._at_ms = baseline.EMPTY, _NOW_MS - 30 * _DAY_MS
        for _ in range(events):
            self._at_ms += 1 + round(chance.expovariate(events / (29 * _DAY_MS)))
            self.state = self.after(self.state)
        self.body = baseline.encode(self.state)

    def after(self, known: Baseline) -> Baseline:
        """A baseline after one more event of this member."""
        action = PendingAction.model_validate(fleet.action_of(self._number, self._chance))
        seen = event.features(known, action, self._at_ms, self._prior)
        ce_id = f"{self._chance.getrandbits(128):032x}"
        return lessons.observe(known, lessons.lesson(seen, event.score(seen), ce_id, learn=True))


class _Ours:
    """The store and the ownership of one partition, used as the worker uses them."""

    def __init__(self, path: Path, plan: Plan, members: Sequence[_Member]) -> None:
        self._store = RocksStore(path, b"state-topic-id--", now_ms=_wall_ms, age_max_ms=_DAY_MS)
        self._store.restore(_PARTITION, _records(plan, members), plan.identities)
        self._own = Ownership(
            _PARTITION, "bench", 1, _TOPICS, self._store, Position(), actions_next=0, controls_next=0, audit_next=0
        )
        self._offset = plan.identities

    def load(self, identities: Sequence[str]) -> list[State]:
        """Bring them into memory."""
        self._own.load(identities)
        return [self._own.entry(identity).state for identity in identities]

    def put(self, identities: Sequence[str], states: Sequence[State]) -> None:
        """Change them, and write what changed, as a checkpoint does once Kafka has it."""
        for identity, state in zip(identities, states, strict=True):
            self._offset += 1
            self._own.put(identity, state, clock_ms=_NOW_MS, action=self._offset, control=None)
        part = self._own.snapshot()
        self._store.write(_PARTITION, part.records(), self._offset)
        self._own.settled(self._own.committed)

    def stored(self, identity: str) -> bytes:
        """The body of the identity's baseline on the disk."""
        found = self._store.get(_PARTITION, [record.state_key("baseline", identity)])[0]
        if found is None:
            raise BenchFailed(f"{identity} is not in the store")
        return record.unpack(found)[2]

    def close(self) -> None:
        """Release."""
        self._store.close()


class _Raw:
    """The database with the same settings and the same records, without anything around it."""

    def __init__(self, path: Path, plan: Plan, members: Sequence[_Member]) -> None:
        self._db = Rdict(str(path), _options())
        batch = WriteBatch(raw_mode=True)
        for key, value in _records(plan, members):
            batch.put(key, value)
            if len(batch) >= _RAW_BATCH:
                self._db.write(batch)
                batch = WriteBatch(raw_mode=True)
        self._db.write(batch)

    def get(self, key: bytes) -> bytes:
        """One record."""
        found = self._db.get(key)
        assert isinstance(found, bytes)
        return found

    def put(self, key: bytes, value: bytes) -> None:
        """One record."""
        self._db.put(key, value)

    def close(self) -> None:
        """Release."""
        self._db.close()


def _measured(plan: Plan, chance: random.Random, ours: _Ours, raw: _Raw, members: Sequence[_Member]) -> dict[str, Any]:
    get_us, put_us, raw_us = [], [], []
    numbers = chance.sample(range(plan.identities), plan.samples + plan.batches * plan.batch)
    for number in numbers[: plan.samples]:
        got, put, after = _one(ours, number, members)
        get_us.append(got)
        put_us.append(put)
        raw_us.append(_raw(raw, number, after))
    both_us = [get + put for get, put in zip(get_us, put_us, strict=True)]
    batch_us = _batches(plan, ours, numbers[plan.samples :], members)
    sizes = [len(member.body) for member in members]
    return {
        "identities": plan.identities,
        "samples": plan.samples,
        "body_bytes": {"min": min(sizes), "p50": percentile(sizes, 0.5), "max": max(sizes)},
        "p50_us": spread(both_us)["p50"],
        "p99_us": spread(both_us)["p99"],
        "max_us": spread(both_us)["max"],
        "get_us": spread(get_us),
        "put_us": spread(put_us),
        "raw_us": spread(raw_us),
        "ratio": round(percentile(both_us, 0.5) / percentile(raw_us, 0.5), 3),
        "batch": plan.batch,
        "batch_us_each": spread(batch_us),
    }


def _one(ours: _Ours, number: int, members: Sequence[_Member]) -> tuple[float, float, bytes]:
    """Get and put of one identity in us, and the body that is now stored; the model between them is not counted."""
    name, member = _name(number), members[number % len(members)]
    began = time.perf_counter_ns()
    state = ours.load((name,))[0]
    loaded = time.perf_counter_ns()
    after = State(member.after(state.baseline), state.facts)
    ready = time.perf_counter_ns()
    ours.put((name,), (after,))
    written = time.perf_counter_ns()
    body = baseline.encode(after.baseline)
    if ours.stored(name) != body:
        raise BenchFailed(f"{name}: what is stored is not what was written")
    return (loaded - began) / 1000, (written - ready) / 1000, body


def _raw(raw: _Raw, number: int, body: bytes) -> float:
    key, value = _key_value(number, body)
    began = time.perf_counter_ns()
    raw.get(key)
    raw.put(key, value)
    return (time.perf_counter_ns() - began) / 1000


def _batches(plan: Plan, ours: _Ours, numbers: Sequence[int], members: Sequence[_Member]) -> list[float]:
    """Get and put in batches, in us for each identity."""
    took_us = []
    for start in range(0, len(numbers), plan.batch):
        chosen = numbers[start : start + plan.batch]
        names = [_name(number) for number in chosen]
        began = time.perf_counter_ns()
        states = ours.load(names)
        loaded = time.perf_counter_ns()
        after = [
            State(members[number % len(members)].after(state.baseline), state.facts)
            for number, state in zip(chosen, states, strict=True)
        ]
        ready = time.perf_counter_ns()
        ours.put(names, after)
        took_us.append((time.perf_counter_ns() - ready + loaded - began) / 1000 / len(chosen))
    return took_us


def _records(plan: Plan, members: Sequence[_Member]) -> Iterator[tuple[bytes, bytes]]:
    """The state records of every identity."""
    facts = encode_facts(_FACTS)
    for number in range(plan.identities):
        yield _key_value(number, members[number % len(members)].body)
        if number % _FACTS_EVERY == 0:
            yield record.state_key("facts", _name(number)), record.pack("facts", _source(number), facts)


def _key_value(number: int, body: bytes) -> tuple[bytes, bytes]:
    return record.state_key("baseline", _name(number)), record.pack("baseline", _source(number), body)


def _source(number: int) -> Source:
    return Source(*_TOPICS, _PARTITION, number, -1, _NOW_MS, 1)


def _name(number: int) -> str:
    return ":".join(fleet.identity(number))


def _options() -> Options:
    """What the store sets as well: a shared cache, a bloom filter, its write buffer."""
    table = BlockBasedOptions()
    table.set_block_cache(Cache(CACHE_BYTES))
    table.set_bloom_filter(_BLOOM_BITS, False)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(table)
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_optimize_filters_for_hits(False)
    options.set_max_background_jobs(2)
    return options


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
