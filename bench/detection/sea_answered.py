"""What an answered "this was me" or "this was not me" changes: the same stream with and without answers.

A question is asked where an alarm begins, at most once in a while; a share of the questions is answered, some time
later. Answers reach what is learned by the very functions that an operator's review does. Two ways in: `replayed` for
histories of action names, through the epoch score alone, and `Reviewer` for asks that go through the scorer's own
decisions. `compared` tells what alarms then, beside the same stream without answers; the set does so with SEA's shell
histories, whose epochs begin in the middle of a block as in `sea_online`, in about a minute on two cores.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from multiprocessing.pool import Pool
from typing import Any, NamedTuple

import numpy as np

from bench.detection.ranking import Labels, auc, hit
from bench.detection.sea_data import (
    BLOCK,
    OWN,
    SHIFT,
    START_MS,
    STEP_MS,
    USERS,
    histories,
    masquerades,
    profile_without,
    salted,
    workers,
)
from models import epoch
from models.codes import stable_code
from models.effects import effect_json
from models.eventform import features_json, scores_json
from models.facts import ControlRefused
from models.profiles import Profile
from models.reviews import lesson_of
from models.transition import Ask, Ruling, State, control_effects, settle
from schemas.documents import Review

# Where the shipped pack guides, in nats.
ASK_ABOVE = -4.0


class Answers(NamedTuple):
    """How questions are answered.

    ``rate`` of them is, ``delay`` actions later; an intruder who is asked himself says "it was me" to a share ``lies``.
    No question comes within ``apart`` actions of the last one.
    """

    rate: float
    lies: float = 0.0
    delay: int = 10
    apart: int = 100
    above: float = ASK_ABOVE


SETTINGS: Mapping[str, Answers | None] = {
    "none": None,
    "half": Answers(0.5),
    "all": Answers(1.0),
    "half_of_them_by_the_intruder_too": Answers(0.5, lies=0.5),
}


class Replayed(NamedTuple):
    """``h`` and ``q`` at each action, in nats; at which was asked; how many answers said "fine", and "bad"."""

    events: list[tuple[float, float]]
    asked: list[int]
    fine: int
    bad: int


def measure(say: Callable[[str], None], *, quick: bool) -> dict[str, Any]:
    """``sea_answered``: what alarms by setting of `SETTINGS`; ``quick`` takes five users.

    Raises:
        BenchFailed: where the data is absent.
    """
    labels, users = masquerades(), range(0, USERS, 10) if quick else range(USERS)
    say(f"sea_answered: {len(users)} users, {len(SETTINGS)} settings")
    with workers() as pool:
        return {"sea_answered": compared(shell_history, users, labels[list(users)], pool)}


def shell_history(given: tuple[int, Answers | None]) -> Replayed:
    """One user's commands, with these answers about them."""
    user, answers = given
    own = np.concatenate((np.ones(OWN, dtype=np.bool_), np.repeat(~masquerades()[user], BLOCK)))
    did = zip(salted(histories()[user], 0), own.tolist(), strict=True)
    return replayed(islice(did, SHIFT, None), profile_without(user, 0), answers, user)


class _Due(NamedTuple):
    """An answer on its way: when it comes, and which action it is about."""

    at: int
    epoch: int
    code: int
    fine: bool


def replayed(did: Iterable[tuple[str, bool]], profile: Profile, answers: Answers | None, seed: int = 1) -> Replayed:
    """Score and learn actions in order, one each seven seconds: its name, and whether the identity itself did it."""
    habits, at, draw = epoch.NO_HABITS, START_MS, random.Random(seed)
    events, asked, due, told = list[tuple[float, float]](), list[int](), list[_Due](), [0, 0]
    for place, (name, own) in enumerate(did):
        at += STEP_MS
        habits = epoch.ripened(habits, at)
        while due and due[0].at <= place:
            told[due[0].fine] += 1
            habits = _heard(habits, due.pop(0))
        code = profile.code(name, stable_code(name))
        number = 0 if habits.waits else habits.number
        scores, mark = epoch.judge(epoch.signs(habits, code, profile), code)
        habits = epoch.observe(habits, mark, at, learn=True)
        events.append((scores.h / 1024, scores.q / 1024))
        if answers and scores.h > answers.above * 1024 and (not asked or place - asked[-1] >= answers.apart):
            asked.append(place)
            if draw.random() < answers.rate:
                due.append(_Due(place + answers.delay, number, code, own or draw.random() < answers.lies))
    return Replayed(events, asked, told[1], told[0])


def _heard(habits: epoch.Habits, answer: _Due) -> epoch.Habits:
    if answer.fine:
        return epoch.vouched(habits, answer.epoch, answer.code, habitual=True, suspected=True)
    return epoch.disowned(habits, answer.epoch)


def compared(
    play: Callable[[tuple[int, Answers | None]], Replayed],
    identities: Sequence[int],
    labels: Labels,
    pool: Pool | None = None,
) -> dict[str, dict[str, Any]]:
    """The figures of each of `SETTINGS`.

    ``play`` replays one identity with these answers; ``labels`` has a row for each of them that says by block of 100
    actions, the last ones of its history, whether somebody else did them.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, answers in SETTINGS.items():
        given = [(identity, answers) for identity in identities]
        played = list(map(play, given)) if pool is None else pool.map(play, given, chunksize=5)
        found[name] = figures(played, labels)
    return found


def figures(played: Sequence[Replayed], labels: Labels) -> dict[str, Any]:
    """By block its highest ``h``: at the shipped threshold (``guided_*``) and at fixed rates of false alarms.

    ``questions`` is for an identity and 10,000 of its actions.
    """
    blocks = labels.shape[1]
    events = np.array([[h for h, _ in one.events[-blocks * BLOCK :]] for one in played])
    highest = events.reshape(len(played), blocks, BLOCK).max(axis=2)
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


class Reviewer:
    """Reviews of decisions as an operator would send them, for a bench that keeps identities' states in a mapping.

    Call `hear` before each ask and `ruled` after it. A question comes with a verdict that is no permit, to each
    identity at most once in ``apart_ms``; its answer is heard ``delay_ms`` later.
    """

    def __init__(self, rate: float, *, lies: float = 0.0, delay_ms: int = 300_000, apart_ms: int = 3_600_000) -> None:
        """``rate`` of the questions is answered; an intruder says "it was me" to a share ``lies``."""
        self._rate, self._lies, self._delay_ms, self._apart_ms = rate, lies, delay_ms, apart_ms
        self._draw = random.Random(1)
        self._due: list[tuple[int, str, Review]] = []
        self._asked: dict[str, int] = {}
        self.questions = self.fine = self.bad = self.refused = 0

    def hear(self, states: dict[str, State], at_ms: int) -> None:
        """Settle the answers that have come by now."""
        while self._due and self._due[0][0] <= at_ms:
            came_ms, identity, review = self._due.pop(0)
            state = states[identity]
            try:
                states[identity] = settle(state, control_effects(state, review, came_ms))
            except ControlRefused:
                self.refused += 1
                continue
            self.fine += review.said == "fine"
            self.bad += review.said == "bad"

    def ruled(self, ask: Ask, ruling: Ruling, *, own: bool) -> None:
        """Ask about this decision where it is time to."""
        last_ms = self._asked.get(ask.identity)
        soon = last_ms is not None and ask.at_ms - last_ms < self._apart_ms
        if soon or ruling.decision["verdict"] == "permit":
            return
        self._asked[ask.identity] = ask.at_ms
        self.questions += 1
        if self._draw.random() < self._rate:
            said = "fine" if own or self._draw.random() < self._lies else "bad"
            self._due.append((ask.at_ms + self._delay_ms, ask.identity, _review(ask, ruling, said)))


def _review(ask: Ask, ruling: Ruling, said: Any) -> Review:
    lesson = lesson_of(
        {
            "effects": [effect_json(effect) for effect in ruling.effects],
            "features": features_json(ruling.features),
            "scores": scores_json(ruling.scores),
        }
    )
    assert lesson is not None, "a bench asks nothing twice"
    control_id = f"{ask.actions_offset:016x}"
    return Review(control_id=control_id, by="bench", decision_id=ask.decision_id, said=said, lesson=lesson)
