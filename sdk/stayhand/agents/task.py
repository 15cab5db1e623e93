"""What a task's text says, kept as fingerprints: its words, names, literals, and the families that it implies."""

from __future__ import annotations

import re
from collections.abc import Iterable

from stayhand.agents.memory import Memory
from stayhand.agents.table import Lexicon
from stayhand.agents.values import ValueType, addresses, host, own_host, user, words

_QUOTES = "'\"\u201c\u201d\u2018\u2019"
_QUOTED = re.compile(rf"(?<!\w)[{_QUOTES}]([^{_QUOTES}\n]{{1,200}})[{_QUOTES}](?!\w)")
_CAPITAL = re.compile(r"(?<![.!?:\n])[ (/,]([^\W\d_a-z][^\W_]+)")
_LEAST_NAME = 3


class Task:
    """A task's text as fingerprints under the session's key; the text itself is not kept.

    Attributes:
        families: what the text implies; ``delegated``: it hands the decision to somebody else's text.
        literals: types of the addresses that stand in it.
        known: whether there was a text at all.
    """

    __slots__ = ("_hosts", "_names", "_values", "_words", "delegated", "families", "known", "literals")

    def __init__(self, text: str, lexicon: Lexicon, memory: Memory) -> None:
        found = list(addresses(text))
        every = words(text)
        common = frozenset(lexicon.common)
        mark = memory.fingerprint
        self.known = bool(text.strip())
        self.literals = frozenset(kind for kind, _ in found)
        self._values = frozenset(mark(value) for _, value in found)
        hosts = {own_host(kind, value, common) for kind, value in found} - {""}
        self._hosts = frozenset(map(mark, hosts))
        self._words = frozenset(mark(word) for word in every)
        self._names = frozenset(mark(name) for name in _names(text, found, common))
        self.families = _implied(every, found, lexicon)
        self.delegated = any(_holds(phrase, every) for phrase in lexicon.delegates)

    def has_value(self, mark: bytes) -> bool:
        """Whether this whole address stands in the task."""
        return mark in self._values

    def has_words(self, marks: Iterable[bytes]) -> bool:
        """Whether all these words do."""
        return all(mark in self._words for mark in marks)

    def has_host(self, mark: bytes) -> bool:
        """Whether an address of this host stands in it."""
        return mark in self._hosts

    def names_any(self, marks: Iterable[bytes]) -> bool:
        """Whether one of these words is part of a name in it."""
        return any(mark in self._names for mark in marks)


def _names(text: str, found: list[tuple[ValueType, str]], common: frozenset[str]) -> set[str]:
    """Words that name something: quoted, capitalised within a sentence, or part of an address."""
    said = [match[1] for match in _QUOTED.finditer(text)] + [match[1] for match in _CAPITAL.finditer(text)]
    # The last label of a host is shared by half the world, so it names nothing.
    said.extend(part for kind, value in found for part in (user(value), host(kind, value).rpartition(".")[0]))
    return {word for part in said for word in words(part) if len(word) >= _LEAST_NAME and word not in common}


def _implied(every: list[str], found: list[tuple[ValueType, str]], lexicon: Lexicon) -> frozenset[str]:
    implied = {family for family, phrases in lexicon.implies.items() if any(_holds(p, every) for p in phrases)}
    implied.update(lexicon.always)
    if any(kind == "url" for kind, _ in found):
        implied.update(lexicon.url_implies)
    return frozenset(implied)


def _holds(phrase: str, every: list[str]) -> bool:
    return all(any(word.startswith(stem) for word in every) for stem in phrase.split("+"))
