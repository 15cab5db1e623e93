"""Realised alarm rates: how often each identity's score alone asked for more than a permit, against a target.

Beside them stand how often it reached the identity's own bar (`models.bar`), and what people said of its decisions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any

from models.bar import START_AT
from models.event import HARMFUL
from models.policy import CompiledPack

Json = dict[str, Any]
IDENTITIES_MAX = 50_000
# 95 %, one-sided: an identity is called above its target when chance alone would rarely bring so many alarms.
_CONFIDENCE_Z = 1.645


@dataclass(slots=True)
class Rate:
    """Decisions on an identity's asks, and how many of them were alarms.

    ``above_bar`` reached the identity's own bar; ``fine`` and ``bad`` are what people called them.
    """

    decisions: int = 0
    alarms: int = 0
    above_bar: int = 0
    fine: int = 0
    bad: int = 0

    @property
    def percent(self) -> float:
        """Alarms in a hundred decisions."""
        return 100 * self.alarms / self.decisions if self.decisions else 0.0

    @property
    def least_percent(self) -> float:
        """What the rate is at least, beyond chance: the lower end of Wilson's score interval (Wilson 1927)."""
        n, z2 = self.decisions, _CONFIDENCE_Z**2
        if not self.alarms:
            return 0.0
        share = self.alarms / n
        middle, spread = share + z2 / (2 * n), _CONFIDENCE_Z * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
        return max(0.0, 100 * (middle - spread) / (1 + z2 / n))


class Alarms:
    """Rates by identity, from audit records; beyond ``most`` identities those with the fewest alarms are forgotten."""

    def __init__(self, packs: Callable[[str], CompiledPack | None], most: int = IDENTITIES_MAX) -> None:
        """``packs(hash)`` is the pack that decided, None where it is not known."""
        self._packs, self._most = packs, most
        self.all, self.unknown, self.forgotten = Rate(), 0, False
        self.rates: dict[str, Rate] = {}

    def add(self, body: Json) -> None:
        """Take one record in: first decisions, of which only the score counts (a rule is no alarm), and reviews."""
        if body["kind"] == "control":
            self._reviewed(body)
        if body["kind"] != "decision":
            return
        pack = self._packs(body["decision"]["policy"]["hash"])
        if pack is None:
            self.unknown += 1
            return
        alarm, above = reaches(pack, body), above_bar(body)
        for rate in (self.all, self._of(body["identity"])):
            rate.decisions += 1
            rate.alarms += alarm
            rate.above_bar += above

    def top(self, most: int) -> list[tuple[str, Rate]]:
        """Those whose rate is highest beyond chance."""
        return sorted(self.rates.items(), key=_least, reverse=True)[:most]

    def above(self, target_percent: float) -> int:
        """How many identities alarm more often than the target, beyond chance."""
        return sum(rate.least_percent > target_percent for rate in self.rates.values())

    def _reviewed(self, body: Json) -> None:
        """A word that changed something; said again, or refused, it is no other word."""
        control = body["control"]
        if control["kind"] != "review" or not body["effects"]:
            return
        for rate in (self.all, self._of(body["identity"])):
            rate.fine += control["said"] == "fine"
            rate.bad += control["said"] == "bad"

    def _of(self, identity: str) -> Rate:
        rate = self.rates.get(identity)
        if rate is None:
            if len(self.rates) >= self._most:
                kept = sorted(self.rates.items(), key=_alarms, reverse=True)[: self._most // 2]
                self.rates, self.forgotten = dict(kept), True
            rate = self.rates[identity] = Rate()
        return rate


def reaches(pack: CompiledPack, body: Json) -> bool:
    """Whether a decision's score alone reaches a band of this pack."""
    if not pack.bands:
        return False
    first = pack.bands[-1]
    at: int = first.harmful_at if body["features"]["impact"] >= HARMFUL else first.at
    return bool(body["scores"]["total"] >= at)


def above_bar(body: Json) -> bool:
    """Whether a decision's total score reached the bar that the identity had then."""
    return bool(body["scores"]["total"] >= (body.get("facts") or {}).get("bar", START_AT))


def rate_json(rate: Rate, target_percent: float) -> Json:
    """One rate as plain data."""
    return {
        "decisions": rate.decisions,
        "alarms": rate.alarms,
        "percent": round(rate.percent, 3),
        "least_percent": round(rate.least_percent, 3),
        "above_target": rate.least_percent > target_percent,
        "above_bar": rate.above_bar,
        "called_fine": rate.fine,
        "called_bad": rate.bad,
    }


def _least(found: tuple[str, Rate]) -> tuple[float, int]:
    return found[1].least_percent, found[1].alarms


def _alarms(found: tuple[str, Rate]) -> int:
    return found[1].alarms
