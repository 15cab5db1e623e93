"""SEA: masquerades in shell histories (Schonlau et al. 2001), through the epoch score that the scorer runs.

50 users of 15,000 commands; in the last 100 blocks of 100, 231 are somebody else's. A command is an action's name, one
every 7 s, so that an epoch has waited its ten minutes when it closes. A user's profile is made of the first 5,000
commands of the other 49. A salt changes all hashes, and with them which values share a code and where counters round.

By the data's own protocol the commands before the test blocks are the user's, for certain: whoever published on it
learns them all. So an epoch that ends before the first test block is learned as one that a person vouched for, by what
a review of "fine" does. `sea_unvouched` and `sea_online_unvouched` leave all of them to the gate.

An alarm counts as false in every block that is not a masquerade, those right after one included, although the last
hundred commands then still hold some of it; ``*_apart`` leaves those blocks out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.detection.baselines import NOT_INSTALLED, Detector, block_values, detectors
from bench.detection.ranking import (
    Labels,
    Scores,
    auc,
    curve,
    hit,
    interval,
    intervals,
    mean,
    summary,
    threshold,
)
from bench.detection.sea_data import (
    BLOCK,
    BLOCKS,
    EPISODE_GAP,
    EPISODES,
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
from bench.detection.waits import by_user, episodes, median_interval
from models import epoch
from models.codes import stable_code
from models.prior import load_prior
from models.profiles import Profile

BLOCKS_KNOWN = OWN // BLOCK
SALTS, COLD_SALTS, ONLINE_SALTS = 8, 3, 3


class Played(NamedTuple):
    """A history played: ``h`` and ``drift`` at each close of an epoch, and ``h`` and ``q`` at each event, in nats."""

    closed: list[tuple[float, float]]
    events: list[tuple[float, float]]


def measure(say: Callable[[str], None], *, quick: bool) -> dict[str, Any]:
    """All figures of SEA, by the names of the protocol; ``quick`` takes one salt each and leaves the slowest out.

    Raises:
        BenchFailed: where the data is absent.
    """
    salts, cold, online = (1, 1, 1) if quick else (SALTS, COLD_SALTS, ONLINE_SALTS)
    labels = masquerades()
    with workers() as pool:

        def each(task: Callable[[int], Any]) -> NDArray[Any]:
            return np.array(pool.map(task, range(USERS), chunksize=5))

        say(f"sea: closed epochs, {salts} salts")
        closed = [each(partial(closed_blocks, salt=salt)) for salt in range(salts)]
        say(f"sea: 100 commands of one's own, {cold} salts")
        colder = [each(partial(closed_blocks, salt=salt, own=100)) for salt in range(cold)]
        warmer = [each(partial(closed_blocks, salt=salt, own=1_000)) for salt in range(cold)]
        say(f"sea: every event, epochs shifted by {SHIFT}, {online} salts")
        events = [each(partial(every_event, salt=salt)) for salt in range(online)]
        say(f"sea: both where nobody vouched for the user's own, {online} salts")
        gated = [each(partial(closed_blocks, salt=salt, vouched=False)) for salt in range(online)]
        gated_events = [each(partial(every_event, salt=salt, vouched=False)) for salt in range(online)]
        say("sea: poisoning ramp")
        ramps = [each(partial(ramp, salt=0, strength=strength)) for strength in (1.0, 0.0)]
        say("sea: baselines")
        simple = {"first_seen": each(first_seen), "static_impact": each(static_impact)}
        simple |= {name: each(partial(detected, name=name)) for name, make in found_detectors(quick) if make}
    return {
        **_closed_figures("sea", closed, labels),
        **_closed_figures("sea_unvouched", gated, labels),
        **_cold_figures(colder, warmer, labels),
        "sea_online": _online(events, labels),
        "sea_online_unvouched": _online(gated_events, labels),
        "sea_poison": poison_figures(closed[0], ramps[0], ramps[1], labels),
        "sea_baselines": _baseline_figures(simple, labels, quick=quick),
        "sea_protocol": {"seconds_per_command": STEP_MS / 1_000, "episode_gap_commands": EPISODE_GAP},
    }


def _closed_figures(name: str, closed: Sequence[NDArray[np.float64]], labels: Labels) -> dict[str, Any]:
    heights = [one[:, :, 0] for one in closed]
    return {
        name: {
            **mean([summary(one, labels) for one in heights]),
            **intervals(heights, labels, ("auc", "hit_fa_1_0", "hit_fa_1_3", "hit_fa_4_6")),
            "users_1_to_25": mean([summary(one[:25], labels[:25]) for one in heights]),
            "users_26_to_50": mean([summary(one[25:], labels[25:]) for one in heights]),
            "curve": curve(heights, labels),
            "salts": len(closed),
        }
    }


def _cold_figures(
    colder: Sequence[NDArray[np.float64]], warmer: Sequence[NDArray[np.float64]], labels: Labels
) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, runs in (("sea_cold100", colder), ("sea_cold1000", warmer)):
        heights = [one[:, :, 0] for one in runs]
        told[name] = {
            **mean([summary(one, labels) for one in heights]),
            **intervals(heights, labels, ("auc", "hit_fa_1_0", "hit_fa_4_6")),
            "users_1_to_25": mean([summary(one[:25], labels[:25]) for one in heights]),
            "users_26_to_50": mean([summary(one[25:], labels[25:]) for one in heights]),
            "curve": curve(heights, labels),
        }
    return told


def _online(events: Sequence[NDArray[np.float64]], labels: Labels) -> dict[str, Any]:
    """Means over salts, and intervals for the main ones."""
    highest = [highest_of_blocks(one[:, :, 0]) for one in events]
    found = mean([online_figures(one, labels) for one in events])
    found |= intervals(highest, labels, ("auc", "hit_fa_1_0", "hit_fa_4_6"))
    limit = float(found["q_threshold"])
    waits = [by_user(one[:, :, 1] > limit, labels) for one in events]
    return found | {"delay_median_ci": median_interval(waits), "curve": curve(highest, labels)}


def _baseline_figures(simple: dict[str, NDArray[np.float64]], labels: Labels, *, quick: bool) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, scores in simple.items():
        found = intervals([scores], labels, ("auc", "hit_fa_1_0"))
        told[name] = summary(scores, labels) | found | {"curve": curve([scores], labels)}
    return told | {name: NOT_INSTALLED for name, make in found_detectors(quick) if make is None}


def found_detectors(quick: bool) -> list[tuple[str, Callable[[], Detector] | None]]:
    """The detectors to stand beside ours; quickly, only what is missing is told."""
    return [(name, make) for name, make in detectors(BLOCKS_KNOWN // 2).items() if make is None or not quick]


def play(names: Sequence[str], profile: Profile, *, own: int = 0, every: bool = False) -> Played:
    """Score and learn these actions one after another, as the scorer does; somebody vouched for the first ``own``."""
    habits, at, played = epoch.NO_HABITS, START_MS, Played([], [])
    for place, name in enumerate(names):
        at += STEP_MS
        habits = epoch.ripened(habits, at)
        number, code = habits.number, profile.code(name, stable_code(name))
        scores, mark = epoch.judge(epoch.signs(habits, code, profile), code)
        if place - len(habits.codes) + BLOCK <= own:
            habits = epoch.vouched(habits, number, code, habitual=True, suspected=True)
        habits = epoch.observe(habits, mark, at, learn=True)
        if every:
            played.events.append((scores.h / 1024, scores.q / 1024))
        if habits.number != number:
            played.closed.append((habits.h / 1024, habits.drift / 1024))
    return played


def closed_blocks(user: int, *, salt: int, own: int = OWN, vouched: bool = True) -> list[tuple[float, float]]:
    """``h`` and ``drift`` at the end of each test block, after so many commands of the user's own."""
    names = salted(histories()[user][OWN - own :], salt)
    return play(names, profile_without(user, salt), own=own if vouched else 0).closed[own // BLOCK :]


def every_event(user: int, *, salt: int, vouched: bool = True) -> list[tuple[float, float]]:
    """``h`` and ``q`` at each test command, where epochs start in the middle of the blocks."""
    names = salted(histories()[user][SHIFT:], salt)
    own = OWN - SHIFT
    return play(names, profile_without(user, salt), own=own if vouched else 0, every=True).events[own:]


def ramp(user: int, *, salt: int, strength: float) -> list[tuple[float, float]]:
    """The closes of 100 blocks that end in more and more of another's commands: 2 to 100% times ``strength``."""
    names, theirs = histories()[user], histories()[(user + 7) % USERS]
    clean = [names[OWN + BLOCK * at : OWN + BLOCK * (at + 1)] for at in np.flatnonzero(~masquerades()[user])]
    mixed, taken = list(names[:OWN]), 0
    for at in range(BLOCKS):
        share = round(strength * BLOCK * (0.02 + 0.98 * at / (BLOCKS - 1)))
        mixed += clean[at % len(clean)][: BLOCK - share]
        mixed += [theirs[(taken + place) % OWN] for place in range(share)]
        taken += share
    return play(salted(mixed, salt), profile_without(user, salt), own=OWN).closed[OWN // BLOCK :]


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


def detected(user: int, *, name: str) -> list[float]:
    """By test block what this detector says of it, after the user's first 50; every block is learned, as published."""
    make, names = detectors(BLOCKS_KNOWN // 2)[name], histories()[user]
    assert make is not None
    detector, found = make(), list[float]()
    for start in range(0, OWN + BLOCK * BLOCKS, BLOCK):
        values = block_values(names[start : start + BLOCK])
        if start >= OWN:
            found.append(detector.score(values))
        detector.learn(values)
    return found


def highest_of_blocks(h: Scores) -> Scores:
    """By block the highest of its events."""
    found: Scores = h.reshape(len(h), BLOCKS, BLOCK).max(axis=2)
    return found


def online_figures(events: NDArray[np.float64], labels: Labels) -> dict[str, Any]:
    """Figures by block, of its highest ``h``, and how soon a masquerade is slowed by ``q``."""
    highest = highest_of_blocks(events[:, :, 0])
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
    limit = next(at for at in np.arange(-8.0, 9.0, 0.1) if episodes(q > at, benign) <= EPISODES)
    found = sorted(wait for waits in by_user(q > limit, labels) for wait in waits)
    caught = [value for value in found if value < float("inf")]
    return {
        "delay_median": found[len(found) // 2],
        "delay_caught": len(caught) / len(found),
        "q_threshold": float(limit),
    }


def poison_figures(
    clean: NDArray[np.float64], ramped: NDArray[np.float64], honest: NDArray[np.float64], labels: Labels
) -> dict[str, Any]:
    """How often the last ten blocks alarm by ``h`` (1.3% false) or drift (5% together), and without an attacker."""
    by_h = threshold(clean[:, :, 0][~labels], 0.013)
    benign = clean[~labels]
    steps = np.arange(-1.0, 2.0, 0.01)
    by_drift = next(at for at in steps if ((benign[:, 0] > by_h) | (benign[:, 1] > at)).mean() <= 0.05)

    def alarms(played: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray((played[:, :, 0] > by_h) | (played[:, :, 1] > by_drift))

    with_attacker, without = alarms(ramped).astype(float), alarms(honest).astype(float)
    return {
        "alarm_fa_5": round(share_of_last(with_attacker, labels), 4),
        "alarm_fa_5_ci": interval([with_attacker], labels, share_of_last),
        "alarm_without_attacker": round(share_of_last(without, labels), 4),
        "alarm_by_h_alone": round(float((ramped[:, -10:, 0] > by_h).mean()), 4),
        "h_threshold": round(by_h, 3),
        "drift_threshold": round(float(by_drift), 3),
        "by_block": {"ramp": _by_tenths(with_attacker), "honest": _by_tenths(without)},
    }


def share_of_last(alarms: Scores, _labels: Labels) -> float:
    """The share of alarms among everybody's last ten blocks."""
    return float(alarms[:, -10:].mean())


def _by_tenths(alarms: Scores) -> list[list[float]]:
    """The share of alarms by groups of ten blocks, with the place where each group ends."""
    ends = range(10, BLOCKS + 1, 10)
    return [[float(end), round(float(alarms[:, end - 10 : end].mean()), 4)] for end in ends]
