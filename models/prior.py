"""The shipped prior: what is known of a value before the identity is, read once from ``prior.yaml``.

It stands where profiles of the identity's peers will: the share of all calls that one action has (``g``), and the share
that it has in what somebody else does with a stolen identity (``q`` by its impact alone, ``abused`` where the list of
what was seen in abuse names it, `models.abused`), in parts in a million.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from models.abused import Abused, load_abused, pattern
from models.codes import KNOWN, family, stable_code
from models.datafile import Document, validated
from stayhand import canonical

_CACHED = 8_192
READ_POINTS, SENSITIVE_POINTS = 1, 4
Frequency = Literal["common", "usual", "rare", "unheard"]
PartsPerMillion = Annotated[int, Field(ge=1, le=1_000_000)]
Impact = Annotated[int, Field(ge=0, le=3)]


class InvalidPrior(ValueError):
    """The prior's source breaks its shape; the message names the field and what was expected."""


class _Rule(Document):
    names: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, min_length=1)]
    impact: Impact
    frequency: Frequency


class _Flows(Document):
    """Names of actions that read data, that read what is sensitive, and that send, publish or open to others."""

    reads: Annotated[tuple[str, ...], Field(strict=False)]
    sensitive: Annotated[tuple[str, ...], Field(strict=False)]
    sends: Annotated[tuple[str, ...], Field(strict=False)]


class _Source(Document):
    version: Annotated[str, Field(min_length=1)]
    frequencies: dict[Frequency, PartsPerMillion]
    abused: Annotated[tuple[PartsPerMillion, ...], Field(strict=False, min_length=4, max_length=4)]
    abuse_share: Annotated[int, Field(ge=0, le=1_000)]
    sources: PartsPerMillion
    resources: PartsPerMillion
    clients: PartsPerMillion
    known_clients: dict[Frequency, Annotated[tuple[str, ...], Field(strict=False)]]
    flows: _Flows
    rules: Annotated[tuple[_Rule, ...], Field(strict=False, min_length=1)]


class ActionPrior(NamedTuple):
    """What is known of an action by its name.

    Its 16-bit code, ``g`` and ``q`` in parts in a million, impact 0 to 3; ``abused`` is ``q`` by the list of what was
    seen in abuse, 0 where that says no more; ``reads`` points of what it reads, ``sends`` 1 where it sends, publishes
    or opens something to others.
    """

    code: int
    g: int
    q: int
    impact: int
    abused: int = 0
    reads: int = 0
    sends: int = 0


class ClientPrior(NamedTuple):
    """What is known of a client family: its 16-bit code and its share in parts in a million."""

    code: int
    share: int


@dataclass(frozen=True, slots=True)
class _Matcher:
    pattern: re.Pattern[str]
    g: int
    q: int
    impact: int


class Prior:
    """The prior as look-ups; equal sources give equal answers in every process.

    Attributes:
        version: as its source says.
        hash: SHA-256 over the canonical JSON of its source and of the list of abused actions, 64 hexadecimal digits.
        sources: the share of one source network, in parts in a million.
        resources: the share of one container.
    """

    __slots__ = (
        "_abuse_share",
        "_abused",
        "_clients",
        "_codes",
        "_flows",
        "_matchers",
        "_shares",
        "action",
        "client",
        "hash",
        "resources",
        "sources",
        "version",
    )

    def __init__(self, source: _Source, abused: Abused) -> None:
        self.version = source.version
        self.hash = canonical.digest({"prior": source.model_dump(mode="json"), "abused": abused.source})
        self._abused = abused
        self._abuse_share = source.abuse_share
        flows = source.flows
        self._flows = tuple(pattern(names) for names in (flows.sensitive, flows.reads, flows.sends))
        self.sources = source.sources
        self.resources = source.resources
        names = [name for rule in source.rules for name in rule.names if "*" not in name]
        self._codes = _known_codes(names)
        self._matchers = tuple(_matcher(rule, source) for rule in source.rules)
        clients = [(name, kind) for kind, group in source.known_clients.items() for name in group]
        self._clients = _known_codes(name for name, _ in clients)
        self._shares = {name: source.frequencies[kind] for name, kind in clients} | {"": source.clients}
        self.action = lru_cache(maxsize=_CACHED)(self._action)
        self.client = lru_cache(maxsize=_CACHED)(self._client)

    def impact(self, name: str) -> int:
        """How much harm one call of this action can do, 0 to 3."""
        return self.action(name).impact

    def _action(self, name: str) -> ActionPrior:
        """What is known of the action of this name; the first rule that matches wins."""
        code = self._codes.get(name)
        for matcher in self._matchers:
            if matcher.pattern.fullmatch(name):
                return ActionPrior(
                    stable_code(name) if code is None else code,
                    matcher.g,
                    matcher.q,
                    matcher.impact,
                    self._seen_in_abuse(name, matcher),
                    *self._flow(name),
                )
        raise AssertionError("the last rule matches every name")

    def _seen_in_abuse(self, name: str, matcher: _Matcher) -> int:
        """``q`` where the list knows better than the impact how often this is abused; 0 where it does not."""
        found = self._abused.find(name)
        q = 0 if found is None else _mixed(matcher.g, found.share, self._abuse_share)
        return q if q > matcher.q else 0

    def _flow(self, name: str) -> tuple[int, int]:
        sensitive, reads, sends = (flow.fullmatch(name) is not None for flow in self._flows)
        points = SENSITIVE_POINTS if sensitive else READ_POINTS if reads else 0
        return points, int(sends)

    def _client(self, client: str) -> ClientPrior | None:
        """What is known of the family of this client; None where the text names none."""
        name = family(client)
        if not name:
            return None
        code = self._clients.get(name)
        return ClientPrior(stable_code(name) if code is None else code, self._shares.get(name, self._shares[""]))


def _known_codes(names: Iterable[str]) -> dict[str, int]:
    """Codes in the upper half, the next free one where two names meet: in order, so that earlier names keep theirs."""
    codes: dict[str, int] = {}
    taken: set[int] = set()
    for name in names:
        if name in codes:
            raise InvalidPrior(f"rules: expected every known name once, {name} stands twice")
        code = stable_code(name)
        while code in taken:
            code = (code + 1) % KNOWN
        taken.add(code)
        codes[name] = KNOWN | code
    return codes


def _matcher(rule: _Rule, source: _Source) -> _Matcher:
    g = source.frequencies[rule.frequency]
    return _Matcher(pattern(rule.names), g, _mixed(g, source.abused[rule.impact], source.abuse_share), rule.impact)


def _mixed(g: int, abused: int, abuse_share: int) -> int:
    """Somebody else's share of an action: of those who err, and of those who abuse."""
    return max(1, ((1_000 - abuse_share) * g + abuse_share * abused) // 1_000)


def parse_prior(text: str, abused: Abused) -> Prior:
    """Read a prior from YAML, to go with a list of abused actions.

    Raises:
        InvalidPrior: naming the field and what was expected.
    """
    source = validated(text, _Source, "prior", InvalidPrior)
    if source.rules[-1].names != ("*",):
        raise InvalidPrior("rules: expected the last rule to be for every name, names: ['*']")
    return Prior(source, abused)


@cache
def load_prior() -> Prior:
    """The prior that ships with this release; its file is read once in a process."""
    return parse_prior(Path(__file__).with_name("prior.yaml").read_text(encoding="utf-8"), load_abused())
