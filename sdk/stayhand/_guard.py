"""Guard: asks Stayhand before a risky action, from threads."""

from __future__ import annotations

import functools
import inspect
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar, overload

from stayhand import _process
from stayhand._ask import Answer, Ask
from stayhand._clock import now_ms
from stayhand._config import GuardConfig
from stayhand._core import Core
from stayhand._fallback import LocalRule
from stayhand._kafka import KafkaTransport
from stayhand._obligations import Confirm, MessageHandler, Pause, ReconfirmHandler, Show, Step, steps
from stayhand._permit import Permit
from stayhand._prepare import ActionLike, Arguments
from stayhand._transport import Transport
from stayhand.errors import Blocked, Rejected, Unavailable
from stayhand.wire import Decision, FallbackMode

_P = ParamSpec("_P")
_R = TypeVar("_R")


class _Mailbox:
    """Where one thread waits for an answer."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Answer] = queue.SimpleQueue()

    def put(self, answer: Answer, /) -> None:
        self._queue.put(answer)

    def get(self, timeout_s: float | None) -> Answer | None:
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None


@dataclass(frozen=True, slots=True)
class _Handlers:
    """How this call tells a person, and has the scope confirmed."""

    message: MessageHandler | None
    reconfirm: ReconfirmHandler | None


class Guard:
    """Decides before an action happens whether it happens: asks the gate, waits for the answer, obeys it.

    One Guard serves a whole process: any number of threads may use it at the same time. It does not survive a fork: a
    child's call raises GuardClosed. It connects in the background; the first check waits for that within its deadline.

    Args:
        config: the settings; without it they come from ``settings`` and the environment (GuardConfig).
        local_rules: what the fallback ``local`` asks.
        on_message: shows a message to a person; True means that the person goes on. Without it, a decision that has
            something to say is a block.
        on_reconfirm: has the scope confirmed at run time; True means confirmed. Without it, a block.
        transport: another way to the gate, for tests.
        settings: fields of GuardConfig.

    Raises:
        ConfigurationError: one line that says how to mend it.
    """

    def __init__(
        self,
        config: GuardConfig | None = None,
        *,
        local_rules: LocalRule | None = None,
        on_message: MessageHandler | None = None,
        on_reconfirm: ReconfirmHandler | None = None,
        transport: Transport | None = None,
        **settings: Any,
    ) -> None:
        """Begin to connect."""
        config = config if config is not None else GuardConfig(**settings)
        self._handlers = _Handlers(on_message, on_reconfirm)
        self._closing = threading.Event()
        self._core: Core[_Mailbox] = Core(config, transport or KafkaTransport(config), local_rules)
        _process.own(self._core)

    @property
    def config(self) -> GuardConfig:
        """The settings in use."""
        return self._core.config

    @property
    def counts(self) -> Mapping[str, int]:
        """How often what happened since the start.

        asks, answers, late, skipped (other guards' or repeated), unverified, unreadable, fallbacks, delivered (from the
        spool), unspooled.
        """
        return self._core.counts

    @property
    def circuit(self) -> str:
        """``closed``, ``open`` or ``probing``."""
        return self._core.circuit

    @property
    def spooled(self) -> int:
        """How many fallbacks and permits wait to be told to Kafka."""
        return self._core.spooled

    def connect(self, timeout_ms: int = 10_000) -> None:
        """Wait until asks can be answered; not needed, but the first check is then as quick as the others.

        Raises:
            Unavailable: it is not so within the time; says why.
            GuardClosed: closed, or forked.
        """
        if not self._core.wait_ready(timeout_ms):
            raise Unavailable(self._core.problem or f"no answer from {self.config.bootstrap}")

    def check(
        self,
        action: ActionLike,
        *,
        arguments: Arguments = None,
        deadline_ms: int | None = None,
        fallback: FallbackMode | None = None,
        traceparent: str = "",
    ) -> Decision:
        """Ask whether an action may happen; the caller obeys the decision and its obligations.

        Args:
            action: subject, action, resource and context.
            arguments: what the action would be called with; stays here. Their digest and the kinds of secrets in them
                are published.
            deadline_ms: how long to wait; past it the fallback decides.
            fallback: instead of the configured one.
            traceparent: W3C trace context to pass on.

        Raises:
            InvalidAction: the action breaks the contract; nothing was published.
            Rejected: the gate refused the ask.
            GuardClosed: closed, or forked.
        """
        return self._conclude(*self._exchange(action, arguments, deadline_ms, fallback, traceparent))

    def wait_final(self, decision: Decision, timeout_ms: int | None = None) -> Decision:
        """The final decision of a hold: that of the gate, or closed where none comes until the hold ends.

        A decision that is final already is returned as it is. One caller may wait for a hold.

        Args:
            decision: what ``check`` returned.
            timeout_ms: give up earlier.

        Raises:
            Rejected: the gate refused the ask after all.
        """
        if decision.final:
            return decision
        ask = self._core.held(decision)
        if ask is None:
            return self._core.conclude_hold(decision, None)
        remaining_ms = max(0, ask.held_until_ms - now_ms())
        timeout_ms = remaining_ms if timeout_ms is None else min(timeout_ms, remaining_ms)
        return self._core.conclude_hold(decision, ask.mailbox.get(timeout_ms / 1000))

    def report(
        self, action: ActionLike | str, decision: Decision, result: Literal["done", "failed", "cancelled"]
    ) -> None:
        """Tell what became of an action after ``check``; ``enforce`` does so by itself.

        Without effect for a decision that the gate did not make. It is kept until Kafka has it.

        Args:
            action: what was checked, or its identity as ``type:id``.
            decision: the final decision on it.
            result: ``cancelled`` means that it was not tried.

        Raises:
            InvalidAction: the action breaks the contract.
            GuardClosed: closed, or forked.
        """
        self._core.outcome(action, decision, result)

    @overload
    def enforce(
        self,
        action: ActionLike,
        *,
        arguments: Arguments = None,
        deadline_ms: int | None = None,
        fallback: FallbackMode | None = None,
        traceparent: str = "",
        on_message: MessageHandler | None = None,
        on_reconfirm: ReconfirmHandler | None = None,
    ) -> Permit: ...

    @overload
    def enforce(
        self,
        action: Callable[_P, ActionLike],
        *,
        arguments: Callable[_P, Arguments] | None = None,
        deadline_ms: int | None = None,
        fallback: FallbackMode | None = None,
        traceparent: str = "",
        on_message: MessageHandler | None = None,
        on_reconfirm: ReconfirmHandler | None = None,
    ) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...

    def enforce(
        self,
        action: Any,
        *,
        arguments: Any = None,
        deadline_ms: int | None = None,
        fallback: FallbackMode | None = None,
        traceparent: str = "",
        on_message: MessageHandler | None = None,
        on_reconfirm: ReconfirmHandler | None = None,
    ) -> Any:
        """Ask, carry out the obligations, and return only if the action may happen.

        Three ways: ``with guard.enforce(action):`` reports the outcome by how the block ends;
        ``permit = guard.enforce(action)`` leaves that to ``permit.done()`` and its siblings; and
        ``@guard.enforce(make)`` guards a function, where ``make`` builds the action from the call's own arguments
        (and ``arguments``, if given, what to look through for secrets).

        Raises:
            Blocked: the action must not happen, with the reasons.
            InvalidAction: the action breaks the contract; nothing was published.
            GuardClosed: closed, or forked.
        """
        handlers = _Handlers(on_message or self._handlers.message, on_reconfirm or self._handlers.reconfirm)
        if not callable(action):
            return self._permit(handlers, action, arguments, deadline_ms, fallback, traceparent)

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
                raise TypeError(f"{function.__qualname__} does not act when called: use AsyncGuard, or a with block")

            @functools.wraps(function)
            def guarded(*args: Any, **kwargs: Any) -> Any:
                made = action(*args, **kwargs)
                given = arguments(*args, **kwargs) if arguments is not None else None
                with self._permit(handlers, made, given, deadline_ms, fallback, traceparent):
                    return function(*args, **kwargs)

            return guarded

        return decorate

    def close(self, timeout_ms: int = 2_000) -> None:
        """Resolve what is pending by its fallback, deliver the spool where it can be, end the threads. Idempotent."""
        self._closing.set()
        self._core.close(timeout_ms)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _exchange(
        self,
        action: ActionLike,
        arguments: Arguments,
        deadline_ms: int | None,
        fallback: FallbackMode | None,
        traceparent: str,
    ) -> tuple[Ask[_Mailbox], Answer | None]:
        ask = self._core.begin(action, arguments, _Mailbox(), deadline_ms, fallback, traceparent)
        try:
            answer = ask.mailbox.get(ask.remaining_s())
            if answer is None and not self._core.expire(ask):
                answer = ask.mailbox.get(None)
        except BaseException:
            self._core.forget(ask)
            raise
        return ask, answer

    def _conclude(self, ask: Ask[_Mailbox], answer: Answer | None) -> Decision:
        decision, must_survive = self._core.conclude(ask, answer)
        if must_survive:
            self._core.sync()
        return decision

    def _permit(self, handlers: _Handlers, *request: Any) -> Permit:
        ask, answer = self._exchange(*request)
        identity = ask.prepared.identity
        decision: Decision | None = None
        try:
            decision = self._conclude(ask, answer)
            final = self._carry_out(decision, handlers)
        except Rejected as error:
            raise Blocked(self._core.refused(ask), str(error)) from error
        except Blocked as error:
            self._core.not_done(identity, error.decision)
            raise
        except BaseException:
            self._core.not_done(identity, decision)
            raise
        return Permit(final, functools.partial(self._core.report, self._core.acted(identity, final)))

    def _carry_out(self, decision: Decision, handlers: _Handlers) -> Decision:
        walk = steps(decision)
        try:
            step = next(walk)
            while True:
                step = walk.send(self._perform(step, handlers))
        except StopIteration as end:
            final: Decision = end.value
            return final

    def _perform(self, step: Step, handlers: _Handlers) -> Decision | bool | None:
        if isinstance(step, Pause):
            return self._pause(step.wait_ms)
        if isinstance(step, Show):
            return None if handlers.message is None else handlers.message(step.message, step.decision)
        if isinstance(step, Confirm):
            return None if handlers.reconfirm is None else handlers.reconfirm(step.reconfirm, step.decision)
        return self.wait_final(step.decision)

    def _pause(self, wait_ms: int) -> bool:
        """Whether the whole time passed, and the guard was not closed meanwhile."""
        return not self._closing.wait(wait_ms / 1000)
