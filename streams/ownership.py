"""One owned partition: its term and positions, and the identities' states between two checkpoints."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from models import baseline
from models.transition import NEW, State, decode_facts, encode_facts
from streams import record
from streams.blast import NO_GUARD, Guard
from streams.ports import Answer, Position, Store
from streams.record import Source

CACHED_IDENTITIES_MAX = 50_000


class Entry(NamedTuple):
    """An identity's state, what last changed it, and which of its two records the next checkpoint must write."""

    state: State
    source: Source
    baseline_changed: bool = False
    facts_changed: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A partition's share of a checkpoint.

    ``audit_next`` lies before every audit record that this part contains: a successor skips what it finds contained,
    but it must neither miss a record nor an answer that was waiting for this very commit.
    """

    partition: int
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
        for identity, entry in self.entries.items():
            if entry.baseline_changed:
                body = baseline.encode(entry.state.baseline)
                written.append((record.state_key("baseline", identity), record.pack("baseline", entry.source, body)))
            if entry.facts_changed:
                body = encode_facts(entry.state.facts)
                written.append((record.state_key("facts", identity), record.pack("facts", entry.source, body)))
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
        missing = [identity for identity in dict.fromkeys(identities) if not self._in_memory(identity)]
        if not missing:
            return
        keys = [record.state_key(kind, identity) for identity in missing for kind in ("baseline", "facts")]
        values = self.store.get(self.partition, keys)
        for position, identity in enumerate(missing):
            self._remember(identity, self._decode(values[2 * position], values[2 * position + 1]))

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
        base = old or self.entry(identity)
        source = Source(
            *self.topics,
            self.partition,
            base.source.actions_offset if action is None else action,
            base.source.controls_offset if control is None else control,
            max(clock_ms, base.source.clock_ms),
            self.term,
        )
        self.dirty[identity] = Entry(
            state,
            source,
            baseline_changed=state.baseline is not base.state.baseline or (old is not None and old.baseline_changed),
            facts_changed=state.facts is not base.state.facts or (old is not None and old.facts_changed),
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
            self.committing,
            self.actions_next,
            self.controls_next,
            self.audits_sent,
            *cut,
            self.term,
            self.guard,
        )

    def settled(self, committed: Position) -> None:
        """The part under way is committed: keep its entries as clean ones."""
        self.committed = committed
        for identity, entry in self.committing.items():
            self._remember(identity, Entry(entry.state, entry.source))
        self.committing = {}

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

    def _in_memory(self, identity: str) -> bool:
        return identity in self.dirty or identity in self.committing or identity in self._cache

    def _remember(self, identity: str, entry: Entry) -> None:
        self._cache[identity] = entry
        self._cache.move_to_end(identity)
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
        return Entry(state, self._merged(sources))

    def _merged(self, sources: Sequence[Source]) -> Source:
        """The later of two records' sources; offsets of other topics than today's say nothing."""
        actions = [source.actions_offset for source in sources if source.actions_topic == self.topics[0]]
        controls = [source.controls_offset for source in sources if source.controls_topic == self.topics[1]]
        clock_ms = max((source.clock_ms for source in sources), default=0)
        return Source(
            *self.topics, self.partition, max(actions, default=-1), max(controls, default=-1), clock_ms, self.term
        )
