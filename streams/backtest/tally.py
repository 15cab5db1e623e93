"""What another pack would have changed, counted decision by decision in bounded memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from models.explain import explained, in_words
from models.policy import CompiledPack
from models.transition import Rejudged, rejudged
from stayhand.headers import rfc3339
from stayhand.wire import Severity

Json = dict[str, Any]
VERDICTS = tuple(level.name for level in Severity)
BLOCK = int(Severity.block)
_SEVERITY = {level.name: int(level) for level in Severity}
IDENTITIES_MAX = 20_000
CODES_MAX = 2_048
_EXACT_MS = 1_000


@dataclass(slots=True)
class Moved:
    """How one identity's verdicts would have moved."""

    stricter: int = 0
    milder: int = 0
    blocked: int = 0
    freed: int = 0


class Movers:
    """The identities whose verdicts would have moved most; when there are too many, the smallest are forgotten."""

    def __init__(self, most: int = IDENTITIES_MAX) -> None:
        """Keep at most ``most``; ``forgotten`` says whether any was left out."""
        self._most, self._moved = most, dict[str, Moved]()
        self.forgotten = False

    def __len__(self) -> int:
        return len(self._moved)

    def add(self, identity: str, before: int, after: int) -> None:
        """One verdict of this identity that would have moved, as severities."""
        moved = self._moved.get(identity)
        if moved is None:
            self._make_room()
            moved = self._moved[identity] = Moved()
        moved.stricter += after > before
        moved.milder += after < before
        moved.blocked += after == BLOCK != before
        moved.freed += before == BLOCK != after

    def top(self, most: int) -> list[tuple[str, Moved]]:
        """Those with the most changes."""
        return sorted(self._moved.items(), key=_changes, reverse=True)[:most]

    def _make_room(self) -> None:
        if len(self._moved) >= self._most:
            self._moved = dict(self.top(self._most // 2))
            self.forgotten = True


def _changes(found: tuple[str, Moved]) -> int:
    return found[1].stricter + found[1].milder


class Delays:
    """A histogram of milliseconds: exact below a second, to two digits above."""

    def __init__(self) -> None:
        """Start empty."""
        self._counts: Counter[int] = Counter()
        self.most_ms = 0

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, delay_ms: int) -> None:
        """One delay; one below 0, which clocks that differ bring about, is none."""
        delay_ms = max(0, delay_ms)
        self.most_ms = max(self.most_ms, delay_ms)
        if delay_ms >= _EXACT_MS:
            unit: int = 10 ** (len(str(delay_ms)) - 2)
            delay_ms = delay_ms // unit * unit
        self._counts[delay_ms] += 1

    def quantile(self, share: float) -> int | None:
        """The least delay that this share of all does not exceed; None where there is none."""
        left = share * len(self)
        for delay_ms in sorted(self._counts):
            left -= self._counts[delay_ms]
            if left <= 0:
                return delay_ms
        return None


@dataclass(slots=True)
class Burden:
    """What verdicts asked of askers: milliseconds of waiting, and approvals."""

    wait_ms: int = 0
    approvals: int = 0

    def add(self, decision: Json) -> None:
        """What one decision asks."""
        for duty in decision.get("obligations", ()):
            if duty["type"] == "wait":
                self.wait_ms += duty["wait_ms"]
            elif duty["type"] == "approval":
                self.approvals += 1


def _square() -> list[list[int]]:
    return [[0] * len(VERDICTS) for _ in VERDICTS]


@dataclass(slots=True)
class Tally:
    """Counts of a whole backtest of ``pack``.

    Attributes:
        matrix: by recorded severity and severity under the pack, of first decisions; ``finals`` of answers to holds.
        late: decided too late to be answered; they bore no waiting. ``observed``: answered with permit anyway.
        duties: decisions with the same verdict that would have asked for something else.
        rescored: decisions whose score this release computes otherwise than the one that decided.
        unfaithful: decisions of this very pack that come out otherwise: this release decides otherwise.
        unreadable: records that this release cannot decide again; ``trouble`` is what the first one lacked.
    """

    pack: CompiledPack
    examples_each: int = 3
    matrix: list[list[int]] = field(default_factory=_square)
    finals: list[list[int]] = field(default_factory=_square)
    others: int = 0
    late: int = 0
    observed: int = 0
    duties: int = 0
    rescored: int = 0
    unfaithful: int = 0
    unreadable: int = 0
    trouble: str = ""
    before: Burden = field(default_factory=Burden)
    after: Burden = field(default_factory=Burden)
    codes_before: Counter[str] = field(default_factory=Counter)
    codes_after: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    movers: Movers = field(default_factory=Movers)
    delays: Delays = field(default_factory=Delays)
    examples: dict[tuple[int, int], dict[str, Json]] = field(default_factory=dict)
    first_ms: int = 0
    last_ms: int = 0

    def add(self, body: Json) -> None:
        """Decide one audit record again, where it holds a decision."""
        if body["kind"] not in {"decision", "final"}:
            self.others += 1
            return
        try:
            self._count(body, again(body, self.pack))
        except (KeyError, TypeError, ValueError) as error:
            self.unreadable += 1
            self.trouble = self.trouble or f"{type(error).__name__}: {error}".splitlines()[0][:200]

    def _count(self, body: Json, told: Rejudged) -> None:
        was, now, ask = body["decision"], told.decision, body["ask"]
        before, after = _severity(was), _severity(now)
        first, rescored, late = body["kind"] == "decision", told.scores.total != body["scores"]["total"], ask["late"]
        self.rescored += rescored
        self.unfaithful += was["policy"]["hash"] == self.pack.hash and was != now
        if told.failed:
            self.failed.update(told.failed)
        _codes(self.codes_before, was)
        _codes(self.codes_after, now)
        (self.matrix if first else self.finals)[before][after] += 1
        self.late += late
        self.observed += "would_be" in was
        self._time(body["at_ms"])
        if first:
            self.delays.add(ask["read_at_ms"] - ask["appended_at_ms"])
        if not late:
            self.before.add(was)
            self.after.add(now)
        if before != after:
            self.movers.add(body["identity"], before, after)
            self._example(body, told, (before, after))
        elif was.get("obligations") != now.get("obligations"):
            self.duties += _asks(was) != _asks(now)

    def _time(self, at_ms: int) -> None:
        self.first_ms = min(self.first_ms or at_ms, at_ms)
        self.last_ms = max(self.last_ms, at_ms)

    def _example(self, body: Json, told: Rejudged, cell: tuple[int, int]) -> None:
        """Keep the first of each of some identities for each change of verdict."""
        kept = self.examples.setdefault(cell, {})
        if len(kept) < self.examples_each and body["identity"] not in kept:
            kept[body["identity"]] = example(body, told)

    @property
    def decisions(self) -> int:
        """First decisions that were decided again."""
        return sum(map(sum, self.matrix))

    def blocks(self) -> tuple[int, int]:
        """Blocks that were recorded, and blocks under the pack."""
        return sum(self.matrix[BLOCK]), sum(row[BLOCK] for row in self.matrix)

    @property
    def rise_percent(self) -> float:
        """By how many percentage points of all decisions the share of blocks would have risen."""
        before, after = self.blocks()
        return 100 * (after - before) / self.decisions if self.decisions else 0.0


def again(body: Json, pack: CompiledPack) -> Rejudged:
    """What the pack would have decided, as if it had been in force all the time: by the scorer's own code.

    Raises:
        KeyError, TypeError, ValueError: where the record lacks what this release needs.
    """
    if body["kind"] == "final":
        answer = body["facts"]["answer"]
        if answer["policy"] == body["decision"]["policy"]["hash"]:
            body = body | {"facts": body["facts"] | {"answer": answer | {"policy": pack.hash}}}
    return rejudged(body, pack)


def example(body: Json, told: Rejudged) -> Json:
    """One changed decision in words: what became of it, by which reasons, and what its score was made of."""
    was, now = body["decision"], told.decision
    name, resource = subject_matter(body)
    return {
        "decision_id": was["decision_id"],
        "at": rfc3339(body["at_ms"]),
        "identity": body["identity"],
        "action": name,
        "resource": resource,
        "recorded": VERDICTS[_severity(was)],
        "would_be": VERDICTS[_severity(now)],
        "reasons_recorded": [each["code"] for each in was.get("reasons", ())],
        "reasons": [each["code"] for each in now.get("reasons", ())],
        "total": told.scores.total / 1_024,
        "says": _says(was, now),
        "why": in_words(explained(body)),
    }


def subject_matter(body: Json) -> tuple[str, str]:
    """The action's name and its resource, of a first or a final decision."""
    if body["kind"] == "final":
        answer = body["facts"]["answer"]
        return answer["action"], answer["resource"]
    action, resource = body["action"]["action"], body["action"]["resource"]
    return action["name"], f"{resource['type']}:{resource['id']}"


def _says(was: Json, now: Json) -> str:
    """The reasons that the pack adds, and the codes of those that it drops."""
    old, new = was.get("reasons", ()), now.get("reasons", ())
    had, has = {each["code"] for each in old}, {each["code"] for each in new}
    added = " ".join(each["message"] for each in new if each["code"] not in had)
    dropped = ", ".join(each["code"] for each in old if each["code"] not in has)
    return " ".join(part for part in (added, dropped and f"No longer: {dropped}.") if part)


def _severity(decision: Json) -> int:
    """The verdict's severity; in observe mode that which it would have been."""
    return _SEVERITY[decision.get("would_be") or decision["verdict"]]


def _asks(decision: Json) -> list[Json]:
    """The obligations without the times and ids that each decision has for itself."""
    return [
        {name: value for name, value in duty.items() if name not in {"hold_id", "expires_at_ms"}}
        for duty in decision.get("obligations", ())
    ]


def _codes(counts: Counter[str], decision: Json) -> None:
    for each in decision.get("reasons", ()):
        code = each["code"]
        if code in counts or len(counts) < CODES_MAX:
            counts[code] += 1
