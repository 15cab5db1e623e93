"""The list of actions that were seen in abuse, read once from ``abused.yaml``."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from models.datafile import Document, validated

Share = Literal["often", "seen", "scouting"]
_Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, min_length=1)]
_Technique = Annotated[str, Field(pattern=r"^T[0-9]{4}(\.[0-9]{3})?$")]


class InvalidAbused(ValueError):
    """The list breaks its shape; the message names the field and what was expected."""


class _Entry(Document):
    names: _Names
    share: Share
    techniques: Annotated[tuple[_Technique, ...], Field(strict=False, min_length=1)]
    references: _Names


class _Cited(Document):
    """A source: its address, how much of it was read, and on which day (in UTC); no day where it never was."""

    url: Annotated[str, Field(pattern=r"^https://")]
    read: Literal["whole", "part", "retold", "never"]
    day: Annotated[str, Field(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$")] | None = None

    @model_validator(mode="after")
    def _has_its_day(self) -> Self:
        if (self.day is None) != (self.read == "never"):
            raise ValueError("expected a day exactly where the source was read")
        return self


class _Source(Document):
    version: Annotated[str, Field(min_length=1)]
    shares: dict[Share, Annotated[int, Field(ge=1, le=1_000_000)]]
    sources: dict[str, _Cited]
    actions: Annotated[tuple[_Entry, ...], Field(strict=False, min_length=1)]


class Abuse(NamedTuple):
    """What the list says of an action: its share of an intruder's actions in parts in a million, and the techniques."""

    share: int
    techniques: tuple[str, ...]


class Abused:
    """The list as a look-up.

    Attributes:
        version: as its source says.
        source: its content as plain JSON, for the hash of what it is part of.
    """

    __slots__ = ("_entries", "source", "version")

    def __init__(self, source: _Source) -> None:
        self.version = source.version
        self.source: dict[str, Any] = source.model_dump(mode="json")
        self._entries = tuple(
            (pattern(entry.names), Abuse(source.shares[entry.share], entry.techniques)) for entry in source.actions
        )

    def find(self, name: str) -> Abuse | None:
        """What the list says of the action of this name: the first entry that matches; None where none does."""
        return next((abuse for names, abuse in self._entries if names.fullmatch(name)), None)


def pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """One pattern for names in which ``*`` stands for any text."""
    alternatives = "|".join(".*".join(re.escape(part) for part in name.split("*")) for name in names)
    return re.compile(alternatives, re.DOTALL)


def parse_abused(text: str) -> Abused:
    """Read a list from YAML.

    Raises:
        InvalidAbused: naming the field and what was expected.
    """
    source = validated(text, _Source, "abused", InvalidAbused)
    cited = {key for entry in source.actions for key in entry.references}
    if unknown := cited - set(source.sources):
        raise InvalidAbused(f"references: expected keys of sources, not {min(unknown)}")
    if absent := {entry.share for entry in source.actions} - set(source.shares):
        raise InvalidAbused(f"shares: expected one for {min(absent)}")
    return Abused(source)


@cache
def load_abused() -> Abused:
    """The list that ships with this release; its file is read once in a process."""
    return parse_abused(Path(__file__).with_name("abused.yaml").read_text(encoding="utf-8"))
