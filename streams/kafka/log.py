"""Kafka as one worker sees it: the port's methods over confluent-kafka's clients."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

from confluent_kafka import TopicPartition

from schemas.topics import topic
from stayhand.headers import Header
from streams.kafka import positions
from streams.kafka.clients import Clients
from streams.kafka.errors import Faults, OffsetGone, logger
from streams.kafka.follower import Follower
from streams.kafka.group import Member
from streams.kafka.lookup import Lookup
from streams.kafka.readers import Readers
from streams.kafka.records import record_of
from streams.kafka.writers import Journal, Replies, Transactions, end_transaction
from streams.ports import Answer, Batch, InputGone, KafkaFailed, Kind, Listener, Position, Record

# While no action is there, controls are looked for this often; costs .7 % of a core.
SLICE_S = 0.005
_ALIKE: tuple[Kind, ...] = ("actions", "controls", "state", "audit")


class KafkaLog:
    """Implements ``ports.Log``.

    ``poll``, ``follow``, ``unfollow``, ``reply`` and ``close`` belong to one thread; everything else may be called
    from another one meanwhile.
    """

    def __init__(self, bootstrap: str, prefix: str, group: str, worker: str, kafka: Mapping[str, Any]) -> None:
        """Make the clients and look the topics up; the group is joined by ``start``.

        Raises:
            KafkaFailed: no answer, a topic is missing, or partitions differ in number.
        """
        self._prefix, self._worker, self._closed = prefix, worker, False
        self._names: dict[Kind, str] = {kind: topic(prefix, kind) for kind in get_args(Kind)}
        self._dead_letters = topic(prefix, "deadletter")
        self._clients = Clients(bootstrap, group, kafka, worker)
        self._lookup = Lookup(self._clients.admin(), group)
        self._topics = self._lookup.topics([*self._names.values(), self._dead_letters])
        self._check_partitions()
        self.session_timeout_ms = self._lookup.session_timeout_ms()
        self._readers = Readers(self._clients)
        faults = Faults("group member", fatal_is_fenced=True)
        self._member = Member(self._clients.member(faults, self.session_timeout_ms), faults, self._names["actions"])
        faults = Faults("follower")
        self._follower = Follower(
            self._clients.follower(faults), faults, self._names["controls"], self._names["global"]
        )
        self._replies = Replies(self._clients.replies(Faults("replies")))
        self._journal = Journal(self._clients.journal(Faults("journal")))
        faults = Faults("checkpoint")
        self._transactions = Transactions(self._clients.transactional(faults, self._transactional_id(worker)), faults)

    def _check_partitions(self) -> None:
        counts = {kind: self.partitions(kind) for kind in _ALIKE}
        if len(set(counts.values())) != 1:
            raise KafkaFailed(f"actions, controls, state and audit need equally many partitions, found {counts}")

    def _transactional_id(self, worker: str) -> str:
        return f"{self._prefix}.scorer.{worker}"

    def topic_id(self, kind: Kind) -> bytes:
        """The topic's 16-byte id."""
        return self._topics[self._names[kind]][0]

    def partitions(self, kind: Kind) -> int:
        """How many partitions the topic has."""
        return self._topics[self._names[kind]][1]

    def reply_partitions(self, name: str) -> int | None:
        """How many partitions a topic of answers has, from memory; None where there is none."""
        return self._lookup.reply_partitions(name)

    @property
    def replies_failed(self) -> int:
        """How many answers could not be delivered."""
        return self._replies.failed

    @property
    def settled(self) -> bool:
        """Whether an assignment, be it empty, is in force and taken over."""
        return self._member.settled

    @property
    def taking_over(self) -> bool:
        """Whether the listener takes partitions over just now, which may last."""
        return self._member.taking_over

    def lag_records(self) -> dict[int, int]:
        """By owned partition, how many actions wait, as of the last fetch."""
        return {} if self._closed else self._member.lag_records()

    def start(self, listener: Listener) -> None:
        """End what an earlier life left open, then join the group."""
        self._transactions.start()
        self._follower.start(self.bounds("global", 0)[0])
        self._member.start(listener)

    def poll(self, records_max: int, timeout_s: float) -> Batch:
        """What is there, controls first; waits only while there is nothing.

        Raises:
            Fenced, AuditFailed, KafkaFailed, InputGone, and what the listener raises.
        """
        until_s = time.monotonic() + timeout_s
        while True:
            self._replies.serve()
            self._journal.serve(0)
            batch = self._once(records_max, until_s)
            if batch.globals or batch.controls or batch.actions or time.monotonic() >= until_s:
                return batch

    def _once(self, records_max: int, until_s: float) -> Batch:
        followed = self._follower.followed
        try:
            changes, controls = self._follower.take()
            wait_s = 0.0 if changes or controls else min(SLICE_S, max(0.0, until_s - time.monotonic()))
            actions, rebalanced = self._actions(records_max, wait_s)
        except OffsetGone as gone:
            raise self._input_gone(gone) from gone
        if rebalanced:
            controls = self._follower.still(controls, followed)
        return Batch(changes, controls, actions)

    def _actions(self, records_max: int, wait_s: float) -> tuple[list[Record], bool]:
        """The actions that are there, and whether the group changed meanwhile; then earlier ones are dropped."""
        member = self._member
        before = changes = member.changes
        found: list[Record] = []
        while len(found) < records_max:
            message = member.poll(0.0 if found else wait_s)
            if member.changes != changes:
                changes = member.changes
                found.clear()
            if message is None:
                break
            found.append(record_of(message))
        return found, changes != before

    def _input_gone(self, gone: OffsetGone) -> InputGone:
        """Say of an offset that is not in the log what is."""
        return InputGone(gone.topic, gone.partition, gone.offset, *self._readers.bounds(gone.topic, gone.partition))

    def read(self, kind: Kind, partition: int, start: int, end: int, *, committed: bool = False) -> Iterator[Record]:
        """The records from ``start`` to before ``end``; ``committed`` hides aborted ones."""
        try:
            yield from self._readers.read(self._names[kind], partition, start, end, committed=committed)
        except OffsetGone as gone:
            raise self._input_gone(gone) from gone

    def bounds(self, kind: Kind, partition: int) -> tuple[int, int]:
        """The first offset and the high watermark."""
        return self._readers.bounds(self._names[kind], partition)

    def follow(self, partition: int, controls_next: int) -> None:
        """Let polls return this partition's controls from here on."""
        self._follower.follow(partition, controls_next)

    def unfollow(self, partitions: Sequence[int]) -> None:
        """Stop that."""
        self._follower.unfollow(partitions)

    def position(self, partition: int) -> Position:
        """The last committed position; while ``open_transaction`` holds, that before the transaction.

        A transaction that was committed may count as open for some milliseconds more, until its marks are written.
        """
        actions, controls = self._lookup.committed(self._offsets_of(partition), stable=False)
        return positions.decode(actions.offset, controls.offset, actions.metadata)

    def _offsets_of(self, partition: int) -> list[TopicPartition]:
        return [TopicPartition(self._names[kind], partition) for kind in ("actions", "controls")]

    def open_transaction(self, partition: int) -> bool:
        """Whether a transaction holds back the state topic or the committed position."""
        if self._lookup.pending(self._offsets_of(partition)):
            return True
        name = self._names["state"]
        stable = self._readers.bounds(name, partition, committed=True)[1]
        return stable < self._readers.bounds(name, partition)[1]

    def end_transaction(self, worker: str) -> None:
        """End what a worker left open, and fence it.

        Nothing to do for this worker's own name: ``start`` ended what an earlier life left open, and what this life
        committed is complete as soon as the coordinator has written its marks. Ending it would fence ourselves.
        """
        if worker == self._worker:
            return
        name = self._transactional_id(worker)
        logger.warning("ending what the transactional id %s left open", name)
        end_transaction(self._clients.transactional(Faults("ending a transaction"), name))

    def alive(self, worker: str) -> bool:
        """Whether the group has a member of that name."""
        return self._lookup.has_member(worker)

    def commit(self, positions_: Mapping[int, Position]) -> None:
        """A plain commit, refused unless this worker is a member of the current generation."""
        self._member.commit(self._to_commit(positions_), _terms(positions_))

    def _to_commit(self, positions_: Mapping[int, Position]) -> list[TopicPartition]:
        return positions.offsets(self._names["actions"], self._names["controls"], positions_)

    def transact(
        self, writes: Mapping[int, Sequence[tuple[bytes, bytes]]], positions_: Mapping[int, Position]
    ) -> Mapping[int, int]:
        """State records and positions in one transaction; by partition written, the offset behind its last record."""
        metadata = self._member.metadata(_terms(positions_))
        return self._transactions.commit(self._names["state"], writes, self._to_commit(positions_), metadata)

    def reply(self, answer: Answer) -> None:
        """Send an answer at once, unless an audit record failed."""
        self._journal.check()
        self._replies.send(answer)

    def audit(self, partition: int, key: bytes, value: bytes, done: Callable[[int], None]) -> None:
        """Append to the audit."""
        self._journal.append(self._names["audit"], partition, key, value, (), done)

    def dead_letter(self, key: bytes | None, value: bytes, headers: Sequence[Header]) -> None:
        """Append to the dead letters."""
        self._journal.append(self._dead_letters, -1, key, value, headers, None)

    def serve(self, timeout_s: float) -> None:
        """Deliver acknowledgements of audit records."""
        self._journal.serve(timeout_s)

    def close(self) -> None:
        """Deliver what is on its way and release everything; the listener is not called any more. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._replies.close()
        self._journal.close()
        self._member.close()
        self._follower.close()
        self._readers.close()


def _terms(positions_: Mapping[int, Position]) -> dict[int, int]:
    return {partition: position.term for partition, position in positions_.items()}
