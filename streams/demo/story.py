"""The story: a fleet with a history works through the gate, one token is stolen, and its thief gets nowhere."""

from __future__ import annotations

import gzip
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

from stayhand import Guard, GuardConfig
from stayhand.errors import StayhandError
from stayhand.wire import Decision, Wait
from streams.commands._session import Session
from streams.demo.fleet import FLEET, SIBLING, THIEF_CLIENT, THIEF_SOURCE, VICTIM, Worker, asks, history, theft
from streams.demo.screen import Screen, Shown
from streams.local import ground as grounds
from streams.local.ground import Ground
from streams.local.scorer import ScorerProcess
from streams.replay.ordering import Intake
from streams.replay.runner import Plan, Report, replay
from streams.shipped import DEFAULT_PACK

POINT = "fleet"
DAYS = 3
DEADLINE_MS = 3_000
READY_MS = 45_000
APART_S = 2.2
THEFT_AT_S = 12.0
# The sibling works while its neighbour's token is being abused.
SIBLING_AT_S = 15.0
LIVE_MOST_S = 60.0
_THIEF_PAUSE_S = 0.5


class Tallied:
    """Decisions by whose hands the token was in, and how long each check took; for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.honest: Counter[str] = Counter()
        self.stolen: Counter[str] = Counter()
        self.sibling_after_block: Counter[str] = Counter()
        self.held_back = 0
        self.latencies_ms: list[float] = []
        self.failures: list[str] = []

    def add(self, shown: Shown) -> None:
        """Count one decision."""
        with self._lock:
            (self.stolen if shown.stolen else self.honest)[shown.verdict] += 1
            self.latencies_ms.append(shown.latency_ms)
            self.held_back += shown.stolen and shown.verdict in {"slow", "guide"} and not self.stolen["block"]
            if shown.identity == SIBLING.identity and self.stolen["block"]:
                self.sibling_after_block[shown.verdict] += 1

    def failed(self, text: str) -> None:
        """An ask that got no decision of the gate."""
        with self._lock:
            self.failures.append(text)


@dataclass(frozen=True, slots=True)
class Ending:
    """How the story ended; ``wrong`` says what should not have happened, and is empty where all went as told."""

    report: Report
    honest: dict[str, int]
    stolen: dict[str, int]
    checks: int
    p50_ms: float
    p99_ms: float
    wrong: tuple[str, ...] = field(default=())


def tell(live: Session, past: Session, folder: Path, screen: Screen, seed: int) -> Ending:
    """Tell it on a broker that is there; everything that is started here is stopped here.

    Args:
        live: Kafka and the live prefix, unused so far.
        past: the same Kafka, and the prefix through which the history is replayed.
        folder: a folder of its own for secrets, state and logs.
        screen: where it is told.
        seed: of the fleet's habits.

    Raises:
        ReplayFailed, TopicsFailed, KafkaDown, StayhandError: where something does not work at all.
    """
    ground = grounds.lay(live, grounds.replay_point(live, POINT), DEFAULT_PACK, folder, 4)
    screen.say(f"{len(FLEET)} identities; {DAYS} days of their history go through Kafka and a scorer of their own ...")
    report = replay(Plan((_written(folder, seed),), past, live=live), _Quiet())
    screen.say(
        f"... {report.scored:,} actions scored in {report.scoring_s:.1f} s, "
        f"{report.backfilled} baselines handed to the live scorer"
    )
    tallied = Tallied()
    settings = ground.settings | {"STAYHAND_STATE_DIR": str(folder / "state")}
    with ScorerProcess(settings, folder / "scorer.log") as scorer, _guard(ground, folder) as guard:
        _ready(guard, scorer, screen)
        _live(guard, scorer, screen, tallied, seed)
        guard.close()
        scorer.stop()
    return _ending(report, tallied)


class _Quiet:
    def reading(self, intake: Intake) -> None:
        """Nothing to show."""

    def scoring(self, done: int, total: int) -> None:
        """Nothing to show."""


def _written(folder: Path, seed: int) -> Path:
    path = folder / "history.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        for record in history(seed, time.time_ns() // 1_000_000, DAYS):
            lines.write(json.dumps(record) + "\n")
    return path


@contextmanager
def _guard(ground: Ground, folder: Path) -> Iterator[Guard]:
    config = GuardConfig(
        bootstrap=ground.session.kafka["bootstrap.servers"],
        prefix=ground.session.prefix,
        point=ground.point,
        key_id=grounds.KEY_ID,
        key=ground.key,
        deadline_ms=DEADLINE_MS,
        deadline_ms_max=READY_MS,
        spool_dir=folder / "spool",
    )
    with Guard(config) as guard:
        yield guard


def _ready(guard: Guard, scorer: ScorerProcess, screen: Screen) -> None:
    """Wait until the gate answers; the first answer comes when every baseline was taken over."""
    guard.connect(READY_MS)
    first = guard.check(next(asks(FLEET[-1], FLEET[-1].jobs[0], 0)), deadline_ms=READY_MS)
    scorer.check()
    screen.say(f"the gate answers ({first.verdict}); now live: everybody asks before acting")


def _live(guard: Guard, scorer: ScorerProcess, screen: Screen, tallied: Tallied, seed: int) -> None:
    began_s = time.monotonic()
    stop = threading.Event()
    stage = _Stage(guard, screen, tallied, stop, began_s)
    threads = [threading.Thread(target=stage.theft, daemon=True)]
    for place, worker in enumerate(FLEET):
        start_s = SIBLING_AT_S if worker is SIBLING else place * APART_S
        chance = random.Random(f"{seed}/live/{worker.identity}")  # noqa: S311 - a simulation, no secret
        threads.append(threading.Thread(target=stage.work, args=(worker, start_s, chance), daemon=True))
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive() and time.monotonic() - began_s < LIVE_MOST_S:
                thread.join(0.5)
                scorer.check()
    finally:
        stop.set()
    if any(thread.is_alive() for thread in threads):
        tallied.failed(f"not everybody was done after {LIVE_MOST_S:.0f} s")


class _Stage:
    """Where workers and the thief act, each in a thread of its own."""

    def __init__(self, guard: Guard, screen: Screen, tallied: Tallied, stop: threading.Event, began_s: float) -> None:
        self._guard, self._screen, self._tallied, self._stop, self._began_s = guard, screen, tallied, stop, began_s

    def work(self, worker: Worker, start_s: float, chance: random.Random) -> None:
        """One job at the worker's own pace."""
        if self._stop.wait(start_s):
            return
        number = chance.randrange(10_000, 90_000)
        for action in asks(worker, chance.choice(worker.jobs), number):
            if self._ask(worker, action, stolen=False) or self._stop.wait(chance.uniform(0.8, 1.8)):
                return

    def theft(self) -> None:
        """The victim's token from another network, with another program, in a hurry."""
        if self._stop.wait(THEFT_AT_S):
            return
        self._screen.say(f"the token of {VICTIM.identity} is stolen and used from {THIEF_SOURCE} ({THIEF_CLIENT})")
        for action in theft():
            if self._ask(VICTIM, action, stolen=True) or self._stop.wait(_THIEF_PAUSE_S):
                return

    def _ask(self, worker: Worker, action: dict[str, Any], *, stolen: bool) -> bool:
        """Ask, show and obey a wait; True when the stage is over."""
        began_s = time.perf_counter()
        try:
            decision = self._guard.check(action)
        except StayhandError as error:
            self._tallied.failed(f"{worker.identity}: {error}")
            return True
        latency_ms = (time.perf_counter() - began_s) * 1000
        shown = self._shown(worker, action, decision, latency_ms, stolen)
        self._tallied.add(shown)
        self._screen.show(shown)
        if decision.origin != "gate":
            self._tallied.failed(f"{worker.identity}: no decision within {DEADLINE_MS} ms")
        return self._stop.wait(_wait_s(decision))

    def _shown(
        self, worker: Worker, action: dict[str, Any], decision: Decision, latency_ms: float, stolen: bool
    ) -> Shown:
        return Shown(
            at_s=time.monotonic() - self._began_s,
            identity=worker.identity,
            action=action["action"]["name"],
            source=action["context"]["source"],
            verdict=decision.verdict,
            latency_ms=latency_ms,
            why="" if decision.verdict == "permit" else _why(decision),
            stolen=stolen,
        )


def _why(decision: Decision) -> str:
    """The first reason in words, the others by their codes: one line."""
    first, *others = decision.reasons or [None]
    codes = ", ".join(reason.code for reason in others if reason is not None)
    told = first.message if first is not None else ""
    return f"{told} ({codes})" if codes else told


def _wait_s(decision: Decision) -> float:
    return sum(obligation.wait_ms for obligation in decision.obligations if isinstance(obligation, Wait)) / 1000


def _ending(report: Report, tallied: Tallied) -> Ending:
    latencies = tallied.latencies_ms
    cuts = quantiles(latencies, n=100, method="inclusive") if len(latencies) > 1 else [0.0] * 99
    checks: list[tuple[bool, str]] = [
        (not tallied.failures, "; ".join(tallied.failures[:3])),
        (tallied.stolen["block"] > 0, "the stolen token was never blocked"),
        (tallied.held_back > 0, "the stolen token was not held back before it was blocked"),
        (tallied.honest["block"] == 0, f"{tallied.honest['block']} honest actions were blocked"),
        (tallied.sibling_after_block["permit"] > 0, f"{SIBLING.identity} was not permitted after the block"),
    ]
    return Ending(
        report=report,
        honest=dict(tallied.honest),
        stolen=dict(tallied.stolen),
        checks=len(latencies),
        p50_ms=cuts[49],
        p99_ms=cuts[98],
        wrong=tuple(text for holds, text in checks if not holds),
    )
