"""One owned partition: its term and positions, and the identities' states between two checkpoints."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from models import baseline
from models.made import made
from models.transition import NEW, State, decode_facts, encode_facts
from streams import record
from streams.blast import NO_GUARD, Guard
from streams.ports import Answer, Position, Store
from streams.record import Source

CACHED_IDENTITIES_MAX = 50_000


class Entry(NamedTuple):
    """An identity's state, what last changed it, and which of its two records the next checkpoint must write.

    An action or control at or below these offsets, of the owner's topics, is in the state; ``clock_ms`` never goes
    back. What is to be written counts only while the entry waits for a checkpoint.
    """

    state: State
    actions_offset: int
    controls_offset: int
    clock_ms: int
    baseline_changed: bool = False
    facts_changed: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A partition's share of a checkpoint.

    ``audit_next`` lies before every audit record that this part contains: a successor skips what it finds contained,
    but it must neither miss a record nor an answer that was waiting for this very commit.
    """

    partition: int
    topics: tuple[bytes, bytes]
    entries: Mapping[str, Entry]
    actions_next: int
    controls_next: int
    audits_sent: int
    audit_next: int
    audit_term: int
    term: int
    guard: Guard

    def records(self) -> list[tuple[bytes, bytes]]:
        """The changed state records as (key, value), in the order of their first change."""
        written: list[tuple[bytes, bytes]] = []
        for identity, (state, actions, controls, clock_ms, baseline_changed, facts_changed) in self.entries.items():
            source = Source(*self.topics, self.partition, actions, controls, clock_ms, self.term)
            if baseline_changed:
                body = baseline.encode(state.baseline)
                written.append((record.state_key("baseline", identity), record.pack("baseline", source, body)))
            if facts_changed:
                body = encode_facts(state.facts)
                written.append((record.state_key("facts", identity), record.pack("facts", source, body)))
        return written


@dataclass(slots=True)
class Ownership:
    """The time of one worker over one partition.

    ``committed`` is the last position that Kafka accepted; ``audits_sent`` and ``audits_acked`` count this term's
    audit records, ``audit_next`` is the offset behind the last acknowledged one. ``checkpointed_s`` is when its last
    checkpoint began; before the first one its turn is as early as can be.
    """

    partition: int
    worker: str
    term: int
    topics: tuple[bytes, bytes]
    store: Store
    committed: Position
    actions_next: int
    controls_next: int
    audit_next: int
    audits_sent: int = 0
    audits_acked: int = 0
    guard: Guard = NO_GUARD
    dirty: dict[str, Entry] = field(default_factory=dict)
    committing: Mapping[str, Entry] = field(default_factory=dict)
    waiting: list[tuple[int, Answer]] = field(default_factory=list)
    checkpointed_s: float = -inf
    _cache: OrderedDict[str, Entry] = field(default_factory=OrderedDict)
    topic_names: tuple[str, str] = field(init=False)
    _cut: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        """The first part reaches back to the position that was taken over."""
        self.topic_names = (self.topics[0].hex(), self.topics[1].hex())
        self._cut = (self.committed.audit_next, self.committed.audit_term)

    def load(self, identities: Iterable[str]) -> None:
        """Bring these identities into memory with one read of the store."""
        missing = [identity for identity in dict.fromkeys(identities) if not self.knows(identity)]
        if not missing:
            return
        keys = [record.state_key(kind, identity) for identity in missing for kind in ("baseline", "facts")]
        values = self.store.get(self.partition, keys)
        for position, identity in enumerate(missing):
            self._cache[identity] = self._decode(values[2 * position], values[2 * position + 1])
        self._forget_oldest()

    def knows(self, identity: str) -> bool:
        """Whether the identity is in memory, so that nothing needs to be loaded."""
        return identity in self.dirty or identity in self.committing or identity in self._cache

    def entry(self, identity: str) -> Entry:
        """The identity's current entry."""
        found = self.dirty.get(identity) or self.committing.get(identity) or self._cache.get(identity)
        if found is None:
            self.load((identity,))
            found = self._cache[identity]
        return found

    def put(self, identity: str, state: State, *, clock_ms: int, action: int | None, control: int | None) -> None:
        """Replace the identity's state after the record at offset ``action`` or ``control``."""
        old = self.dirty.get(identity)
        before, actions, controls, before_ms, baseline_changed, facts_changed = old or self.entry(identity)
        if old is None:
            baseline_changed = facts_changed = False
        self.dirty[identity] = made(
            Entry,
            (
                state,
                actions if action is None else action,
                controls if control is None else control,
                max(clock_ms, before_ms),
                baseline_changed or state.baseline is not before.baseline,
                facts_changed or state.facts is not before.facts,
            ),
        )

    def acked(self, offset: int) -> None:
        """An audit record of this term stands at ``offset``."""
        self.audits_acked += 1
        self.audit_next = max(self.audit_next, offset + 1)

    def snapshot(self) -> Part:
        """Move what changed into a checkpoint's part; only one part is under way at a time."""
        assert not self.committing, "a checkpoint is under way already"
        self.committing, self.dirty = self.dirty, {}
        cut, self._cut = self._cut, (self.audit_next, self.term)
        return Part(
            self.partition,
            self.topics,
            self.committing,
            self.actions_next,
            self.controls_next,
            self.audits_sent,
            *cut,
            self.term,
            self.guard,
        )

    def settled(self, committed: Position) -> None:
        """The part under way is committed: keep its entries, for now nothing of them is to be written."""
        self.committed = committed
        kept, newest = self._cache, self._cache.move_to_end
        for identity, entry in self.committing.items():
            kept[identity] = entry
            newest(identity)
        self.committing = {}
        self._forget_oldest()

    def release(self, sequence: int) -> list[Answer]:
        """The answers that waited for a checkpoint up to ``sequence``."""
        due = [answer for waits_for, answer in self.waiting if waits_for <= sequence]
        self.waiting = [(waits_for, answer) for waits_for, answer in self.waiting if waits_for > sequence]
        return due

    @property
    def moved(self) -> bool:
        """Whether there is anything that a checkpoint would write, or an answer that waits for one."""
        return bool(
            self.dirty
            or self.waiting
            or self.actions_next != self.committed.actions_next
            or self.controls_next != self.committed.controls_next
        )

    def _forget_oldest(self) -> None:
        while len(self._cache) > CACHED_IDENTITIES_MAX:
            self._cache.popitem(last=False)

    def _decode(self, baseline_raw: bytes | None, facts_raw: bytes | None) -> Entry:
        state, sources = NEW, []
        if baseline_raw is not None:
            _, source, body = record.unpack(baseline_raw)
            state = State(baseline.decode(body), state.facts)
            sources.append(source)
        if facts_raw is not None:
            _, source, body = record.unpack(facts_raw)
            state = State(state.baseline, decode_facts(body))
            sources.append(source)
        return Entry(state, *self._merged(sources))

    def _merged(self, sources: Sequence[Source]) -> tuple[int, int, int]:
        """The later of two records' offsets and clocks; offsets of other topics than today's say nothing."""
        actions = [source.actions_offset for source in sources if source.actions_topic == self.topics[0]]
        controls = [source.controls_offset for source in sources if source.controls_topic == self.topics[1]]
        clock_ms = max((source.clock_ms for source in sources), default=0)
        return max(actions, default=-1), max(controls, default=-1), clock_ms
