"""Asking at a pace: back to back, from several threads at once, or at a rate that waits for nobody."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

_T = TypeVar("_T")
THREADS = 32


@dataclass(frozen=True, slots=True)
class Paced:
    """Latencies in ms, from the call to its return, and by how much each call began after its time."""

    took_ms: list[float]
    late_ms: list[float]


def back_to_back(ask: Callable[[_T], object], asks: Sequence[_T]) -> list[float]:
    """One at a time, each as soon as the one before is answered; latencies in ms."""
    took_ms = []
    for each in asks:
        began_s = time.perf_counter()
        ask(each)
        took_ms.append((time.perf_counter() - began_s) * 1000)
    return took_ms


def at_rate(ask: Callable[[_T], object], asks: Sequence[_T], rate_per_s: float, threads: int = THREADS) -> Paced:
    """Call each at its own time, whether or not earlier ones are answered, as long as a thread is free.

    Latency counts from the call. A call that begins late, for want of a thread or of a core, says so in ``late_ms``.
    """
    took_ms, late_ms = [0.0] * len(asks), [0.0] * len(asks)
    began_s = time.perf_counter() + 0.05

    def one(number: int) -> None:
        due_s = began_s + number / rate_per_s
        while (wait_s := due_s - time.perf_counter()) > 0:
            time.sleep(wait_s)
        called_s = time.perf_counter()
        ask(asks[number])
        took_ms[number] = (time.perf_counter() - called_s) * 1000
        late_ms[number] = (called_s - due_s) * 1000

    _spread(one, len(asks), threads)
    return Paced(took_ms, late_ms)


def at_once(ask: Callable[[_T], object], asks: Sequence[_T], threads: int = THREADS) -> None:
    """As fast as this many threads can, to warm what answers."""
    _spread(lambda number: ask(asks[number]), len(asks), threads)


def _spread(one: Callable[[int], object], count: int, threads: int) -> None:
    """Call ``one`` with each number, in order, from threads; the first failure is raised here."""
    numbers = itertools.count()
    failures: list[BaseException] = []

    def work() -> None:
        for number in numbers:
            if number >= count or failures:
                return
            try:
                one(number)
            except BaseException as error:  # noqa: BLE001 - raised again below
                failures.append(error)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
