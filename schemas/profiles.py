"""The document of a profile: what the peers of an identity do, as it is published to `stayhand.global`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.documents import Document
from stayhand.wire import Hex, Label, Name

# Bins of the histogram of epoch scores: one nat each, the first and the last are open.
BINS = 12
MAX_PROFILE_VALUES, MAX_PROFILE_BIGRAMS = 4_096, 8_192
# However large its counts are, a profile is no larger; Kafka's `max.message.bytes` is 1,048,588 unless it is set.
MAX_PROFILE_BYTES = 600_000

Scope = Literal["group", "type", "everybody"]
Code = Annotated[int, Field(ge=0, le=0xFFFF)]
Count = Annotated[int, Field(ge=0, le=1 << 48)]
ValueRow = Annotated[tuple[Code, Count, Count, Count, Count], Field(strict=False)]
BigramRow = Annotated[tuple[Code, Code, Count], Field(strict=False)]


class ProfileCounts(Document):
    """What some identities did together; actions are 16-bit codes, as baselines hold them.

    Attributes:
        version: the builder's; ``events`` and ``epochs`` of all ``identities`` together.
        values: for each action its code, events, epochs, identities that ever did it, and the times that it was seen
            followed by another one.
        bigrams: code before, code, how often.
        histogram: of the epoch scores of accepted epochs.
    """

    version: Annotated[str, Field(min_length=1, max_length=64)]
    identities: Count
    events: Count
    epochs: Count
    values: Annotated[tuple[ValueRow, ...], Field(strict=False, max_length=MAX_PROFILE_VALUES)]
    bigrams: Annotated[tuple[BigramRow, ...], Field(strict=False, max_length=MAX_PROFILE_BIGRAMS)]
    histogram: Annotated[tuple[Count, ...], Field(strict=False, min_length=BINS, max_length=BINS)]

    @model_validator(mode="after")
    def _each_once(self) -> ProfileCounts:
        """No code stands twice, or two readers could take different ones."""
        if len({row[0] for row in self.values}) != len(self.values):
            raise ValueError("values: expected each code once")
        if len({row[:2] for row in self.bigrams}) != len(self.bigrams):
            raise ValueError("bigrams: expected each pair of codes once")
        return self


class ProfileDocument(Document):
    """A profile as published (key ``profile/<scope>/<name>``); a tombstone takes it away.

    It is for the identities of a group, of a type, or for everybody (without a name); the narrowest one is used.
    ``hash`` is SHA-256 over the canonical JSON of ``profile``.
    """

    scope: Scope
    name: Label = ""
    hash: Hex
    profile: ProfileCounts
    by: Name
    why: Label = ""
