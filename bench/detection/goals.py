"""What each figure of detection is to reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure by its dotted name, and what it is to reach; ``share``: it is a fraction of one."""

    name: str
    text: str
    share: bool
    met: Callable[[float], bool]


def at_least(name: str, bound: float) -> Goal:
    """A share that must not be lower."""
    return Goal(name, f"at least {100 * bound:g}%", share=True, met=lambda value: value >= bound)


def at_most(name: str, bound: float, unit: str = "") -> Goal:
    """A figure that must not be higher; a share where it has no unit."""
    text = f"at most {bound:g} {unit}" if unit else f"at most {100 * bound:g}%"
    return Goal(name, text, share=not unit, met=lambda value: value <= bound)


GOALS = (
    at_least("sea.auc", 0.978),
    at_least("sea.hit_fa_1_0", 0.64),
    at_least("sea.hit_fa_1_3", 0.70),
    at_least("sea.hit_fa_4_6", 0.90),
    # The same, where what came before the test is learned through the gate alone, as for an identity nobody knows.
    at_least("sea_unvouched.hit_fa_1_0", 0.64),
    at_least("sea_unvouched.hit_fa_1_3", 0.70),
    at_least("sea_unvouched.hit_fa_4_6", 0.90),
    at_least("sea_cold100.auc", 0.95),
    at_least("sea_cold100.hit_fa_1_0", 0.33),
    at_least("sea_online.auc", 0.955),
    at_least("sea_online.hit_fa_4_6", 0.80),
    at_least("sea_online_unvouched.hit_fa_4_6", 0.80),
    at_most("sea_online.delay_median", 45, "commands"),
    at_least("sea_poison.alarm_fa_5", 0.80),
    at_least("agentdojo_same.recall_fpr_1", 0.60),
    at_least("agentdojo_disjoint.recall_fpr_1", 0.25),
    at_least("agentdojo_session.confirm.recall_fpr_1", 0.85),
    at_least("agentdojo_session.confirm_strict.recall_fpr_1", 0.75),
    at_most("agentdojo_session.clean_sessions_flagged", 0.03),
    at_most("sans.benign_hours_alarmed", 9, "of 199"),
    at_most("sans.exfil_s", 5, "s"),
    Goal("sans.jmerckle_caught", "yes", share=False, met=bool),
    at_most("cost.p99_us", 50, "us"),
    at_most("cost.state_bytes", 2_048, "bytes"),
)
