"""Scorers killed, paused, replaced and robbed of their disk in the middle of 10,000 actions, on Apache Kafka."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stayhand import Guard
from streams.brokers import LocalBroker
from tests.crash.gate import Gate, pending

pytestmark = pytest.mark.apache

ASKS = 10_000
FENCED = 3


@pytest.fixture
def gate(bootstrap: str, unique_prefix: str, tmp_path: Path) -> Iterator[Gate]:
    made = Gate(bootstrap, unique_prefix, tmp_path)
    yield made
    made.end()


def test_a_scorer_killed_among_the_actions_loses_and_repeats_nothing(gate: Gate) -> None:
    first = gate.scorer()

    def kill() -> None:
        first.signal(signal.SIGKILL)
        first.wait()
        gate.scorer()

    answers = asyncio.run(gate.ask_many(ASKS, at={ASKS // 2: kill}))
    gate.settle()
    gate.check(answers, ASKS)


def test_a_lost_state_directory_is_restored_to_the_same_bytes(gate: Gate) -> None:
    first = gate.scorer()

    def kill_and_wipe() -> None:
        first.signal(signal.SIGKILL)
        first.wait()
        shutil.rmtree(gate.folder / "s1")
        gate.scorer()

    answers = asyncio.run(gate.ask_many(ASKS, at={ASKS // 2: kill_and_wipe}))
    gate.settle()
    gate.check(answers, ASKS)


def test_a_kill_inside_a_transaction_is_ended_by_the_successor(gate: Gate) -> None:
    first = gate.scorer("s1", module="tests.crash.dies_in_transaction")

    def other_takes_over() -> None:
        assert first.wait() == -signal.SIGKILL
        gate.scorer("s2")

    answers = asyncio.run(gate.ask_many(ASKS, at={ASKS // 2: other_takes_over}))
    gate.settle()
    gate.check(answers, ASKS)


def test_a_second_kill_during_the_take_over_changes_nothing(gate: Gate) -> None:
    first = gate.scorer()

    def kill_twice() -> None:
        first.signal(signal.SIGKILL)
        first.wait()
        assert gate.scorer("s1", module="tests.crash.dies_in_takeover").wait() == -signal.SIGKILL
        gate.scorer()

    answers = asyncio.run(gate.ask_many(ASKS, at={ASKS // 2: kill_twice}))
    gate.settle()
    gate.check(answers, ASKS)


def test_of_two_scorers_one_is_killed_and_the_other_takes_over(gate: Gate) -> None:
    first = gate.scorer("s1")
    gate.scorer("s2")

    answers = asyncio.run(gate.ask_many(ASKS, at={ASKS // 2: lambda: first.signal(signal.SIGKILL)}))
    gate.settle()
    gate.check(answers, ASKS)


def test_a_paused_scorer_that_was_replaced_is_refused(gate: Gate) -> None:
    first = gate.scorer("s1")

    def replace() -> None:
        first.signal(signal.SIGSTOP)
        second = gate.scorer("s2")
        while not second.said("partition taken over"):
            time.sleep(0.05)
        time.sleep(1)
        first.signal(signal.SIGCONT)

    answers = asyncio.run(gate.ask_many(ASKS, at={ASKS // 2: replace}))
    gate.settle()
    gate.check(answers, ASKS)
    assert first.status in (None, FENCED)


def test_without_a_broker_the_sdk_falls_back_and_recovers_by_itself(
    start_own_broker: Callable[[], LocalBroker], unique_prefix: str, tmp_path: Path
) -> None:
    broker = start_own_broker()
    gate = Gate(broker.bootstrap, unique_prefix, tmp_path)
    try:
        gate.scorer()
        with Guard(
            gate.guard_config(deadline_ms=2_000, deadline_ms_max=10_000, fallback={"read.*": "open", "*": "closed"})
        ) as guard:
            outage(gate, guard, broker)
    finally:
        gate.end()


def outage(gate: Gate, guard: Guard, broker: LocalBroker) -> None:
    """Twenty seconds without Kafka, as an asker sees them."""
    read, write = pending("token:ci-1", "read.thing"), pending("token:ci-1", "write.thing")
    wait_until(lambda: guard.check(read, deadline_ms=10_000).origin == "gate")
    assert guard.check(write).origin == "gate"
    broker.stop()
    stopped_s = time.monotonic()
    assert guard.check(read).verdict == "permit"
    refused = guard.check(write)
    assert (refused.verdict, refused.origin) == ("block", "fallback")
    time.sleep(max(0.0, 20 - (time.monotonic() - stopped_s)))
    broker.restart()

    def answered() -> bool:
        gate.supervise()
        return guard.check(read).origin == "gate"

    wait_until(answered)
    wait_until(lambda: guard.spooled == 0)
    assert {told["mode"] for told in gate.fallbacks()} == {"open", "closed"}


def wait_until(condition: Callable[[], bool], timeout_s: float = 90) -> None:
    until_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until_s, "it did not come true"
        time.sleep(0.2)
