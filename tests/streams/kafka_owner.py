"""A worker reduced to what the adapter must see: takes partitions over without recovery, and remembers what it got."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from streams.kafka import KafkaLog
from streams.ports import Position, Record

WAIT_S = 30.0


def position(actions: int, *, controls: int = 0, audit: int = 0, term: int = 1, worker: str = "w") -> Position:
    return Position(actions_next=actions, controls_next=controls, audit_next=audit, term=term, worker=worker)


@dataclass
class Owner:
    """A listener over one log; ``starts`` overrides where a partition's actions are read from."""

    log: KafkaLog
    name: str
    starts: dict[int, int] = field(default_factory=dict)
    events: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    owned: dict[int, Position] = field(default_factory=dict)
    globals: list[Record] = field(default_factory=list)
    controls: list[Record] = field(default_factory=list)
    actions: list[Record] = field(default_factory=list)

    def assigned(self, partitions: Sequence[int]) -> Mapping[int, int]:
        self.events.append(("assigned", tuple(partitions)))
        for partition in partitions:
            before = self.log.position(partition)
            self.owned[partition] = position(
                self.starts.get(partition, max(0, before.actions_next)),
                controls=max(0, before.controls_next),
                term=before.term + 1,
                worker=self.name,
            )
            self.log.commit({partition: self.owned[partition]})
            self.log.follow(partition, self.owned[partition].controls_next)
        return {partition: self.owned[partition].actions_next for partition in partitions}

    def revoked(self, partitions: Sequence[int]) -> None:
        self.events.append(("revoked", tuple(partitions)))
        self._forget(partitions)

    def lost(self, partitions: Sequence[int]) -> None:
        self.events.append(("lost", tuple(partitions)))
        self._forget(partitions)

    def _forget(self, partitions: Sequence[int]) -> None:
        self.log.unfollow(partitions)
        for partition in partitions:
            self.owned.pop(partition, None)

    def turn(self) -> None:
        batch = self.log.poll(500, 0.02)
        self.globals += batch.globals
        self.controls += batch.controls
        self.actions += batch.actions


def turn_until(done: Callable[[], bool], *owners: Owner) -> None:
    """Let these owners poll by turns until something holds."""
    until_s = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < until_s, f"not within {WAIT_S:.0f} s; events: {[each.events for each in owners]}"
        for owner in owners:
            owner.turn()


def settle(owner: Owner) -> None:
    """Wait until the marks of a committed transaction are written."""
    turn_until(lambda: not any(owner.log.open_transaction(partition) for partition in owner.owned), owner)
