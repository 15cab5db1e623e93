"""The circuit breaker: a gate that is out of reach costs one deadline, not one for each call."""

from __future__ import annotations

import threading
from typing import Literal

COOLDOWN_MS_MIN = 250
COOLDOWN_MS_MAX = 5_000

State = Literal["closed", "open", "probing"]
Admission = Literal["pass", "probe", "refuse"]


class Breaker:
    """Closed, open, or probing with a single ask; times are arguments (monotonic milliseconds). Thread-safe.

    It opens when an ask was lost on the way to the broker, or when ``timeouts`` asks in a row reached the broker and
    nothing answered. Open because of the broker, it stays so until the broker gave a sign of life; each failed probe
    doubles the pause, from 250 ms up to 5 s.
    """

    def __init__(self, timeouts: int) -> None:
        """Open after this many unanswered asks in a row."""
        self._limit = timeouts
        self._lock = threading.Lock()
        self._state: State = "closed"
        self._silent = 0
        self._unreachable = False
        self._cooldown_ms = COOLDOWN_MS_MIN
        self._retry_at_ms = 0.0

    @property
    def state(self) -> State:
        """Where it stands now."""
        return self._state

    @property
    def unreachable(self) -> bool:
        """Whether it waits for a sign of life of the broker."""
        return self._state == "open" and self._unreachable

    def admit(self, now_ms: float) -> Admission:
        """May this ask go out? ``probe``: yes, and every other one waits for what becomes of it."""
        if self._state == "closed":
            return "pass"
        with self._lock:
            if self.state == "closed":
                return "pass"
            if self.state == "probing" or self._unreachable or now_ms < self._retry_at_ms:
                return "refuse"
            self._state = "probing"
            return "probe"

    def answered(self) -> None:
        """The gate answered, whatever it said."""
        if self._state == "closed" and not self._silent:
            return
        with self._lock:
            self._state = "closed"
            self._silent = 0
            self._unreachable = False
            self._cooldown_ms = COOLDOWN_MS_MIN

    def lost(self, now_ms: float, *, probe: bool) -> None:
        """An ask did not reach the broker."""
        with self._lock:
            self._open(now_ms, probe=probe, unreachable=True)

    def unanswered(self, now_ms: float, *, probe: bool) -> None:
        """An ask reached the broker, and its deadline passed."""
        with self._lock:
            self._silent += 1
            if probe or self._silent >= self._limit:
                self._open(now_ms, probe=probe, unreachable=False)

    def abandoned(self, now_ms: float, *, probe: bool) -> None:
        """The asker went away before its deadline; if it was the probe, the next ask probes again."""
        if not probe:
            return
        with self._lock:
            if self._state == "probing":
                self._state, self._retry_at_ms = "open", now_ms

    def reached(self) -> None:
        """The broker gave a sign of life: the next ask may probe."""
        with self._lock:
            if self._state == "open" and self._unreachable:
                self._unreachable = False
                self._retry_at_ms = 0.0

    def _open(self, now_ms: float, *, probe: bool, unreachable: bool) -> None:
        if self._state != "closed" and not probe:
            return
        if probe:
            self._cooldown_ms = min(COOLDOWN_MS_MAX, self._cooldown_ms * 2)
        self._state = "open"
        self._unreachable = unreachable
        self._retry_at_ms = now_ms + self._cooldown_ms
