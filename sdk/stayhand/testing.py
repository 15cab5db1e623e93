"""Test doubles: a Guard whose gate is in memory and says what the test tells it to, so that no test needs Kafka.

Example:
    >>> with FakeGuard() as guard:
    ...     _ = guard.gate.block("deploy.*", reason="Not on a Friday.")
    ...     guard.check(
    ...         {
    ...             "subject": {"type": "token", "id": "ci"},
    ...             "action": {"name": "deploy.push"},
    ...             "resource": {"type": "environment", "id": "production"},
    ...         }
    ...     ).verdict
    'block'
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, Self

from stayhand._aio import AsyncGuard
from stayhand._clock import now_ms
from stayhand._config import GuardConfig
from stayhand._envelope import new_id
from stayhand._guard import Guard
from stayhand._transport import Delivered, Outgoing, ReplyAddress, Sink
from stayhand.errors import Unavailable
from stayhand.headers import (
    TYPE_DECISION,
    TYPE_FALLBACK,
    TYPE_OUTCOME,
    TYPE_REJECTION,
    AskHeaders,
    Header,
    decision_headers,
    decision_signable,
    decode_ask,
    rfc3339,
)
from stayhand.signing import sign
from stayhand.wire import (
    Approval,
    Decision,
    Fallback,
    FallbackLease,
    FallbackMode,
    Message,
    Obligation,
    Outcome,
    PendingAction,
    PolicyRef,
    Reason,
    Reconfirm,
    Rejection,
    Verdict,
    Wait,
)

KEY = bytes(range(32))
HOUR_MS = 3_600_000
_POLICY = PolicyRef(name="stub", version="1", hash="0" * 64)

Answer = Decision | Rejection | Literal["silence"]


@dataclass(frozen=True, slots=True)
class Ask:
    """An ask that came to the stub: the action, and the headers that it came with."""

    action: PendingAction
    headers: AskHeaders


def decision(
    verdict: Verdict,
    *,
    reason: str = "The stub says so.",
    obligations: Sequence[Obligation] = (),
    final: bool = True,
    fallbacks: Sequence[FallbackMode] = ("closed",),
    lease_ms: int = HOUR_MS,
) -> Decision:
    """A decision as a gate would make it, with a lease for the fallbacks that the test wants to allow."""
    return Decision(
        decision_id=new_id(),
        verdict=verdict,
        final=final,
        obligations=tuple(obligations),
        reasons=(Reason(code="stub", message=reason),),
        policy=_POLICY,
        fallback=FallbackLease(modes=tuple(fallbacks), expires_at_ms=now_ms() + lease_ms),
    )


class StubGate:
    """A gate in memory; it is the transport of a FakeGuard.

    Tell it what to answer by shell pattern of the action's name; the rule that was told last wins. An action for which
    there is no rule is blocked. What it saw stands in ``asks``, ``outcomes`` and ``fallbacks``.
    """

    def __init__(self, key: bytes | None = KEY) -> None:
        """Sign answers with this key; None signs nothing."""
        self.asks: list[Ask] = []
        self.outcomes: list[Outcome] = []
        self.fallbacks: list[Fallback] = []
        self.down = False
        self._key = key
        self._rules: list[tuple[str, Callable[[], Sequence[Answer]]]] = []
        self._held: dict[str, AskHeaders] = {}
        self._lock = threading.Lock()
        self._sink: Sink | None = None

    def answer(self, pattern: str, *answers: Answer) -> Self:
        """Answer with exactly this: one decision, rejection or ``"silence"``, or a hold and its final decision."""
        return self._add(pattern, lambda: answers)

    def permit(self, pattern: str = "*", *, fallbacks: Sequence[FallbackMode] = ("closed",)) -> Self:
        """Permit, and allow these fallbacks for an hour."""
        return self._add(pattern, lambda: [decision("permit", fallbacks=fallbacks)])

    def slow(self, pattern: str = "*", *, wait_ms: int = 1_000) -> Self:
        """Slow down; a FakeGuard notes the wait in ``waits`` and does not sleep."""
        return self._add(pattern, lambda: [decision("slow", obligations=[Wait(wait_ms=wait_ms)])])

    def guide(self, pattern: str = "*", *, text: str = "Are you sure?") -> Self:
        """Have a message shown."""
        return self._add(pattern, lambda: [decision("guide", obligations=[Message(text=text)])])

    def reconfirm(self, pattern: str = "*", *, text: str = "Confirm the scope.") -> Self:
        """Have the scope confirmed."""
        return self._add(pattern, lambda: [decision("guide", obligations=[Reconfirm(text=text)])])

    def block(self, pattern: str = "*", *, reason: str = "The stub says so.") -> Self:
        """Block with this reason."""
        return self._add(pattern, lambda: [decision("block", reason=reason)])

    def hold(self, pattern: str = "*", *, then: Verdict | None = None, expires_in_ms: int = HOUR_MS) -> Self:
        """Hold for an approval: answered at once by ``then``, or later by ``resolve``, or never."""

        def answers() -> Sequence[Answer]:
            approval = Approval(hold_id=new_id(), expires_at_ms=now_ms() + expires_in_ms)
            held = decision("slow", obligations=[approval], final=False)
            return [held] if then is None else [held, decision(then)]

        return self._add(pattern, answers)

    def reject(self, pattern: str = "*", *, code: str = "identity-not-allowed") -> Self:
        """Refuse the ask itself."""
        return self._add(pattern, lambda: [Rejection(code=code, message="The stub refuses this ask.")])

    def silent(self, pattern: str = "*") -> Self:
        """Do not answer; a FakeGuard takes its fallback at once instead of waiting for the deadline."""
        return self._add(pattern, lambda: ["silence"])

    def resolve(self, held: Decision, verdict: Verdict = "permit") -> None:
        """Answer a hold.

        Raises:
            KeyError: this gate does not hold it.
        """
        with self._lock:
            headers = self._held.pop(held.decision_id)
        self._reply(headers, decision(verdict))

    def stop(self) -> None:
        """Be out of reach, as a broker that is down."""
        self.down = True

    def restart(self) -> None:
        """Be there again: what was spooled arrives."""
        self.down = False
        self.tick()

    @property
    def reply_address(self) -> ReplyAddress | None:
        """Always there."""
        return ReplyAddress("stub.decisions", 0)

    @property
    def problem(self) -> str:
        """Whether it is down."""
        return "the stub is down" if self.down else ""

    def start(self, sink: Sink) -> None:
        """Ready at once."""
        self._sink = sink
        sink.ready()

    def send(self, record: Outgoing, delivered: Delivered) -> None:
        """Take a record and answer it before returning."""
        if self.down:
            raise Unavailable("the stub is down")
        headers = decode_ask(record.headers)
        if headers.ce_type == TYPE_OUTCOME:
            self.outcomes.append(Outcome.model_validate_json(record.value))
        elif headers.ce_type == TYPE_FALLBACK:
            self.fallbacks.append(Fallback.model_validate_json(record.value))
        else:
            self._take(Ask(PendingAction.model_validate_json(record.value), headers), delivered)
            return
        delivered(None)

    def report(self) -> None:
        """Nothing waits to be told."""

    def reachable(self) -> bool:
        """Unless it was stopped."""
        return not self.down

    def close(self, timeout_ms: int) -> None:
        """Nothing to end."""

    def abandon(self) -> None:
        """Nothing to let go of."""

    def _add(self, pattern: str, answers: Callable[[], Sequence[Answer]]) -> Self:
        self._rules.insert(0, (pattern, answers))
        return self

    def _take(self, ask: Ask, delivered: Delivered) -> None:
        self.asks.append(ask)
        answers = self._answers(ask.action.action.name)
        if "silence" in answers:
            delivered("the stub is silent")
            self.tick()
            return
        delivered(None)
        for answer in answers:
            if isinstance(answer, Decision) and not answer.final:
                with self._lock:
                    self._held[answer.decision_id] = ask.headers
            if answer != "silence":
                self._reply(ask.headers, answer)

    def _answers(self, action_name: str) -> Sequence[Answer]:
        for pattern, answers in self._rules:
            if fnmatchcase(action_name, pattern):
                return answers()
        return [decision("block", reason=f"The stub has no rule for {action_name}.")]

    def _reply(self, ask: AskHeaders, answer: Decision | Rejection) -> None:
        if self._sink is not None:
            self._sink.answer(*sealed(answer, ask.correlation_id, self._key))

    def tick(self) -> None:
        """Let the guard do its house-keeping: take over and deliver what is spooled."""
        if self._sink is not None:
            self._sink.tick()


def sealed(answer: Decision | Rejection, correlation_id: bytes, key: bytes | None) -> tuple[bytes, list[Header]]:
    """An answer as a scorer would send it: its body and its headers, signed where there is a key."""
    body = answer.model_dump_json().encode()
    ce_type, receipt = TYPE_REJECTION, ""
    if isinstance(answer, Decision):
        ce_type, receipt = TYPE_DECISION, f"receipt-of-{answer.decision_id}"
    headers = decision_headers(new_id(), ce_type, rfc3339(now_ms()), correlation_id, receipt)
    if key is not None:
        headers.append(("stayhand_signature", sign(key, decision_signable(body, dict(headers)))))
    return body, headers


class FakeGuard(Guard):
    """A Guard with a StubGate (``gate``) instead of Kafka; waits are noted in ``waits`` instead of slept."""

    def __init__(self, gate: StubGate | None = None, **settings: Any) -> None:
        """Take what Guard takes; the spool lies in a temporary folder."""
        self.gate = gate or StubGate()
        self.waits: list[int] = []
        self._folder = tempfile.mkdtemp(prefix="stayhand-")
        super().__init__(transport=self.gate, **_test_settings(self._folder, settings))

    def close(self, timeout_ms: int = 2_000) -> None:
        """Close, and remove the spool."""
        super().close(timeout_ms)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _pause(self, wait_ms: int) -> bool:
        self.waits.append(wait_ms)
        return True


class FakeAsyncGuard(AsyncGuard):
    """An AsyncGuard with a StubGate (``gate``) instead of Kafka; waits are noted in ``waits`` instead of slept."""

    def __init__(self, gate: StubGate | None = None, **settings: Any) -> None:
        """Take what AsyncGuard takes; the spool lies in a temporary folder."""
        self.gate = gate or StubGate()
        self.waits: list[int] = []
        self._folder = tempfile.mkdtemp(prefix="stayhand-")
        super().__init__(transport=self.gate, **_test_settings(self._folder, settings))

    async def close(self, timeout_ms: int = 2_000) -> None:
        """Close, and remove the spool."""
        await super().close(timeout_ms)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _pause(self, wait_ms: int) -> bool:
        self.waits.append(wait_ms)
        return True


def _test_settings(folder: str, settings: dict[str, Any]) -> dict[str, Any]:
    of_guard = {name: value for name, value in settings.items() if name not in GuardConfig.model_fields}
    of_config = {name: value for name, value in settings.items() if name in GuardConfig.model_fields}
    defaults: dict[str, Any] = {"point": "test-point", "key_id": "k1", "key": KEY, "unsigned": False}
    return of_guard | {"config": GuardConfig(**(defaults | {"spool_dir": Path(folder) / "spool"} | of_config))}
