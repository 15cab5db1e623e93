"""What an answered "this was me" or "this was not me" changes: the same histories with and without answers.

A question is asked where the epoch score reaches the shipped pack's guide, at most once in a hundred actions. A share
of the questions is answered, some actions later; an answer reaches the habits through the very functions that an
operator's review does (`models.epoch.vouched`, `disowned`). What alarms afterwards is compared with the same history
without answers.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.detection import sea
from bench.detection.ranking import auc, hit
from models import epoch
from models.codes import stable_code
from models.profiles import Profile

ASK_ABOVE = -4.0
APART = 100
DELAY = 10
# Share of questions answered, and the share of an intruder's own answers that say "it was me".
SETTINGS = {"half": (0.5, 0.0), "all": (1.0, 0.0), "half_intruder_lies": (0.5, 0.5)}


class Answers(NamedTuple):
    """How questions are answered: ``rate`` of them, after ``delay`` actions; ``lies`` of somebody else's say "fine"."""

    rate: float
    lies: float = 0.0
    delay: int = DELAY
    above: float = ASK_ABOVE
    seed: int = 1


class Replayed(NamedTuple):
    """``h`` and ``q`` at each action, in nats; the actions at which was asked; ``fine`` and ``bad`` answers."""

    events: list[tuple[float, float]]
    asked: list[int]
    fine: int
    bad: int


class _Due(NamedTuple):
    """An answer on its way: when it arrives, and what it is about."""

    at: int
    epoch: int
    code: int
    fine: bool


def replayed(did: Iterable[tuple[str, bool]], profile: Profile, answers: Answers | None = None) -> Replayed:
    """Score and learn actions (name, whether the identity itself did it) in order, with answers or without."""
    habits, at, draw = epoch.NO_HABITS, sea.START_MS, random.Random(answers.seed if answers else 0)
    events, asked, due, told = list[tuple[float, float]](), list[int](), list[_Due](), [0, 0]
    for place, (name, own) in enumerate(did):
        at += sea.STEP_MS
        habits = epoch.ripened(habits, at)
        while due and due[0].at <= place:
            told[due[0].fine] += 1
            habits = _heard(habits, due.pop(0))
        code = profile.code(name, stable_code(name))
        number = 0 if habits.waits else habits.number
        scores, mark = epoch.judge(epoch.signs(habits, code, profile), code)
        habits = epoch.observe(habits, mark, at, learn=True)
        events.append((scores.h / 1024, scores.q / 1024))
        if answers and scores.h > answers.above * 1024 and (not asked or place - asked[-1] >= APART):
            asked.append(place)
            if draw.random() < answers.rate:
                due.append(_Due(place + answers.delay, number, code, own or draw.random() < answers.lies))
    return Replayed(events, asked, told[1], told[0])


def _heard(habits: epoch.Habits, answer: _Due) -> epoch.Habits:
    if answer.fine:
        return epoch.vouched(habits, answer.epoch, answer.code, habitual=True, suspected=True)
    return epoch.disowned(habits, answer.epoch)


def measure(say: Callable[[str], None], *, quick: bool) -> dict[str, Any]:
    """The figures of SEA at every event without answers and with each of `SETTINGS`, by name."""
    users = range(0, sea.USERS, 5) if quick else range(sea.USERS)
    found: dict[str, Any] = {}
    with get_context("spawn").Pool(max(1, min(2, os.cpu_count() or 1)), os.nice, (5,)) as pool:
        for name, given in {"none": None, **SETTINGS}.items():
            say(f"sea: answers {name}")
            found[name] = figures(pool.map(partial(_user, given=given), users, chunksize=5), users)
    return {"sea_answered": found}


def _user(user: int, *, given: tuple[float, float] | None) -> Replayed:
    names = [f"0:{name}" for name in sea.histories()[user][sea.SHIFT :]]
    own = [True] * (sea.OWN - sea.SHIFT) + [not other for other in np.repeat(_labels()[user], sea.BLOCK)]
    answers = Answers(*given, seed=user) if given else None
    return replayed(zip(names, own, strict=True), sea.profile_without(user, 0), answers)


def _labels() -> NDArray[np.bool_]:
    rows = [line.split() for line in (sea.folder() / "label.txt").read_text(encoding="ascii").splitlines()]
    return np.array([[cell == "1" for cell in row] for row in rows], dtype=np.bool_).T


def figures(played: Sequence[Replayed], users: Sequence[int]) -> dict[str, Any]:
    """The figures by block of the highest ``h``, at the shipped thresholds and at fixed rates of false alarms.

    ``questions`` is for an identity and 10,000 of its actions.
    """
    labels = _labels()[list(users)]
    events = np.array([one.events[sea.OWN - sea.SHIFT :] for one in played])
    highest = events[:, :, 0].reshape(len(users), sea.BLOCKS, sea.BLOCK).max(axis=2)
    actions = sum(len(one.events) for one in played)
    return {
        "auc": round(auc(highest, labels), 4),
        "hit_fa_1_0": round(hit(highest, labels, 0.010), 4),
        "hit_fa_4_6": round(hit(highest, labels, 0.046), 4),
        "guided_false": round(float((highest[~labels] > ASK_ABOVE).mean()), 4),
        "guided_hit": round(float((highest[labels] > ASK_ABOVE).mean()), 4),
        "questions": round(10_000 * sum(len(one.asked) for one in played) / actions, 2),
        "answered_fine": sum(one.fine for one in played),
        "answered_bad": sum(one.bad for one in played),
    }
