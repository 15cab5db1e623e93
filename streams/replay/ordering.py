"""Puts the events of many files in order of (time, file, position) on disk, and finds the ones that stand twice."""

from __future__ import annotations

import hashlib
import json
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import orjson
from rocksdict import AccessType, BlockBasedOptions, Cache, Options, Rdict, WriteBatch

from stayhand import canonical
from streams.replay.event import Event, NotAnAction, Unmappable
from streams.replay.mapping import map_record
from streams.replay.records import records
from streams.replay.sources import Leaf, Other, Unreadable

MAX_NAMES = 100
_MEMTABLE_BYTES = 32 << 20
_CACHE_BYTES = 32 << 20
_PLACE = struct.Struct(">cQIQ")
_QUEUED, _SEEN = b"q", b"s"


@dataclass(slots=True)
class Intake:
    """What was found in the input; ``events`` is all of it, whatever became of it.

    ``skipped``: well-formed records that are no action (later stages of a request, digests). ``others``: files that are
    no logs and count as nothing. At most 100 names are kept of each.
    """

    events: int = 0
    queued: int = 0
    duplicates: int = 0
    skipped: int = 0
    unreadable: int = 0
    unreadable_names: list[str] = field(default_factory=list)
    others: int = 0
    other_names: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def accounted(self) -> bool:
        """Whether every event became exactly one thing."""
        return self.events == self.queued + self.duplicates + self.skipped + self.unreadable

    def unread(self, name: str, why: str) -> None:
        """Count one that could not be read, and remember its name while there is room."""
        self.events += 1
        self.unreadable += 1
        if len(self.unreadable_names) < MAX_NAMES:
            self.unreadable_names.append(f"{name}: {why}")

    def aside(self, name: str, why: str) -> None:
        """Remember a file that is no log."""
        self.others += 1
        if len(self.other_names) < MAX_NAMES:
            self.other_names.append(f"{name}: {why}")


@dataclass(frozen=True, slots=True)
class Queued:
    """An event in its turn: its number from 0, and what goes on the wire."""

    number: int
    at_ms: int
    ce_id: str
    identity: str
    body: bytes


class Queue:
    """The events on disk, in a database of their own; memory does not grow with their number."""

    def __init__(self, folder: Path) -> None:
        self._database = Rdict(str(folder), options=bounded_options(), access_type=AccessType.read_write())

    def add(self, found: Event, file_index: int, position: int) -> str:
        """Take an event in; returns ``queued``, ``duplicate`` or ``later-stage``.

        Of two with the same id the one that was read first stays. Without an id nothing is a duplicate.
        """
        seen = _SEEN + hashlib.sha256(f"{found.kind}\0{found.event_id}".encode("utf-8", "replace")).digest()[:16]
        if found.event_id and (stage := self._database.get(seen)) is not None:
            return "duplicate" if stage == found.stage.encode("utf-8", "replace") else "later-stage"
        batch = WriteBatch(raw_mode=True)
        place = _PLACE.pack(_QUEUED, found.at_ms, file_index, position)
        ce_id = _ce_id(found, file_index, position)
        batch.put(place, orjson.dumps([ce_id, found.identity]) + b"\n" + canonical.canonical(found.action))
        if found.event_id:
            batch.put(seen, found.stage.encode("utf-8", "replace"))
        self._database.write(batch)
        return "queued"

    def ordered(self) -> Iterator[Queued]:
        """Every queued event, in order of (time, file, position)."""
        cursor = self._database.iter()
        cursor.seek(_QUEUED)
        number = 0
        while cursor.valid():
            key = cast("bytes", cursor.key())
            if not key.startswith(_QUEUED):
                return
            head, _, body = cast("bytes", cursor.value()).partition(b"\n")
            ce_id, identity = orjson.loads(head)
            yield Queued(number, _PLACE.unpack(key)[1], ce_id, identity, body)
            number += 1
            cursor.next()

    def close(self) -> None:
        """Close the database; its folder belongs to the caller."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def take_in(found: Iterable[Leaf | Unreadable | Other], queue: Queue, intake: Intake) -> Iterator[Intake]:
    """Read every file into the queue; yields the running count after each file, for a progress bar."""
    for file_index, leaf in enumerate(found):
        if isinstance(leaf, Unreadable):
            intake.unread(leaf.name, leaf.why)
        elif isinstance(leaf, Other):
            intake.aside(leaf.name, leaf.why)
        else:
            _take_file(leaf, file_index, queue, intake)
        yield intake


def bounded_options() -> Options:
    """A database whose memory is bounded: small tables in memory, one block cache, filters inside the cache."""
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(_MEMTABLE_BYTES)
    options.set_max_write_buffer_number(2)
    table = BlockBasedOptions()
    table.set_block_cache(Cache(_CACHE_BYTES))
    table.set_bloom_filter(10, False)
    table.set_cache_index_and_filter_blocks(True)
    options.set_block_based_table_factory(table)
    return options


def _take_file(leaf: Leaf, file_index: int, queue: Queue, intake: Intake) -> None:
    for found in records(leaf):
        if isinstance(found, Unreadable):
            intake.unread(found.name, found.why)
        elif isinstance(found, Other):
            intake.aside(found.name, found.why)
        else:
            _take_record(leaf.name, found.position, found.value, file_index, queue, intake)


def _take_record(name: str, position: int, value: object, file_index: int, queue: Queue, intake: Intake) -> None:
    try:
        found = map_record(value)
    except Unmappable as error:
        intake.unread(f"{name} record {position}", str(error))
        return
    except NotAnAction:
        intake.events += 1
        intake.skipped += 1
        return
    fate = queue.add(found, file_index, position)
    intake.events += 1
    intake.kinds[found.kind] += 1
    intake.queued += fate == "queued"
    intake.duplicates += fate == "duplicate"
    intake.skipped += fate == "later-stage"


def _ce_id(found: Event, file_index: int, position: int) -> str:
    own = found.event_id or json.dumps([found.at_ms, file_index, position, found.identity])
    return hashlib.sha256(f"{found.kind}\0{own}".encode("utf-8", "replace")).hexdigest()[:32]
