"""Watching a process work: how far its answers are, and what processor time it had, from outside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

from bench.errors import BenchFailed
from bench.figures import cpu_s

PATIENCE_S = 60.0
_TIMEOUT_S = 10.0
# Start and end are left out: joining the group, the first fetch, and the wait for the last record are no throughput.
FIRST, LAST = 0.15, 0.95


@dataclass(frozen=True, slots=True)
class Seen:
    """At a moment: how many answers stand in their topic, and the process's processor time so far."""

    at_s: float
    answers: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Speed:
    """What one process did over the watched span."""

    per_s: float
    cpu_us: float
    span_s: float


class Watcher:
    """Looks at the end of a topic of answers, in partition 0."""

    def __init__(self, bootstrap: str, topic: str, every_s: float) -> None:
        """Connect; ``every_s`` is the time between two looks."""
        settings = {"bootstrap.servers": bootstrap, "group.id": "bench", "enable.auto.commit": False}
        self._consumer, self._place, self._every_s = Consumer(settings), TopicPartition(topic, 0), every_s

    def answers(self) -> int:
        """How many stand there now."""
        found = self._consumer.get_watermark_offsets(self._place, timeout=_TIMEOUT_S)
        if found is None:
            raise BenchFailed(f"the end of {self._place.topic} is not known")
        return int(found[1])

    def watch(self, pid: int, start: int, count: int, check: Callable[[], None]) -> Speed:
        """Watch until ``count`` answers came after ``start``; ``check`` raises when the process ended.

        Raises:
            BenchFailed: nothing moves any more, or it was over before it could be watched.
        """
        seen = [self._look(pid)]
        moved_s = seen[0].at_s
        while seen[-1].answers - start < count:
            time.sleep(self._every_s)
            check()
            seen.append(self._look(pid))
            if seen[-1].answers > seen[-2].answers:
                moved_s = seen[-1].at_s
            elif seen[-1].at_s - moved_s > PATIENCE_S:
                raise BenchFailed(f"{seen[-1].answers - start} of {count} answers came, then nothing")
        return speed(seen, start, count)

    def _look(self, pid: int) -> Seen:
        before_s, answers = time.perf_counter(), self.answers()
        return Seen((before_s + time.perf_counter()) / 2, answers, cpu_s(pid))

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()


def speed(seen: list[Seen], start: int, count: int) -> Speed:
    """Answers a second, and processor time for each, between the first and the last look well inside the work.

    Raises:
        BenchFailed: there are no two such looks.
    """
    inside = [each for each in seen if FIRST * count <= each.answers - start <= LAST * count]
    if len(inside) < 2 or inside[-1].answers == inside[0].answers:
        raise BenchFailed(f"{count} answers came too quickly to be watched: ask for more")
    first, last = inside[0], inside[-1]
    answers, span_s = last.answers - first.answers, last.at_s - first.at_s
    return Speed(answers / span_s, (last.cpu_s - first.cpu_s) / answers * 1e6, span_s)
