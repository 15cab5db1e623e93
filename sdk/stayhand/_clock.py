"""The two clocks: one that only goes forward, and the one on the wall."""

from __future__ import annotations

import time


def monotonic_ms() -> float:
    """Milliseconds that only go forward."""
    return time.monotonic() * 1000


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
