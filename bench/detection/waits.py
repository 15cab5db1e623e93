"""How many commands a masquerade of SEA makes until an alarm, and how many benign commands pay for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.detection.ranking import Labels
from bench.detection.sea_data import BLOCK, EPISODE_GAP


def episodes(alarms: Labels, benign: Labels) -> float:
    """Episodes that begin in benign commands, by 1,000 of those."""
    starts = 0
    for row, own in zip(alarms, benign, strict=True):
        places = np.flatnonzero(row)
        if places.size:
            first = np.concatenate(([True], np.diff(places) > EPISODE_GAP))
            starts += int(own[places[first]].sum())
    return 1_000 * starts / float(benign.sum())


def by_user(alarms: Labels, labels: Labels) -> list[list[float]]:
    """By user how many commands each masquerade makes until an alarm, the alarmed one included; endless without."""
    found: list[list[float]] = []
    for row, marked in zip(alarms, np.repeat(labels, BLOCK, axis=1), strict=True):
        edges = np.flatnonzero(np.diff(np.concatenate(([False], marked, [False])).astype(int)))
        firsts = [np.flatnonzero(row[start:end]) for start, end in zip(edges[::2], edges[1::2], strict=True)]
        found.append([float(first[0] + 1) if first.size else float("inf") for first in firsts])
    return found


def median_interval(runs: Sequence[list[list[float]]]) -> list[float]:
    """The middle 95% of the median wait, its mean over runs, when users are drawn anew; endless counts as 10,000."""
    drawn, found, users = np.random.default_rng(1), list[float](), len(runs[0])
    for _ in range(200):
        rows = drawn.integers(0, users, users)
        medians = [_middle(sorted(min(wait, 1e4) for row in rows for wait in run[row])) for run in runs]
        found.append(float(np.mean(medians)))
    return [round(float(value), 1) for value in np.quantile(found, (0.025, 0.975))]


def _middle(ordered: Sequence[float]) -> float:
    return ordered[len(ordered) // 2] if ordered else 1e4
