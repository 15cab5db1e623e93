"""SANS FOR504's CloudTrail logs through mapping and decision of the scorer: benign hours alarmed, attacks found.

23,981 events of six identities, of which four act often: a rate of false alarms that rests on four identities. Two
attacks: an IAM user that explores and makes itself keys, and a burst of reads by a user that has a history. The logs go
through the replay's reader (duplicates and order as there), `decide` and `settle` with the pack that ships, and no
profile, for nobody else's history is at hand. An alarm is any verdict but permit.

Labels (from the scenario): all of ``jmerckle``, and what ``FalsimentisRoot`` did on 2021-07-30 from 16 to 17 h UTC.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.detection.baselines import NOT_INSTALLED, Detector, action_values, detectors
from bench.detection.data import folder
from bench.detection.gate import First, Gate, firsts
from models.prior import load_prior
from stayhand.wire import PendingAction
from streams.replay.ordering import Intake, Queue, take_in
from streams.replay.sources import leaves

HOUR_MS = 3_600_000
BURST_HOUR = 1_627_660_800_000 // HOUR_MS
JMERCKLE, BURST, BENIGN = "jmerckle", "burst", ""
IN_TIME_S = 5.0
WINDOW = 128
_BOOTSTRAPS = 1_000


class Logged(NamedTuple):
    """One event in its order; ``label`` names the attack that it belongs to, empty for what is benign."""

    at_ms: int
    ce_id: str
    action: PendingAction
    label: str

    @property
    def hour(self) -> tuple[str, int]:
        """The identity and the hour since 1970."""
        return self.action.identity, self.at_ms // HOUR_MS


def measure(say: Callable[[str], None], *, quick: bool) -> dict[str, Any]:
    """``sans``: counts of benign identity-hours, seconds, and what each simpler method would have alarmed.

    ``quick`` leaves the detectors out.

    Raises:
        BenchFailed: where the data is absent.
    """
    events, intake = read(folder("sans504"))
    say(f"sans: {len(events)} events, {intake.duplicates} duplicates")
    gate = Gate()
    rulings = [gate.ask(one.action, one.at_ms, one.ce_id) for one in events]
    verdicts = [ruling.decision["verdict"] for ruling in rulings]
    say("sans: decided; now by the baselines")
    totals = [ruling.scores.total / 1_024 for ruling in rulings]
    beside = {"at_equal_catch": compared(events, totals, detect=not quick), "at_own_level": at_own_level(events)}
    return {"sans": figures(events, verdicts) | beside}


def read(data: Path) -> tuple[list[Logged], Intake]:
    """The events as the replay would send them, each once, in order of time, file and position."""
    intake = Intake()
    with tempfile.TemporaryDirectory(prefix="stayhand-bench-") as name:
        queue = Queue(Path(name) / "queue")
        try:
            for _ in take_in(leaves([data]), queue, intake):
                pass
            events = [_logged(one.at_ms, one.ce_id, one.body) for one in queue.ordered()]
        finally:
            queue.close()
    return events, intake


def _logged(at_ms: int, ce_id: str, body: bytes) -> Logged:
    action = PendingAction.model_validate_json(body)
    name = action.subject.id.rpartition("/")[2]
    burst = name == "FalsimentisRoot" and at_ms // HOUR_MS == BURST_HOUR
    return Logged(at_ms, ce_id, action, JMERCKLE if name == "jmerckle" else BURST if burst else BENIGN)


def figures(events: Sequence[Logged], verdicts: Sequence[str]) -> dict[str, Any]:
    """What these verdicts alarm: benign hours, and how soon each attack."""
    alarmed = [verdict != "permit" for verdict in verdicts]
    hours = {one.hour for one in events if one.label == BENIGN}
    false = {one.hour for one, alarm in zip(events, alarmed, strict=True) if alarm and one.label == BENIGN}
    jmerckle, burst = (
        [(one.at_ms, verdict) for one, verdict in zip(events, verdicts, strict=True) if one.label == label]
        for label in (JMERCKLE, BURST)
    )
    first, theirs = firsts(burst), firsts(jmerckle)
    return {
        "benign_hours_alarmed": len(false),
        "benign_hours_alarmed_ci": interval(hours, false),
        "benign_hours": len(hours),
        "benign_identities": len({identity for identity, _ in hours}),
        "exfil_s": None if first["slow"] is None else first["slow"].seconds,
        "exfil_actions": None if first["slow"] is None else first["slow"].actions,
        "exfil_alarmed_share": round(sum(verdict != "permit" for _, verdict in burst) / max(1, len(burst)), 4),
        "jmerckle_caught": theirs["slow"] is not None,
        "first": {JMERCKLE: _told(theirs), BURST: _told(first)},
        "verdicts": {
            label or "benign": dict(
                Counter(verdict for one, verdict in zip(events, verdicts, strict=True) if one.label == label)
            )
            for label in (BENIGN, JMERCKLE, BURST)
        },
        "alarm": "any verdict but permit, by the pack that ships",
    }


def _told(found: dict[str, First | None]) -> dict[str, Any]:
    return {level: None if first is None else first._asdict() for level, first in found.items()}


def interval(hours: set[tuple[str, int]], false: set[tuple[str, int]]) -> list[float]:
    """95% of the count when the identities are drawn anew; of four identities that is wide, and says so."""
    sizes, wrong = (Counter(identity for identity, _ in some) for some in (hours, false))
    names, draw, found = sorted(sizes), random.Random(1), list[float]()
    for _ in range(_BOOTSTRAPS):
        drawn = draw.choices(names, k=len(names))
        share = sum(wrong[name] for name in drawn) / sum(sizes[name] for name in drawn)
        found.append(share * len(hours))
    found.sort()
    return [round(found[round(share * (len(found) - 1))], 1) for share in (0.025, 0.975)]


def compared(events: Sequence[Logged], totals: Sequence[float], *, detect: bool) -> dict[str, Any]:
    """By method the benign hours alarmed at the highest level at which both attacks are, the burst within 5 s."""
    told: dict[str, Any] = {
        "ours": hours_at_equal_catch(events, totals),
        "first_seen": hours_at_equal_catch(events, first_seen(events)),
        "static_impact": hours_at_equal_catch(events, static_impact(events)),
    }
    for name, make in detectors(WINDOW).items():
        if make is None:
            told[name] = NOT_INSTALLED
        elif detect:
            told[name] = hours_at_equal_catch(events, detected(events, make))
    return told


def at_own_level(events: Sequence[Logged]) -> dict[str, dict[str, Any]]:
    """What two simple rules alarm as they are used: an action new to the identity; one of impact 2 or more."""
    seen, new = set[tuple[str, str]](), list[bool]()
    for one in events:
        key = (one.action.identity, one.action.action.name)
        new.append(key not in seen)
        seen.add(key)
    high = [impact >= 2 for impact in static_impact(events)]
    told: dict[str, dict[str, Any]] = {}
    for name, alarms in (("first_seen", new), ("static_impact", high)):
        hits = [one for one, alarm in zip(events, alarms, strict=True) if alarm]
        told[name] = {
            "benign_hours_alarmed": len({one.hour for one in hits if one.label == BENIGN}),
            "burst_caught": any(one.label == BURST for one in hits),
            "jmerckle_caught": any(one.label == JMERCKLE for one in hits),
        }
    return told


def hours_at_equal_catch(events: Sequence[Logged], scores: Sequence[float]) -> int:
    """Benign hours with a score as high as the lower of the two attacks' highest."""
    start_ms = next(one.at_ms for one in events if one.label == BURST)
    burst = max(
        score
        for one, score in zip(events, scores, strict=True)
        if one.label == BURST and one.at_ms <= start_ms + IN_TIME_S * 1_000
    )
    theirs = max(score for one, score in zip(events, scores, strict=True) if one.label == JMERCKLE)
    level = min(burst, theirs)
    pairs = zip(events, scores, strict=True)
    return len({one.hour for one, score in pairs if one.label == BENIGN and score >= level})


def first_seen(events: Sequence[Logged]) -> list[float]:
    """By event how many values (action, resource, source, client) the identity had for the first time this hour."""
    seen, now, found = set[tuple[str, int, str]](), Counter[tuple[str, int]](), list[float]()
    for one in events:
        action, context = one.action, one.action.context
        values = (action.action.name, f"{action.resource.type}:{action.resource.id}", context.source, context.client)
        keys = {(action.identity, place, value) for place, value in enumerate(values) if value}
        now[one.hour] += len(keys - seen)
        seen |= keys
        found.append(float(now[one.hour]))
    return found


def static_impact(events: Sequence[Logged]) -> list[float]:
    """By event the impact of its action by the shipped prior."""
    prior = load_prior()
    return [float(prior.impact(one.action.action.name)) for one in events]


def detected(events: Sequence[Logged], make: Callable[[], Detector]) -> list[float]:
    """By event what a detector of its identity's own says, which then learns it."""
    own: dict[str, Detector] = {}
    last: dict[str, int] = {}
    found: list[float] = []
    for one in events:
        identity = one.action.identity
        values = action_values(one.action, one.at_ms, one.at_ms - last.get(identity, one.at_ms))
        detector = own[identity] if identity in own else own.setdefault(identity, make())
        found.append(detector.score(values))
        detector.learn(values)
        last[identity] = one.at_ms
    return found
