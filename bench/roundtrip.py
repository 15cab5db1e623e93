"""`roundtrip`: how long `Guard.check` takes, against a bare echo through the same broker in the same run."""

from __future__ import annotations

import gc
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from bench import fleet, pacing
from bench.echo import Asker
from bench.errors import BenchFailed
from bench.figures import median, percentile, spread
from bench.stage import Stage, staged
from stayhand import Guard
from stayhand.errors import Unavailable
from streams.local.ground import KEY_ID
from streams.local.scorer import ScorerProcess

DEADLINE_MS = 30_000
Say = Callable[[str], None]
Action = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it. A broker in Java is slow until some ten thousands of messages went through it."""

    rounds: int = 5
    rate_per_s: float = 500
    seconds: float = 10
    alone: int = 500
    warm_echo: int = 60_000
    warm_guard: int = 20_000
    partitions: int = 8
    seed: int = 7

    @property
    def paced(self) -> int:
        """How many asks a round makes at its rate."""
        return round(self.rate_per_s * self.seconds)


QUICK = Plan(rounds=2, rate_per_s=100, seconds=0.3, alone=10, warm_echo=100, warm_guard=50, partitions=2)


@dataclass(frozen=True, slots=True)
class Round:
    """What one side did in one round: alone and at the rate, in ms."""

    alone_ms: list[float]
    paced: pacing.Paced


def run(bootstrap: str, plan: Plan, say: Say) -> dict[str, Any]:
    """Measure; returns the figures.

    Latency counts from the call to its return. ``p50_ratio`` and ``p99_ratio`` are medians over the rounds of Guard's
    figure at the rate divided by the echo's in the same round; the percentiles beside them are of all rounds together.

    Raises:
        BenchFailed: a process ended, or the gate did not answer an ask.
    """
    with staged(bootstrap, plan.partitions) as stage, stage.scorer() as scorer, _Sides(stage, scorer) as sides:
        chance = random.Random(plan.seed)
        say("warming broker, echo and scorer")
        pacing.at_once(sides.echo, _actions(chance, plan.warm_echo), 256)
        pacing.at_once(sides.guard, _actions(chance, plan.warm_guard))
        rounds: dict[str, list[Round]] = {"guard": [], "echo": []}
        for number in range(plan.rounds):
            for name in ("guard", "echo") if number % 2 == 0 else ("echo", "guard"):
                say(f"round {number + 1} of {plan.rounds}: {name}")
                rounds[name].append(_round(getattr(sides, name), chance, plan))
        return _figures(plan, rounds) | sides.told()


class _Sides:
    """Guard and echo, each as one function that takes an action."""

    def __init__(self, stage: Stage, scorer: ScorerProcess) -> None:
        source, target = stage.add_topic("echo-in"), stage.add_topic("echo-out")
        self._scorer = scorer
        self._process = stage.child("bench.echo", stage.bootstrap, source, target)
        self._asker = Asker(stage.bootstrap, source, target)
        self._guard = Guard(
            bootstrap=stage.bootstrap,
            prefix=stage.ground.session.prefix,
            point=stage.ground.point,
            key_id=KEY_ID,
            key=stage.ground.key,
            deadline_ms=DEADLINE_MS,
            spool_dir=stage.folder / "spool",
        )
        self._verdicts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def guard(self, action: Action) -> None:
        """Ask the gate."""
        decision = self._guard.check(action)
        with self._lock:
            self._verdicts["fallback" if decision.origin == "fallback" else decision.verdict] += 1

    def echo(self, action: Action) -> None:
        """Have the same bytes sent back."""
        self._asker.ask(orjson.dumps(action))

    def told(self) -> dict[str, Any]:
        """What the gate said; an ask that it did not answer spoils the measurement."""
        self._scorer.check()
        self._process.check()
        if unanswered := self._verdicts["fallback"]:
            raise BenchFailed(f"the gate left {unanswered} asks unanswered for {DEADLINE_MS} ms")
        return {"verdicts": dict(sorted(self._verdicts.items()))}

    def __enter__(self) -> _Sides:
        try:
            self._guard.connect(DEADLINE_MS)
        except Unavailable as error:
            raise BenchFailed(f"the guard cannot connect: {error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.close()
        self._asker.close()
        self._process.kill()


def _actions(chance: random.Random, count: int) -> list[Action]:
    return [fleet.action(chance) for _ in range(count)]


def _round(ask: Callable[[Action], None], chance: random.Random, plan: Plan) -> Round:
    alone, paced = _actions(chance, plan.alone), _actions(chance, plan.paced)
    with _unseen():
        return Round(pacing.back_to_back(ask, alone), pacing.at_rate(ask, paced, plan.rate_per_s))


@contextmanager
def _unseen() -> Iterator[None]:
    """Hide from the collector what the bench itself holds, on either side: an asker has no 5,000 actions in store."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _figures(plan: Plan, rounds: dict[str, list[Round]]) -> dict[str, Any]:
    alone, paced, late = {}, {}, {}
    for name, made in rounds.items():
        together = spread([ms for each in made for ms in each.alone_ms])
        alone[name] = {"p50": together["p50"], "max": together["max"]}
        paced[name] = spread([ms for each in made for ms in each.paced.took_ms])
        late[name] = spread([ms for each in made for ms in each.paced.late_ms])
    ratio = partial(_ratios, rounds)
    return {
        "rounds": plan.rounds,
        "rate_per_s": plan.rate_per_s,
        "asks_at_rate": plan.rounds * plan.paced,
        "asks_alone": plan.rounds * plan.alone,
        "alone_ms": alone,
        "at_rate_ms": paced,
        "late_start_ms": late,
        "p50_ratio": median(ratio(0.5)),
        "p99_ratio": median(ratio(0.99)),
        "p50_ratios": ratio(0.5),
        "p99_ratios": ratio(0.99),
    }


def _ratios(rounds: dict[str, list[Round]], share: float) -> Sequence[float]:
    return [
        round(percentile(guard.paced.took_ms, share) / percentile(echo.paced.took_ms, share), 3)
        for guard, echo in zip(rounds["guard"], rounds["echo"], strict=True)
    ]
