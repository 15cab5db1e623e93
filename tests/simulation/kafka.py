"""A fake Kafka with the faults that matter: late audit records, open transactions, zombies, lost sessions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stayhand.headers import Header
from streams.ports import Answer, Batch, Fenced, Kind, Listener, Position, Record
from tests.simulation.schedule import Process, Scheduler

TOPIC_IDS: dict[str, bytes] = {
    kind: bytes([position]) * 16 for position, kind in enumerate(("actions", "controls", "global", "state", "audit"))
}


@dataclass(eq=False)
class Transaction:
    """A transaction: its state records are already in the log, hidden until it is decided."""

    worker: str
    positions: dict[int, Position] = field(default_factory=dict)
    status: str = "open"


@dataclass
class Sent:
    """An answer as it left, with the moment and the process that sent it."""

    at_s: float
    process: Process
    answer: Answer


@dataclass
class InFlight:
    """An audit record that was handed to Kafka and has not landed yet."""

    partition: int
    key: bytes
    value: bytes
    done: Callable[[int], None]


class FakeKafka:
    """What outlives every worker: topics, the group, transactions."""

    def __init__(self, schedule: Scheduler, partitions: int = 1) -> None:
        self.schedule, self.partitions = schedule, partitions
        self.topics: dict[tuple[str, int], list[Record]] = {}
        self.state: dict[int, list[tuple[bytes, bytes, Transaction]]] = {p: [] for p in range(partitions)}
        self.audit_landed_s: list[float] = []
        self.committed: dict[int, Position] = {}
        self.transactions: list[Transaction] = []
        self.epochs: dict[str, int] = {}
        self.flying: dict[Process, deque[InFlight]] = {}
        self.acks: dict[Process, deque[tuple[Callable[[int], None], int]]] = {}
        self.sent: list[Sent] = []
        self.leaving: dict[Process, list[Sent]] = {}
        self.arrived: list[Sent] = []
        self.dead_letters: list[bytes] = []
        self.members: dict[str, Process] = {}
        self.owner: dict[int, str | None] = dict.fromkeys(range(partitions))
        self.target: dict[int, str | None] = dict.fromkeys(range(partitions))

    def append(self, kind: str, partition: int, key: bytes, value: bytes | None, headers: Sequence[Header] = ()) -> int:
        """Append a record at the schedule's time."""
        log = self.topics.setdefault((kind, partition), [])
        log.append(Record(kind, partition, len(log), int(self.schedule.now_s * 1000), key, value, headers))
        return len(log) - 1

    def log(self, kind: str, partition: int) -> list[Record]:
        """All records of a topic's partition."""
        return self.topics.get((kind, partition), [])

    def land(self, process: Process) -> None:
        """The oldest audit record under way from a process, dead or alive, arrives."""
        self.schedule.now_s += 0.0001
        flight = self.flying[process].popleft()
        offset = self.append("audit", flight.partition, flight.key, flight.value)
        self.audit_landed_s.append(self.schedule.now_s)
        if not process.dead:
            self.acks.setdefault(process, deque()).append((flight.done, offset))

    def arrive(self, process: Process) -> None:
        """An answer under way from a process reaches its asker; askers read different partitions, so in any order."""
        answers = self.leaving[process]
        self.arrived.append(answers.pop(self.schedule.rng.randrange(len(answers))))

    def drop_flying(self, process: Process) -> None:
        """A dead process's records and answers that never left it: a tail of the first, any of the second."""
        flights = self.flying.get(process, deque())
        for _ in range(self.schedule.rng.randint(0, len(flights))):
            flights.pop()
        answers = self.leaving.get(process, [])
        answers[:] = [answer for answer in answers if self.schedule.rng.random() < 0.5]

    def expel(self, name: str) -> None:
        """A session ends: its partitions are free for the others."""
        self.members.pop(name, None)
        for partition, owner in self.owner.items():
            if owner == name:
                self.owner[partition] = None
        self.balance()

    def balance(self) -> None:
        """Give each partition that has no living target to a member."""
        names = sorted(self.members)
        for partition in self.target:
            if self.target[partition] not in self.members:
                self.target[partition] = names[partition % len(names)] if names else None

    def last_stable(self, partition: int) -> int:
        """The offset of the first state record whose transaction is open, else the end."""
        log = self.state[partition]
        return next((at for at, (_, _, tx) in enumerate(log) if tx.status == "open"), len(log))

    def finish(self, transaction: Transaction, status: str) -> None:
        """Decide a transaction; committing makes its positions the committed ones."""
        transaction.status = status
        if status == "committed":
            self.committed.update(transaction.positions)


class FakeLog:
    """`streams.ports.Log` of one process over a FakeKafka; every call may be interrupted before and after it."""

    def __init__(self, kafka: FakeKafka, process: Process) -> None:
        self._kafka, self._process, self._schedule = kafka, process, kafka.schedule
        self._listener: Listener | None = None
        self._reading: dict[int, int] = {}
        self._following: dict[int, int] = {}
        self._globals_next = 0
        kafka.flying[process], kafka.leaving[process] = deque(), []
        kafka.epochs[process.name] = self._epoch = kafka.epochs.get(process.name, 0) + 1
        self._abort_left(process.name)

    def topic_id(self, kind: Kind) -> bytes:
        return TOPIC_IDS[kind]

    def start(self, listener: Listener) -> None:
        self._listener = listener
        self._kafka.members[self._process.name] = self._process
        for partition, owner in self._kafka.owner.items():
            if owner == self._process.name:
                self._kafka.owner[partition] = None
        self._kafka.balance()

    def poll(self, records_max: int, timeout_s: float) -> Batch:
        self._schedule.pause_point(self._woken)
        self._deliver_acks()
        self._rebalance()
        batch = Batch(self._new_globals(), self._new_controls(), self._new_actions(records_max))
        self._schedule.pause_point()
        return batch

    def read(self, kind: Kind, partition: int, start: int, end: int, *, committed: bool = False) -> Iterator[Record]:
        self._schedule.pause_point()
        if kind == "state":
            if committed and self._kafka.last_stable(partition) < end:
                self._schedule.pause_point(lambda: self._kafka.last_stable(partition) >= end)
            for at, (key, value, tx) in enumerate(self._kafka.state[partition][:end]):
                if at >= start and tx.status == "committed":
                    yield Record("state", partition, at, 0, key, value)
        else:
            yield from self._kafka.log(kind, partition)[start:end]

    def bounds(self, kind: Kind, partition: int) -> tuple[int, int]:
        self._schedule.pause_point()
        log = self._kafka.state[partition] if kind == "state" else self._kafka.log(kind, partition)
        return 0, len(log)

    def follow(self, partition: int, controls_next: int) -> None:
        self._following[partition] = controls_next

    def unfollow(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            self._following.pop(partition, None)
            self._reading.pop(partition, None)

    def position(self, partition: int) -> Position:
        self._schedule.pause_point()
        return self._kafka.committed.get(partition, Position())

    def open_transaction(self, partition: int) -> bool:
        self._schedule.pause_point()
        return any(
            tx.status == "open" and (partition in tx.positions or self._wrote(tx, partition))
            for tx in self._kafka.transactions
        )

    def end_transaction(self, worker: str) -> None:
        self._schedule.pause_point()
        self._kafka.epochs[worker] = self._kafka.epochs.get(worker, 0) + 1
        self._abort_left(worker)

    def alive(self, worker: str) -> bool:
        return worker in self._kafka.members

    def commit(self, positions: Mapping[int, Position]) -> None:
        self._schedule.pause_point()
        self._check_membership(positions)
        self._kafka.committed.update(positions)
        self._schedule.pause_point()

    def transact(
        self, writes: Mapping[int, Sequence[tuple[bytes, bytes]]], positions: Mapping[int, Position]
    ) -> Mapping[int, int]:
        self._schedule.pause_point()
        self._check_epoch()
        transaction = Transaction(self._process.name)
        self._kafka.transactions.append(transaction)
        reached = {}
        for partition, records in writes.items():
            self._kafka.state[partition].extend((key, value, transaction) for key, value in records)
            reached[partition] = len(self._kafka.state[partition])
        self._schedule.pause_point()
        self._check_epoch()
        try:
            self._check_membership(positions)
        except Fenced:
            self._kafka.finish(transaction, "aborted")
            raise
        transaction.positions = dict(positions)
        self._schedule.pause_point()
        self._check_epoch()
        self._kafka.finish(transaction, "committed")
        self._schedule.pause_point()
        return reached

    def reply(self, answer: Answer) -> None:
        sent = Sent(self._schedule.now_s, self._process, answer)
        self._kafka.sent.append(sent)
        self._kafka.leaving[self._process].append(sent)
        self._schedule.pause_point()

    def audit(self, partition: int, key: bytes, value: bytes, done: Callable[[int], None]) -> None:
        self._kafka.flying[self._process].append(InFlight(partition, key, value, done))

    def dead_letter(self, key: bytes | None, value: bytes, headers: Sequence[Header]) -> None:
        self._kafka.dead_letters.append(value)

    def serve(self, timeout_s: float) -> None:
        self._schedule.pause_point()
        self._deliver_acks()

    def close(self) -> None:
        if self._kafka.members.get(self._process.name) is self._process:
            self._kafka.expel(self._process.name)

    def _woken(self) -> bool:
        """Whether a poll would return anything: an idle worker need not be given turns."""
        mine = [p for p, owner in self._kafka.owner.items() if owner == self._process.name]
        return bool(
            self._kafka.acks.get(self._process)
            or self._kafka.members.get(self._process.name) is not self._process
            or any(self._moving(partition) for partition in self._kafka.owner)
            or any(
                self._behind("actions", self._reading, p) or self._behind("controls", self._following, p) for p in mine
            )
            or len(self._kafka.log("global", 0)) > self._globals_next
            or self._schedule.rng.random() < 0.05
        )

    def _moving(self, partition: int) -> bool:
        owner, target = self._kafka.owner[partition], self._kafka.target[partition]
        name = self._process.name
        return (owner == name and target != name) or (owner is None and target == name)

    def _behind(self, kind: str, at: dict[int, int], partition: int) -> bool:
        return at.get(partition, 0) < len(self._kafka.log(kind, partition))

    def _deliver_acks(self) -> None:
        acks = self._kafka.acks.get(self._process, deque())
        while acks:
            done, offset = acks.popleft()
            done(offset)

    def _rebalance(self) -> None:
        listener, name = self._listener, self._process.name
        assert listener is not None
        if (current := self._kafka.members.get(name)) is not self._process:
            if current is not None:
                raise Fenced("another process took this instance id")
            lost = list(self._reading)
            if lost:
                listener.lost(lost)
            self._kafka.members[name] = self._process
            self._kafka.balance()
        for partition in self._kafka.owner:
            if self._kafka.owner[partition] == name and partition not in self._reading:
                self._kafka.owner[partition] = None
            if not self._moving(partition):
                continue
            if self._kafka.owner[partition] == name:
                listener.revoked([partition])
                if self._kafka.owner[partition] == name:
                    self._kafka.owner[partition] = None
            else:
                self._kafka.owner[partition] = name
                self._reading.update(listener.assigned([partition]))

    def _new_globals(self) -> list[Record]:
        found = self._kafka.log("global", 0)[self._globals_next :]
        self._globals_next += len(found)
        return found

    def _new_controls(self) -> list[Record]:
        found: list[Record] = []
        for partition, start in self._following.items():
            records = self._kafka.log("controls", partition)[start:]
            self._following[partition] = start + len(records)
            found.extend(records)
        return found

    def _new_actions(self, records_max: int) -> list[Record]:
        found: list[Record] = []
        for partition, start in self._reading.items():
            most = self._schedule.rng.randint(1, records_max)
            records = self._kafka.log("actions", partition)[start : start + most]
            self._reading[partition] = start + len(records)
            found.extend(records)
        return found

    def _check_membership(self, positions: Mapping[int, Position]) -> None:
        kafka, name = self._kafka, self._process.name
        if kafka.members.get(name) is not self._process or any(kafka.owner[p] != name for p in positions):
            raise Fenced("not a member of this generation")

    def _check_epoch(self) -> None:
        if self._kafka.epochs[self._process.name] != self._epoch:
            raise Fenced("the transactional id was started anew")

    def _wrote(self, transaction: Transaction, partition: int) -> bool:
        return any(tx is transaction for _, _, tx in self._kafka.state[partition])

    def _abort_left(self, worker: str) -> None:
        for transaction in self._kafka.transactions:
            if transaction.worker == worker and transaction.status == "open":
                self._kafka.finish(transaction, "aborted")
