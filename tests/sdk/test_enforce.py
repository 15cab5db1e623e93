"""enforce: obligations are met or the action does not happen, and what became of it is told once."""

import asyncio
import inspect
import warnings
from typing import Any

import pytest

from stayhand import AsyncGuard, Blocked, Decision, Guard, Message, Reconfirm, Rejected
from stayhand.testing import FakeAsyncGuard, FakeGuard, StubGate, decision
from stayhand.wire import Approval, Wait
from tests.sdk.conftest import ACTION, action

FAR_MS = 4_000_000_000_000


def told(gate: StubGate) -> list[str]:
    return [each.result for each in gate.outcomes]


def yes(*_: Any) -> bool:
    return True


def test_a_block_that_ends_well_is_told_as_done_with_the_receipt(guard: FakeGuard) -> None:
    guard.gate.permit()
    with guard.enforce(ACTION) as permit:
        assert guard.spooled == 1
    assert told(guard.gate) == ["done"]
    assert guard.gate.outcomes[0].receipt == permit.decision.receipt
    assert guard.spooled == 0


@pytest.mark.parametrize(
    ("error", "result"),
    [(ValueError(), "failed"), (KeyboardInterrupt(), "cancelled"), (asyncio.CancelledError(), "cancelled")],
)
def test_how_the_block_ends_is_told(error: BaseException, result: str, guard: FakeGuard) -> None:
    guard.gate.permit()
    with pytest.raises(type(error)), guard.enforce(ACTION):
        raise error
    assert told(guard.gate) == [result]


def test_a_permit_in_hand_is_told_once(guard: FakeGuard) -> None:
    guard.gate.permit()
    permit = guard.enforce(ACTION)
    permit.failed()
    permit.done()
    permit.cancelled()
    assert told(guard.gate) == ["failed"]


def test_a_permit_runs_a_function(guard: FakeGuard) -> None:
    guard.gate.permit()
    assert guard.enforce(ACTION).run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        guard.enforce(ACTION).run(divmod, 7, 0)
    assert told(guard.gate) == ["done", "failed"]


def test_a_decorated_function_asks_at_each_call_with_its_own_arguments(guard: FakeGuard) -> None:
    guard.gate.permit("deploy.*").block("drop.*")

    def ask(what: str, *, body: str = "") -> dict[str, Any]:
        return action(f"{what}.it")

    @guard.enforce(ask, arguments=lambda what, *, body="": {"what": what, "body": body})
    def act(what: str, *, body: str = "") -> str:
        """Does it."""
        return f"{what} done"

    assert (act.__name__, act.__doc__) == ("act", "Does it.")
    assert guard.gate.asks == []
    assert act("deploy", body="x") == "deploy done"
    with pytest.raises(Blocked):
        act("drop")
    assert [each.action.action.name for each in guard.gate.asks] == ["deploy.it", "drop.it"]
    assert len({each.action.context.argument_digest for each in guard.gate.asks}) == 2
    assert told(guard.gate) == ["done"]


def test_a_function_that_does_not_act_when_it_is_called_cannot_be_decorated(guard: FakeGuard) -> None:
    async def later() -> None: ...

    def bit_by_bit() -> Any:
        yield

    for function in (later, bit_by_bit):
        with pytest.raises(TypeError, match="use AsyncGuard"):
            guard.enforce(lambda: ACTION)(function)


def test_a_block_raises_with_its_reasons_and_nothing_is_told(guard: FakeGuard) -> None:
    guard.gate.block(reason="The token was seen in another network.")
    with pytest.raises(Blocked, match="another network") as blocked:
        guard.enforce(ACTION)
    assert [reason.code for reason in blocked.value.reasons] == ["stub"]
    assert told(guard.gate) == []


def test_a_refused_ask_and_a_closed_fallback_block(guard: FakeGuard) -> None:
    guard.gate.reject()
    with pytest.raises(Blocked) as blocked:
        guard.enforce(ACTION)
    assert isinstance(blocked.value.__cause__, Rejected)
    guard.gate.silent()
    with pytest.raises(Blocked):
        guard.enforce(ACTION)
    assert [each.cause for each in guard.gate.fallbacks] == ["rejected", "unavailable"]


def test_an_open_fallback_lets_the_block_run_and_has_no_receipt_to_tell(guard: FakeGuard) -> None:
    guard.gate.permit(fallbacks=("open",))
    guard.check(ACTION)
    guard.gate.silent()
    with guard.enforce(ACTION, fallback="open") as permit:
        assert permit.decision.origin == "fallback"
    assert told(guard.gate) == []
    assert [each.verdict for each in guard.gate.fallbacks] == ["permit"]


def test_a_slow_verdict_waits_and_then_permits(guard: FakeGuard) -> None:
    guard.gate.slow(wait_ms=1_500)
    with guard.enforce(ACTION):
        assert guard.waits == [1_500]
    assert told(guard.gate) == ["done"]


def test_a_real_wait_that_is_cut_short_by_closing_does_not_permit(guard: FakeGuard) -> None:
    guard._closing.set()
    assert Guard._pause(guard, 600_000) is False


@pytest.mark.parametrize("answer", [False, None, 1, "yes"])
def test_only_true_means_that_the_person_goes_on(answer: Any, guard: FakeGuard) -> None:
    guard.gate.guide(text="Sure?")
    with pytest.raises(Blocked):
        guard.enforce(ACTION, on_message=lambda *_: answer)
    assert told(guard.gate) == ["cancelled"]


def test_the_message_is_shown_with_its_decision(guard: FakeGuard) -> None:
    seen: list[tuple[str, str]] = []

    def show(message: Message, of: Decision) -> bool:
        seen.append((message.text, of.verdict))
        return True

    guard.gate.guide(text="Sure?")
    with guard.enforce(ACTION, on_message=show):
        pass
    assert seen == [("Sure?", "guide")]
    assert told(guard.gate) == ["done"]


def test_the_scope_is_confirmed_before_the_action(guard: FakeGuard) -> None:
    seen: list[str] = []

    def confirm(asked: Reconfirm, _: Decision) -> bool:
        seen.append(asked.text)
        return True

    guard.gate.reconfirm(text="Delete all of it?")
    with guard.enforce(ACTION, on_reconfirm=confirm):
        assert seen == ["Delete all of it?"]


def test_handlers_of_the_guard_serve_every_call_and_those_of_a_call_go_first() -> None:
    with FakeGuard(on_message=yes, on_reconfirm=yes) as guard:
        guard.gate.guide("a").reconfirm("b")
        guard.enforce(action("a")).done()
        guard.enforce(action("b")).done()
        with pytest.raises(Blocked):
            guard.enforce(action("a"), on_message=lambda *_: False)


UNMET = [
    decision("guide", obligations=[Message(text="Sure?")]),
    decision("slow", obligations=[Message(text="Sure?")]),
    decision("permit", obligations=[Message(text="Sure?")]),
    decision("guide", obligations=[Reconfirm(text="Sure?")]),
    decision("permit", obligations=[Reconfirm(text="Sure?")]),
    decision("guide"),
    decision("guide", obligations=[Wait(wait_ms=1)]),
    decision("permit", final=False),
    decision("slow", final=False, obligations=[Approval(hold_id="ab" * 8, expires_at_ms=1)]),
    decision("permit", obligations=[Approval(hold_id="ab" * 8, expires_at_ms=FAR_MS)]),
]


@pytest.mark.parametrize("unmet", UNMET, ids=range(len(UNMET)))
def test_a_point_that_cannot_perform_an_obligation_never_permits(unmet: Decision, guard: FakeGuard) -> None:
    guard.gate.answer("*", unmet)
    with pytest.raises(Blocked):
        guard.enforce(ACTION)
    assert "done" not in told(guard.gate)


def test_an_approval_waits_for_the_final_decision(guard: FakeGuard) -> None:
    guard.gate.hold("a", then="permit").hold("b", then="block").hold("c", expires_in_ms=1)
    with guard.enforce(action("a")) as permit:
        assert permit.decision.final
    with pytest.raises(Blocked, match="The stub says so"):
        guard.enforce(action("b"))
    with pytest.raises(Blocked, match="No approval came in time"):
        guard.enforce(action("c"))
    assert guard.gate.outcomes[0].receipt == permit.decision.receipt
    assert told(guard.gate) == ["done"]


def test_the_final_decision_has_obligations_of_its_own(guard: FakeGuard) -> None:
    held = decision("slow", final=False, obligations=[Approval(hold_id="ab" * 8, expires_at_ms=FAR_MS)])
    guard.gate.answer("*", held, decision("slow", obligations=[Wait(wait_ms=7), Message(text="Careful.")]))
    with pytest.raises(Blocked):
        guard.enforce(ACTION)
    assert guard.waits == [7]
    guard.enforce(ACTION, on_message=yes).done()


def test_an_interrupted_obligation_is_told_as_cancelled(guard: FakeGuard) -> None:
    def interrupted(*_: Any) -> bool:
        raise KeyboardInterrupt

    guard.gate.guide()
    with pytest.raises(KeyboardInterrupt):
        guard.enforce(ACTION, on_message=interrupted)
    assert told(guard.gate) == ["cancelled"]


async def test_the_async_guard_keeps_the_same_promises() -> None:
    async with FakeAsyncGuard() as guard:
        guard.gate.permit("a").block("b").slow("c", wait_ms=9).guide("d").hold("e", then="permit").reject("f")
        async with guard.enforce(action("a")) as permit:
            assert permit.decision.verdict == "permit"
        for name in ("b", "d", "f"):
            with pytest.raises(Blocked):
                await guard.enforce(action(name))
        (await guard.enforce(action("c"))).failed()
        assert guard.waits == [9]
        async with await guard.enforce(action("e")):
            pass
        with pytest.raises(ZeroDivisionError):
            async with guard.enforce(action("a")):
                _ = 1 // 0
        assert told(guard.gate) == ["done", "cancelled", "failed", "done", "failed"]


async def test_async_and_plain_handlers_both_serve_an_async_guard() -> None:
    async def confirm(*_: Any) -> bool:
        await asyncio.sleep(0)
        return True

    async with FakeAsyncGuard(on_message=yes, on_reconfirm=confirm) as guard:
        guard.gate.guide("a").reconfirm("b")
        (await guard.enforce(action("a"))).done()
        (await guard.enforce(action("b"))).done()
        assert told(guard.gate) == ["done", "done"]


async def test_a_decorated_coroutine_asks_when_it_runs() -> None:
    async with FakeAsyncGuard() as guard:
        guard.gate.permit()

        @guard.enforce(lambda number: ACTION)
        async def act(number: int) -> int:
            await asyncio.sleep(0)
            assert guard.gate.outcomes == []
            return number * 2

        assert inspect.iscoroutinefunction(act)
        assert await act(4) == 8
        assert told(guard.gate) == ["done"]
        with pytest.raises(TypeError, match="not an async function"):
            guard.enforce(lambda: ACTION)(lambda: None)  # type: ignore[arg-type, return-value]


async def test_a_check_that_is_cancelled_leaves_nothing_behind() -> None:
    class Silent(StubGate):
        def _take(self, ask: Any, delivered: Any) -> None:
            self.asks.append(ask)
            delivered(None)

    async with FakeAsyncGuard(Silent(), deadline_ms=600_000) as guard:
        checking = asyncio.create_task(guard.check(ACTION))
        while not guard.gate.asks:
            await asyncio.sleep(0)
        checking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await checking
        assert guard._core._asks == {}
        assert guard._core._active == 0


async def test_an_enforce_that_nobody_awaits_is_warned_about() -> None:
    async with FakeAsyncGuard() as guard:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            guard.enforce(ACTION)
        assert any("never awaited" in str(each.message) for each in caught)
        assert guard.gate.asks == []


async def test_the_async_pause_is_a_real_one() -> None:
    async with FakeAsyncGuard() as guard:
        assert await AsyncGuard._pause(guard, 1) is True
