"""Guard against a gate in memory: answers, fallbacks, breaker, holds, close, threads."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stayhand import Decision, Guard, GuardClosed, InvalidAction, LocalRules, PendingAction, Rejected
from stayhand._spool import Entry
from stayhand._transport import Delivered, Outgoing, ReplyAddress, Sink
from stayhand.headers import TYPE_DECISION, TYPE_PENDING, decision_headers, decision_signable, decode_ask, rfc3339
from stayhand.signing import sign
from stayhand.testing import KEY, FakeGuard, StubGate, decision, sealed
from stayhand.wire import Approval, Outcome
from tests.brokers.clients import eventually
from tests.sdk.conftest import ACTION, action


class Wire:
    """A transport that the test moves by hand: nothing is answered or delivered before the test says so."""

    def __init__(self, *, ready: bool = True) -> None:
        self.sent: list[tuple[Outgoing, Delivered]] = []
        self.told: list[tuple[Outgoing, Delivered]] = []
        self.reply_address: ReplyAddress | None = ReplyAddress("t.decisions", 0) if ready else None
        self.alive = True
        self.problem = ""
        self.on_send: Callable[[], None] = lambda: None
        self.on_report: Callable[[], None] = lambda: None
        self.sink: Sink | None = None

    def start(self, sink: Sink) -> None:
        self.sink = sink
        if self.reply_address is not None:
            sink.ready()

    def become_ready(self) -> None:
        self.reply_address = ReplyAddress("t.decisions", 0)
        self._sink.ready()

    def send(self, record: Outgoing, delivered: Delivered) -> None:
        pending = decode_ask(record.headers).ce_type == TYPE_PENDING
        (self.sent if pending else self.told).append((record, delivered))
        self.on_send()

    def deliver(self, index: int = -1, error: str | None = None) -> None:
        self.sent[index][1](error)

    def answer(self, answer: Any, index: int = -1, key: bytes = KEY) -> None:
        headers = decode_ask(self.sent[index][0].headers)
        self._sink.answer(*sealed(answer, headers.correlation_id, key))

    def tick(self) -> None:
        self._sink.tick()

    def report(self) -> None:
        self.on_report()

    def reachable(self) -> bool:
        return self.alive

    def close(self, timeout_ms: int) -> None:
        pass

    def abandon(self) -> None:
        pass

    @property
    def _sink(self) -> Sink:
        assert self.sink is not None
        return self.sink


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def slow_guard(wire: Wire, tmp_path: Path) -> Iterator[Guard]:
    """A Guard on the wire, with a deadline that no test waits for."""
    settings: dict[str, Any] = {"point": "p1", "key_id": "k1", "key": KEY, "spool_dir": tmp_path / "spool"}
    with Guard(transport=wire, deadline_ms=600_000, **settings) as made:
        yield made


class Asking:
    """A check that runs in a thread of its own."""

    def __init__(self, guard: Guard, wire: Wire, asked: Any = ACTION, **how: Any) -> None:
        self.result: Decision | Exception | None = None
        before = len(wire.sent)
        self._thread = threading.Thread(target=self._ask, args=(guard, asked, how))
        self._thread.start()
        eventually(lambda: len(wire.sent) > before or not self._thread.is_alive())

    def _ask(self, guard: Guard, asked: Any, how: dict[str, Any]) -> None:
        try:
            self.result = guard.check(asked, **how)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.result = error

    def end(self) -> Any:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.result


def lease(guard: FakeGuard, *modes: Any, pattern: str = "*") -> None:
    """Let the gate allow these fallbacks for the action, by an answered check."""
    guard.gate.permit(pattern, fallbacks=("closed", *modes))
    assert guard.check(ACTION).origin == "gate"
    guard.gate.silent(pattern)


def test_an_answer_carries_its_receipt_and_says_that_the_gate_made_it(guard: FakeGuard) -> None:
    guard.gate.permit()
    answer = guard.check(ACTION)
    assert (answer.verdict, answer.origin, answer.receipt) == ("permit", "gate", f"receipt-of-{answer.decision_id}")


def test_what_an_answer_says_about_its_own_origin_and_receipt_is_not_believed(slow_guard: Guard, wire: Wire) -> None:
    asking = Asking(slow_guard, wire)
    correlation_id = decode_ask(wire.sent[0][0].headers).correlation_id
    body = decision("permit").model_dump_json().replace("{", '{"receipt":"forged","origin":"fallback",', 1).encode()
    headers = decision_headers("id", TYPE_DECISION, rfc3339(0), correlation_id, "real")
    headers.append(("stayhand_signature", sign(KEY, decision_signable(body, dict(headers)))))
    wire._sink.answer(body, headers)
    answer = asking.end()
    assert (answer.receipt, answer.origin) == ("real", "gate")


@pytest.mark.parametrize(
    "change",
    [
        lambda body, headers: (body.replace(b"block", b"permit"), headers),
        lambda body, headers: (body, [h for h in headers if h[0] != "stayhand_signature"]),
        lambda body, headers: (body, [*headers, ("ce_id", b"again")]),
        lambda body, headers: (body, [(n, b"other" if n == "stayhand_receipt" else v) for n, v in headers]),
        lambda body, headers: (body, [(n, b"x" if n == "ce_type" else v) for n, v in headers]),
    ],
)
def test_an_answer_that_was_changed_on_its_way_is_ignored_and_counted(
    change: Any, slow_guard: Guard, wire: Wire
) -> None:
    asking = Asking(slow_guard, wire)
    correlation_id = decode_ask(wire.sent[0][0].headers).correlation_id
    wire._sink.answer(*change(*sealed(decision("block"), correlation_id, KEY)))
    assert slow_guard.counts["unverified"] == 1
    wire.answer(decision("slow"))
    assert asking.end().verdict == "slow"


@pytest.mark.parametrize("body", [b'{"verdict":"permit"}', b"not json", b'{"verdict":"later"}'])
def test_a_signed_answer_that_cannot_be_read_never_permits_even_where_the_fallback_is_open(
    body: bytes, slow_guard: Guard, wire: Wire
) -> None:
    first = Asking(slow_guard, wire)
    wire.answer(decision("permit", fallbacks=("open",)))
    first.end()
    asking = Asking(slow_guard, wire, fallback="open")
    headers = decision_headers("id", TYPE_DECISION, rfc3339(0), decode_ask(wire.sent[1][0].headers).correlation_id, "")
    headers.append(("stayhand_signature", sign(KEY, decision_signable(body, dict(headers)))))
    wire._sink.answer(body, headers)
    result = asking.end()
    assert isinstance(result, Rejected)
    assert result.code == "unreadable-answer"


def test_the_deadline_of_a_call_has_bounds(guard: FakeGuard) -> None:
    for deadline_ms in (0, -1, 1_001):
        with pytest.raises(InvalidAction, match="deadline_ms: expected 1 to 1000"):
            guard.check(ACTION, deadline_ms=deadline_ms)


@pytest.mark.parametrize(
    "text", ["x", "00-" + "0" * 32 + "-" + "b" * 16 + "-01", "ff-" + "a" * 32 + "-" + "b" * 16 + "-01"]
)
def test_a_traceparent_that_is_none_is_refused(text: str, guard: FakeGuard) -> None:
    with pytest.raises(InvalidAction, match="traceparent"):
        guard.check(ACTION, traceparent=text)


def test_without_an_answer_and_without_a_lease_every_mode_is_closed(guard: FakeGuard) -> None:
    guard.gate.silent()
    for mode in ("closed", "open", "local", "last-known"):
        answer = guard.check(ACTION, fallback=mode)
        assert (answer.verdict, answer.origin, answer.reasons[0].code) == ("block", "fallback", "fallback-closed")
    assert [each.mode for each in guard.gate.fallbacks] == ["closed"] * 4


def test_open_permits_only_within_the_lease_of_that_action(guard: FakeGuard) -> None:
    lease(guard, "open")
    answer = guard.check(ACTION, fallback="open")
    assert (answer.verdict, answer.origin, answer.receipt) == ("permit", "fallback", "")
    assert guard.check(ACTION, fallback="last-known").verdict == "block"
    assert guard.check(action("deploy.delete"), fallback="open").verdict == "block"


def test_a_lease_ends(guard: FakeGuard) -> None:
    guard.gate.answer("*", decision("permit", fallbacks=("open",), lease_ms=-1))
    guard.check(ACTION)
    guard.gate.silent()
    assert guard.check(ACTION, fallback="open").verdict == "block"


def test_a_later_decision_takes_the_lease_back(guard: FakeGuard) -> None:
    lease(guard, "open")
    lease(guard)
    assert guard.check(ACTION, fallback="open").verdict == "block"


def test_local_rules_decide_within_their_lease() -> None:
    rules = LocalRules(permit=["deploy.*"], block=["*.delete"])
    with FakeGuard(local_rules=rules, fallback="local") as guard:
        guard.gate.permit("*", fallbacks=("local",))
        for name in ("deploy.push", "deploy.delete", "other"):
            guard.check(action(name))
        guard.gate.silent("*")
        verdicts = [guard.check(action(name)).verdict for name in ("deploy.push", "deploy.delete", "other")]
    assert verdicts == ["permit", "block", "block"]
    assert [each.mode for each in guard.gate.fallbacks] == ["local"] * 3


def _broken(_: PendingAction) -> Any:
    raise ZeroDivisionError


@pytest.mark.parametrize("rules", [None, _broken, lambda _: None, lambda _: True, lambda _: "slow"])
def test_local_rules_that_are_missing_fail_or_say_anything_else_stay_closed(rules: Any) -> None:
    with FakeGuard(local_rules=rules, fallback="local") as guard:
        lease(guard, "local")
        assert guard.check(ACTION).verdict == "block"


def test_the_last_known_decision_is_repeated_for_the_same_action_alone(guard: FakeGuard) -> None:
    lease(guard, "last-known")
    assert guard.check(ACTION, fallback="last-known").verdict == "permit"
    other = ACTION | {"resource": {"type": "environment", "id": "elsewhere"}}
    assert guard.check(other, fallback="last-known").verdict == "block"
    assert guard.check(ACTION, arguments={"a": 1}, fallback="last-known").verdict == "block"


def test_the_last_known_decision_is_repeated_for_its_grace_alone() -> None:
    with FakeGuard(last_known_ms=0, fallback="last-known") as guard:
        lease(guard, "last-known")
        eventually(lambda: guard.check(ACTION).verdict == "block")


def test_an_approval_is_never_repeated_from_memory(guard: FakeGuard) -> None:
    lease(guard, "last-known")
    approval = Approval(hold_id="ab" * 8, expires_at_ms=4_000_000_000_000)
    held = decision("slow", final=False, obligations=[approval], fallbacks=("last-known",))
    guard.gate.answer("*", held, decision("permit", fallbacks=("last-known",)))
    assert guard.wait_final(guard.check(ACTION)).verdict == "permit"
    guard.gate.silent()
    assert guard.check(ACTION, fallback="last-known").verdict == "block"


def test_a_fallback_is_told_with_its_cause_and_what_it_was_about(guard: FakeGuard) -> None:
    lease(guard, "open")
    guard.check(ACTION, fallback="open")
    [told] = guard.gate.fallbacks
    assert (told.point, told.action, told.resource) == ("test-point", "deploy.push", "environment:prod/eu")
    assert (told.mode, told.verdict, told.cause) == ("open", "permit", "unavailable")


def test_what_cannot_be_recorded_does_not_permit() -> None:
    with FakeGuard(spool_bytes_max=4_096) as guard:
        lease(guard, "open")
        guard.gate.stop()
        verdicts = [guard.check(ACTION, fallback="open").verdict for _ in range(50)]
    assert verdicts[0] == "permit"
    assert verdicts[-1] == "block"
    assert guard.counts["unspooled"] > 0


def test_a_dead_broker_costs_one_deadline(wire: Wire, tmp_path: Path) -> None:
    wire.alive = False
    settings: dict[str, Any] = {"point": "p1", "key_id": "k1", "key": KEY, "spool_dir": tmp_path / "spool"}
    with Guard(transport=wire, deadline_ms=20, **settings) as guard:
        assert guard.check(ACTION).reasons[0].message.startswith("The gate did not answer in time")
        for _ in range(100):
            assert guard.check(ACTION).reasons[0].message.startswith("The gate is known to be out of reach")
        assert len(wire.sent) == 1
        assert guard.circuit == "open"


def test_a_short_deadline_does_not_open_the_circuit_while_others_reach_the_broker(
    slow_guard: Guard, wire: Wire
) -> None:
    patient = Asking(slow_guard, wire)
    wire.on_send = lambda: wire.deliver(0)
    assert slow_guard.check(ACTION, deadline_ms=50).origin == "fallback"
    assert slow_guard.circuit == "closed"
    wire.answer(decision("permit"), 0)
    assert patient.end().verdict == "permit"


def test_a_deadline_that_passed_looks_first_whether_the_ask_had_reached_the_broker(
    slow_guard: Guard, wire: Wire
) -> None:
    wire.on_report = wire.deliver
    assert slow_guard.check(ACTION, deadline_ms=20).reasons[0].message.startswith("The gate did not answer in time")
    assert slow_guard.circuit == "closed"


def test_a_deadline_that_passed_looks_first_whether_the_ask_was_lost(slow_guard: Guard, wire: Wire) -> None:
    wire.on_report = lambda: wire.deliver(error="broker down")
    assert slow_guard.check(ACTION, deadline_ms=20).reasons[0].message.startswith("The gate could not be reached")
    assert slow_guard.circuit == "open"


def test_an_entry_that_breaks_the_contract_does_not_hold_up_the_others(guard: FakeGuard) -> None:
    guard.gate.stop()
    guard._core._teller._spool.put(Entry("bad", "fallback", "token:ci", 1, value={"mode": "ajar"}))
    guard.check(ACTION)
    guard.gate.restart()
    assert [each.mode for each in guard.gate.fallbacks] == ["closed"]
    assert guard.spooled == 0


def test_it_recovers_by_itself_with_one_probe(slow_guard: Guard, wire: Wire) -> None:
    wire.alive = False
    asking = Asking(slow_guard, wire)
    wire.deliver(error="broker down")
    assert asking.end().origin == "fallback"
    wire.tick()
    assert slow_guard.circuit == "open"
    wire.alive = True
    wire.tick()
    sent = len(wire.sent)
    probe = Asking(slow_guard, wire)
    assert slow_guard.check(ACTION).reasons[0].code == "fallback-closed"
    assert len(wire.sent) == sent + 1
    wire.answer(decision("permit"))
    assert probe.end().verdict == "permit"
    assert slow_guard.circuit == "closed"


def test_asks_that_wait_for_the_transport_go_out_once_it_is_ready(tmp_path: Path) -> None:
    wire = Wire(ready=False)
    settings: dict[str, Any] = {"point": "p1", "key_id": "k1", "key": KEY, "spool_dir": tmp_path / "spool"}
    with Guard(transport=wire, deadline_ms=600_000, **settings) as guard, ThreadPoolExecutor(5) as pool:
        asking = [pool.submit(guard.check, ACTION) for _ in range(5)]
        eventually(lambda: guard.counts.get("asks") == 5)
        assert wire.sent == []
        wire.become_ready()
        eventually(lambda: len(wire.sent) == 5)
        for index in range(5):
            wire.answer(decision("permit"), index)
        assert {each.result(30).origin for each in asking} == {"gate"}


def test_a_late_answer_is_counted_and_changes_nothing(slow_guard: Guard, wire: Wire) -> None:
    answer = slow_guard.check(ACTION, deadline_ms=50)
    assert answer.origin == "fallback"
    wire.answer(decision("permit", fallbacks=("open",)))
    assert slow_guard.counts["late"] == 1


def test_a_late_permit_of_an_action_that_did_not_happen_is_told_as_cancelled(slow_guard: Guard, wire: Wire) -> None:
    slow_guard.check(ACTION, deadline_ms=50)
    told = len(wire.told)
    late = decision("permit")
    wire.answer(late)
    wire.answer(late)
    [(record, _)] = wire.told[told:]
    outcome = Outcome.model_validate_json(record.value)
    assert (outcome.decision_id, outcome.result) == (late.decision_id, "cancelled")


def test_a_late_permit_of_an_action_that_a_fallback_let_happen_is_not_told_as_cancelled(
    slow_guard: Guard, wire: Wire
) -> None:
    first = Asking(slow_guard, wire)
    wire.answer(decision("permit", fallbacks=("open",)))
    first.end()
    assert slow_guard.check(ACTION, deadline_ms=50, fallback="open").verdict == "permit"
    told = len(wire.told)
    wire.answer(decision("permit"))
    assert (slow_guard.counts["late"], len(wire.told)) == (1, told)


def test_the_outcome_after_a_check_is_told_with_its_receipt(guard: FakeGuard) -> None:
    guard.gate.permit()
    answer = guard.check(ACTION)
    guard.report(ACTION, answer, "failed")
    assert [(each.receipt, each.result) for each in guard.gate.outcomes] == [(answer.receipt, "failed")]
    guard.gate.silent()
    guard.report(ACTION, guard.check(ACTION), "done")
    assert len(guard.gate.outcomes) == 1


def test_an_answer_to_somebody_else_is_skipped(slow_guard: Guard, wire: Wire) -> None:
    wire._sink.answer(*sealed(decision("permit"), b"another guard's.", KEY))
    wire._sink.answer(b"", [])
    assert slow_guard.counts["skipped"] == 2


def test_a_hold_ends_closed_when_nobody_answers(guard: FakeGuard) -> None:
    guard.gate.hold(expires_in_ms=1)
    final = guard.wait_final(guard.check(ACTION))
    assert (final.verdict, final.origin, final.reasons[0].code) == ("block", "fallback", "hold-expired")
    assert guard.gate.fallbacks[-1].verdict == "block"


def test_a_hold_that_was_given_up_ends_closed(guard: FakeGuard) -> None:
    guard.gate.hold()
    assert guard.wait_final(guard.check(ACTION), timeout_ms=1).verdict == "block"


def test_a_repeated_first_answer_is_not_the_final_one(slow_guard: Guard, wire: Wire) -> None:
    held = decision("slow", final=False, obligations=[Approval(hold_id="ab" * 8, expires_at_ms=4_000_000_000_000)])
    asking = Asking(slow_guard, wire)
    wire.answer(held, 0)
    first = asking.end()
    wire.answer(held, 0)
    wire.answer(decision("block"), 0)
    assert slow_guard.wait_final(first).verdict == "block"


def test_a_final_decision_is_its_own_final(guard: FakeGuard) -> None:
    guard.gate.permit()
    answer = guard.check(ACTION)
    assert guard.wait_final(answer) is answer


def test_a_closed_guard_refuses_and_closing_again_does_nothing(guard: FakeGuard) -> None:
    guard.close()
    guard.close()
    with pytest.raises(GuardClosed, match="closed"):
        guard.check(ACTION)
    with pytest.raises(GuardClosed):
        guard.enforce(ACTION)


def test_closing_resolves_pending_checks_by_their_fallback_and_keeps_them_for_the_next(
    slow_guard: Guard, wire: Wire
) -> None:
    asking = [Asking(slow_guard, wire) for _ in range(3)]
    slow_guard.close()
    assert [each.end().reasons[0].code for each in asking] == ["fallback-closed"] * 3
    assert slow_guard.spooled == 3


def test_closing_ends_the_wait_for_an_approval(slow_guard: Guard, wire: Wire) -> None:
    asking = Asking(slow_guard, wire)
    wire.answer(
        decision("slow", final=False, obligations=[Approval(hold_id="ab" * 8, expires_at_ms=4_000_000_000_000)])
    )
    first = asking.end()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(slow_guard.wait_final, first)
        slow_guard.close()
        assert waiting.result(30).verdict == "block"


def test_threads_each_get_their_own_answer() -> None:
    gate = StubGate().permit("permit.*").block("block.*").reject("reject.*").silent("silent.*")
    expected = {"permit.x": "permit", "block.x": "block", "reject.x": "rejected", "silent.x": "fallback-closed"}
    with FakeGuard(gate, breaker_timeouts=10_000) as guard:

        def ask(name: str) -> str:
            try:
                answer = guard.check(action(name))
            except Rejected:
                return "rejected"
            return answer.reasons[0].code if answer.origin == "fallback" else answer.verdict

        names = [name for name in expected if name != "silent.x"] * 300
        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(ask, names)) == [expected[name] for name in names]
        assert ask("silent.x") == "fallback-closed"
