"""What an owner keeps between two checkpoints: what each must write, from where it was changed, and what it forgets."""

from __future__ import annotations

import pytest

from models.baseline import EMPTY
from models.facts import NO_FACTS
from models.transition import NEW, State
from streams import ownership as module
from streams import record
from streams.ownership import Ownership
from streams.ports import Position
from streams.record import Source
from tests.fold import MemoryStore, empty_ownership

TOPICS = (b"a" * 16, b"c" * 16)
LEARNED = EMPTY._replace(first_seen_ms=5, last_ms=5, accepted_ms=5, events=1)
TOLD = NO_FACTS.model_copy(update={"owner": "team-a"})


def acted(own: Ownership, identity: str, state: State, action: int, clock_ms: int = 100) -> None:
    own.put(identity, state, clock_ms=clock_ms, action=action, control=None)


def controlled(own: Ownership, identity: str, state: State, control: int, clock_ms: int = 100) -> None:
    own.put(identity, state, clock_ms=clock_ms, action=None, control=control)


def written(own: Ownership) -> list[tuple[bytes, Source]]:
    """The keys of one checkpoint with what each record says it was last changed by."""
    rows = own.snapshot().records()
    own.settled(own.committed)
    return [(key, record.unpack(value)[1]) for key, value in rows]


def test_a_checkpoint_writes_what_changed_and_says_by_what():
    own = empty_ownership(TOPICS, partition=3)
    acted(own, "token:a", State(LEARNED, NO_FACTS), action=7)
    controlled(own, "token:b", State(EMPTY, TOLD), control=2)
    assert written(own) == [
        (b"b:token:a", Source(*TOPICS, 3, 7, -1, 100, 0)),
        (b"f:token:b", Source(*TOPICS, 3, -1, 2, 100, 0)),
    ]


def test_what_changed_once_is_written_though_the_last_change_left_it_alone():
    own = empty_ownership(TOPICS)
    acted(own, "token:a", State(LEARNED, NO_FACTS), action=7)
    controlled(own, "token:a", State(LEARNED, TOLD), control=2)
    assert [key for key, _ in written(own)] == [b"b:token:a", b"f:token:a"]


@pytest.mark.parametrize("settled", [True, False], ids=["after it", "during it"])
def test_what_a_checkpoint_has_written_is_not_written_again(settled):
    own = empty_ownership(TOPICS)
    acted(own, "token:a", State(LEARNED, TOLD), action=7)
    own.snapshot()
    if settled:
        own.settled(own.committed)
    state = State(LEARNED._replace(events=2), own.entry("token:a").state.facts)
    acted(own, "token:a", state, action=8)
    if not settled:
        own.settled(own.committed)
    assert own.entry("token:a").state is state
    assert written(own) == [(b"b:token:a", Source(*TOPICS, 0, 8, -1, 100, 0))]


def test_the_clock_never_goes_back_and_the_other_input_keeps_its_place():
    own = empty_ownership(TOPICS)
    controlled(own, "token:a", State(LEARNED, TOLD), control=2, clock_ms=500)
    acted(own, "token:a", State(LEARNED, TOLD), action=7, clock_ms=400)
    entry = own.entry("token:a")
    assert (entry.actions_offset, entry.controls_offset, entry.clock_ms) == (7, 2, 500)


def test_what_is_read_back_counts_where_it_is_of_the_same_topics():
    own = empty_ownership(TOPICS)
    acted(own, "token:a", State(LEARNED, NO_FACTS), action=7)
    controlled(own, "token:a", State(LEARNED, TOLD), control=2, clock_ms=300)
    store = MemoryStore()
    store.write(0, own.snapshot().records(), 2)
    for topics, offsets in ((TOPICS, (7, 2)), ((TOPICS[0], b"d" * 16), (7, -1)), ((b"d" * 16, b"e" * 16), (-1, -1))):
        heir = Ownership(0, "heir", 2, topics, store, Position(), 0, 0, 0)
        assert not heir.knows("token:a")
        heir.load(["token:a", "token:b", "token:a"])
        assert heir.knows("token:a")
        entry = heir.entry("token:a")
        assert (entry.actions_offset, entry.controls_offset, entry.clock_ms) == (*offsets, 300)
        assert entry.state == State(LEARNED, TOLD)
        assert heir.entry("token:b").state == NEW
        assert not heir.dirty


def test_memory_is_bounded_and_what_was_used_last_stays(monkeypatch):
    monkeypatch.setattr(module, "CACHED_IDENTITIES_MAX", 3)
    own = empty_ownership(TOPICS)
    names = [f"token:{n}" for n in range(5)]
    own.load(names)
    assert [name for name in names if own.knows(name)] == names[2:]
    acted(own, names[2], State(LEARNED, NO_FACTS), action=1)
    acted(own, names[0], State(LEARNED, NO_FACTS), action=2)
    written(own)
    assert [name for name in names if own.knows(name)] == [names[0], names[2], names[4]]
