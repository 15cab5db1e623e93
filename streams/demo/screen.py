"""Shows the story as it happens: a table that moves on a terminal, plain lines anywhere else."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stayhand.wire import Verdict

_ROWS = 30
_FRAME_LINES = 8
_WIDTH = 160
_COLOURS: dict[Verdict, str] = {"permit": "green", "slow": "yellow", "guide": "dark_orange", "block": "bold red"}


@dataclass(frozen=True, slots=True)
class Shown:
    """One decision as it is shown; ``stolen``: the token was in the thief's hands."""

    at_s: float
    identity: str
    action: str
    source: str
    verdict: Verdict
    latency_ms: float
    why: str
    stolen: bool


class Screen(Protocol):
    """Where the story is told; its methods may be called from any thread."""

    def say(self, text: str) -> None:
        """A sentence of the narrator."""

    def show(self, shown: Shown) -> None:
        """A decision."""


class Lines:
    """One line for each sentence and decision."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Print the sentence."""
        with self._lock:
            self._console.print(text, soft_wrap=True)

    def show(self, shown: Shown) -> None:
        """Print the decision."""
        mark = "!" if shown.stolen else " "
        line = (
            f"{mark}{shown.at_s:6.1f} s  {shown.verdict:<6}  {shown.latency_ms:6.1f} ms  "
            f"{shown.identity:<29} {shown.action:<36} {shown.source:<14} {shown.why}"
        )
        self.say(line.rstrip())


class Moving:
    """The last decisions in a table under the narrator's last sentences."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._lock = threading.Lock()
        self._said: deque[str] = deque(maxlen=3)
        self._rows: deque[Shown] = deque(maxlen=_ROWS)

    def say(self, text: str) -> None:
        """Put the sentence above the table."""
        with self._lock:
            self._said.append(text)
            self._live.update(self._drawn())

    def show(self, shown: Shown) -> None:
        """Put the decision at the table's end."""
        with self._lock:
            self._rows.append(shown)
            self._live.update(self._drawn())

    def _drawn(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
        for name in ("s", "verdict", "ms", "identity", "action", "from", "why"):
            table.add_column(name, justify="right" if name in {"s", "ms"} else "left", no_wrap=True)
        rows = max(1, min(_ROWS, self._live.console.height - _FRAME_LINES))
        for row in list(self._rows)[-rows:]:
            table.add_row(
                f"{row.at_s:.1f}",
                Text(row.verdict, _COLOURS[row.verdict]),
                f"{row.latency_ms:.1f}",
                Text(row.identity, "bold red" if row.stolen else ""),
                row.action,
                row.source,
                row.why,
            )
        return Group(*(Text(sentence, "bold") for sentence in self._said), Text(), table)


@contextmanager
def screen() -> Iterator[Screen]:
    """A moving table where stdout is a terminal, else lines."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_WIDTH)
        yield Lines(console)
        return
    with Live(console=console, refresh_per_second=10, vertical_overflow="crop") as live:
        yield Moving(live)
