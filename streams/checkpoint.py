"""The checkpoint: audit first, then state and positions in one transaction, then the local disk.

Each step's crash window, by the numbers of ``commit``:
1. before it: nothing is durable but some audit records; the next owner applies those as they stand.
2. inside it: the transaction is open or unfinished; the next owner ends it by this worker's name.
3. before it: Kafka has all, the local disk is behind; the changelog fills it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streams.ownership import Ownership, Part
from streams.ports import Clock, KafkaFailed, Log, Position, Store

AUDIT_TIMEOUT_S = 30.0
_SERVE_S = 0.005


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one checkpoint will make durable; sequences count up from 1 in a worker's life."""

    sequence: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Committed:
    """What one checkpoint made durable."""

    sequence: int
    positions: Mapping[int, Position]
    records: int
    took_s: float


class Checkpointer:
    """Makes snapshots durable; runs in a thread of its own so that it never stalls a reply."""

    def __init__(self, log: Log, store: Store, clock: Clock, worker: str) -> None:
        """Bind to Kafka, disk and clock."""
        self._log, self._store, self._clock, self._worker = log, store, clock, worker

    def commit(self, snapshot: Snapshot, owned: Mapping[int, Ownership]) -> Committed:
        """Carry out the three steps.

        Raises:
            Fenced: another worker owns a partition; nothing was written.
            AuditFailed: an audit record did not arrive.
            KafkaFailed: Kafka did not answer in time.
        """
        began_s = self._clock.monotonic_s()
        self._await_audit(snapshot.parts, owned)
        writes = {part.partition: part.records() for part in snapshot.parts}
        positions = {part.partition: self._position(part) for part in snapshot.parts}
        reached = self._log.transact(writes, positions)
        for partition, changelog_next in reached.items():
            self._store.write(partition, writes[partition], changelog_next)
        records = sum(map(len, writes.values()))
        return Committed(snapshot.sequence, positions, records, self._clock.monotonic_s() - began_s)

    def _await_audit(self, parts: Sequence[Part], owned: Mapping[int, Ownership]) -> None:
        until_s = self._clock.monotonic_s() + AUDIT_TIMEOUT_S
        while any(owned[part.partition].audits_acked < part.audits_sent for part in parts):
            if self._clock.monotonic_s() > until_s:
                raise KafkaFailed(f"audit records were not acknowledged within {AUDIT_TIMEOUT_S:.0f} s")
            self._log.serve(_SERVE_S)

    def _position(self, part: Part) -> Position:
        return Position(
            *(part.actions_next, part.controls_next, part.audit_next, part.audit_term, part.term),
            self._worker,
            part.guard,
        )
