"""SEA through the scorer's own decisions: when a masquerade is first slowed, guided and blocked, and what that costs.

Each user is an identity of its own that meets the pack that ships, with the others' profile; histories begin in the
middle of a block, as a scorer's epochs may. The event score, its session and the rate are at work as well, so the
verdicts are not those of the epoch score alone. Every command is a use of the same resource; none has much impact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.detection.gate import LEVELS, Gate
from bench.detection.ranking import Labels
from bench.detection.sea import online_figures
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
from bench.detection.waits import by_user, episodes, median_interval
from stayhand.wire import PendingAction, pending_action

# Where the epoch score is not ready.
_LOWEST = -64 * 1024
_SEVERITY = {"permit": 0, "slow": 1, "guide": 2, "block": 3}
# Reasons of the pack that ships: of its rules over longer stretches, and of its bands of the total.
_RULES = {"unlike-lately": 1, "somebody-else-lately": 2, "somebody-else-harmful": 3}
_BANDS = {"unusual": 1, "very-unusual": 2, "not-this-identity": 3}


def measure(say: Callable[[str], None], *, quick: bool) -> dict[str, Any]:
    """``sea_gate``: how soon, and at what cost, by level; ``quick`` takes five users.

    Raises:
        BenchFailed: where the data is absent.
    """
    labels, users = masquerades(), range(0, USERS, 10) if quick else range(USERS)
    say(f"sea_gate: {len(users)} users")
    with workers() as pool:
        ruled = np.array(pool.map(verdicts, users, chunksize=5))
    return {"sea_gate": figures(ruled, labels[list(users)])}


def verdicts(user: int) -> list[tuple[int, int, int, int, int]]:
    """By test command the verdict, what the epoch's rules and the bands of the total had said alone, and ``h``, ``q``.

    0 permit, 1 slow, 2 guide, 3 block; the scores in 1/1024.
    """
    names = salted(histories()[user][SHIFT:], 0)
    gate, at_ms, found = Gate(profile_without(user, 0)), START_MS, list[tuple[int, int, int, int, int]]()
    actions = {name: _command(name) for name in set(names)}
    for name in names:
        at_ms += STEP_MS
        ruling = gate.ask(actions[name], at_ms)
        decision, h, q = ruling.decision, ruling.scores.epoch, ruling.scores.q
        codes = [reason["code"] for reason in decision.get("reasons", ())]
        rules, bands = (max((known.get(code, 0) for code in codes), default=0) for known in (_RULES, _BANDS))
        scores = (_LOWEST if h is None else h, _LOWEST if q is None else q)
        found.append((_SEVERITY[decision["verdict"]], rules, bands, *scores))
    return found[OWN - SHIFT :]


def _command(name: str) -> PendingAction:
    return pending_action(
        {
            "subject": {"type": "user", "id": "shell"},
            "action": {"name": name},
            "resource": {"type": "host", "id": "a"},
        }
    )


def figures(ruled: NDArray[Any], labels: Labels) -> dict[str, Any]:
    """Of the ``pack``, of its ``rules`` of the epoch score alone, and of its ``bands`` of the total alone.

    ``online``: the figures of ``sea_online`` with the scores as they are where the gate says what is learned.
    By level (this verdict or a more severe one) the commands until it, and its cost to the users themselves. ``ruled``
    as `verdicts` gives it, by user.
    """
    parts = {name: _levels(ruled[:, :, place], labels) for place, name in enumerate(("pack", "rules", "bands"))}
    waits = by_user(np.asarray(ruled[:, :, 0] > 0), labels)
    scores, half = ruled[:, :, 3:5] / 1_024, len(labels) // 2
    online = _rounded(online_figures(scores, labels))
    if labels[:half].any() and labels[half:].any():
        online["first_half"] = _rounded(online_figures(scores[:half], labels[:half]))
        online["second_half"] = _rounded(online_figures(scores[half:], labels[half:]))
    return {**parts, "online": online, "masquerades": sum(map(len, waits))}


def _rounded(found: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) for name, value in found.items()}


def _levels(ruled: NDArray[Any], labels: Labels) -> dict[str, Any]:
    return {
        level: _reached(np.asarray(np.greater_equal(ruled, severity)), labels)
        for severity, level in enumerate(LEVELS, 1)
    }


def _reached(alarms: Labels, labels: Labels) -> dict[str, Any]:
    benign, waits = np.repeat(~labels, BLOCK, axis=1), by_user(alarms, labels)
    ordered = sorted(wait for some in waits for wait in some)
    reached = [wait for wait in ordered if wait < float("inf")]
    median = ordered[len(ordered) // 2]
    blocks: Labels = np.asarray(np.any(alarms.reshape(len(alarms), -1, BLOCK), axis=2))
    return {
        "reached": round(len(reached) / len(ordered), 4),
        "actions_median": median if median < float("inf") else None,
        "actions_median_of_reached": reached[len(reached) // 2] if reached else None,
        "seconds_median": median * STEP_MS / 1_000 if median < float("inf") else None,
        "actions_median_ci": median_interval([waits]),
        "benign_episodes_per_1000": round(episodes(alarms, benign), 3),
        "benign_actions": round(float(alarms[benign].mean()), 5),
        "benign_blocks": round(float(blocks[~labels].mean()), 4),
        "reached_by": [[at, round(sum(wait <= at for wait in reached) / len(ordered), 4)] for at in _PLACES],
    }


_PLACES = (1, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 400, 600, 1_000)
