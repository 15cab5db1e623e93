"""Values in texts and arguments: what type they have, and one spelling for those that mean the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

ValueType = Literal["mail", "url", "iban", "phone", "name"]
ADDRESSES = frozenset({"mail", "url", "iban", "phone"})

_TOP = "com|org|net|io|info|biz|co|dev|app|ai|xyz|top|site|online|club|ru|cn|de|fr|uk|ch|eu|us|in|br|jp"
# Every repetition is bounded and possessive and begins where its characters begin, so that a search takes linear time.
_PATTERNS: tuple[tuple[ValueType, tuple[str, ...], re.Pattern[str]], ...] = (
    (
        "mail",
        ("@",),
        re.compile(r"(?<![\w.+\-])[\w.+\-]{1,64}+@[A-Za-z0-9\-]{1,63}+(?:\.[A-Za-z0-9\-]{1,63}+){1,6}+"),
    ),
    ("url", ("://", "www."), re.compile(r"(?:https?://|\bwww\.)[^\s<>\"'`)\]}|\\]{1,2048}+", re.IGNORECASE)),
    (
        "url",
        (".",),
        re.compile(
            rf"(?<![\w.@/\-])(?:[A-Za-z0-9\-]{{1,63}}+\.){{1,6}}(?:{_TOP})\b(?![.\w@\-])"
            r"(?:/[^\s<>\"'`)\]}|\\]{0,2048}+)?+"
        ),
    ),
    ("iban", ("",), re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}+(?: ?[A-Z0-9]{1,4})?+\b")),
    ("phone", ("+",), re.compile(r"(?<![\w+])\+\d[\d ()\-]{6,20}\d")),
)
# A whole argument is looked at more closely where it has one of these.
_HINT = re.compile(r"[@:./]|\A\s*(?:[A-Z]{2}\d\d|\+\d)")
_WORD = re.compile(r"[^\W_]+")
_SCHEME = re.compile(r"^[a-z][a-z0-9+.\-]*://")
_TRAILING = ".,;:!?/"


def addresses(text: str) -> Iterator[tuple[ValueType, str]]:
    """Every address in a text, in its one spelling."""
    for kind, anchors, pattern in _PATTERNS:
        if any(anchor in text for anchor in anchors):
            for match in pattern.finditer(text):
                yield kind, normalised(kind, match.group())


def typed(text: str) -> tuple[ValueType, str]:
    """The type of one whole argument and its one spelling; what is no address is a name."""
    stripped = text.strip().strip("<>")
    if _HINT.search(stripped) is not None:
        for kind, _, pattern in _PATTERNS:
            match = pattern.match(stripped)
            if match is not None and match.end() >= len(stripped.rstrip(_TRAILING)):
                return kind, normalised(kind, stripped)
    return "name", normalised("name", stripped)


def normalised(kind: ValueType, text: str) -> str:
    """One spelling: lower case; a URL without scheme, ``www.`` and last slash; an IBAN without spaces."""
    lower = text.casefold()
    if kind == "name":
        return " ".join(lower.split())
    if kind == "url":
        return _SCHEME.sub("", lower).removeprefix("www.").rstrip(_TRAILING)
    if kind == "mail":
        return lower.rstrip(_TRAILING)
    return "".join(character for character in lower if character.isalnum() or character == "+")


def host(kind: ValueType, value: str) -> str:
    """The host of a normalised URL or the domain of a mail address; empty for other types."""
    if kind == "url":
        bare = value.partition("/")[0].partition("?")[0]
        return bare.rpartition("@")[2].partition(":")[0]
    return value.rpartition("@")[2] if kind == "mail" else ""


def own_host(kind: ValueType, value: str, common: frozenset[str]) -> str:
    """The host of an address where it tells whose it is; empty for a host of everybody's, as a mail provider's is."""
    found = host(kind, value)
    return found if common.isdisjoint(found.split(".")[:-1]) else ""


def user(value: str) -> str:
    """The part of a normalised mail address before its domain."""
    return value.rpartition("@")[0]


def words(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters and digits."""
    return _WORD.findall(text.casefold())
