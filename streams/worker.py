"""The scorer's loop: drain, read, load, decide, reply, learn, checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from math import ceil
from typing import Any, Protocol

import structlog

from streams import audit
from streams.answers import Answers
from streams.checkpoint import Checkpointer, Committed, Snapshot
from streams.gate import Gate, Read
from streams.limits import Limiter
from streams.observer import Observer, Silent
from streams.outbox import Outbox
from streams.ownership import Ownership
from streams.ports import Batch, Clock, Fenced, KafkaFailed, Log, Record, Store
from streams.reading import Reader
from streams.refusal import Refusal
from streams.registry import Registry
from streams.takeover import Gap, TakeOver

# From so many actions on a batch is one that a backlog made, and its answers go out some at a time.
_BATCH_LARGE, _ANSWERS_TOGETHER = 16, 32
# More often than this, checkpoints hold answers up: most of one is the broker's work on its transaction.
TRANSACTION_S = 0.25
_LOG = structlog.get_logger("stayhand.worker")


@dataclass(frozen=True, slots=True)
class Pace:
    """How a worker spends its time.

    ``checkpoint_s`` is how long what changed in a partition may wait for a checkpoint, ``transaction_s`` the time from
    one to the next: each takes the partitions whose turn it is. ``checkpoint_max_s`` is how long one may take before
    the worker gives up. ``lease_s`` is the gap in the loop after which membership must be proven before anything is
    decided: well below the group's session timeout.
    """

    records_max: int = 500
    poll_s: float = 0.05
    checkpoint_s: float = 2.0
    transaction_s: float = TRANSACTION_S
    lease_s: float = 1.0
    checkpoint_max_s: float = 40.0


class Executor(Protocol):
    """Runs a checkpoint beside the loop."""

    def submit(self, call: Callable[..., Committed], /, *args: Any) -> Future[Committed]:
        """Start it."""


class Worker:
    """One scorer process: owns partitions, decides what is asked there, and remembers it.

    The group calls ``assigned``, ``revoked`` and ``lost`` from within a poll (``streams.ports.Listener``).
    """

    def __init__(
        self,
        name: str,
        log: Log,
        store: Store,
        clock: Clock,
        executor: Executor,
        *,
        registry: Registry,
        reader: Reader,
        limits: Limiter,
        answers: Answers,
        partitions: int,
        pace: Pace | None = None,
        observer: Observer | None = None,
        accept_gap: bool = False,
    ) -> None:
        """Wire the parts together; ``executor`` runs one checkpoint at a time, apart from the loop."""
        self.owned: dict[int, Ownership] = {}
        self._log, self._store, self._clock, self._executor = log, store, clock, executor
        self._registry, self._pace, self._observer = registry, pace or Pace(), observer or Silent()
        self._outbox = Outbox(log, answers, registry, self._observer, name, self._prove_membership)
        self._gate = Gate(registry, reader, limits, answers, self._outbox, clock, self._observer, partitions)
        self._takeover = TakeOver(log, store, clock, name, accept_gap=accept_gap)
        self._checkpointer = Checkpointer(log, store, clock, name)
        self._under_way: Future[Committed] | None = None
        self._looked_s = self._checkpointed_s = self._turned_s = clock.monotonic_s()

    def start(self) -> None:
        """Read the global topic to its end, then join the group."""
        self._catch_up_globals()
        self._log.start(self)
        self._looked_s = self._checkpointed_s = self._turned_s = self._clock.monotonic_s()

    def run_once(self) -> None:
        """One turn of the loop.

        Raises:
            Fenced, Stale, AuditFailed, KafkaFailed, InputGone: each ends the worker; see ``streams.ports``.
        """
        self._collect(wait=False)
        batch = self._drain()
        self._prove_membership()
        self._change(batch)
        self._take(batch.actions)
        self._observer.returned(sum(own.guard.returned for own in self.owned.values()))
        self._checkpoint_if_due()

    def stop(self) -> None:
        """Checkpoint what is owned and leave."""
        self._hand_over(tuple(self.owned))
        self._log.close()
        self._store.close()

    def assigned(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Take partitions over; returns where to read each one's actions."""
        self._catch_up_globals()
        starts = {partition: self._own(partition) for partition in partitions}
        self._observer.owns(len(self.owned))
        return starts

    def revoked(self, partitions: Sequence[int]) -> None:
        """Checkpoint, then let go."""
        self._hand_over(partitions)

    def lost(self, partitions: Sequence[int]) -> None:
        """Let go without a word: somebody else owns them. A checkpoint under way is refused, or was in time."""
        _LOG.warning("partitions lost", partitions=list(partitions))
        try:
            self._collect(wait=True)
        except Fenced:
            # Nothing of it was written; whoever owns the partition now finds its records in the audit.
            self._under_way = None
            if any(own.committing for partition, own in self.owned.items() if partition not in partitions):
                raise
        self._let_go(partitions)

    def _own(self, partition: int) -> int:
        """Take one partition over: answer again what was recovered, read controls to their end, then decide anew."""
        began_s = self._clock.monotonic_s()
        taken = self._takeover.run(partition, self._mark)
        own = self.owned[partition] = taken.ownership
        if taken.gap is not None:
            self._say_gap(own, taken.gap)
        for entry in taken.recovered:
            self._gate.answer_again(own, entry.body)
        self._catch_up_controls(own)
        self._gate.say_applied(own)
        self._outbox.flush()
        self._observer.restored(partition, taken.restored_records, self._clock.monotonic_s() - began_s)
        _LOG.info("partition taken over", partition=partition, term=own.term, recovered=len(taken.recovered))
        return own.actions_next

    def _mark(self, own: Ownership) -> bytes:
        return audit.encode(self._outbox.body(own, "mark"))

    def _say_gap(self, own: Ownership, gap: Gap) -> None:
        note = {"first": gap.first, "next": gap.next}
        self._outbox.write(own, self._outbox.body(own, "gap") | {"note": note})
        _LOG.error("input was gone before it was read", partition=own.partition, **note)

    def _catch_up_globals(self) -> None:
        _, end = self._log.bounds("global", 0)
        for record in self._log.read("global", 0, self._registry.offset + 1, end):
            self._gate.change(record, ())

    def _catch_up_controls(self, own: Ownership) -> None:
        low, end = self._log.bounds("controls", own.partition)
        for record in self._log.read("controls", own.partition, max(low, own.controls_next), end):
            self._gate.control(own, record)
        own.controls_next = max(own.controls_next, end)
        self._log.follow(own.partition, own.controls_next)

    def _drain(self) -> Batch:
        return self._log.poll(self._pace.records_max, self._pace.poll_s)

    def _prove_membership(self) -> None:
        """After a gap in the loop nothing is decided before a commit shows that this is still a member."""
        now_s = self._clock.monotonic_s()
        gap_s, self._looked_s = now_s - self._looked_s, now_s
        if gap_s > self._pace.lease_s and self.owned:
            self._collect(wait=True)
            self._log.commit({partition: own.committed for partition, own in self.owned.items()})
            self._looked_s = self._clock.monotonic_s()

    def _change(self, batch: Batch) -> None:
        """Global changes and controls come before the actions, so that a freeze never waits behind them."""
        for record in batch.globals:
            self._gate.change(record, self.owned.values())
        for record in batch.controls:
            if own := self.owned.get(record.partition):
                self._gate.control(own, record)
        self._outbox.flush()

    def _take(self, records: Sequence[Record]) -> None:
        """Read a batch of actions, load the identities that it names, and handle each record in order."""
        now_ms = self._clock.wall_ms()
        batch = self._gate.read(records, now_ms)
        self._load(batch)
        self._outbox.together = 1 if len(batch) < _BATCH_LARGE else _ANSWERS_TOGETHER
        for read in batch:
            own = self.owned.get(read.record.partition)
            if own is not None and read.record.offset >= own.actions_next:
                self._gate.handle(own, read, now_ms)
        self._outbox.flush()

    def _load(self, batch: Iterable[Read]) -> None:
        """Bring the identities of a batch into memory, with one read of the store for each partition."""
        wanted: dict[int, list[str]] = {}
        for record, said, _ in batch:
            if not isinstance(said, Refusal):
                own = self.owned.get(record.partition)
                if own is not None and not own.knows(said.identity):
                    wanted.setdefault(own.partition, []).append(said.identity)
        for partition, identities in wanted.items():
            self.owned[partition].load(identities)

    def _checkpoint_if_due(self) -> None:
        """One checkpoint at a time: at once of what an answer waits for, and of the partitions whose turn it is.

        Turns come by a clock of their own: answers that never cease to wait hold no other partition up.
        """
        if self._under_way is not None:
            return
        partitions = [partition for partition, own in self.owned.items() if own.waiting] if self._outbox.urgent else []
        if turns := int((self._clock.monotonic_s() - self._turned_s) / self._pace.transaction_s):
            self._turned_s += turns * self._pace.transaction_s
            partitions += self._whose_turn(turns)
        if partitions or self._outbox.urgent:
            self._begin_checkpoint(partitions)

    def _whose_turn(self, turns: int) -> list[int]:
        """The partitions that waited longest: so many that all have had their turn once the time is up.

        Of several turns where the last checkpoint, or the loop, took longer than one.
        """
        pace, before_s = self._pace, self._clock.monotonic_s() - self._pace.checkpoint_s
        due = [partition for partition, own in self.owned.items() if own.checkpointed_s <= before_s and own.moved]
        due.sort(key=lambda partition: self.owned[partition].checkpointed_s)
        return due[: turns * ceil(len(self.owned) * pace.transaction_s / pace.checkpoint_s)]

    def _begin_checkpoint(self, partitions: Iterable[int]) -> None:
        now_s = self._checkpointed_s = self._clock.monotonic_s()
        moved = {partition: own for partition in partitions if (own := self.owned[partition]).moved}
        self._outbox.urgent = any(own.waiting for partition, own in self.owned.items() if partition not in moved)
        if not moved:
            return
        for own in moved.values():
            own.checkpointed_s = now_s
        snapshot = Snapshot(self._outbox.sequence, tuple(own.snapshot() for own in moved.values()))
        self._outbox.sequence += 1
        self._under_way = self._executor.submit(self._checkpointer.commit, snapshot, moved)

    def _collect(self, *, wait: bool) -> None:
        """Take in a finished checkpoint: answers that waited for it may go. Its failure is the worker's."""
        if self._under_way is None or not (wait or self._ended(self._under_way)):
            return
        try:
            committed = self._under_way.result(self._pace.checkpoint_max_s)
        except TimeoutError as error:
            raise KafkaFailed(self._hangs()) from error
        self._under_way = None
        for partition, position in committed.positions.items():
            own = self.owned[partition]
            own.settled(position)
            self._outbox.release(own, committed.sequence)
        self._observer.checkpointed(committed.took_s, committed.records)

    def _ended(self, under_way: Future[Committed]) -> bool:
        if under_way.done():
            return True
        if self._clock.monotonic_s() - self._checkpointed_s > self._pace.checkpoint_max_s:
            raise KafkaFailed(self._hangs())
        return False

    def _hangs(self) -> str:
        return f"a checkpoint did not end within {self._pace.checkpoint_max_s:.0f} s"

    def _hand_over(self, partitions: Sequence[int]) -> None:
        """Make everything durable while the membership holds, then forget it."""
        self._collect(wait=True)
        self._begin_checkpoint(partition for partition in partitions if partition in self.owned)
        self._collect(wait=True)
        self._let_go(partitions)

    def _let_go(self, partitions: Sequence[int]) -> None:
        self._log.unfollow(partitions)
        for partition in partitions:
            self.owned.pop(partition, None)
        self._observer.owns(len(self.owned))
