"""How well the scores tell an identity's own actions from somebody else's, on public data by fixed protocols."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

# Each set has a module of its name, whose `measure` gives the set's figures as nested JSON.
SETS = ("agentdojo",)


class Measure(Protocol):
    """The protocol of one set."""

    def __call__(self) -> dict[str, Any]:
        """Run it. Raises `bench.errors.BenchFailed` where the data is absent."""


def measure_of(name: str) -> Measure:
    """The protocol of the set of this name."""
    found: Measure = import_module(f"bench.detection.{name}").measure
    return found
