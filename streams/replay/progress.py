"""Shows on stderr how far a replay is, where stderr is a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streams.replay.ordering import Intake

# About 9 KiB each, with decision and audit.
EMBEDDED_EVENTS = 250_000


class Bar:
    """A progress bar, silent without a terminal; warns of a broker that will not hold it all."""

    def __init__(self, *, embedded: bool = False) -> None:
        self._warn_above = EMBEDDED_EVENTS if embedded else None
        self._console = console = Console(stderr=True, soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._task = self._progress.add_task("reading", total=None)

    def reading(self, intake: Intake) -> None:
        """A file more is read."""
        self._progress.update(self._task, completed=intake.events)

    def scoring(self, done: int, total: int) -> None:
        """So many events are answered."""
        if self._warn_above is not None and total > self._warn_above:
            self._warn_above = None
            self._console.print(f"the embedded broker keeps {total:,} events in memory: --broker apache does not")
        self._progress.update(self._task, description="scoring", completed=done, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
