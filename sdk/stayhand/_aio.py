"""AsyncGuard: asks Stayhand before a risky action, from asyncio."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
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
from stayhand._obligations import (
    AsyncMessageHandler,
    AsyncReconfirmHandler,
    Confirm,
    Pause,
    Show,
    Step,
    steps,
)
from stayhand._permit import Permit
from stayhand._prepare import ActionLike, Arguments
from stayhand._transport import Transport
from stayhand.errors import Blocked, Rejected, Unavailable
from stayhand.wire import Decision, FallbackMode

_P = ParamSpec("_P")
_R = TypeVar("_R")


class _Mailbox:
    """Where one task waits; the transport's thread hands over through the loop."""

    __slots__ = ("_loop", "_queue")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Answer] = asyncio.Queue()

    def put(self, answer: Answer, /) -> None:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, answer)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    async def get(self, timeout_s: float | None) -> Answer | None:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._queue.get()
        except TimeoutError:
            return None


@dataclass(frozen=True, slots=True)
class _Handlers:
    """How this call tells a person, and has the scope confirmed."""

    message: AsyncMessageHandler | None
    reconfirm: AsyncReconfirmHandler | None


class AsyncPermit(Permit):
    """A Permit that is also an asynchronous context manager."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


class Enforcing(Awaitable[AsyncPermit]):
    """What ``AsyncGuard.enforce`` returns: await it, or use it with ``async with``; Python warns if neither is done."""

    def __init__(self, coroutine: Coroutine[Any, Any, AsyncPermit]) -> None:
        """Nothing happens before it is awaited."""
        self._coroutine = coroutine
        self._permit: AsyncPermit | None = None

    def __await__(self) -> Generator[Any, None, AsyncPermit]:
        return self._coroutine.__await__()

    async def __aenter__(self) -> AsyncPermit:
        self._permit = await self._coroutine
        return self._permit

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._permit is not None:
            self._permit.__exit__(kind, error, trace)


class AsyncGuard:
    """Guard for asyncio: the same arguments, promises and threads of transport; answers come through the event loop.

    Handlers may be plain or ``async``. One AsyncGuard may serve tasks of several loops.
    """

    def __init__(
        self,
        config: GuardConfig | None = None,
        *,
        local_rules: LocalRule | None = None,
        on_message: AsyncMessageHandler | None = None,
        on_reconfirm: AsyncReconfirmHandler | None = None,
        transport: Transport | None = None,
        **settings: Any,
    ) -> None:
        """Begin to connect."""
        config = config if config is not None else GuardConfig(**settings)
        self._handlers = _Handlers(on_message, on_reconfirm)
        self._core: Core[_Mailbox] = Core(config, transport or KafkaTransport(config), local_rules)
        _process.own(self._core)

    @property
    def config(self) -> GuardConfig:
        """The settings in use."""
        return self._core.config

    @property
    def counts(self) -> Mapping[str, int]:
        """How often what happened, as in Guard."""
        return self._core.counts

    @property
    def circuit(self) -> str:
        """``closed``, ``open`` or ``probing``."""
        return self._core.circuit

    @property
    def spooled(self) -> int:
        """How many fallbacks and permits wait to be told to Kafka."""
        return self._core.spooled

    async def connect(self, timeout_ms: int = 10_000) -> None:
        """Wait until asks can be answered, as in Guard.

        Raises:
            Unavailable: it is not so within the time; says why.
            GuardClosed: closed, or forked.
        """
        if not await asyncio.to_thread(self._core.wait_ready, timeout_ms):
            raise Unavailable(self._core.problem or f"no answer from {self.config.bootstrap}")

    async def check(
        self,
        action: ActionLike,
        *,
        arguments: Arguments = None,
        deadline_ms: int | None = None,
        fallback: FallbackMode | None = None,
        traceparent: str = "",
    ) -> Decision:
        """Ask whether an action may happen, as in Guard.

        Raises:
            InvalidAction: the action breaks the contract; nothing was published.
            Rejected: the gate refused the ask.
            GuardClosed: closed, or forked.
        """
        return await self._conclude(*await self._exchange(action, arguments, deadline_ms, fallback, traceparent))

    async def wait_final(self, decision: Decision, timeout_ms: int | None = None) -> Decision:
        """The final decision of a hold, as in Guard.

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
        return self._core.conclude_hold(decision, await ask.mailbox.get(timeout_ms / 1000))

    async def report(
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
        on_message: AsyncMessageHandler | None = None,
        on_reconfirm: AsyncReconfirmHandler | None = None,
    ) -> Enforcing: ...

    @overload
    def enforce(
        self,
        action: Callable[_P, ActionLike],
        *,
        arguments: Callable[_P, Arguments] | None = None,
        deadline_ms: int | None = None,
        fallback: FallbackMode | None = None,
        traceparent: str = "",
        on_message: AsyncMessageHandler | None = None,
        on_reconfirm: AsyncReconfirmHandler | None = None,
    ) -> Callable[[Callable[_P, Awaitable[_R]]], Callable[_P, Coroutine[Any, Any, _R]]]: ...

    def enforce(
        self,
        action: Any,
        *,
        arguments: Any = None,
        deadline_ms: int | None = None,
        fallback: FallbackMode | None = None,
        traceparent: str = "",
        on_message: AsyncMessageHandler | None = None,
        on_reconfirm: AsyncReconfirmHandler | None = None,
    ) -> Any:
        """Ask, carry out the obligations, and go on only if the action may happen.

        ``async with guard.enforce(action):``, ``permit = await guard.enforce(action)``, or ``@guard.enforce(make)``
        above an ``async def``; otherwise as in Guard.

        Raises:
            Blocked: the action must not happen, with the reasons.
            InvalidAction: the action breaks the contract; nothing was published.
            GuardClosed: closed, or forked.
        """
        handlers = _Handlers(on_message or self._handlers.message, on_reconfirm or self._handlers.reconfirm)
        if not callable(action):
            return Enforcing(self._permit(handlers, action, arguments, deadline_ms, fallback, traceparent))

        def decorate(function: Callable[..., Awaitable[Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
            if not inspect.iscoroutinefunction(function):
                raise TypeError(f"{function.__qualname__} is not an async function: use Guard, or an async with block")

            @functools.wraps(function)
            async def guarded(*args: Any, **kwargs: Any) -> Any:
                made = action(*args, **kwargs)
                given = arguments(*args, **kwargs) if arguments is not None else None
                async with await self._permit(handlers, made, given, deadline_ms, fallback, traceparent):
                    return await function(*args, **kwargs)

            return guarded

        return decorate

    async def close(self, timeout_ms: int = 2_000) -> None:
        """Resolve what is pending by its fallback, deliver the spool where it can be, end the threads. Idempotent."""
        await asyncio.to_thread(self._core.close, timeout_ms)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _exchange(
        self,
        action: ActionLike,
        arguments: Arguments,
        deadline_ms: int | None,
        fallback: FallbackMode | None,
        traceparent: str,
    ) -> tuple[Ask[_Mailbox], Answer | None]:
        ask = self._core.begin(action, arguments, _Mailbox(), deadline_ms, fallback, traceparent)
        try:
            answer = await ask.mailbox.get(ask.remaining_s())
            if answer is None and not self._core.expire(ask):
                answer = await ask.mailbox.get(None)
        except BaseException:
            self._core.forget(ask)
            raise
        return ask, answer

    async def _conclude(self, ask: Ask[_Mailbox], answer: Answer | None) -> Decision:
        decision, must_survive = self._core.conclude(ask, answer)
        if must_survive:
            await asyncio.to_thread(self._core.sync)
        return decision

    async def _permit(self, handlers: _Handlers, *request: Any) -> AsyncPermit:
        ask, answer = await self._exchange(*request)
        identity = ask.prepared.identity
        decision: Decision | None = None
        try:
            decision = await self._conclude(ask, answer)
            final = await self._carry_out(decision, handlers)
        except Rejected as error:
            raise Blocked(self._core.refused(ask), str(error)) from error
        except Blocked as error:
            self._core.not_done(identity, error.decision)
            raise
        except BaseException:
            self._core.not_done(identity, decision)
            raise
        return AsyncPermit(final, functools.partial(self._core.report, self._core.acted(identity, final)))

    async def _carry_out(self, decision: Decision, handlers: _Handlers) -> Decision:
        walk = steps(decision)
        try:
            step = next(walk)
            while True:
                step = walk.send(await self._perform(step, handlers))
        except StopIteration as end:
            final: Decision = end.value
            return final

    async def _perform(self, step: Step, handlers: _Handlers) -> Decision | bool | None:
        if isinstance(step, Pause):
            return await self._pause(step.wait_ms)
        if isinstance(step, Show):
            if handlers.message is None:
                return None
            return await _settled(handlers.message(step.message, step.decision))
        if isinstance(step, Confirm):
            if handlers.reconfirm is None:
                return None
            return await _settled(handlers.reconfirm(step.reconfirm, step.decision))
        return await self.wait_final(step.decision)

    async def _pause(self, wait_ms: int) -> bool:
        """Whether the whole time passed."""
        await asyncio.sleep(wait_ms / 1000)
        return True


async def _settled(answer: bool | Awaitable[bool]) -> bool:
    return answer if isinstance(answer, bool) else await answer
