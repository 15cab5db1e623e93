"""Taking a partition over: from the committed position of its last owner to a state in which one may decide anew.

The order of the steps is the protocol; a model checker found that each of them is needed (see docs/design.md):
1. end what the last owner left open, and only then believe the committed position;
2. commit the same position under this worker's name and a term one higher, which proves membership;
3. restore the changelog, write a take-over mark and wait until it stands in the audit;
4. apply the effective audit records between the committed position and the mark, as they stand.
The caller then answers them again, reads controls to their end, and only then decides anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from models.transition import effect_from_json, settle
from streams import audit, blast
from streams.audit import AuditEntry
from streams.ownership import Ownership
from streams.ports import Clock, InputGone, KafkaFailed, Log, Position, Store

MARK_TIMEOUT_S = 30.0
OPEN_TIMEOUT_S = 60.0
_WAIT_S = 0.02


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets of actions that were gone before they could be read, ``first`` to before ``next``."""

    first: int
    next: int


@dataclass(frozen=True, slots=True)
class TakenOver:
    """A partition that is ready, what was found in its audit, and how much came from the changelog."""

    ownership: Ownership
    recovered: list[AuditEntry]
    restored_records: int
    gap: Gap | None


class TakeOver:
    """Carries out take-overs for one worker."""

    def __init__(self, log: Log, store: Store, clock: Clock, worker: str, *, accept_gap: bool = False) -> None:
        """Bind to Kafka, disk and clock; ``accept_gap`` goes on where committed input is gone."""
        self._log, self._store, self._clock, self._worker = log, store, clock, worker
        self._accept_gap = accept_gap

    def run(self, partition: int, mark: Callable[[Ownership], bytes]) -> TakenOver:
        """Take one partition over; ``mark`` makes the body of the take-over mark.

        Raises:
            Fenced: the membership ended meanwhile.
            Stale: a newer owner has been here already.
            InputGone: committed input is no longer in the log, and gaps are not accepted.
        """
        committed = self._settled_position(partition)
        start, gap = self._start(partition, committed)
        mine = replace(start, term=committed.term + 1, worker=self._worker)
        self._log.commit({partition: mine})
        restored = self._restore(partition)
        own = self._ownership(partition, mine)
        marked_at = self._mark(own, mark(own))
        recovered = list(self._recover(own, marked_at))
        own.audit_next = max(own.audit_next, marked_at + 1)
        return TakenOver(own, recovered, restored, gap)

    def _settled_position(self, partition: int) -> Position:
        """The committed position once no transaction holds it open (step 1)."""
        until_s = self._clock.monotonic_s() + OPEN_TIMEOUT_S
        while self._log.open_transaction(partition):
            owner = self._log.position(partition).worker
            # This worker's own old transaction ended when its producer started; a live member ends its own.
            if owner not in {"", self._worker} and not self._log.alive(owner):
                self._log.end_transaction(owner)
            if self._clock.monotonic_s() > until_s:
                raise KafkaFailed(f"a transaction on partition {partition} stayed open for {OPEN_TIMEOUT_S:.0f} s")
            self._log.serve(_WAIT_S)
        return self._log.position(partition)

    def _start(self, partition: int, committed: Position) -> tuple[Position, Gap | None]:
        """Where to read on; a committed offset outside the log stops the start, loudly."""
        low, high = self._log.bounds("actions", partition)
        controls_low, controls_high = self._log.bounds("controls", partition)
        controls = committed.controls_next if committed.controls_next >= 0 else controls_low
        if committed.actions_next < 0:
            return replace(committed, actions_next=low, controls_next=controls), None
        gone = not low <= committed.actions_next <= high
        if gone and not self._accept_gap:
            raise InputGone("actions", partition, committed.actions_next, low, high)
        if not controls_low <= controls <= controls_high:
            raise InputGone("controls", partition, controls, controls_low, controls_high)
        if not gone:
            return replace(committed, controls_next=controls), None
        start = replace(committed, actions_next=low, controls_next=controls)
        return start, Gap(committed.actions_next, low)

    def _restore(self, partition: int) -> int:
        """Fill the local copy from the changelog up to its end; returns how many records that took (step 3)."""
        low, high = self._log.bounds("state", partition)
        start = self._store.changelog_next(partition)
        if not low <= start <= high:
            self._store.wipe(partition)
            start = low
        count = 0

        def counted() -> Iterator[tuple[bytes, bytes | None]]:
            nonlocal count
            for found in self._log.read("state", partition, start, high, committed=True):
                count += 1
                yield found.key or b"", found.value

        self._store.restore(partition, counted(), high)
        return count

    def _ownership(self, partition: int, position: Position) -> Ownership:
        topics = (self._log.topic_id("actions"), self._log.topic_id("controls"))
        return Ownership(
            partition=partition,
            worker=self._worker,
            term=position.term,
            topics=topics,
            store=self._store,
            committed=position,
            actions_next=position.actions_next,
            controls_next=position.controls_next,
            audit_next=position.audit_next,
            guard=position.guard,
        )

    def _mark(self, own: Ownership, body: bytes) -> int:
        """Write the take-over mark and wait for its offset (step 3)."""
        stands_at: list[int] = []
        self._log.audit(own.partition, b"", body, stands_at.append)
        until_s = self._clock.monotonic_s() + MARK_TIMEOUT_S
        while not stands_at:
            if self._clock.monotonic_s() > until_s:
                raise KafkaFailed(f"the take-over mark was not acknowledged within {MARK_TIMEOUT_S:.0f} s")
            self._log.serve(_WAIT_S)
        return stands_at[0]

    def _recover(self, own: Ownership, marked_at: int) -> Iterator[AuditEntry]:
        """Apply what stands in the audit beyond the committed position (step 4).

        Yields what must be answered again: what was not contained yet, and what waited for the last commit, for its
        writer may have died between that commit and the answer.
        """
        low, _ = self._log.bounds("audit", own.partition)
        found = self._log.read("audit", own.partition, max(low, own.committed.audit_next), marked_at)
        entries = (audit.decode(record) for record in found)
        for entry in audit.own_history(entries, own.term, own.committed.audit_term):
            if replay(own, entry.body) or entry.body.get("waits"):
                yield entry


def replay(own: Ownership, body: dict[str, Any]) -> bool:
    """Apply one effective audit record to the state, unless the state contains it already; says whether it did.

    This is also the fold: a state that starts empty and replays every effective record is the scorer's state.
    """
    kind, vector = body["kind"], body["vector"]
    if kind in {"decision", "outcome"}:
        action, control = vector["actions"], None
        if vector["actions"] >= own.actions_next:
            own.guard = blast.recorded(body, own.guard)
        own.actions_next = max(own.actions_next, vector["actions"] + 1)
    elif kind in {"control", "final"}:
        action, control = None, vector["controls"]
        own.controls_next = max(own.controls_next, vector["controls"] + 1)
    else:
        return False
    identity = body["identity"]
    entry = own.entry(identity)
    seen = entry.actions_offset if control is None else entry.controls_offset
    if (action if control is None else control) <= seen:
        return False
    state = settle(entry.state, [effect_from_json(effect) for effect in body["effects"]])
    own.put(identity, state, clock_ms=body["at_ms"], action=action, control=control)
    return True
