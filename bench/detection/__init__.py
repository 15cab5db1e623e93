"""How well the scores tell an identity's own actions from somebody else's, on public data by fixed protocols."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, Protocol

from bench.errors import BenchFailed

# Each set has a module of its name, whose `measure` gives the set's figures as nested JSON.
SETS = ("sea", "sea_answered", "sea_gate", "agentdojo", "sans", "cost")


class Measure(Protocol):
    """The protocol of one set."""

    def __call__(self, say: Callable[[str], None], *, quick: bool) -> dict[str, Any]:
        """Run it; quickly, it only shows that it works. Raises `bench.errors.BenchFailed` where the data is absent."""


def run(chosen: Sequence[str], say: Callable[[str], None], *, quick: bool) -> dict[str, Any]:
    """The figures of the chosen sets, all of them where none is named.

    Raises:
        BenchFailed: for a set that there is not, or where the data is absent.
    """
    for name in chosen:
        if name not in SETS:
            raise BenchFailed(f"set: expected one of {', '.join(SETS)}, not {name}")
    figures: dict[str, Any] = {"measured_on": datetime.now(UTC).date().isoformat()}
    for name in chosen or SETS:
        measure: Measure = import_module(f"bench.detection.{name}").measure
        figures |= measure(say, quick=quick)
    return figures
