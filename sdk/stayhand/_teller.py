"""Tells Kafka what it must hear, fallbacks and outcomes: spooled first, sent until it is acknowledged."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from pydantic import ValidationError

from stayhand._clock import monotonic_ms, now_ms
from stayhand._envelope import Envelopes, new_id
from stayhand._spool import Entry, Spool, SpoolRefused
from stayhand._transport import Outgoing, Transport
from stayhand.errors import Unavailable
from stayhand.wire import Decision, Fallback, Outcome, OutcomeResult

ADOPT_EVERY_MS = 10_000
RESEND_EVERY_MS = 1_000
RESEND_MAX = 2_000
_log = logging.getLogger("stayhand.spool")


class Teller:
    """Owns the spool of one guard. Thread-safe.

    Args:
        spool: where entries are kept until they were delivered.
        envelopes: signs what is sent.
        transport: carries it.
        count: notes ``delivered`` and ``unspooled``.
    """

    def __init__(self, spool: Spool, envelopes: Envelopes, transport: Transport, count: Callable[[str], None]) -> None:
        """Send nothing yet."""
        self._spool = spool
        self._envelopes = envelopes
        self._transport = transport
        self._count = count
        self._lock = threading.Lock()
        self._sending: set[str] = set()
        self._adopt_at_ms = 0.0
        self._resend_at_ms = 0.0

    def __len__(self) -> int:
        """How many entries Kafka must still hear."""
        return len(self._spool)

    def fallback(self, identity: str, claim: Fallback, entry_id: str) -> Entry | None:
        """Keep what the point decided by itself; None where that cannot be."""
        entry = Entry(entry_id, "fallback", identity, claim.at_ms, value=claim.model_dump(mode="json"))
        try:
            self._spool.put(entry)
        except SpoolRefused as error:
            self._refused("a fallback is not recorded, so it is closed", error)
            return None
        return entry

    def permit(self, identity: str, decision: Decision) -> str:
        """Keep a permit that is about to be used; its entry id, empty where there is nothing to tell afterwards."""
        if not decision.receipt:
            return ""
        entry = Entry(new_id(), "permit", identity, now_ms(), decision.decision_id, decision.receipt)
        try:
            self._spool.put(entry)
        except SpoolRefused as error:
            self._refused("a permit is used without a local record of it", error)
            return ""
        return entry.entry_id

    def outcome(self, entry_id: str, result: OutcomeResult) -> None:
        """Tell what became of a permit; the first word counts."""
        if not entry_id:
            return
        try:
            entry = self._spool.finish(entry_id, result)
        except SpoolRefused as error:
            self._refused("an outcome is kept in memory alone", error)
            return
        if entry is not None:
            self.send(entry)

    def send(self, entry: Entry) -> None:
        """Send an entry now, unless it is on its way or Kafka has it; what fails is sent again by ``tick``."""
        with self._lock:
            if self._transport.reply_address is None or entry.entry_id in self._sending:
                return
            if entry.entry_id not in self._spool:
                return
            self._sending.add(entry.entry_id)

        def delivered(error: str | None) -> None:
            if error is None:
                self._spool.done(entry.entry_id)
                self._count("delivered")
            with self._lock:
                self._sending.discard(entry.entry_id)

        try:
            self._transport.send(self._outgoing(entry), delivered)
        except Unavailable as error:
            delivered(str(error))
        except ValidationError:
            _log.error("%s in the spool breaks the contract of this version; it is dropped", entry.entry_id)
            delivered(None)

    def tick(self) -> None:
        """Take over what dead processes left, and send what is due; for when the broker can be reached."""
        now = monotonic_ms()
        if now >= self._adopt_at_ms:
            self._adopt_at_ms = now + ADOPT_EVERY_MS
            if adopted := self._spool.adopt():
                self._resend_at_ms = now
                _log.info("%d entries of processes that ended are delivered now", adopted)
        if now >= self._resend_at_ms:
            self._resend_at_ms = now + RESEND_EVERY_MS
            self.flush()

    def hurry(self) -> None:
        """The broker is back: the next ``tick`` sends."""
        self._resend_at_ms = 0.0

    def flush(self) -> None:
        """Send what is due, oldest first, at most 2,000 at a time."""
        for entry in self._spool.due()[:RESEND_MAX]:
            self.send(entry)

    def sync(self) -> None:
        """Make what was kept survive a crash of the machine."""
        try:
            self._spool.sync()
        except SpoolRefused as error:
            self._refused("what was kept may not survive the machine", error)

    def close(self) -> None:
        """Leave what is left to the next process."""
        self._spool.close()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's files; takes no lock."""
        self._spool.abandon()

    def _outgoing(self, entry: Entry) -> Outgoing:
        if entry.kind == "fallback":
            claim = Fallback.model_validate(entry.value)
            return self._envelopes.fallback(entry.key, claim.model_dump_json().encode(), entry.entry_id)
        outcome = Outcome.model_validate(
            {"receipt": entry.receipt, "decision_id": entry.decision_id, "result": entry.result}
        )
        return self._envelopes.outcome(entry.key, outcome.model_dump_json().encode(), entry.entry_id)

    def _refused(self, what: str, error: SpoolRefused) -> None:
        self._count("unspooled")
        _log.error("%s: %s", what, error)
