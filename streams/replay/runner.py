"""One replay from its files to its report: read, order, lay the ground, start a scorer, pump, reckon."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from streams.commands._session import Session
from streams.local import ground as grounds
from streams.local.ground import Ground
from streams.local.scorer import ScorerProcess
from streams.replay.backfill import backfill
from streams.replay.errors import ReplayFailed
from streams.replay.ledger import Ledger, Peak
from streams.replay.ordering import Intake, Queue, take_in
from streams.replay.pump import Pump
from streams.replay.sources import leaves
from streams.shipped import DEFAULT_PACK

POINT = "replay"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to replay and where.

    ``session`` names Kafka and the replay's own prefix; ``live`` the prefix that takes the baselines over, None for no
    backfill; ``keep`` leaves the topics when the replay is over; ``patience_s`` is how long nothing may move.
    """

    paths: tuple[Path, ...]
    session: Session
    policy: Path = DEFAULT_PACK
    live: Session | None = None
    keep: bool = False
    partitions: int = 4
    patience_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Report:
    """How a replay ended; ``digest`` is equal for two runs exactly where every verdict and total is.

    ``answers_lost``: answers that did not arrive, whose verdicts were taken from the audit.
    """

    prefix: str
    intake: Intake
    verdicts: dict[str, int]
    refused: dict[str, int] = field(default_factory=dict)
    digest: str = ""
    top: tuple[tuple[Peak, dict[str, int]], ...] = ()
    scoring_s: float = 0.0
    backfilled: int | None = None
    answers_lost: int = 0

    @property
    def scored(self) -> int:
        """The events that have a verdict."""
        return sum(self.verdicts.values())

    @property
    def accounted(self) -> bool:
        """Whether every event was scored, refused, a duplicate, skipped or unreadable: exactly one of them."""
        went = self.scored + sum(self.refused.values())
        return self.intake.accounted and self.intake.queued == went


class Watch(Protocol):
    """Who looks on."""

    def reading(self, intake: Intake) -> None:
        """A file more is read."""

    def scoring(self, done: int, total: int) -> None:
        """So many events are answered."""


def replay(plan: Plan, watch: Watch) -> Report:
    """Read the files, score every event in its order, and reckon.

    Raises:
        ReplayFailed: when the scorer, Kafka or an answer fails, or the sums do not agree.
        Mistaken: for a policy or a prefix that will not do.
        TopicsFailed, KafkaDown, Refused: where Kafka does not do its part.
    """
    with tempfile.TemporaryDirectory(prefix="stayhand-replay-") as name:
        folder = Path(name)
        intake = Intake()
        with Queue(folder / "queue") as queue:
            for running in take_in(leaves(plan.paths), queue, intake):
                watch.reading(running)
            report = _scored(plan, queue, intake, folder, watch) if intake.queued else _nothing(plan, intake)
    if not report.accounted:
        raise ReplayFailed(f"{intake.events} events were read and not all of them are accounted for: a defect")
    return report


def _nothing(plan: Plan, intake: Intake) -> Report:
    return Report(plan.session.prefix, intake, {})


def _scored(plan: Plan, queue: Queue, intake: Intake, folder: Path, watch: Watch) -> Report:
    point = grounds.replay_point(plan.session, POINT)
    ground = grounds.lay(plan.session, point, plan.policy, folder, plan.partitions)
    try:
        with Ledger(folder / "ledger") as ledger:
            scoring_s = _pumped(plan, ground, queue, ledger, intake, folder, watch)
            return Report(
                prefix=plan.session.prefix,
                intake=intake,
                verdicts=dict(ledger.verdicts),
                refused=dict(ledger.refused),
                digest=ledger.digest(queue.ordered()),
                top=tuple(ledger.top()),
                scoring_s=scoring_s,
                answers_lost=ledger.lost,
                backfilled=backfill(plan.session, plan.live, folder / "states") if plan.live else None,
            )
    finally:
        if not plan.keep:
            grounds.remove(plan.session)


def _pumped(
    plan: Plan, ground: Ground, queue: Queue, ledger: Ledger, intake: Intake, folder: Path, watch: Watch
) -> float:
    """Seconds from the first answer's wait to the last record's arrival; the scorer has stopped by then."""
    clock = {
        "STAYHAND_CLOCK": "event",
        "STAYHAND_FRESHNESS_MS": "0",
        "STAYHAND_STATE_DIR": str(folder / "state"),
    }
    with ScorerProcess(ground.settings | clock, folder / "scorer.log") as scorer:
        pump = Pump(ground, ledger, scorer, plan.patience_s)
        began_s = time.monotonic()
        pump.run(queue.ordered(), lambda done: watch.scoring(done, intake.queued))
        took_s = time.monotonic() - began_s
        scorer.stop()
    return took_s
