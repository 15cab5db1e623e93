"""Profiles: what everybody together does, as a hashed snapshot that scoring reads and nobody changes.

Both builders are pure functions of counts, so that two of them give the same hash for the same counts. Without a
profile nothing can say how much likelier somebody else is, and the epoch score is not ready.

`peer_profile` counts the codes that baselines hold: those of the shipped prior (`models.prior`), so that what an
identity learned stays its own when a profile comes, changes or goes. `build_profile` counts names, and gives each a
code of the upper half that no other value shares; a later profile keeps it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple, TypeVar

from models.codes import KNOWN, stable_code
from schemas.profiles import BINS, MAX_PROFILE_BIGRAMS, MAX_PROFILE_VALUES, ProfileCounts
from stayhand import canonical

BILLION, MILLION = 1_000_000_000, 1_000_000
MAX_VALUES, MAX_BIGRAMS = 16_384, 65_536
LOWEST_BIN = -9
# So many accepted epochs tell how often a score is met; fewer do not.
CALIBRATED_EPOCHS = 100
_FOLLOWS_WEIGHT = 5
_Key = TypeVar("_Key", str, int, tuple[str, str], tuple[int, int])


class Counted(NamedTuple):
    """What one identity adds to a profile of names.

    Attributes:
        events: how often each value came; ``epochs`` in how many epochs it did, of ``epochs_total``.
        bigrams: how often a value came right after another.
        histogram: of the epoch scores of its accepted epochs.
    """

    events: Mapping[str, int]
    epochs: Mapping[str, int]
    epochs_total: int
    bigrams: Mapping[tuple[str, str], int]
    histogram: Sequence[int] = (0,) * BINS


class Member(NamedTuple):
    """What one identity adds to the profile of its peers.

    Attributes:
        values: by code, how often it came and in how many epochs, of ``events`` and ``epochs`` in all.
        bigrams: how often a code came right after another, of those whose order is known.
        histogram: of the epoch scores of its accepted epochs.
    """

    values: Mapping[int, tuple[int, int]]
    events: int
    epochs: int
    bigrams: Mapping[tuple[int, int], int]
    histogram: Sequence[int]


class Profile:
    """The snapshot as look-ups; equal counts give equal answers in every process.

    Attributes:
        version: as its builder says; ``hash`` is SHA-256 over the canonical JSON of its ``counts``.
        identities: how many were counted.
        rarer: by bin, the share of others' accepted epochs that scored at least as high, in parts in a million; empty
            where there are too few epochs to tell.
    """

    __slots__ = (
        "_before",
        "_bigrams",
        "_codes",
        "_unknown",
        "_values",
        "counts",
        "hash",
        "identities",
        "rarer",
        "version",
    )

    def __init__(self, counts: ProfileCounts, codes: Mapping[str, int] | None = None) -> None:
        """Take the counts over; ``codes`` are those of names that have one here alone."""
        self.counts = counts
        self.version, self.identities = counts.version, counts.identities
        self.hash = canonical.digest(counts.model_dump(mode="json"))
        self._codes: Mapping[str, int] = codes or {}
        self._values = {
            code: (_share(events, counts.events), _presence(epochs, counts.epochs), identities)
            for code, events, epochs, identities, _ in counts.values
        }
        self._unknown = (_share(0, counts.events), _presence(0, counts.epochs), 0)
        self._bigrams = {before << 16 | code: count for before, code, count in counts.bigrams}
        self._before: dict[int, int] = {row[0]: row[4] for row in counts.values}
        total = sum(counts.histogram)
        above = [sum(counts.histogram[at:]) for at in range(BINS)]
        self.rarer: Final = tuple(MILLION * count // total for count in above) if total >= CALIBRATED_EPOCHS else ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Profile):
            return NotImplemented
        return self.hash == other.hash and self._codes == other._codes

    def __hash__(self) -> int:
        return hash(self.hash)

    def code(self, name: str, unknown: int) -> int:
        """The code that a name has here alone, otherwise ``unknown``."""
        return self._codes.get(name, unknown)

    def value(self, code: int) -> tuple[int, int, int]:
        """The others' share of events in parts in a billion, of epochs in parts in a million, and how many ever did it.

        Neither share is 0.
        """
        return self._values.get(code, self._unknown)

    def follows(self, before: int, code: int, share: int) -> int:
        """How often others do this right after that, in parts in a million; ``share`` as `value` gives it."""
        count = self._bigrams.get(before << 16 | code, 0) if before >= 0 else 0
        whole = self._before.get(before, 0)
        return (count * MILLION + _FOLLOWS_WEIGHT * share // 1_000) // (whole + _FOLLOWS_WEIGHT)


@dataclass(frozen=True, slots=True)
class Profiles:
    """The profiles in force, by group, by type of identity, and for everybody."""

    groups: Mapping[str, Profile] = field(default_factory=dict)
    types: Mapping[str, Profile] = field(default_factory=dict)
    everybody: Profile | None = None

    def of(self, identity: str, group: str) -> Profile | None:
        """The profile of an identity's peers: its group's, else its type's, else everybody's, else none."""
        found = self.groups.get(group)
        if found is None:
            found = self.types.get(identity[: identity.find(":")])
        return self.everybody if found is None else found


NO_PROFILES: Final = Profiles()


def _share(events: int, total: int) -> int:
    return max(1, min(BILLION, (2 * events + 1) * BILLION // (2 * total + 2)))


def _presence(epochs: int, total: int) -> int:
    return max(1, min(MILLION, (50 * epochs + 1) * MILLION // (50 * (total + 2))))


def counted(names: Sequence[str], epoch_events: int) -> Counted:
    """What a history of values adds, in epochs of ``epoch_events``; an unfinished last one counts as one."""
    cuts = [names[at : at + epoch_events] for at in range(0, len(names), epoch_events)]
    epochs = Counter(name for cut in cuts for name in set(cut))
    return Counted(Counter(names), epochs, len(cuts), Counter(pairwise(names)))


def build_profile(version: str, counts: Iterable[Counted], earlier: Profile | None = None) -> Profile:
    """The profile of these histories together; the most frequent values and bigrams where they are too many.

    Values that ``earlier`` knows keep their codes. It may be larger than what can be published.
    """
    events, epochs, identities = Counter[str](), Counter[str](), Counter[str]()
    bigrams, histogram, number, total = Counter[tuple[str, str]](), [0] * BINS, 0, 0
    for one in counts:
        events.update(one.events)
        epochs.update(one.epochs)
        identities.update(one.events.keys())
        bigrams.update(one.bigrams)
        histogram = [mine + theirs for mine, theirs in zip(histogram, one.histogram, strict=True)]
        total += one.epochs_total
        number += 1
    kept = _most(events, MAX_VALUES)
    codes = _assigned(kept, earlier._codes if earlier else {})  # noqa: SLF001  its own module
    pairs = [pair for pair in _most(bigrams, MAX_BIGRAMS) if pair[0] in codes and pair[1] in codes]
    source = ProfileCounts.model_construct(
        version=version,
        identities=number,
        events=events.total(),
        epochs=total,
        values=tuple((codes[name], events[name], epochs[name], identities[name], events[name]) for name in kept),
        bigrams=tuple((codes[before], codes[name], bigrams[before, name]) for before, name in pairs),
        histogram=tuple(histogram),
    )
    return Profile(source, codes)


def peer_profile(version: str, members: Iterable[Member]) -> Profile:
    """The profile of these identities together, small enough to be published.

    Of more actions or pairs of them than there is room for, the most frequent are kept.
    """
    events, epochs, identities, followed = (Counter[int]() for _ in range(4))
    bigrams, histogram, number, events_total, epochs_total = Counter[tuple[int, int]](), [0] * BINS, 0, 0, 0
    for one in members:
        for code, (often, in_epochs) in one.values.items():
            events[code] += often
            epochs[code] += in_epochs
            identities[code] += 1
        for (before, code), often in one.bigrams.items():
            bigrams[before, code] += often
            followed[before] += often
        histogram = [mine + theirs for mine, theirs in zip(histogram, one.histogram, strict=True)]
        events_total += one.events
        epochs_total += one.epochs
        number += 1
    kept = _most(events, MAX_PROFILE_VALUES)
    known = set(kept)
    pairs = {pair: count for pair, count in bigrams.items() if pair[0] in known and pair[1] in known}
    counts = ProfileCounts(
        version=version,
        identities=number,
        events=events_total,
        epochs=epochs_total,
        values=tuple((code, events[code], epochs[code], identities[code], followed[code]) for code in kept),
        bigrams=tuple((*pair, pairs[pair]) for pair in _most(pairs, MAX_PROFILE_BIGRAMS)),
        histogram=tuple(histogram),
    )
    return Profile(counts)


def _most(counts: Mapping[_Key, int], limit: int) -> list[_Key]:
    """The keys with the highest counts, in order of the keys."""
    if len(counts) <= limit:
        return sorted(counts)
    return sorted(sorted(counts, key=lambda key: (-counts[key], key))[:limit])


def _assigned(names: Iterable[str], earlier: Mapping[str, int]) -> dict[str, int]:
    """A code of the upper half for each name: its earlier one, else the next free one after its hash."""
    names = list(names)
    codes = {name: earlier[name] for name in names if name in earlier}
    taken = set(earlier.values())
    for name in names:
        if name not in codes:
            code = stable_code(name)
            while KNOWN | code in taken:
                code = (code + 1) % KNOWN
            codes[name] = KNOWN | code
            taken.add(codes[name])
    return codes
