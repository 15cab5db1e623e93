"""What a scorer measures, for Prometheus: plain counters on the hot path, made into metrics when they are asked for."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal, Protocol, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

Name = Literal[
    # Actions decided, by verdict.
    "stayhand_decisions",
    # Actions decided after their deadline: recorded, not answered.
    "stayhand_late",
    # Records that went to the dead letters, by code.
    "stayhand_refusals",
    # Outcomes taken in, by result.
    "stayhand_outcomes",
    # Controls applied, by kind.
    "stayhand_controls",
    # Seconds from an action's append to its answer: until its batch was taken, and the work on it.
    "stayhand_answer_seconds",
    # Seconds of work on one action, from decide to answer.
    "stayhand_work_seconds",
    # Answers that could not be delivered.
    "stayhand_replies_failed",
    # Seconds that a checkpoint took.
    "stayhand_checkpoint_seconds",
    # State records written by checkpoints.
    "stayhand_checkpoint_records",
    # Seconds since the last checkpoint; without changes there is none.
    "stayhand_checkpoint_age_seconds",
    # Seconds that taking one partition over took.
    "stayhand_takeover_seconds",
    # State records restored from the changelog.
    "stayhand_restored_records",
    # Partitions owned.
    "stayhand_partitions",
    # Partitions where the policy before decides, because the active one blocked too much more.
    "stayhand_policy_returned",
    # Actions appended and not yet taken, by partition.
    "stayhand_lag_records",
    # State records on disk, as RocksDB estimates them.
    "stayhand_state_records",
    # Bytes of the state on disk.
    "stayhand_state_disk_bytes",
    # Bytes that the state store holds in memory.
    "stayhand_state_memory_bytes",
]

WORK_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
ANSWER_BUCKETS_S = (*WORK_BUCKETS_S, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SLOW_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class StateSize(Protocol):
    """What a store says about its size."""

    def records_estimate(self) -> int:
        """Records, about."""

    def disk_bytes(self) -> int:
        """Bytes on disk."""

    def memory_bytes(self) -> int:
        """Bytes in memory."""


class InputState(Protocol):
    """What the Kafka side says about itself."""

    @property
    def replies_failed(self) -> int:
        """Answers that could not be delivered."""

    def lag_records(self) -> Mapping[int, int]:
        """By partition, actions that wait."""


@dataclass(slots=True)
class _Histogram:
    """Observations by upper bound (inclusive); the last count is of what is above all bounds."""

    bounds: tuple[float, ...]
    counts: list[int] = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def family(self, name: Name, told: str) -> HistogramMetricFamily:
        bounds = [*map(str, self.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(self.counts), strict=True))
        return HistogramMetricFamily(name, told, buckets=buckets, sum_value=self.total)


class Metrics:
    """The worker's observer, and a collector of prometheus-client.

    The worker's thread alone writes; whoever serves the metrics reads meanwhile, so that a histogram's sum may be one
    observation ahead of its counts.
    """

    def __init__(self, log: InputState, store: StateSize, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        """Bind to what is asked only when metrics are."""
        self._log, self._store, self._monotonic_s = log, store, monotonic_s
        self._verdicts: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._controls: Counter[str] = Counter()
        self._late = self._checkpoint_records = self._restored = self._partitions = self._returned = 0
        self._answer_s, self._work_s = _Histogram(ANSWER_BUCKETS_S), _Histogram(WORK_BUCKETS_S)
        self._checkpoint_s, self._takeover_s = _Histogram(SLOW_BUCKETS_S), _Histogram(SLOW_BUCKETS_S)
        self._checkpointed_s = monotonic_s()

    def decided(self, verdict: str, waited_ms: int, took_s: float, *, late: bool) -> None:
        """Count a decision; a late one has no answer and so no latency."""
        self._verdicts[verdict] += 1
        self._work_s.observe(took_s)
        if late:
            self._late += 1
        else:
            self._answer_s.observe(max(0, waited_ms) / 1000 + took_s)

    def refused(self, code: str) -> None:
        """Count a refusal."""
        self._refusals[code] += 1

    def reported(self, result: str) -> None:
        """Count an outcome."""
        self._outcomes[result] += 1

    def controlled(self, kind: str) -> None:
        """Count a control."""
        self._controls[kind] += 1

    def checkpointed(self, took_s: float, records: int) -> None:
        """Count a checkpoint."""
        self._checkpoint_s.observe(took_s)
        self._checkpoint_records += records
        self._checkpointed_s = self._monotonic_s()

    def restored(self, partition: int, records: int, took_s: float) -> None:  # noqa: ARG002 - the observer's signature
        """Count a take-over."""
        self._takeover_s.observe(took_s)
        self._restored += records

    def owns(self, partitions: int) -> None:
        """Remember how many partitions are owned."""
        self._partitions = partitions

    def returned(self, partitions: int) -> None:
        """Remember in how many of them the pack before decides."""
        self._returned = partitions

    def collect(self) -> Iterator[Metric]:
        """Every metric of ``Name``, as prometheus-client wants them."""
        yield _counts("stayhand_decisions", "Actions decided, by verdict.", "verdict", self._verdicts)
        yield _counts("stayhand_refusals", "Records refused, by code.", "code", self._refusals)
        yield _counts("stayhand_outcomes", "Outcomes taken in, by result.", "result", self._outcomes)
        yield _counts("stayhand_controls", "Controls applied, by kind.", "kind", self._controls)
        yield _count("stayhand_late", "Actions decided after their deadline.", self._late)
        yield _count("stayhand_replies_failed", "Answers that could not be delivered.", self._log.replies_failed)
        yield _count("stayhand_checkpoint_records", "State records written.", self._checkpoint_records)
        yield _count("stayhand_restored_records", "State records restored.", self._restored)
        yield self._answer_s.family("stayhand_answer_seconds", "From append to answer.")
        yield self._work_s.family("stayhand_work_seconds", "Work on one action.")
        yield self._checkpoint_s.family("stayhand_checkpoint_seconds", "Time of a checkpoint.")
        yield self._takeover_s.family("stayhand_takeover_seconds", "Time of taking a partition over.")
        age_s = self._monotonic_s() - self._checkpointed_s
        yield _gauge("stayhand_checkpoint_age_seconds", "Time since the last checkpoint.", age_s)
        yield _gauge("stayhand_partitions", "Partitions owned.", self._partitions)
        told = "Partitions where the policy before decides, for the active one blocked too much."
        yield _gauge("stayhand_policy_returned", told, self._returned)
        yield _gauge("stayhand_state_records", "State records on disk, about.", self._store.records_estimate())
        yield _gauge("stayhand_state_disk_bytes", "State on disk.", self._store.disk_bytes())
        yield _gauge("stayhand_state_memory_bytes", "Memory of the state store.", self._store.memory_bytes())
        yield self._lag()

    def _lag(self) -> GaugeMetricFamily:
        name: Name = "stayhand_lag_records"
        family = GaugeMetricFamily(name, "Actions that wait, by partition.", labels=["partition"])
        for partition, records in sorted(self._log.lag_records().items()):
            family.add_metric([str(partition)], records)
        return family


NAMES: tuple[Name, ...] = get_args(Name)


def _counts(name: Name, told: str, label: str, counts: Counter[str]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, told, labels=[label])
    # A copy made in one step, for the worker's thread may add a key meanwhile.
    for value, count in counts.copy().items():
        family.add_metric([value], count)
    return family


def _count(name: Name, told: str, count: int) -> CounterMetricFamily:
    return CounterMetricFamily(name, told, value=count)


def _gauge(name: Name, told: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, told, value=value)
