"""What the whole score costs one event: features, scores, lesson and the next baseline, without any I/O.

Two lives of the same events run side by side, one with a profile of the others and one without, so that both meet the
same minutes of a machine that may be busy. Before anything counts, several epochs have been learned. Each event is
tried several times from the same state and its best time counts; percentiles are over events. The one event in a
hundred that closes an epoch of habits is told apart: its work is done after the answer has left, and over all events it
would stand exactly at the 99th percentile. (An epoch that had to wait for its ten minutes is learned with the next
event, before its answer; here none waits.) What one try takes at its first go, with caches as other work left
them, is told beside it, and so is what comes before the answer.

Beside the two lives, try by try, runs a control: a fixed piece of plain Python that has nothing to do with the score.
Its instructions do not depend on the machine, so its time tells hosts apart, and hours of the same host.

The bytes are those of the fullest record there can be: every value new until all tables are full, with habits and
anchor, encoded as the scorer stores it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

from bench.figures import percentile
from models import epoch
from models.baseline import EMPTY, MAX_BODY_BYTES, Baseline, encode
from models.event import features, score
from models.lessons import lesson, observe
from models.prior import load_prior
from models.profiles import Profile, build_profile, counted
from stayhand.wire import PendingAction, pending_action

EVENTS, QUICK_EVENTS, WARM, TRIES = 6_000, 1_500, 500, 6
FULL_EVENTS, QUICK_FULL_EVENTS = 12_000, 1_500
STEP_MS, START_MS = 7_000, 1_700_000_000_000
STATE_BYTES_AT_MOST = 2_048
# Rounds of the control, and what they take in all on CPython 3.11 (x86-64, counted by valgrind's callgrind).
CONTROL_ROUNDS, CONTROL_INSTRUCTIONS = 250, 262_000
HOW = (
    "score and update together, without I/O; percentiles over events after the first 500 that close no epoch of habits "
    "(one in a hundred does, after its answer); each the best of 6 tries from the same state; lives with and without a "
    "profile, and the control, interleaved try by try"
)


@dataclass(slots=True)
class _Life:
    """One identity's record, and the microseconds that its events took."""

    profile: Profile | None
    baseline: Baseline = EMPTY
    best_us: list[float] = field(default_factory=list)
    answer_us: list[float] = field(default_factory=list)
    first_us: list[float] = field(default_factory=list)
    closing_us: list[float] = field(default_factory=list)


def measure(say: Callable[[str], None], *, quick: bool) -> dict[str, Any]:
    """Microseconds of an event's scores and lesson, and the bytes of a record, with a profile and without one."""
    say("cost: one event")
    names = [f"svc:Get{number}" for number in range(60)]
    profile = _profile(names)
    with_profile, bare = _Life(profile), _Life(None)
    control_us = _live(names, (with_profile, bare), QUICK_EVENTS if quick else EVENTS)
    full = fullest(profile, QUICK_FULL_EVENTS if quick else FULL_EVENTS)
    return {
        "cost": {
            **_told(with_profile),
            "without_profile": _told(bare),
            "control_median_us": round(percentile(control_us, 0.5), 1),
            "control_p99_us": round(percentile(control_us, 0.99), 1),
            "control_instructions": CONTROL_INSTRUCTIONS,
            "state_bytes": full,
            "state_bytes_usual": len(encode(with_profile.baseline)),
            "state_bytes_body_at_most": MAX_BODY_BYTES,
            "state_bytes_at_most": STATE_BYTES_AT_MOST,
            "how": HOW,
        }
    }


def _profile(names: list[str]) -> Profile:
    drawn = random.Random(1)
    histories = [[drawn.choice(names[:40]) for _ in range(3_000)] for _ in range(5)]
    return build_profile("cost", [counted(history, epoch.EPOCH_EVENTS) for history in histories])


def control(counts: dict[int, int]) -> int:
    """The control: small tuples, look-ups in a table of 64 counts, sums; always the same work."""
    total = 0
    for number in range(CONTROL_ROUNDS):
        place = number % 64
        _, count, code = (number, counts.get(place, 0), place)
        total += count * code
    return total


def _live(names: list[str], lives: tuple[_Life, ...], events: int) -> list[float]:
    """Let the lives meet these events; the control's best microseconds beside each event that counts."""
    drawn, prior = random.Random(2), load_prior()
    counts, control_us = {code: code for code in range(64)}, list[float]()
    actions = [action(name, number) for number, name in enumerate(names)]
    for number in range(events):
        done, at_ms = actions[min(len(actions) - 1, int(drawn.expovariate(0.1)))], START_MS + STEP_MS * number
        tries: list[list[tuple[float, float]]] = [[] for _ in lives]
        after = [life.baseline for life in lives]
        beside: list[float] = []
        for _ in range(TRIES):
            for place, life in enumerate(lives):
                started = perf_counter_ns()
                seen = features(life.baseline, done, at_ms, prior, life.profile)
                note = lesson(seen, score(seen), str(number), learn=True)
                answered = perf_counter_ns()
                after[place] = observe(life.baseline, note)
                ended = perf_counter_ns()
                tries[place].append(((ended - started) / 1_000, (answered - started) / 1_000))
            started = perf_counter_ns()
            control(counts)
            beside.append((perf_counter_ns() - started) / 1_000)
        if number >= WARM:
            control_us.append(min(beside))
        for life, took, then in zip(lives, tries, after, strict=True):
            if number >= WARM:
                life.answer_us.append(min(answer for _, answer in took))
                if life.baseline.habits.number != then.habits.number:
                    life.closing_us.append(min(took)[0])
                else:
                    life.best_us.append(min(took)[0])
                    life.first_us.append(took[0][0])
            life.baseline = then
    return control_us


def _told(life: _Life) -> dict[str, float]:
    every = life.best_us + life.closing_us
    return {
        "median_us": round(percentile(life.best_us, 0.5), 1),
        "p99_us": round(percentile(life.best_us, 0.99), 1),
        "median_first_try_us": round(percentile(life.first_us, 0.5), 1),
        "p99_first_try_us": round(percentile(life.first_us, 0.99), 1),
        "median_answer_us": round(percentile(life.answer_us, 0.5), 1),
        "p99_answer_us": round(percentile(life.answer_us, 0.99), 1),
        "closing_median_us": round(percentile(life.closing_us, 0.5), 1),
        "closing_share": round(len(life.closing_us) / len(every), 4),
        "p99_with_closing_us": round(percentile(every, 0.99), 1),
        "p995_with_closing_us": round(percentile(every, 0.995), 1),
    }


def fullest(profile: Profile, events: int) -> int:
    """The largest encoding met while every event brings new values and all of them are learned."""
    drawn, prior, b, most, at_ms = random.Random(3), load_prior(), EMPTY, 0, START_MS
    for number in range(events):
        at_ms += drawn.choice((10, 5_000, 200_000))
        fresh = drawn.randrange(10**9)
        seen = features(b, action(f"svc:Do{fresh}", fresh, f"{fresh}"), at_ms, prior, profile)
        b = observe(b, lesson(seen, score(seen), str(number), learn=True))
        if number % 25 == 0:
            most = max(most, len(encode(b)))
    return most


def action(name: str, number: int, client: str = "boto3") -> PendingAction:
    """One action on one of a few resources, or on one of its own where ``number`` is large."""
    return pending_action(
        {
            "subject": {"type": "token", "id": "ci"},
            "action": {"name": name},
            "resource": {"type": "bucket", "id": f"r{number % 9 if number < 1_000 else number}"},
            "context": {"source": f"10.{number >> 8 & 255}.{number % 256}.1", "client": f"{client}/1"},
        }
    )
