"""What a decision obliges its point to do, step by step; the guards say how each step is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass

from stayhand.errors import Blocked
from stayhand.wire import Approval, Decision, Message, Reconfirm, Wait

MessageHandler = Callable[[Message, Decision], bool]
ReconfirmHandler = Callable[[Reconfirm, Decision], bool]
AsyncMessageHandler = Callable[[Message, Decision], bool | Awaitable[bool]]
AsyncReconfirmHandler = Callable[[Reconfirm, Decision], bool | Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait this long; the answer is True."""

    wait_ms: int


@dataclass(frozen=True, slots=True)
class Show:
    """Show a message; the answer is True only if the person goes on, None where nobody can show it."""

    message: Message
    decision: Decision


@dataclass(frozen=True, slots=True)
class Confirm:
    """Have the scope confirmed; the answer is True only if it was, None where nobody can."""

    reconfirm: Reconfirm
    decision: Decision


@dataclass(frozen=True, slots=True)
class AwaitFinal:
    """Wait for the final decision of a hold; the answer is that decision."""

    decision: Decision


Step = Pause | Show | Confirm | AwaitFinal
Steps = Generator[Step, Decision | bool | None, Decision]


def steps(decision: Decision) -> Steps:
    """The steps to the decision under which the action may happen.

    Raises:
        Blocked: the verdict is block, an obligation was not met, or this point cannot perform it.
    """
    if decision.verdict == "block":
        raise Blocked(decision, _told(decision))
    shown = False
    for obligation in decision.obligations:
        if isinstance(obligation, Approval):
            final = None if decision.final else (yield AwaitFinal(decision))
            if not isinstance(final, Decision) or not final.final:
                raise Blocked(decision, "the approval did not come")
            return (yield from steps(final))
        if isinstance(obligation, Wait):
            _require((yield Pause(obligation.wait_ms)), decision, "the wait was cut short")
        elif isinstance(obligation, Reconfirm):
            _require((yield Confirm(obligation, decision)), decision, "the scope was not confirmed")
            shown = True
        else:
            _require((yield Show(obligation, decision)), decision, "the person did not go on")
            shown = True
    if not decision.final:
        raise Blocked(decision, "the decision is not final and names nothing to wait for")
    if decision.verdict == "guide" and not shown:
        _require((yield Show(Message(text=_reasons(decision)), decision)), decision, "the person did not go on")
    return decision


def _require(answer: Decision | bool | None, decision: Decision, refusal: str) -> None:
    if answer is None:
        raise Blocked(decision, "this enforcement point has no handler for an obligation of the decision")
    if answer is not True:
        raise Blocked(decision, refusal)


def _reasons(decision: Decision) -> str:
    return "; ".join(reason.message for reason in decision.reasons)[:1_024]


def _told(decision: Decision) -> str | None:
    """What a block says: its reasons, else its messages."""
    texts = [obligation.text for obligation in decision.obligations if isinstance(obligation, Message)]
    return None if decision.reasons or not texts else "; ".join(texts)
