"""What Guard and AsyncGuard have in common: asks in flight, their answers, fallbacks, holds and outcomes."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Generic, TypeVar

from stayhand._ask import Answer, Ask, Lost, Mailbox
from stayhand._breaker import Breaker
from stayhand._claim import Claims
from stayhand._clock import monotonic_ms, now_ms
from stayhand._config import GuardConfig
from stayhand._envelope import Envelopes, Unreadable, Unverified, check_traceparent, new_id
from stayhand._fallback import Cause, LocalRule, Memory, Ruling, closed
from stayhand._prepare import ActionLike, Arguments, prepare
from stayhand._spool import Spool
from stayhand._teller import Teller
from stayhand._transport import RawHeaders, Transport
from stayhand.errors import GuardClosed, InvalidAction, Rejected, Unavailable
from stayhand.identity import parse_identity
from stayhand.secrets import scanner_for
from stayhand.wire import Approval, Decision, FallbackMode, OutcomeResult, Rejection

LATE_MAX = 4_096
HOLD_GRACE_MS = 5_000
UNREADABLE = Rejection(code="unreadable-answer", message="This version cannot read the gate's answer.")
_log = logging.getLogger("stayhand.guard")
_M = TypeVar("_M", bound=Mailbox)


class Core(Generic[_M]):
    """The state of one guard. Thread-safe; it belongs to the process that made it."""

    def __init__(self, config: GuardConfig, transport: Transport, local_rules: LocalRule | None) -> None:
        """Make the spool, then begin to connect."""
        self.config = config
        self._transport = transport
        self._envelopes = Envelopes(config)
        self._scanner = scanner_for(config.scanner, config.key_bytes or os.urandom(32))
        self._breaker = Breaker(config.breaker_timeouts)
        self._memory = Memory()
        spool = Spool(config.spool_dir, config.prefix, config.point, config.spool_bytes_max)
        self._teller = Teller(spool, self._envelopes, transport, self._count)
        self._claims = Claims(config, self._memory, local_rules, self._teller, self._breaker, self._count)
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._asks: dict[bytes, Ask[_M]] = {}
        self._holds: dict[str, Ask[_M]] = {}
        self._waiting: list[Ask[_M]] = []
        self._late: dict[bytes, Ask[_M]] = {}
        self._counts: Counter[str] = Counter()
        self._ready = threading.Event()
        self._owner = os.getpid()
        self._closed = False
        self._active = 0
        self._contact_at_ms = 0.0
        if config.unsigned:
            _log.warning("this guard runs unsigned: anybody who can write to Kafka can answer it")
        transport.start(self)

    @property
    def counts(self) -> Mapping[str, int]:
        """How often what happened, by name, since the start."""
        with self._lock:
            return dict(self._counts)

    @property
    def circuit(self) -> str:
        """The breaker's state."""
        return self._breaker.state

    @property
    def problem(self) -> str:
        """The transport's last problem."""
        return self._transport.problem

    @property
    def spooled(self) -> int:
        """How many entries Kafka must still hear."""
        return len(self._teller)

    def wait_ready(self, timeout_ms: int) -> bool:
        """Whether the reply position is fixed, after at most this long."""
        self.ensure_open()
        return self._ready.wait(timeout_ms / 1000)

    def ensure_open(self) -> None:
        """Refuse what would use another process's threads and files.

        Raises:
            GuardClosed: closed, or forked.
        """
        if self._owner != os.getpid():
            raise GuardClosed("this guard belongs to the parent process: make one after the fork")
        if self._closed:
            raise GuardClosed("this guard is closed")

    def begin(
        self,
        action: ActionLike,
        arguments: Arguments,
        mailbox: _M,
        deadline_ms: int | None,
        fallback: FallbackMode | None,
        traceparent: str,
    ) -> Ask[_M]:
        """Validate and send an ask; its answer comes to the mailbox, also where the circuit is open.

        Every ask that was begun must be concluded or forgotten.

        Raises:
            InvalidAction: nothing was published.
            GuardClosed: closed, or forked.
        """
        self.ensure_open()
        deadline = self._deadline(deadline_ms)
        if traceparent:
            check_traceparent(traceparent)
        prepared = prepare(action, arguments, self._scanner)
        began_at_ms = monotonic_ms()
        ask = Ask(prepared, mailbox, deadline, fallback, traceparent, began_at_ms)
        with self._lock:
            if self._closed:
                raise GuardClosed("this guard is closed")
            self._active += 1
            self._counts["asks"] += 1
            admission = self._breaker.admit(began_at_ms)
            if admission != "refuse":
                ask.probe = admission == "probe"
                self._asks[ask.correlation_id] = ask
                if not self._ready.is_set():
                    self._waiting.append(ask)
                    return ask
        if admission == "refuse":
            mailbox.put(Lost("circuit-open"))
            return ask
        try:
            self._publish(ask, deadline)
        except BaseException:
            self.forget(ask)
            raise
        return ask

    def expire(self, ask: Ask[_M]) -> bool:
        """The deadline passed. False where an answer is being handed over at this moment: then take that."""
        self._transport.report()
        with self._lock:
            if ask.answered:
                return False
            ask.expired = True
            self._gave_up(ask)
        if ask.delivered or self._contact_at_ms > ask.deadline_at_ms - ask.deadline_ms:
            self._breaker.unanswered(monotonic_ms(), probe=ask.probe)
        else:
            self._breaker.lost(monotonic_ms(), probe=ask.probe)
        return True

    def conclude(self, ask: Ask[_M], answer: Answer | None) -> tuple[Decision, bool]:
        """The decision on an ask, and whether ``sync`` must come before it is used; None stands for no answer in time.

        Raises:
            Rejected: the gate refused the ask.
        """
        if isinstance(answer, Decision):
            self._ended()
            return answer, False
        if isinstance(answer, Rejection):
            self._ended()
            raise Rejected(answer.code, answer.message)
        cause: Cause = answer.cause if isinstance(answer, Lost) else "deadline"
        try:
            return self._claims.fall_back(ask, cause)
        finally:
            self._ended()

    def forget(self, ask: Ask[_M]) -> None:
        """The asker went away (cancelled)."""
        with self._lock:
            ask.expired = ask.fell_closed = True
            self._gave_up(ask)
        if not ask.answered:
            self._breaker.abandoned(monotonic_ms(), probe=ask.probe)
        self._ended()

    def refused(self, ask: Ask[_M]) -> Decision:
        """A closed decision for an ask that the gate rejected, recorded as the point's own."""
        return self._claims.record(ask, "rejected", closed("rejected"))[0]

    def held(self, decision: Decision) -> Ask[_M] | None:
        """The ask whose hold a decision began; None where it is unknown or over."""
        return self._holds.get(decision.decision_id)

    def conclude_hold(self, decision: Decision, answer: Answer | None) -> Decision:
        """The final decision of a hold; None and every loss end it closed.

        Raises:
            Rejected: the gate refused it after all.
        """
        with self._lock:
            ask = self._holds.pop(decision.decision_id, None)
            if ask is not None:
                self._gave_up(ask)
        if isinstance(answer, Decision):
            return answer
        if isinstance(answer, Rejection):
            raise Rejected(answer.code, answer.message)
        cause: Cause = answer.cause if answer is not None else "deadline"
        ruling = Ruling("closed", "block", "hold-expired", "No approval came in time: the action must not happen.")
        return self._claims.record(ask, cause, ruling)[0] if ask is not None else ruling.decision(new_id())

    def acted(self, identity: str, decision: Decision) -> str:
        """Keep a permit that is about to be used until Kafka has its outcome; its entry id, empty where none is due."""
        return self._teller.permit(identity, decision)

    def outcome(self, action: ActionLike | str, decision: Decision, result: OutcomeResult) -> None:
        """Tell what became of an action that the caller carried out by itself.

        Raises:
            InvalidAction: the action breaks the contract.
            GuardClosed: closed, or forked.
        """
        self.ensure_open()
        if isinstance(action, str):
            identity = parse_identity(action, "subject")
        else:
            identity = prepare(action, None, self._scanner).identity
        self.report(self.acted(identity, decision), result)

    def not_done(self, identity: str, decision: Decision | None) -> None:
        """An action that might have happened did not: tell the gate that it was cancelled."""
        if decision is not None and decision.verdict != "block":
            self.report(self.acted(identity, decision), "cancelled")

    def report(self, entry_id: str, result: OutcomeResult) -> None:
        """Tell what became of a permit, once; it is sent now, and again until Kafka has it."""
        if self._owner == os.getpid():
            self._teller.outcome(entry_id, result)

    def sync(self) -> None:
        """Make what was spooled survive a crash of the machine."""
        self._teller.sync()

    def close(self, timeout_ms: int) -> None:
        """Resolve what is pending by its fallback, deliver what can be, keep the rest. Idempotent."""
        if self._owner != os.getpid():
            return
        with self._lock:
            if self._closed:
                return
            self._closed = True
            pending = [ask for ask in self._asks.values() if not ask.answered]
            held = [ask for ask in self._asks.values() if ask.answered]
            for ask in pending:
                ask.answered = True
            self._asks.clear()
            self._waiting.clear()
        for ask in (*pending, *held):
            ask.mailbox.put(Lost("unavailable"))
        with self._idle:
            self._idle.wait_for(lambda: self._active == 0, timeout_ms / 1000)
        self._teller.flush()
        self._transport.close(timeout_ms)
        self._teller.close()

    def disown(self) -> None:
        """In a forked child: let go of what is the parent's; takes no lock."""
        self._transport.abandon()
        self._teller.abandon()

    def ready(self) -> None:
        """The transport can carry asks: send those that waited for it and have time left."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            self._ready.set()
        self._breaker.reached()
        for ask in waiting:
            if not ask.expired:
                self._publish(ask, math.ceil(ask.deadline_at_ms - monotonic_ms()))

    def answer(self, value: bytes, headers: RawHeaders) -> None:
        """A record on the reply partition: another's, late, not to be believed, or an answer."""
        ask = self._asked(headers)
        if ask is None:
            self._count("skipped")
            return
        try:
            answer: Decision | Rejection = self._envelopes.open(value, headers)
        except Unverified as error:
            self._count("unverified")
            _log.warning("an answer is ignored: %s", error)
            return
        except Unreadable as error:
            self._count("unreadable")
            _log.error("an answer cannot be read, so the action must not happen: %s", error)
            answer = UNREADABLE
        self._breaker.answered()
        if self._accept(ask, answer):
            ask.mailbox.put(answer)
        elif ask.fell_closed and isinstance(answer, Decision):
            self.not_done(ask.prepared.identity, answer)

    def tick(self) -> None:
        """House-keeping: signs of life, what must be sent again, what a dead process left, holds that ended."""
        if self._breaker.unreachable and self._ready.is_set() and self._transport.reachable():
            self._breaker.reached()
            self._teller.hurry()
        self._forget_holds()
        if self._closed:
            return
        self._teller.sync()
        if self._ready.is_set() and not self._breaker.unreachable:
            self._teller.tick()

    def _deadline(self, deadline_ms: int | None) -> int:
        if deadline_ms is None:
            return self.config.deadline_ms
        if not 1 <= deadline_ms <= self.config.deadline_ms_max:
            raise InvalidAction(
                "deadline_ms", f"expected 1 to {self.config.deadline_ms_max} (deadline_ms_max of the guard)"
            )
        return deadline_ms

    def _asked(self, headers: RawHeaders) -> Ask[_M] | None:
        """The ask that a record on the reply partition belongs to."""
        for name, value in headers:
            if name == "kafka_correlationId":
                return (self._asks.get(value) or self._late.get(value)) if value else None
        return None

    def _publish(self, ask: Ask[_M], remaining_ms: int) -> None:
        address = self._transport.reply_address
        if address is None or remaining_ms <= 0:
            return
        record = self._envelopes.ask(
            ask.prepared.identity,
            ask.prepared.value,
            ask.correlation_id,
            address,
            min(ask.deadline_ms, remaining_ms),
            ask.traceparent,
        )

        def delivered(error: str | None) -> None:
            if error is None:
                ask.delivered = True
                self._contact_at_ms = monotonic_ms()
            else:
                self._lose(ask, error)

        try:
            self._transport.send(record, delivered)
        except Unavailable as error:
            self._lose(ask, str(error))

    def _lose(self, ask: Ask[_M], why: str) -> None:
        with self._lock:
            if ask.answered or ask.expired:
                return
            ask.answered = True
            self._gave_up(ask)
        _log.info("an ask did not reach Kafka: %s", why)
        self._breaker.lost(monotonic_ms(), probe=ask.probe)
        ask.mailbox.put(Lost("unavailable"))

    def _accept(self, ask: Ask[_M], answer: Decision | Rejection) -> bool:
        """Whether this answer counts: the first one, and after a hold the final one."""
        final = answer.final if isinstance(answer, Decision) else True
        with self._lock:
            if self._late.pop(ask.correlation_id, None) is not None or ask.expired:
                self._counts["late"] += 1
                return False
            if ask.answered and not final:
                self._counts["skipped"] += 1
                return False
            first = not ask.answered
            ask.answered = True
            if final:
                self._asks.pop(ask.correlation_id, None)
            self._counts["answers"] += 1
            if isinstance(answer, Decision):
                if not final:
                    ask.held_until_ms = _held_until(answer)
                    self._holds[answer.decision_id] = ask
                if first:
                    self._memory.learn(ask.prepared.action, ask.prepared.identity, answer, now_ms())
        return True

    def _forget_holds(self) -> None:
        with self._lock:
            gone = [(name, ask) for name, ask in self._holds.items() if now_ms() > ask.held_until_ms + HOLD_GRACE_MS]
            for name, ask in gone:
                del self._holds[name]
                self._asks.pop(ask.correlation_id, None)

    def _gave_up(self, ask: Ask[_M]) -> None:
        """Under the lock: what still comes for this ask is late."""
        if self._asks.pop(ask.correlation_id, None) is None:
            return
        self._late[ask.correlation_id] = ask
        if len(self._late) > LATE_MAX:
            del self._late[next(iter(self._late))]

    def _ended(self) -> None:
        with self._lock:
            self._active -= 1
            if self._closed and self._active == 0:
                self._idle.notify_all()

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1


def _held_until(decision: Decision) -> int:
    ends = [obligation.expires_at_ms for obligation in decision.obligations if isinstance(obligation, Approval)]
    return min(ends, default=0)
