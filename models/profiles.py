"""Profiles: what everybody together does, as a hashed snapshot that scoring reads and nobody changes.

`build_profile` is a pure function of counts, so that two builders of the same counts give the same hash. Without a
profile nothing can say how much likelier somebody else is, and the epoch score is not ready.

A value that a profile knows has a 16-bit code in the upper half that no other value shares; a later profile keeps it.
Values that no profile knows share the lower half by their hash (`models.codes`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.codes import KNOWN, stable_code
from stayhand import canonical

BILLION, MILLION = 1_000_000_000, 1_000_000
MAX_VALUES, MAX_BIGRAMS = 16_384, 65_536
# Bins of the score's histogram: one nat each, the first and the last are open.
BINS, LOWEST_BIN = 12, -9
_FOLLOWS_WEIGHT = 5
_Code = Annotated[int, Field(ge=0, le=0xFFFF)]
_Count = Annotated[int, Field(ge=0, le=1 << 48)]
_Key = TypeVar("_Key", str, tuple[str, str])


class InvalidProfile(ValueError):
    """The bytes are not a profile; the message names the field and what was expected."""


class Counted(NamedTuple):
    """What one identity adds to a profile.

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


class _Source(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    version: Annotated[str, Field(min_length=1, max_length=64)]
    events: _Count
    epochs: _Count
    # By name: its code, how many events, how many epochs.
    values: Annotated[dict[str, tuple[_Code, _Count, _Count]], Field(max_length=MAX_VALUES)]
    # Code before, code, how often.
    bigrams: Annotated[list[tuple[_Code, _Code, _Count]], Field(max_length=MAX_BIGRAMS)]
    histogram: Annotated[list[_Count], Field(min_length=BINS, max_length=BINS)]


class Profile:
    """The snapshot as look-ups; equal sources give equal answers in every process.

    Attributes:
        version: as its source says; ``hash`` is SHA-256 over the canonical JSON of its source.
        rarer: by bin, the share of others' accepted epochs that scored at least as high, in parts in a million.
    """

    __slots__ = ("_before", "_bigrams", "_codes", "_source", "_unknown", "_values", "hash", "rarer", "version")

    def __init__(self, source: _Source) -> None:
        self._source = source
        self.version = source.version
        self.hash = canonical.digest(source.model_dump(mode="json"))
        self._values = {
            code: (_share(events, source.events), _presence(epochs, source.epochs))
            for code, events, epochs in source.values.values()
        }
        self._codes: dict[str, int] = {name: found[0] for name, found in source.values.items()}
        self._unknown = (_share(0, source.events), _presence(0, source.epochs))
        self._bigrams = {before << 16 | code: count for before, code, count in source.bigrams}
        self._before: dict[int, int] = {code: events for code, events, _ in source.values.values()}
        total = sum(source.histogram)
        above = [sum(source.histogram[at:]) for at in range(BINS)]
        self.rarer: Final = tuple(MILLION * count // total if total else 0 for count in above)

    def code(self, name: str, unknown: int) -> int:
        """The code of a value that the profile knows, otherwise ``unknown``."""
        return self._codes.get(name, unknown)

    def value(self, code: int) -> tuple[int, int]:
        """The others' share of events in parts in a billion, and of epochs in parts in a million; neither is 0."""
        return self._values.get(code, self._unknown)

    def follows(self, before: int, code: int, share: int) -> int:
        """How often others do this right after that, in parts in a million; ``share`` as `value` gives it."""
        count = self._bigrams.get(before << 16 | code, 0) if before >= 0 else 0
        whole = self._before.get(before, 0)
        return (count * MILLION + _FOLLOWS_WEIGHT * share // 1_000) // (whole + _FOLLOWS_WEIGHT)


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
    """The profile of these identities together; the most frequent values and bigrams where they are too many.

    Values that ``earlier`` knows keep their codes.
    """
    events, epochs, bigrams, histogram = Counter[str](), Counter[str](), Counter[tuple[str, str]](), [0] * BINS
    total = 0
    for one in counts:
        events.update(one.events)
        epochs.update(one.epochs)
        bigrams.update(one.bigrams)
        histogram = [mine + theirs for mine, theirs in zip(histogram, one.histogram, strict=True)]
        total += one.epochs_total
    kept = _most(events, MAX_VALUES)
    codes = _assigned(kept, earlier._codes if earlier else {})  # noqa: SLF001  its own module
    pairs = [pair for pair in _most(bigrams, MAX_BIGRAMS) if pair[0] in codes and pair[1] in codes]
    source = _Source(
        version=version,
        events=events.total(),
        epochs=total,
        values={name: (codes[name], events[name], epochs[name]) for name in kept},
        bigrams=[(codes[before], codes[name], bigrams[before, name]) for before, name in pairs],
        histogram=histogram,
    )
    return Profile(source)


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


def encode_profile(profile: Profile) -> bytes:
    """The profile's file: canonical JSON, equal for equal profiles."""
    return canonical.canonical(profile._source.model_dump(mode="json"))  # noqa: SLF001  its own module


def decode_profile(raw: bytes) -> Profile:
    """Read a profile's file.

    Raises:
        InvalidProfile: naming the field and what was expected.
    """
    try:
        return Profile(_Source.model_validate_json(raw))
    except ValidationError as error:
        first: Any = error.errors(include_url=False, include_input=False)[0]
        raise InvalidProfile(f"{'.'.join(str(part) for part in first['loc']) or 'profile'}: {first['msg']}") from error
