"""A permit in use: what may happen now, and the one report of what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from stayhand.wire import Decision, OutcomeResult

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Permit:
    """The action may happen now. Use it as a context manager, or tell its outcome by one of the three methods.

    Leaving the block reports ``done``, an exception ``failed``, an interrupt or cancellation ``cancelled``. Only the
    first report counts. A permit whose outcome is never told is reported as ``unknown`` by a later process.

    Attributes:
        decision: the decision under which the action may happen.
    """

    def __init__(self, decision: Decision, report: Callable[[OutcomeResult], None]) -> None:
        """Hold the decision and the way to report."""
        self.decision = decision
        self._report: Callable[[OutcomeResult], None] | None = report

    def done(self) -> None:
        """The action happened."""
        self._tell("done")

    def failed(self) -> None:
        """The action was tried and failed."""
        self._tell("failed")

    def cancelled(self) -> None:
        """The action was not tried; it is not learned either."""
        self._tell("cancelled")

    def run(self, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Call the function and report what became of it."""
        with self:
            return function(*args, **kwargs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.done()
        elif issubclass(kind, (KeyboardInterrupt, asyncio.CancelledError, GeneratorExit)):
            self.cancelled()
        else:
            self.failed()

    def _tell(self, result: OutcomeResult) -> None:
        report, self._report = self._report, None
        if report is not None:
            report(result)
