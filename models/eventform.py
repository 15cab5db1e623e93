"""Features, scores and lessons as the JSON of an audit record; integers, strings and lists only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models import conduct, epoch
from models.event import Evidence, Features, Scores
from models.lessons import Lesson


def features_json(f: Features) -> dict[str, Any]:
    """The features as JSON with integers only, short because a hold keeps them; `features_from_json` restores them."""
    (
        at_ms, gap_ms, keys, channels, hour, hour_count, hour_total, repeats, impact, counters, z, session, matured,
        age_ms, number, habit, habit_code, signs, abused, seen,
    ) = f  # fmt: skip
    told: dict[str, Any] = {
        "at": [at_ms, gap_ms, age_ms],
        "keys": [*keys],
        "channels": [None if found is None else [*found] for found in channels],
        "hour": [hour, hour_count, hour_total],
        "repeats": repeats,
        "impact": impact,
        "counters": [*counters],
        "z": [*z],
        "session": session,
        "matured": matured,
        "epoch": number,
        "habit": [habit, habit_code],
    }
    if signs is not None:
        told["signs"] = _signs_json(signs)
    if abused:
        told["abused"] = abused
    if seen is not None:
        told["conduct"] = _conduct_json(seen)
    return told


def features_from_json(d: Mapping[str, Any]) -> Features:
    """Restore features from what `features_json` gave."""
    at, gap, age = d["at"]
    hour, count, total = d["hour"]
    one, two, three, four = (None if found is None else Evidence(*found) for found in d["channels"])
    # Records of the first release have no habits.
    habit = d.get("habit", (0, d["keys"][0] & 0xFFFF if d["keys"] else 0))
    return Features(
        at_ms=at,
        gap_ms=gap,
        keys=tuple(d["keys"]),
        channels=(one, two, three, four),
        hour=hour,
        hour_count=count,
        hour_total=total,
        repeats=d["repeats"],
        impact=d["impact"],
        counters=_three(d["counters"]),
        z=_three(d["z"]),
        session=d["session"],
        matured=d["matured"],
        age_ms=age,
        epoch=d["epoch"],
        habit=habit[0],
        habit_code=habit[1],
        signs=_signs_from_json(d["signs"]) if "signs" in d else None,
        abused=d.get("abused", 0),
        conduct=_conduct_from_json(d["conduct"]) if "conduct" in d else None,
    )


def _conduct_json(seen: conduct.Seen) -> list[Any]:
    """The step, then what speaks against the identity, without the parts at the end that do not."""
    if conduct.silent(seen):
        return [list(seen.step)]
    parts = [list(seen.step), *(None if part is None else list(part) for part in seen[1:])]
    while parts[-1] is None:
        parts.pop()
    return parts


def _conduct_from_json(d: Sequence[Any]) -> conduct.Seen:
    step, *parts = d
    found = (None if part is None else make(*part) for make, part in zip(_PARTS, parts, strict=False))
    return conduct.Seen(conduct.Step(*step), *found)


_PARTS: tuple[Any, ...] = (conduct.Amount, conduct.Amount, conduct.Pause, conduct.Flow, conduct.Change)


def _signs_json(s: epoch.Signs) -> list[Any]:
    return [
        list(s.levels), s.r, list(s.totals), list(s.others), int(s.new), s.usual, s.met,
        [list(window) for window in s.windows], s.before, s.drift, list(s.tails), list(s.peers),
    ]  # fmt: skip


def _signs_from_json(d: Sequence[Any]) -> epoch.Signs:
    levels, r, totals, others, new, usual, met, windows, before, drift, tails, (did, of) = d
    long, middle, short = (_four(window) for window in windows)
    return epoch.Signs(
        _three(levels), r, _four(totals), _three(others), bool(new), usual, met, (long, middle, short), before, drift,
        tuple(tails), (did, of),
    )  # fmt: skip


def _four(values: Sequence[int]) -> tuple[int, int, int, int]:
    one, two, three, four = values
    return (one, two, three, four)


def _three(values: Sequence[int]) -> tuple[int, int, int]:
    one, two, three = values
    return (one, two, three)


def scores_json(s: Scores) -> dict[str, Any]:
    """The scores as JSON: integers of 1/1024; null for what is not ready."""
    return {
        "event": s.event,
        "session": s.session,
        "rate": s.rate,
        "total": s.total,
        "terms": [list(term) for term in s.terms],
        "mature": s.mature,
        "epoch": s.epoch,
        "drift": s.drift,
        "q": s.q,
        "p": s.p,
    }


def lesson_json(lesson: Lesson) -> dict[str, Any]:
    """A lesson as JSON with integers only; `lesson_from_json` restores it."""
    return {
        "at": lesson.at_ms,
        "epoch": lesson.epoch,
        "keys": list(lesson.keys),
        "counters": list(lesson.counters),
        "session": lesson.session,
        "ce": lesson.ce.hex(),
        "learn": lesson.learn,
        "usual": lesson.usual,
        **({} if lesson.mark is None else {"habit": [lesson.habit, *map(int, lesson.mark)]}),
        **({} if lesson.step is None else {"step": list(lesson.step)}),
        **({"alarm": True} if lesson.alarm else {}),
    }


def lesson_from_json(d: Mapping[str, Any]) -> Lesson:
    """Restore a lesson from what `lesson_json` gave."""
    return Lesson(
        at_ms=d["at"],
        epoch=d["epoch"],
        keys=tuple(d["keys"]),
        counters=_three(d["counters"]),
        session=d["session"],
        ce=bytes.fromhex(d["ce"]),
        learn=d["learn"],
        usual=d["usual"],
        step=conduct.Step(*d["step"]) if "step" in d else None,
        alarm=d.get("alarm", False),
        **_habit_from_json(d),
    )


def _habit_from_json(d: Mapping[str, Any]) -> dict[str, Any]:
    if "habit" not in d:
        return {}
    habit, code, value, weight, anchor_value, met, h, rare, alarmed = d["habit"]
    mark = epoch.Mark(code, value, weight, anchor_value, met, h, bool(rare), bool(alarmed))
    return {"habit": habit, "mark": mark}
