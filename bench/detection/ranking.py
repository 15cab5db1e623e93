"""Figures of a score against labels: area under the curve, hits at a rate of false alarms, their intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]
_CURVE = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.013, 0.02, 0.03, 0.046, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5)


def auc(scores: Scores, labels: Labels) -> float:
    """The chance that a positive scores above a negative, ties count half."""
    flat, marked = scores.ravel(), labels.ravel()
    _, places, sizes = np.unique(flat, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[places]
    positive = int(marked.sum())
    negative = marked.size - positive
    return float((ranks[marked].sum() - positive * (positive + 1) / 2) / (positive * negative))


def threshold(negatives: Scores, rate: float) -> float:
    """The score that this share of the negatives lies above, at most."""
    ordered = np.sort(negatives.ravel())[::-1]
    return float(ordered[int(rate * ordered.size)])


def hit(scores: Scores, labels: Labels, rate: float, clean: Labels | None = None) -> float:
    """The share of positives above the threshold that gives this rate of false alarms among the negatives."""
    limit = threshold(scores[~labels if clean is None else clean], rate)
    return float((scores[labels] > limit).mean())


def interval(
    runs: Sequence[Scores], labels: Labels, figure: Callable[[Scores, Labels], float], rounds: int = 200
) -> list[float]:
    """The middle 95% of a figure, its mean over runs, when identities (rows) are drawn anew with replacement."""
    drawn, found = np.random.default_rng(1), list[float]()
    for _ in range(rounds):
        rows = drawn.integers(0, len(labels), len(labels))
        if labels[rows].any():
            found.append(float(np.mean([figure(run[rows], labels[rows]) for run in runs])))
    return [round(float(value), 4) for value in np.quantile(found, (0.025, 0.975))]


def intervals(runs: Sequence[Scores], labels: Labels, names: Sequence[str]) -> dict[str, Any]:
    """``NAME_ci`` for each of these figures of `summary`."""
    return {f"{name}_ci": interval(runs, labels, FIGURES[name]) for name in names}


def curve(runs: Sequence[Scores], labels: Labels) -> list[list[float]]:
    """Points of false alarms and hits, the mean over runs, for a plot."""
    return [[rate, round(float(np.mean([hit(run, labels, rate) for run in runs])), 4)] for rate in _CURVE]


FIGURES: dict[str, Callable[[Scores, Labels], float]] = {
    "auc": auc,
    "hit_fa_1_0": partial(hit, rate=0.010),
    "hit_fa_1_3": partial(hit, rate=0.013),
    "hit_fa_4_6": partial(hit, rate=0.046),
}


def summary(scores: Scores, labels: Labels) -> dict[str, float]:
    """The figures of one score: AUC and hits at 1.0, 1.3 and 4.6% false alarms."""
    return {name: round(figure(scores, labels), 4) for name, figure in FIGURES.items()}


def mean(figures: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of each figure over runs, with the lowest and the highest where there are several."""
    told: dict[str, Any] = {}
    for name in figures[0]:
        values = [one[name] for one in figures]
        told[name] = round(float(np.mean(values)), 4)
        if len(values) > 1:
            told[f"{name}_range"] = [round(float(min(values)), 4), round(float(max(values)), 4)]
    return told
