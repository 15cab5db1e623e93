"""A Guard over a real broker, against a scorer of a few lines."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stayhand import AsyncGuard, Blocked, Guard, Rejected, Unavailable
from stayhand.partition import partition_for
from stayhand.testing import KEY, decision
from stayhand.wire import Approval, Rejection
from streams.brokers import LocalBroker
from tests.brokers.clients import eventually
from tests.sdk.conftest import action, create_topics
from tests.sdk.fake_scorer import FakeScorer

OpenGuard = Callable[..., Guard]
FAR_MS = 4_000_000_000_000


def test_an_ask_reaches_the_partition_of_its_identity_and_its_answer_comes_back(
    bootstrap: str, prefix: str, open_guard: OpenGuard
) -> None:
    with FakeScorer(bootstrap, prefix, KEY) as scorer:
        guard = open_guard(bootstrap, prefix)
        answer = guard.check(action(source="10.0.0.1"), traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
        assert (answer.verdict, answer.origin) == ("permit", "gate")
        assert answer.receipt == f"receipt-of-{answer.decision_id}"
        [(asked, headers, partition)] = scorer.asks
        assert partition == partition_for(b"token:ci-deployer", 4)
        assert asked.context.source == "10.0.0.1"
        assert 1 <= headers.deadline_ms <= 10_000
        assert headers.traceparent.startswith("00-aaaa")
        assert len(headers.correlation_id) == 16
        assert headers.reply_topic == f"{prefix}.decisions"
        assert scorer.badly_signed == 0


def test_a_thousand_checks_at_once_on_one_guard_each_get_their_own_answer(
    bootstrap: str, prefix: str, open_guard: OpenGuard
) -> None:
    with FakeScorer(bootstrap, prefix, KEY, lambda asked: [decision("block", reason=asked.resource.id)]) as scorer:
        guard = open_guard(bootstrap, prefix, deadline_ms=60_000)

        def ask(number: int) -> str:
            named = action() | {"resource": {"type": "r", "id": f"r{number}"}}
            return guard.check(named).reasons[0].message

        with ThreadPoolExecutor(64) as pool:
            answers = list(pool.map(ask, range(1_000)))
        assert answers == [f"r{number}" for number in range(1_000)]
        assert len(scorer.asks) == 1_000
        assert guard.counts["answers"] == 1_000


async def test_thousands_of_tasks_ask_through_one_async_guard(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    def answer(asked: Any) -> list[Any]:
        return [decision("block", reason=asked.resource.id)]

    with FakeScorer(bootstrap, prefix, KEY, answer):
        settings: dict[str, Any] = {"point": "p1", "key_id": "k1", "key": KEY, "spool_dir": tmp_path / "s"}
        async with AsyncGuard(bootstrap=bootstrap, prefix=prefix, deadline_ms=60_000, **settings) as guard:
            await guard.connect(30_000)
            asked = [action() | {"resource": {"type": "r", "id": f"r{number}"}} for number in range(2_000)]
            answers = await asyncio.gather(*(guard.check(each) for each in asked))
    assert [each.reasons[0].message for each in answers] == [f"r{number}" for number in range(2_000)]


def test_two_guards_on_one_reply_topic_skip_each_others_answers(
    bootstrap: str, prefix: str, open_guard: OpenGuard
) -> None:
    with FakeScorer(bootstrap, prefix, KEY):
        guards = [open_guard(bootstrap, prefix) for _ in range(4)]
        for guard in guards:
            guard.connect(30_000)
        for _ in range(5):
            assert [guard.check(action()).verdict for guard in guards] == ["permit"] * 4
        # Four guards on three partitions: at least two of them share one.
        eventually(lambda: any(guard.counts.get("skipped", 0) >= 5 for guard in guards))


def test_an_answer_that_is_signed_with_another_key_never_permits(
    bootstrap: str, prefix: str, open_guard: OpenGuard
) -> None:
    with FakeScorer(bootstrap, prefix, KEY, lambda _: []) as scorer, ThreadPoolExecutor(1) as pool:
        guard = open_guard(bootstrap, prefix, deadline_ms=60_000)
        asking = pool.submit(guard.check, action())
        eventually(lambda: len(scorer.asks) == 1)
        scorer.sign_key = bytes(32)
        scorer.reply(scorer.asks[0][1], decision("permit"))
        eventually(lambda: guard.counts.get("unverified") == 1)
        assert not asking.done()
        scorer.sign_key = KEY
        scorer.reply(scorer.asks[0][1], decision("block"))
        assert asking.result(30).verdict == "block"


def test_a_repeated_answer_counts_once(bootstrap: str, prefix: str, open_guard: OpenGuard) -> None:
    with FakeScorer(bootstrap, prefix, KEY) as scorer:
        scorer.answers_each = 3
        guard = open_guard(bootstrap, prefix)
        assert guard.check(action()).verdict == "permit"
        eventually(lambda: guard.counts.get("skipped", 0) == 2)
        assert guard.counts["answers"] == 1


def test_a_rejected_ask_raises_and_enforce_blocks(bootstrap: str, prefix: str, open_guard: OpenGuard) -> None:
    refusal = Rejection(code="identity-not-allowed", message="This point may not speak for it.")
    with FakeScorer(bootstrap, prefix, KEY, lambda _: [refusal]) as scorer:
        guard = open_guard(bootstrap, prefix)
        with pytest.raises(Rejected, match="identity-not-allowed"):
            guard.check(action())
        with pytest.raises(Blocked, match="may not speak") as blocked:
            guard.enforce(action())
        assert blocked.value.decision.origin == "fallback"
        eventually(lambda: [each.cause for each in scorer.fallbacks] == ["rejected"])


def test_the_second_answer_of_a_held_ask_resolves_the_hold(bootstrap: str, prefix: str, open_guard: OpenGuard) -> None:
    held = decision("slow", final=False, obligations=[Approval(hold_id="ab" * 8, expires_at_ms=FAR_MS)])
    with FakeScorer(bootstrap, prefix, KEY, lambda _: [held]) as scorer:
        guard = open_guard(bootstrap, prefix)
        first = guard.check(action())
        assert not first.final
        scorer.reply(scorer.asks[0][1], decision("permit"))
        assert guard.wait_final(first).verdict == "permit"


def test_each_outcome_comes_to_the_gate_with_its_receipt(bootstrap: str, prefix: str, open_guard: OpenGuard) -> None:
    with FakeScorer(bootstrap, prefix, KEY) as scorer:
        guard = open_guard(bootstrap, prefix)
        with guard.enforce(action()) as done:
            pass
        with pytest.raises(ZeroDivisionError), guard.enforce(action()) as failed:
            _ = 1 // 0
        eventually(lambda: len(scorer.outcomes) == 2)
        told = {(each.receipt, each.result) for each in scorer.outcomes}
        assert told == {(done.decision.receipt, "done"), (failed.decision.receipt, "failed")}
        eventually(lambda: guard.spooled == 0)


def test_an_outage_costs_one_deadline_and_its_fallbacks_reach_their_topic_afterwards(
    start_own_broker: Callable[[], LocalBroker], open_guard: OpenGuard
) -> None:
    broker = start_own_broker()
    create_topics(broker.bootstrap, "out")
    with FakeScorer(broker.bootstrap, "out", KEY) as scorer:
        guard = open_guard(broker.bootstrap, "out", fallback={"read.*": "open"}, deadline_ms=1_500)
        guard.connect(30_000)
        assert guard.check(action("read.file"), deadline_ms=1_500).origin == "gate"
        broker.stop()
        first = [guard.check(action("deploy.push")), guard.check(action("read.file"))]
        rest = [guard.check(action("deploy.push")) for _ in range(20)]
        assert [each.verdict for each in first] == ["block", "permit"]
        assert {each.verdict for each in rest} == {"block"}
        assert guard.circuit == "open"
        assert guard.spooled == 22
        broker.restart()
        eventually(lambda: guard.check(action("read.file")).origin == "gate")
        eventually(lambda: guard.spooled == 0)
        eventually(lambda: len(scorer.fallbacks) >= 22)
    causes = [each.cause for each in scorer.fallbacks]
    assert causes.count("circuit-open") >= 20
    assert len([cause for cause in causes[:22] if cause != "circuit-open"]) == 1
    assert next(each.mode for each in scorer.fallbacks if each.action == "read.file") == "open"


def test_a_guard_that_starts_before_its_broker_works_once_it_is_there(
    start_own_broker: Callable[[], LocalBroker], open_guard: OpenGuard
) -> None:
    broker = start_own_broker()
    create_topics(broker.bootstrap, "early")
    broker.stop()
    guard = open_guard(broker.bootstrap, "early", deadline_ms=300)
    assert guard.check(action()).origin == "fallback"
    broker.restart()
    with FakeScorer(broker.bootstrap, "early", KEY):
        eventually(lambda: guard.check(action()).origin == "gate")


def test_what_a_killed_process_left_is_told_by_the_next(
    bootstrap: str, prefix: str, open_guard: OpenGuard, tmp_path: Path
) -> None:
    program = textwrap.dedent(f"""
        import sys, signal
        from stayhand import Guard
        guard = Guard(bootstrap={bootstrap!r}, prefix={prefix!r}, point="p1", key_id="k1", key=bytes(range(32)),
                      spool_dir={str(tmp_path / "spool")!r}, deadline_ms=10_000)
        permit = guard.enforce({action()!r})
        print(permit.decision.receipt, flush=True)
        signal.pause()
    """)
    with FakeScorer(bootstrap, prefix, KEY) as scorer:
        environment = os.environ | {"PYTHONPATH": "sdk"}
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment, text=True)
        with child:
            assert child.stdout is not None
            receipt = child.stdout.readline().strip()
            child.send_signal(signal.SIGKILL)
        assert scorer.outcomes == []
        guard = open_guard(bootstrap, prefix)
        eventually(lambda: [(each.receipt, each.result) for each in scorer.outcomes] == [(receipt, "unknown")])
        eventually(lambda: guard.spooled == 0)
    assert len(list((tmp_path / "spool" / prefix / "p1").iterdir())) == 1


def test_closing_a_guard_resolves_what_is_pending_by_its_fallback(
    bootstrap: str, prefix: str, open_guard: OpenGuard
) -> None:
    guard = open_guard(bootstrap, prefix, deadline_ms=600_000)
    guard.connect(30_000)
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(guard.check(action())))
    asking.start()
    eventually(lambda: guard.counts.get("asks", 0) == 1)
    guard.close()
    asking.join(30)
    assert [(each.verdict, each.origin) for each in answers] == [("block", "fallback")]


def test_a_missing_topic_is_named(bootstrap: str, open_guard: OpenGuard) -> None:
    guard = open_guard(bootstrap, "nowhere")
    eventually(lambda: guard._core.problem != "")
    with pytest.raises(Unavailable, match=r"nowhere\.decisions"):
        guard.connect(1)
