"""Recall at a fixed rate of false positives, ties broken at random: the ROC curve's points joined by straight lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def recall_at(bad: Sequence[float], good: Sequence[float], rate: float) -> float:
    """The expected share of ``bad`` scores that is caught where ``rate`` of the ``good`` ones is.

    Where a level has more good scores than the rate has room for, the share of them that fits is drawn at random, and
    so is that of the bad ones at the level (Fawcett 2006, section 5).

    Raises:
        ValueError: where one of the two is empty.
    """
    if not bad or not good:
        raise ValueError("bad and good: expected at least one score each")
    caught_at, wrong_at = Counter(bad), Counter(good)
    room, caught = rate * len(good), 0.0
    for level in sorted({*caught_at, *wrong_at}, reverse=True):
        wrong = wrong_at[level]
        if wrong > room:
            return (caught + caught_at[level] * room / wrong) / len(bad)
        room -= wrong
        caught += caught_at[level]
    return caught / len(bad)
