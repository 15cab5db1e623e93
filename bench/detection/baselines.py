"""Detectors of anomalies in streams of numbers, to stand beside ours: half-space trees, and a random cut forest.

They know nothing of actions; what an action is worth in numbers from 0 to 1 is said here, once for all sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from math import log1p, sqrt
from typing import Any, Protocol
from zlib import crc32

from bench.detection.cut_forest import CutForest
from models.prior import load_prior
from stayhand.wire import PendingAction

NOT_INSTALLED = "not installed: install the group bench"
BUCKETS = 32


class Detector(Protocol):
    """Scores what it is shown, and learns what it is told to; the same seed gives the same scores."""

    def score(self, values: Sequence[float]) -> float:
        """How unlike what was learned these values are."""

    def learn(self, values: Sequence[float]) -> None:
        """Take these values in."""


class HalfSpaceTrees:
    """River's (Tan, Ting and Liu, IJCAI 2011), for values from 0 to 1."""

    def __init__(self, window: int) -> None:
        """``window`` points are counted before they speak.

        Raises:
            ModuleNotFoundError: where River is not installed.
        """
        self._model: Any = import_module("river.anomaly").HalfSpaceTrees(
            n_trees=25, height=8, window_size=window, seed=1
        )

    def score(self, values: Sequence[float]) -> float:
        """From 0 to 1."""
        return float(self._model.score_one(dict(enumerate(values))))

    def learn(self, values: Sequence[float]) -> None:
        """Count these values."""
        self._model.learn_one(dict(enumerate(values)))


def detectors(window: int) -> dict[str, Callable[[], Detector] | None]:
    """By name what makes a detector; None where it is not installed."""
    try:
        import_module("river.anomaly")
    except ModuleNotFoundError:
        return {"half_space_trees": None, "rrcf": CutForest}
    return {"half_space_trees": lambda: HalfSpaceTrees(window), "rrcf": CutForest}


def block_values(names: Iterable[str]) -> list[float]:
    """A block of actions in numbers: the roots of the shares of 32 buckets of names, and how many names there are."""
    counts, distinct, total = [0] * BUCKETS, set[str](), 0
    for name in names:
        counts[crc32(name.encode()) % BUCKETS] += 1
        distinct.add(name)
        total += 1
    return [*(sqrt(count / total) for count in counts), len(distinct) / total]


def action_values(action: PendingAction, at_ms: int, gap_ms: int) -> list[float]:
    """One action in numbers: where its names fall between 0 and 1, its impact, its hour, and how soon it came."""
    context, resource = action.context, action.resource
    names = (action.action.name, f"{resource.type}:{resource.id}", context.source, context.client)
    hour = at_ms / 3_600_000 % 24 / 24
    soon = 1 / (1 + log1p(gap_ms / 1_000))
    return [*(place(name or "") for name in names), load_prior().impact(action.action.name) / 3, hour, soon]


def place(name: str) -> float:
    """Where a name falls between 0 and 1, by its CRC-32."""
    return crc32(name.encode()) / 0xFFFFFFFF
