"""The seam between a Guard and Kafka: what a transport does, and what it tells its Guard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from stayhand.headers import Header

RawHeaders = Sequence[tuple[str, bytes | None]]
Delivered = Callable[[str | None], None]
"""Called once for each record that was sent: None when the broker has it, else why it was lost."""


class ReplyAddress(NamedTuple):
    """Where the answers of one Guard go: a topic and one partition of it."""

    topic: str
    partition: int


class Outgoing(NamedTuple):
    """A record to publish; its key chooses the partition by murmur2."""

    topic: str
    key: bytes
    value: bytes
    headers: list[Header]


class Sink(Protocol):
    """What a transport calls, from its own threads; none of these blocks or raises."""

    def ready(self) -> None:
        """The reply position is fixed: what is asked from now on can be answered."""

    def answer(self, value: bytes, headers: RawHeaders) -> None:
        """A record came on the reply partition; it may be another Guard's."""

    def tick(self) -> None:
        """Comes several times a second, for house-keeping."""


class Transport(Protocol):
    """Carries asks out and answers in; thread-safe."""

    @property
    def reply_address(self) -> ReplyAddress | None:
        """None until the position on the reply partition is fixed."""

    @property
    def problem(self) -> str:
        """The last thing that went wrong, for a person; empty when nothing did."""
        raise NotImplementedError

    def start(self, sink: Sink) -> None:
        """Begin to connect and return at once."""

    def send(self, record: Outgoing, delivered: Delivered) -> None:
        """Queue a record and return at once.

        Raises:
            Unavailable: when it cannot be queued; ``delivered`` is then not called.
        """

    def report(self) -> None:
        """Call ``delivered`` for what is known by now, from this thread; else that may come a moment later."""

    def reachable(self) -> bool:
        """Ask the broker for a sign of life; blocks for at most about a second."""
        raise NotImplementedError

    def close(self, timeout_ms: int) -> None:
        """Deliver what is queued within the time, then end."""

    def abandon(self) -> None:
        """In a forked child: let go of everything without touching the parent's connections."""
