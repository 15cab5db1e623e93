"""`python -m bench detection`: how well the scores tell one identity from another, on data that nobody here wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.detection import cost, sea
from bench.errors import BenchFailed

SETS: dict[str, Callable[..., dict[str, Any]]] = {"sea": sea.run, "cost": cost.run}


def run(chosen: str, say: Callable[[str], None], *, quick: bool) -> dict[str, Any]:
    """The figures of the chosen set, or of all (an empty name)."""
    if chosen and chosen not in SETS:
        raise BenchFailed(f"--set: expected one of {', '.join(SETS)}, got {chosen}")
    figures: dict[str, Any] = {}
    for name, measure in SETS.items():
        if chosen in {"", name}:
            figures |= measure(say, quick=quick)
    return figures
