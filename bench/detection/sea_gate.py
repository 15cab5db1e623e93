"""SEA through the scorer's own decisions: when a masquerade is first slowed, guided and blocked, and what that costs.

Each user is an identity of its own that meets the pack that ships, with the others' profile; histories begin in the
middle of a block, as a scorer's epochs may. The event score, its session and the rate are at work as well, so the
verdicts are not those of the epoch score alone. Every command is a use of the same resource; none has much impact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.detection.gate import LEVELS, UNANSWERED, Gate
from bench.detection.ranking import Labels
from bench.detection.sea_data import (
    BLOCK,
    OWN,
    SHIFT,
    START_MS,
    STEP_MS,
    histories,
    profile_without,
    salted,
)
from bench.detection.waits import by_user, episodes, median_interval
from stayhand.wire import PendingAction, pending_action

_SEVERITY = {"permit": 0, "slow": 1, "guide": 2, "block": 3}


def verdicts(user: int) -> list[int]:
    """By test command the verdict: 0 permit, 1 slow, 2 guide, 3 block."""
    names = salted(histories()[user][SHIFT:], 0)
    gate, at_ms, found = Gate(profile_without(user, 0)), START_MS, list[int]()
    actions = {name: _command(name) for name in set(names)}
    for name in names:
        at_ms += STEP_MS
        found.append(_SEVERITY[gate.ask(actions[name], at_ms).decision["verdict"]])
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
    """By level (this verdict or a more severe one) the commands until it, and its cost to the users themselves."""
    benign = np.repeat(~labels, BLOCK, axis=1)
    told: dict[str, Any] = {}
    for severity, level in enumerate(LEVELS, 1):
        alarms: Labels = np.greater_equal(ruled, severity)
        waits = by_user(alarms, labels)
        ordered = sorted(wait for some in waits for wait in some)
        reached = [wait for wait in ordered if wait < float("inf")]
        median = ordered[len(ordered) // 2]
        blocks: Labels = np.asarray(np.any(alarms.reshape(len(alarms), -1, BLOCK), axis=2))
        told[level] = {
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
    return told | {"masquerades": len(ordered), "answered": UNANSWERED}


_PLACES = (1, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 400, 600, 1_000)
