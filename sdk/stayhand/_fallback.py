"""What happens without an answer: closed, open, local rules or the last known decision, as the gate allowed."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Generic, Literal, TypeVar

from stayhand.wire import Decision, FallbackLease, FallbackMode, Obligation, PendingAction, PolicyRef, Reason, Verdict

Cause = Literal["deadline", "unavailable", "circuit-open", "rejected"]
LocalVerdict = Literal["permit", "block"]
LocalRule = Callable[[PendingAction], LocalVerdict]

LEASES_MAX = 1_024
LAST_KNOWN_MAX = 4_096
_POLICY = PolicyRef(name="fallback", version="1", hash="")
_log = logging.getLogger("stayhand.fallback")
_CAUSES: dict[Cause, str] = {
    "deadline": "The gate did not answer in time",
    "unavailable": "The gate could not be reached",
    "circuit-open": "The gate is known to be out of reach",
    "rejected": "The gate refused the request itself",
}
_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class LocalRules:
    """A small local matcher over the action's name: shell patterns, block before permit, block where nothing fits."""

    permit: Sequence[str] = ()
    block: Sequence[str] = ()

    def __call__(self, action: PendingAction) -> LocalVerdict:
        """The verdict of the first list that fits."""
        name = action.action.name
        if any(fnmatchcase(name, pattern) for pattern in self.block):
            return "block"
        return "permit" if any(fnmatchcase(name, pattern) for pattern in self.permit) else "block"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a fallback came to: the mode that was really used, and what it says."""

    mode: FallbackMode
    verdict: Verdict
    code: str
    message: str
    obligations: tuple[Obligation, ...] = ()

    def decision(self, decision_id: str) -> Decision:
        """As a decision that says that the gate did not make it."""
        return Decision(
            decision_id=decision_id,
            verdict=self.verdict,
            obligations=self.obligations,
            reasons=(Reason(code=self.code, message=self.message),),
            policy=_POLICY,
            origin="fallback",
        )


class Memory:
    """What earlier decisions of the gate allow and said; bounded, the oldest goes first. One writer at a time."""

    def __init__(self) -> None:
        """Know nothing: everything is closed."""
        self._leases: _Recent[str, FallbackLease] = _Recent(LEASES_MAX)
        self._last: _Recent[_Kind, tuple[Decision, int]] = _Recent(LAST_KNOWN_MAX)

    def learn(self, action: PendingAction, identity: str, decision: Decision, now_ms: int) -> None:
        """Keep the lease, and the decision if it was not a hold: an approval is never repeated from memory."""
        self._leases.put(action.action.name, decision.fallback)
        kind = _kind(action, identity)
        if decision.final:
            self._last.put(kind, (decision, now_ms))
        else:
            self._last.forget(kind)

    def allows(self, action_name: str, mode: FallbackMode, now_ms: int) -> bool:
        """Whether an unexpired lease names the mode."""
        lease = self._leases.get(action_name)
        return mode == "closed" or (lease is not None and mode in lease.modes and now_ms < lease.expires_at_ms)

    def last_known(self, action: PendingAction, identity: str, not_before_ms: int) -> Decision | None:
        """The last decision about the same identity, action, resource and arguments, if it is not too old."""
        found = self._last.get(_kind(action, identity))
        return found[0] if found is not None and found[1] >= not_before_ms else None


def closed(cause: Cause, why: str = "the action must not happen") -> Ruling:
    """The fallback that is always allowed."""
    return Ruling("closed", "block", "fallback-closed", f"{_CAUSES[cause]}: {why}.")


def rule(
    mode: FallbackMode,
    cause: Cause,
    action: PendingAction,
    identity: str,
    memory: Memory,
    local: LocalRule | None,
    now_ms: int,
    last_known_ms: int,
) -> Ruling:
    """Apply a mode; whatever stands against it makes it closed.

    Args:
        mode: what the caller or the configuration asks for.
        cause: why there is no answer; a refused request is always closed.
        action: what waits.
        identity: whose it is.
        memory: the leases and the last known decisions.
        local: the user's rules for ``local``.
        now_ms: wall clock, as leases expire by it.
        last_known_ms: the grace of ``last-known``.
    """
    if mode == "closed" or cause == "rejected":
        return closed(cause)
    if not memory.allows(action.action.name, mode, now_ms):
        return closed(cause, f"the gate has not allowed the fallback {mode} for this action")
    if mode == "open":
        return Ruling("open", "permit", "fallback-open", f"{_CAUSES[cause]}: this action may happen without it.")
    if mode == "local":
        return _by_local_rules(cause, action, local)
    return _by_memory(cause, memory.last_known(action, identity, now_ms - last_known_ms))


def _by_local_rules(cause: Cause, action: PendingAction, local: LocalRule | None) -> Ruling:
    if local is None:
        return closed(cause, "there are no local rules")
    try:
        verdict = local(action)
    except Exception:  # noqa: BLE001 - the user's own code; whatever it raises, the action stays closed
        _log.exception("the local rules failed; the action stays closed")
        return closed(cause, "the local rules failed")
    if verdict == "permit":
        return Ruling("local", "permit", "fallback-local", f"{_CAUSES[cause]}: the local rules permit the action.")
    return Ruling("local", "block", "fallback-local", f"{_CAUSES[cause]}: the local rules do not permit the action.")


def _by_memory(cause: Cause, known: Decision | None) -> Ruling:
    if known is None:
        return closed(cause, "there is no recent decision to repeat")
    message = f"{_CAUSES[cause]}: the last known decision is repeated."
    return Ruling("last-known", known.verdict, "fallback-last-known", message, known.obligations)


_Kind = tuple[str, str, str, str, str]


def _kind(action: PendingAction, identity: str) -> _Kind:
    resource = action.resource
    return identity, action.action.name, resource.type, resource.id, action.context.argument_digest


class _Recent(Generic[_K, _V]):
    """A bounded map that forgets what was put first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: OrderedDict[_K, _V] = OrderedDict()

    def put(self, key: _K, value: _V) -> None:
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > self._limit:
            self._items.popitem(last=False)

    def get(self, key: _K) -> _V | None:
        return self._items.get(key)

    def forget(self, key: _K) -> None:
        self._items.pop(key, None)
