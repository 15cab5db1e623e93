"""What the whole score costs one event: features, scores, lesson and the next baseline, without any I/O.

Each step is repeated from the same state and its best time counts, so that a busy machine does not speak for the code;
the 99th percentile is then over events. Events that close an epoch or let one mature are told apart: they come once in
about a hundred, and their work falls after the answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from models import epoch
from models.baseline import EMPTY, MAX_BODY_BYTES, Baseline, encode
from models.event import features, lesson, observe, score
from models.prior import load_prior
from models.profiles import Profile, build_profile, counted
from stayhand.wire import PendingAction, pending_action

EVENTS, QUICK_EVENTS, SKIPPED, TRIES = 6_000, 1_500, 500, 6
STEP_MS, START_MS = 7_000, 1_700_000_000_000


def measure(say: Callable[[str], None], *, quick: bool) -> dict[str, Any]:
    """Microseconds of an event's scores and lesson, and the bytes of a record, with a profile and without one."""
    say("cost: one event")
    drawn = random.Random(1)
    names = [f"svc:Get{number}" for number in range(60)]
    histories = [[drawn.choice(names[:40]) for _ in range(3_000)] for _ in range(5)]
    profile = build_profile("cost", [counted(history, epoch.EPOCH_EVENTS) for history in histories])
    events = QUICK_EVENTS if quick else EVENTS
    bare, full = _lived(names, None, events), _lived(names, profile, events)
    return {"cost": {**full, "without_profile": bare, "state_bytes_at_most": MAX_BODY_BYTES}}


def _lived(names: list[str], profile: Profile | None, events: int) -> dict[str, Any]:
    drawn, prior, b = random.Random(2), load_prior(), EMPTY
    actions = [_action(name, number) for number, name in enumerate(names)]
    plain: list[float] = []
    closing: list[float] = []
    for number in range(events):
        action = actions[min(len(actions) - 1, int(drawn.expovariate(0.1)))]
        best, after = 1e9, b
        for _ in range(TRIES):
            started = perf_counter_ns()
            seen = features(b, action, START_MS + STEP_MS * number, prior, profile)
            after = observe(b, lesson(seen, score(seen), str(number), learn=True))
            best = min(best, (perf_counter_ns() - started) / 1_000)
        if number >= SKIPPED:
            (closing if _moved(b, after) else plain).append(best)
        b = after
    plain.sort()
    closing.sort()
    return {
        "median_us": round(plain[len(plain) // 2], 1),
        "p99_us": round(plain[int(0.99 * len(plain))], 1),
        "closing_median_us": round(closing[len(closing) // 2], 1),
        "closing_share": round(len(closing) / (len(closing) + len(plain)), 4),
        "state_bytes": len(encode(b)),
    }


def _moved(before: Baseline, after: Baseline) -> bool:
    return before.habits.number != after.habits.number or before.matured != after.matured


def _action(name: str, number: int) -> PendingAction:
    return pending_action(
        {
            "subject": {"type": "token", "id": "ci"},
            "action": {"name": name},
            "resource": {"type": "bucket", "id": f"r{number % 9}"},
            "context": {"source": f"10.0.{number % 5}.1", "client": "boto3/1"},
        }
    )
