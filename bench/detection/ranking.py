"""Figures of a score against labels: area under the curve, hits at a rate of false alarms, their intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]


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


def interval(scores: Scores, labels: Labels, rate: float, rounds: int = 200) -> list[float]:
    """The middle 95% of `hit` over bootstrap samples of identities (rows)."""
    drawn, found = np.random.default_rng(1), list[float]()
    for _ in range(rounds):
        rows = drawn.integers(0, len(scores), len(scores))
        if labels[rows].any():
            found.append(hit(scores[rows], labels[rows], rate))
    return [round(float(value), 4) for value in np.quantile(found, (0.025, 0.975))]


def summary(scores: Scores, labels: Labels) -> dict[str, Any]:
    """The figures of one score: AUC and hits at 1.0, 1.3 and 4.6% false alarms."""
    return {
        "auc": auc(scores, labels),
        "hit_fa_1_0": hit(scores, labels, 0.010),
        "hit_fa_1_3": hit(scores, labels, 0.013),
        "hit_fa_4_6": hit(scores, labels, 0.046),
    }


def mean(figures: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of each figure over runs, with the lowest and the highest where there are several."""
    told: dict[str, Any] = {}
    for name in figures[0]:
        values = [one[name] for one in figures]
        told[name] = round(float(np.mean(values)), 4)
        if len(values) > 1:
            told[f"{name}_range"] = [round(float(min(values)), 4), round(float(max(values)), 4)]
    return told
