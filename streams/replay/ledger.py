"""What became of each event and what is known of each identity, on disk while the replay runs."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast, get_args

from rocksdict import Rdict, WriteBatch

from stayhand.wire import Severity, Verdict
from streams.replay.errors import ReplayFailed
from streams.replay.ordering import Queued, bounded_options

TOP = 10
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_NUMBER = struct.Struct(">cQ")
_TOTAL = struct.Struct(">q")
_COUNTS = struct.Struct(">4Q")
_ANSWER, _RECORD, _IDENTITY = b"v", b"a", b"i"


@dataclass(frozen=True, slots=True)
class Peak:
    """The most telling moment of one identity: its severest verdict, and of those the one with the highest total.

    ``terms`` are what the total is made of, the largest first; scores are in 1/1024.
    """

    identity: str
    number: int
    at_ms: int
    verdict: Verdict
    total: int
    action: str
    resource: str
    terms: tuple[tuple[str, int], ...]
    reasons: tuple[tuple[str, str], ...]

    @property
    def rank(self) -> tuple[int, int, int]:
        """Severest first, then highest, then earliest."""
        return Severity[self.verdict], self.total, -self.number


class Ledger:
    """Verdicts as they were answered and as they were recorded, by the event's number; tallies by identity."""

    def __init__(self, folder: Path) -> None:
        self._database = Rdict(str(folder), options=bounded_options())
        self._peaks: dict[str, Peak] = {}
        self.verdicts: Counter[str] = Counter(dict.fromkeys(VERDICTS, 0))
        self.refused: Counter[str] = Counter()
        self.lost = 0

    def answered(self, number: int, verdict: Verdict) -> None:
        """An answer came."""
        self._database[_NUMBER.pack(_ANSWER, number)] = bytes([Severity[verdict]])
        self.verdicts[verdict] += 1

    def answer_lost(self, number: int) -> None:
        """An answer did not come, and its audit record did: that one holds."""
        record = cast("bytes", self._database[_NUMBER.pack(_RECORD, number)])
        self.answered(number, VERDICTS[record[0]])
        self.lost += 1

    def rejected(self, number: int, code: str) -> None:
        """The gate refused an ask."""
        self._database[_NUMBER.pack(_ANSWER, number)] = b"-" + code.encode()
        self.refused[code] += 1

    def recorded(self, number: int, body: dict[str, Any]) -> None:
        """The audit of a decision came; ``body`` has the shape of ``schemas.documents.AuditRecord``."""
        peak = _peak(number, body)
        batch = WriteBatch(raw_mode=True)
        batch.put(_NUMBER.pack(_RECORD, number), bytes([Severity[peak.verdict]]) + _TOTAL.pack(peak.total))
        key = _IDENTITY + peak.identity.encode()
        counts = list(_COUNTS.unpack(self._database.get(key) or bytes(_COUNTS.size)))
        counts[Severity[peak.verdict]] += 1
        batch.put(key, _COUNTS.pack(*counts))
        self._database.write(batch)
        self._keep(peak)

    def top(self) -> list[tuple[Peak, dict[str, int]]]:
        """The identities with the most telling peaks, and how often each verdict fell for them."""
        peaks = sorted(self._peaks.values(), key=lambda peak: peak.rank, reverse=True)
        return [(peak, self._counts(peak.identity)) for peak in peaks]

    def digest(self, events: Iterable[Queued]) -> str:
        """SHA-256 over (id, verdict or refusal, total) of every event in its order.

        Raises:
            ReplayFailed: where an event has no answer, or the audit says something else than the answer did.
        """
        state = hashlib.sha256()
        for event in events:
            state.update(f"{event.ce_id} {self._fate(event)}\n".encode())
        return state.hexdigest()

    def close(self) -> None:
        """Close the database; its folder belongs to the caller."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fate(self, event: Queued) -> str:
        answer = cast("bytes | None", self._database.get(_NUMBER.pack(_ANSWER, event.number)))
        if answer is None:
            raise ReplayFailed(f"event {event.ce_id} of {event.identity} was never answered")
        if answer.startswith(b"-"):
            return answer.decode()
        record = cast("bytes | None", self._database.get(_NUMBER.pack(_RECORD, event.number)))
        if record is None or record[:1] != answer:
            raise ReplayFailed(f"event {event.ce_id} of {event.identity}: its audit does not say what was answered")
        return f"{Severity(answer[0]).name} {_TOTAL.unpack(record[1:])[0]}"

    def _counts(self, identity: str) -> dict[str, int]:
        raw = self._database.get(_IDENTITY + identity.encode()) or bytes(_COUNTS.size)
        return dict(zip(VERDICTS, _COUNTS.unpack(raw), strict=True))

    def _keep(self, peak: Peak) -> None:
        """The ten highest, whatever the order in which they come: a maximum by identity only ever grows."""
        held = self._peaks.get(peak.identity)
        if held is not None and held.rank >= peak.rank:
            return
        self._peaks[peak.identity] = peak
        if len(self._peaks) > TOP:
            del self._peaks[min(self._peaks.values(), key=lambda each: each.rank).identity]


def states(folder: Path, found: Iterable[tuple[bytes, bytes | None]]) -> Iterator[tuple[bytes, bytes]]:
    """The last value of each key of a compacted topic, gathered on disk."""
    database = Rdict(str(folder), options=bounded_options())
    try:
        for key, value in found:
            if value is None:
                database.delete(key)
            else:
                database[key] = value
        cursor = database.iter()
        cursor.seek_to_first()
        while cursor.valid():
            yield cast("bytes", cursor.key()), cast("bytes", cursor.value())
            cursor.next()
    finally:
        database.close()


def _peak(number: int, body: dict[str, Any]) -> Peak:
    decision, scores, action = body["decision"], body["scores"], body["action"]
    return Peak(
        identity=body["identity"],
        number=number,
        at_ms=body["at_ms"],
        verdict=decision["verdict"],
        total=scores["total"],
        action=action["action"]["name"],
        resource=f"{action['resource']['type']}:{action['resource']['id']}",
        terms=tuple((name, value) for name, value in scores["terms"] if value > 0),
        reasons=tuple((reason["code"], reason["message"]) for reason in decision.get("reasons", ())),
    )
