"""One ask of a guard: what is asked, until when, who waits for the answer, and what became of it so far."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from stayhand._clock import monotonic_ms
from stayhand._fallback import Cause
from stayhand._prepare import Prepared
from stayhand.wire import Decision, FallbackMode, Rejection


@dataclass(frozen=True, slots=True)
class Lost:
    """There will be no answer, and why."""

    cause: Cause


Answer = Decision | Rejection | Lost


class Mailbox(Protocol):
    """Where an asker waits; ``put`` is called from a thread of the transport and never blocks."""

    def put(self, answer: Answer, /) -> None:
        """Hand over the first answer, or the final one of a hold."""


_M = TypeVar("_M", bound=Mailbox)


class Ask(Generic[_M]):
    """One pending action on its way; its mutable fields are guarded by the core's lock."""

    __slots__ = (
        "answered",
        "correlation_id",
        "deadline_at_ms",
        "deadline_ms",
        "delivered",
        "expired",
        "fell_closed",
        "held_until_ms",
        "mailbox",
        "mode",
        "prepared",
        "probe",
        "traceparent",
    )

    def __init__(
        self,
        prepared: Prepared,
        mailbox: _M,
        deadline_ms: int,
        mode: FallbackMode | None,
        traceparent: str,
        now_ms: float,
    ) -> None:
        """Not yet sent; ``now_ms`` is monotonic, and without a mode that of the configuration holds."""
        self.prepared = prepared
        self.mailbox = mailbox
        self.correlation_id = os.urandom(16)
        self.deadline_ms = deadline_ms
        self.deadline_at_ms = now_ms + deadline_ms
        self.mode: FallbackMode | None = mode
        self.traceparent = traceparent
        self.probe = False
        self.delivered = False
        self.answered = False
        self.expired = False
        self.fell_closed = False
        self.held_until_ms = 0

    def remaining_s(self) -> float:
        """Seconds until the deadline, 0 past it."""
        return max(0.0, (self.deadline_at_ms - monotonic_ms()) / 1000)
