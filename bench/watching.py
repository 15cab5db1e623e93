"""Watching a process work: how far what it writes has come, and what processor time it had, from outside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec

from bench.errors import BenchFailed
from bench.figures import cpu_s
from streams.topics import admin_client

PATIENCE_S = 60.0
SILENCE_S = 0.5
_TIMEOUT_S = 10.0
# Start and end are left out: joining the group, the first fetch, and the wait for the last record are no throughput.
FIRST, LAST = 0.15, 0.95


@dataclass(frozen=True, slots=True)
class Seen:
    """At a moment: how many records stand in the topic, and the process's processor time so far."""

    at_s: float
    records: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Speed:
    """What one process did over the watched span."""

    per_s: float
    cpu_us: float
    span_s: float


class Watcher:
    """Looks at the ends of a topic's partitions."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, every_s: float) -> None:
        """Connect; ``every_s`` is the time between two looks."""
        self._client = admin_client(bootstrap)
        end = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        self._ends = {TopicPartition(topic, number): end for number in range(partitions)}
        self._every_s = every_s

    def records(self) -> int:
        """How many stand there now, over all partitions.

        Raises:
            KafkaException: the broker does not say.
        """
        futures = self._client.list_offsets(self._ends, request_timeout=_TIMEOUT_S)
        return sum(int(future.result(_TIMEOUT_S).offset) for future in futures.values())

    def watch(self, pid: int, start: int, count: int, check: Callable[[], None]) -> Speed:
        """Watch until ``count`` records came after ``start``; ``check`` raises when the process ended.

        Raises:
            BenchFailed: nothing moves any more, or it was over before it could be watched.
        """
        seen = [self._look(pid)]
        moved_s = seen[0].at_s
        while seen[-1].records - start < count:
            time.sleep(self._every_s)
            check()
            seen.append(self._look(pid))
            if seen[-1].records > seen[-2].records:
                moved_s = seen[-1].at_s
            elif seen[-1].at_s - moved_s > PATIENCE_S:
                raise BenchFailed(f"{seen[-1].records - start} of {count} records came, then nothing")
        return speed(seen, start, count)

    def settle(self) -> None:
        """Return when nothing more is written."""
        before, now = -1, self.records()
        while now > before:
            time.sleep(SILENCE_S)
            before, now = now, self.records()

    def _look(self, pid: int) -> Seen:
        before_s, records = time.perf_counter(), self.records()
        return Seen((before_s + time.perf_counter()) / 2, records, cpu_s(pid))


def speed(seen: list[Seen], start: int, count: int) -> Speed:
    """Records a second, and processor time for each, between the first and the last look well inside the work.

    Raises:
        BenchFailed: there are no two such looks.
    """
    inside = [each for each in seen if FIRST * count <= each.records - start <= LAST * count]
    if len(inside) < 2 or inside[-1].records == inside[0].records:
        raise BenchFailed(f"{count} records came too quickly to be watched: ask for more")
    first, last = inside[0], inside[-1]
    records, span_s = last.records - first.records, last.at_s - first.at_s
    return Speed(records / span_s, (last.cpu_s - first.cpu_s) / records * 1e6, span_s)
