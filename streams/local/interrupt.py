"""Lets a long command be stopped, by Ctrl-C or from outside, in an orderly way and at a place that can bear it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class _Stop:
    """One for the process, as its signal handlers are: how deep in calls that must not be disturbed, and what came."""

    def __init__(self) -> None:
        self.held = 0
        self.came = False

    def signalled(self, _number: int, _frame: object) -> None:
        """A signal's handler."""
        self.came = True
        if not self.held:
            self.tell()

    def tell(self) -> None:
        """Raise what came, once."""
        if self.came:
            self.came = False
            raise KeyboardInterrupt


_STOP = _Stop()


@contextmanager
def stoppable() -> Iterator[None]:
    """While this lasts SIGINT and SIGTERM raise KeyboardInterrupt, so that everything which was started is stopped."""
    _STOP.came = False
    before = {number: signal.signal(number, _STOP.signalled) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put an interrupt off until the end of this: within librdkafka's callbacks an exception has nowhere to go."""
    _STOP.held += 1
    try:
        yield
    finally:
        _STOP.held -= 1
    if not _STOP.held:
        _STOP.tell()
