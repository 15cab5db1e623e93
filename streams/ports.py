"""The seams of a worker: what it asks of Kafka, of its disk and of the clock, so that a simulation can stand in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from stayhand.headers import Header
from streams.blast import NO_GUARD, Guard

Kind = Literal["actions", "controls", "global", "state", "audit"]


class Fenced(Exception):
    """This worker no longer owns what it wrote for: another one does, and has the last word."""


class Stale(Exception):
    """A newer owner's take-over mark stands in the audit: this worker's ownership ended before it began."""


class KafkaFailed(Exception):
    """Kafka refused or did not answer in time; the worker stops and a restart recovers."""


class AuditFailed(KafkaFailed):
    """An audit record could not be written: nothing may be decided that is not recorded."""


class InputGone(Exception):
    """A committed offset is no longer in the log: input was deleted before it was read.

    Attributes:
        partition, committed, low, high: where, and what is left.
    """

    def __init__(self, topic: str, partition: int, committed: int, low: int, high: int) -> None:
        """Say which offsets are missing and how to go on."""
        super().__init__(
            f"{topic}/{partition}: committed offset {committed} is not in the log, which holds {low} to {high}; "
            "start with --accept-gap to go on at what is left (the gap is written to the audit)"
        )
        self.topic, self.partition, self.committed, self.low, self.high = topic, partition, committed, low, high


class Record(NamedTuple):
    """One Kafka record; ``timestamp_ms`` is the append time on topics that say so."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


@dataclass(frozen=True, slots=True)
class Position:
    """What a partition's committed offsets say: the next actions, controls and audit, the owner and its term.

    ``actions_next`` and ``controls_next`` are -1 where nothing was ever committed. ``audit_term`` is the highest term
    that stands in the audit before ``audit_next``; ``term`` may be higher: a new owner commits before its mark lands.
    ``guard`` is what the partition has counted of the policy that is on trial.
    """

    actions_next: int = -1
    controls_next: int = -1
    audit_next: int = 0
    audit_term: int = 0
    term: int = 0
    worker: str = ""
    guard: Guard = NO_GUARD


@dataclass(frozen=True, slots=True)
class Batch:
    """What one poll returned, to be handled in this order."""

    globals: Sequence[Record] = ()
    controls: Sequence[Record] = ()
    actions: Sequence[Record] = ()


class Answer(NamedTuple):
    """An answer to an asker, ready to be sent; ``partition`` None lets the key choose."""

    topic: str
    partition: int | None
    key: bytes
    value: bytes
    headers: Sequence[Header]


class Listener(Protocol):
    """What the group tells a worker while it polls; partitions are those of the actions topic."""

    def assigned(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Take partitions over; returns the actions offset at which to start reading each."""

    def revoked(self, partitions: Sequence[int]) -> None:
        """Give partitions back; the membership still holds until this returns."""

    def lost(self, partitions: Sequence[int]) -> None:
        """Partitions that are already somebody else's: forget them, write nothing."""


class Log(Protocol):
    """Kafka as one worker sees it. Methods raise Fenced, AuditFailed or KafkaFailed and nothing else."""

    def topic_id(self, kind: Kind) -> bytes:
        """The topic's 16-byte id: the same offsets of another id are other records."""

    def start(self, listener: Listener) -> None:
        """Join the group; the listener is called from within ``poll``."""

    def poll(self, records_max: int, timeout_s: float) -> Batch:
        """What is there, at most ``records_max`` actions; waits only while there is nothing."""

    def read(self, kind: Kind, partition: int, start: int, end: int, *, committed: bool = False) -> Iterator[Record]:
        """The records from ``start`` to before ``end``, apart from the group; ``committed`` hides aborted ones."""

    def bounds(self, kind: Kind, partition: int) -> tuple[int, int]:
        """The first offset and the high watermark."""

    def follow(self, partition: int, controls_next: int) -> None:
        """Let polls return this partition's controls from here on."""

    def unfollow(self, partitions: Sequence[int]) -> None:
        """Stop that."""

    def position(self, partition: int) -> Position:
        """The committed position; waits while a transaction holds it open, see ``open_transaction``."""

    def open_transaction(self, partition: int) -> bool:
        """Whether a transaction that nobody ended holds back the state topic or the committed position."""

    def end_transaction(self, worker: str) -> None:
        """End what a worker left open, and fence it, by starting its transactional id anew."""

    def alive(self, worker: str) -> bool:
        """Whether the group has a member of that name."""

    def commit(self, positions: Mapping[int, Position]) -> None:
        """A plain commit, refused (Fenced) unless this worker is a member of the current generation."""

    def transact(
        self, writes: Mapping[int, Sequence[tuple[bytes, bytes]]], positions: Mapping[int, Position]
    ) -> Mapping[int, int]:
        """State records (key, value) by partition and positions in one transaction.

        Returns, by partition that was written, the changelog offset behind the last record. Raises Fenced where the
        group or the coordinator refuses this worker.
        """

    def reply(self, answer: Answer) -> None:
        """Send an answer at once; one that cannot be delivered is final and holds nothing up.

        Raises AuditFailed where an audit record failed: after that nobody is permitted anything.
        """

    def audit(self, partition: int, key: bytes, value: bytes, done: Callable[[int], None]) -> None:
        """Append to the audit; ``done`` gets the offset once it is replicated, from within ``serve`` or ``poll``."""

    def dead_letter(self, key: bytes | None, value: bytes, headers: Sequence[Header]) -> None:
        """Append to the dead letters, as durably as the audit."""

    def serve(self, timeout_s: float) -> None:
        """Deliver acknowledgements of audit records; raises AuditFailed where one failed.

        A caller that waits has the records on their way sent without delay.
        """

    def close(self) -> None:
        """Leave the group (a static member keeps its place) and release everything."""


class Store(Protocol):
    """The local copy of the state: a memory tier over a disk, by partition."""

    def get(self, partition: int, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """The state records under these keys."""

    def changelog_next(self, partition: int) -> int:
        """Where the local copy ends in the changelog; 0 where there is none that can be trusted."""

    def restore(self, partition: int, records: Iterable[tuple[bytes, bytes | None]], changelog_next: int) -> None:
        """Apply changelog records (None: a tombstone) and remember how far they reach."""

    def write(self, partition: int, records: Sequence[tuple[bytes, bytes]], changelog_next: int) -> None:
        """Write what a transaction committed."""

    def wipe(self, partition: int) -> None:
        """Forget the partition."""

    def close(self) -> None:
        """Flush and release."""


class Clock(Protocol):
    """The only clocks of a worker."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970; used to call an ask late, and recorded."""

    def monotonic_s(self) -> float:
        """Seconds that never go back; used for the lease and for the checkpoint's pace."""
