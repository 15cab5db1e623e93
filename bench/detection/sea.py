"""SEA: masquerades in shell histories (Schonlau et al. 2001), through the epoch score that the scorer runs.

50 users of 15,000 commands; in the last 100 blocks of 100, 231 are somebody else's. A command is an action's name, one
every 7 s, so that an epoch has waited its ten minutes when it closes. A user's profile is made of the first 5,000
commands of the other 49. A salt changes all hashes, and with them which values share a code and where counters round.

An alarm counts as false in every block that is not a masquerade, those right after one included, although the last
hundred commands then still hold some of it; ``*_apart`` leaves those blocks out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.detection.ranking import Labels, Scores, auc, hit, interval, mean, summary, threshold
from bench.errors import BenchFailed
from models import epoch
from models.codes import stable_code
from models.prior import load_prior
from models.profiles import Counted, Profile, build_profile, counted

USERS, OWN, BLOCK, BLOCKS = 50, 5_000, 100, 100
STEP_MS, START_MS = 7_000, 1_700_000_000_000
SHIFT = 50
EPISODES, EPISODE_GAP = 0.5, 100
SALTS, COLD_SALTS, ONLINE_SALTS = 8, 3, 3


class Played(NamedTuple):
    """A history played: ``h`` and ``drift`` at each close of an epoch, and ``h`` and ``q`` at each event, in nats."""

    closed: list[tuple[float, float]]
    events: list[tuple[float, float]]


def measure(say: Callable[[str], None], *, quick: bool) -> dict[str, Any]:
    """All figures of SEA, by the names of the protocol; ``quick`` takes one salt each."""
    salts, cold, online = (1, 1, 1) if quick else (SALTS, COLD_SALTS, ONLINE_SALTS)
    labels = _labels()
    workers = max(1, min(2, os.cpu_count() or 1))
    # Forked workers would share the threads of whatever else the bench has loaded.
    with get_context("spawn").Pool(workers, os.nice, (5,)) as pool:

        def each(task: Callable[[int], Any]) -> list[Any]:
            return pool.map(task, range(USERS), chunksize=5)

        say(f"sea: closed epochs, {salts} salts")
        closed = [np.array(each(partial(closed_blocks, salt=salt))) for salt in range(salts)]
        say(f"sea: 100 commands of one's own, {cold} salts")
        colder = [np.array(each(partial(closed_blocks, salt=salt, own=100))) for salt in range(cold)]
        warmer = [np.array(each(partial(closed_blocks, salt=salt, own=1_000))) for salt in range(cold)]
        say(f"sea: every event, epochs shifted by {SHIFT}, {online} salts")
        events = [np.array(each(partial(every_event, salt=salt))) for salt in range(online)]
        say("sea: poisoning ramp")
        ramps = [np.array(each(partial(ramp, salt=0, strength=strength))) for strength in (1.0, 0.0)]
        say("sea: first-seen and static impact")
        firsts, impacts = (np.array(each(task)) for task in (first_seen, static_impact))
    heights = [one[:, :, 0] for one in closed]
    return {
        "sea": {
            **mean([summary(one, labels) for one in heights]),
            "hit_fa_1_3_interval": interval(heights[0], labels, 0.013),
            "users_26_to_50": mean([summary(one[25:], labels[25:]) for one in heights]),
            "salts": salts,
        },
        "sea_cold100": mean([summary(one[:, :, 0], labels) for one in colder]),
        "sea_cold1000": mean([summary(one[:, :, 0], labels) for one in warmer]),
        "sea_online": mean([online_figures(one, labels) for one in events]),
        "sea_poison": poison_figures(closed[0], ramps[0], ramps[1], labels),
        "sea_first_seen": summary(firsts, labels),
        "sea_static_impact": summary(impacts, labels),
        "sea_not_run": "HalfSpaceTrees and RRCF: river is no dependency of this project",
        "sea_protocol": {"seconds_per_command": STEP_MS / 1_000, "episode_gap_commands": EPISODE_GAP},
    }


def folder() -> Path:
    """Where the data is: `STAYHAND_DATA`, or beside the checkout."""
    given = os.environ.get("STAYHAND_DATA")
    found = (Path(given) if given else Path(__file__).parents[3] / "shared" / "data") / "sea_masquerade"
    if not found.is_dir():
        raise BenchFailed(f"sea: expected the data in {found}; set STAYHAND_DATA to the folder of data sets")
    return found


def _labels() -> Labels:
    rows = [line.split() for line in (folder() / "label.txt").read_text(encoding="ascii").splitlines()]
    return np.array([[cell == "1" for cell in row] for row in rows], dtype=np.bool_).T


@cache
def histories() -> tuple[tuple[str, ...], ...]:
    """The commands of each user in order."""
    texts = [(folder() / f"User{user}").read_text(encoding="latin-1") for user in range(1, USERS + 1)]
    return tuple(tuple(line.strip() for line in text.splitlines()) for text in texts)


def profile_without(user: int, salt: int) -> Profile:
    """What the other users' first commands say."""
    return build_profile("sea", [counts for other, counts in enumerate(_counts(salt)) if other != user])


@lru_cache(maxsize=1)
def _counts(salt: int) -> list[Counted]:
    return [counted(_salted(names[:OWN], salt), epoch.EPOCH_EVENTS) for names in histories()]


def _salted(names: Sequence[str], salt: int) -> list[str]:
    return [f"{salt}:{name}" for name in names]


def play(names: Sequence[str], profile: Profile, *, every: bool = False) -> Played:
    """Score and learn these actions one after another, as the scorer does."""
    habits, at, played = epoch.NO_HABITS, START_MS, Played([], [])
    for name in names:
        at += STEP_MS
        habits = epoch.ripened(habits, at)
        number, code = habits.number, profile.code(name, stable_code(name))
        scores, mark = epoch.judge(epoch.signs(habits, code, profile), code)
        habits = epoch.observe(habits, mark, at, learn=True)
        if every:
            played.events.append((scores.h / 1024, scores.q / 1024))
        if habits.number != number:
            played.closed.append((habits.h / 1024, habits.drift / 1024))
    return played


def closed_blocks(user: int, *, salt: int, own: int = OWN) -> list[tuple[float, float]]:
    """``h`` and ``drift`` at the end of each test block, after so many commands of the user's own."""
    names = _salted(histories()[user][OWN - own :], salt)
    return play(names, profile_without(user, salt)).closed[own // BLOCK :]


def every_event(user: int, *, salt: int) -> list[tuple[float, float]]:
    """``h`` and ``q`` at each test command, where epochs start in the middle of the blocks."""
    names = _salted(histories()[user][SHIFT:], salt)
    return play(names, profile_without(user, salt), every=True).events[OWN - SHIFT :]


def ramp(user: int, *, salt: int, strength: float) -> list[tuple[float, float]]:
    """The closes of 100 blocks that end in more and more of another's commands: 2 to 100% times ``strength``."""
    names, theirs = histories()[user], histories()[(user + 7) % USERS]
    clean = [names[OWN + BLOCK * at : OWN + BLOCK * (at + 1)] for at in np.flatnonzero(~_labels()[user])]
    mixed, taken = list(names[:OWN]), 0
    for at in range(BLOCKS):
        share = round(strength * BLOCK * (0.02 + 0.98 * at / (BLOCKS - 1)))
        mixed += clean[at % len(clean)][: BLOCK - share]
        mixed += [theirs[(taken + place) % OWN] for place in range(share)]
        taken += share
    return play(_salted(mixed, salt), profile_without(user, salt)).closed[OWN // BLOCK :]


def first_seen(user: int) -> list[float]:
    """By test block how many commands the user did not give in its first 5,000; learning the later ones is worse."""
    names = histories()[user]
    known = set(names[:OWN])
    starts = range(OWN, OWN + BLOCK * BLOCKS, BLOCK)
    return [float(sum(name not in known for name in names[at : at + BLOCK])) for at in starts]


def static_impact(user: int) -> list[float]:
    """By test block the sum of the commands' impact by the shipped prior."""
    names, prior = histories()[user], load_prior()
    starts = range(OWN, OWN + BLOCK * BLOCKS, BLOCK)
    return [float(sum(prior.impact(name) for name in names[at : at + BLOCK])) for at in starts]


def online_figures(events: NDArray[np.float64], labels: Labels) -> dict[str, Any]:
    """Figures by block, of its highest ``h``, and how soon a masquerade is slowed by ``q``."""
    highest = events[:, :, 0].reshape(USERS, BLOCKS, BLOCK).max(axis=2)
    after = np.zeros_like(labels)
    after[:, 1:] = labels[:, :-1]
    apart = ~labels & ~after
    return {
        "auc": auc(highest, labels),
        "hit_fa_1_0": hit(highest, labels, 0.010),
        "hit_fa_4_6": hit(highest, labels, 0.046),
        "hit_fa_1_0_apart": hit(highest, labels, 0.010, apart),
        "hit_fa_4_6_apart": hit(highest, labels, 0.046, apart),
        **delays(events[:, :, 1], labels),
    }


def delays(q: Scores, labels: Labels) -> dict[str, float]:
    """Commands until ``q`` passes the threshold that gives so many episodes in 1,000 benign commands.

    An episode begins with an alarm after a whole window without one. A masquerade is a run of masquerade blocks; one
    that is never slowed counts as longer than any.
    """
    benign = np.repeat(~labels, BLOCK, axis=1)
    limit = next(at for at in np.arange(-8.0, 9.0, 0.1) if _episodes(q > at, benign) <= EPISODES)
    found: list[float] = []
    for alarms, marked in zip(q > limit, np.repeat(labels, BLOCK, axis=1), strict=True):
        edges = np.flatnonzero(np.diff(np.concatenate(([False], marked, [False])).astype(int)))
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            first = np.flatnonzero(alarms[start:end])
            found.append(float(first[0] + 1) if first.size else float("inf"))
    caught = [value for value in found if value < float("inf")]
    ordered = sorted(found)
    return {
        "delay_median": ordered[len(ordered) // 2],
        "delay_caught": len(caught) / len(found),
        "q_threshold": float(limit),
    }


def _episodes(alarms: Labels, benign: Labels) -> float:
    """Episodes that begin in benign commands, by 1,000 of those."""
    starts = 0
    for row, own in zip(alarms, benign, strict=True):
        places = np.flatnonzero(row)
        if places.size:
            first = np.concatenate(([True], np.diff(places) > EPISODE_GAP))
            starts += int(own[places[first]].sum())
    return 1_000 * starts / float(benign.sum())


def poison_figures(
    clean: NDArray[np.float64], ramped: NDArray[np.float64], honest: NDArray[np.float64], labels: Labels
) -> dict[str, Any]:
    """How often the last ten blocks alarm by ``h`` (1.3% false) or drift (5% together), and without an attacker."""
    by_h = threshold(clean[:, :, 0][~labels], 0.013)
    benign = clean[~labels]
    steps = np.arange(-1.0, 2.0, 0.01)
    by_drift = next(at for at in steps if ((benign[:, 0] > by_h) | (benign[:, 1] > at)).mean() <= 0.05)

    def alarmed(played: NDArray[np.float64]) -> float:
        last = played[:, -10:]
        return round(float(((last[:, :, 0] > by_h) | (last[:, :, 1] > by_drift)).mean()), 4)

    return {
        "alarm_fa_5": alarmed(ramped),
        "alarm_without_attacker": alarmed(honest),
        "alarm_by_h_alone": round(float((ramped[:, -10:, 0] > by_h).mean()), 4),
        "h_threshold": round(by_h, 3),
        "drift_threshold": round(float(by_drift), 3),
    }
