"""What a point decides by itself where there is no answer, and the record of it that Kafka must hear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stayhand._ask import Ask
from stayhand._breaker import Breaker
from stayhand._clock import now_ms
from stayhand._config import GuardConfig
from stayhand._envelope import new_id
from stayhand._fallback import Cause, LocalRule, Memory, Ruling, closed, rule
from stayhand._teller import Teller
from stayhand.wire import Decision, Fallback


class Claims:
    """Makes fallbacks and has them told. Thread-safe.

    Args:
        config: the configured modes, and for how long ``last-known`` may repeat a decision.
        memory: what earlier decisions allow and said.
        local_rules: what the fallback ``local`` asks.
        teller: keeps a claim until Kafka has it.
        breaker: whether sending makes sense now.
        count: notes ``fallbacks``.
    """

    def __init__(
        self,
        config: GuardConfig,
        memory: Memory,
        local_rules: LocalRule | None,
        teller: Teller,
        breaker: Breaker,
        count: Callable[[str], None],
    ) -> None:
        """Decide nothing yet."""
        self._config = config
        self._memory = memory
        self._local_rules = local_rules
        self._teller = teller
        self._breaker = breaker
        self._count = count

    def fall_back(self, ask: Ask[Any], cause: Cause) -> tuple[Decision, bool]:
        """The decision by the ask's mode, and whether the record must be synced before it is used."""
        prepared = ask.prepared
        action = prepared.action
        ruling = rule(
            ask.mode or self._config.fallback_for(action.action.name),
            cause,
            action,
            prepared.identity,
            self._memory,
            self._local_rules,
            now_ms(),
            self._config.last_known_ms,
        )
        return self.record(ask, cause, ruling)

    def record(self, ask: Ask[Any], cause: Cause, ruling: Ruling) -> tuple[Decision, bool]:
        """Spool what the point decided by itself; what cannot be recorded must not permit."""
        prepared = ask.prepared
        action = prepared.action
        claim = Fallback(
            point=self._config.point,
            action=action.action.name,
            resource=f"{action.resource.type}:{action.resource.id}",
            mode=ruling.mode,
            verdict=ruling.verdict,
            cause=cause,
            at_ms=now_ms(),
            action_digest=prepared.digest,
        )
        self._count("fallbacks")
        entry = self._teller.fallback(prepared.identity, claim, new_id())
        ask.fell_closed = entry is None or ruling.verdict == "block"
        if entry is None:
            return closed(cause).decision(new_id()), False
        if not self._breaker.unreachable:
            self._teller.send(entry)
        return ruling.decision(entry.entry_id), ruling.verdict != "block"
