"""Finds secrets locally, before anything is published: what leaves is a rule's name and a keyed fingerprint."""

from __future__ import annotations

import hashlib
import hmac
import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

from stayhand.errors import ConfigurationError, InvalidAction
from stayhand.signing import hkdf
from stayhand.wire import SecretMatch

SecretRules = Literal["built-in", "kingfisher"]
MATCHES_MAX = 32
NESTING_MAX = 64
_PREFIX, _LEAST_KEY, _FILLER = 8, 16, frozenset("x*.-_")
_PEM_BODY_CHARACTERS = 8_192
_SAFE_KEY = re.compile(r"[A-Za-z0-9_.\-]{1,40}")
_PLACEHOLDER = re.compile(r"\*+|[xX]+|\.+|\$[A-Z_][A-Z0-9_]*|\$?\{.*\}|<.*>|%[a-z]")
# Where the public half of a credential belongs.
_IDENTIFIER_FIELDS = frozenset({"subject.id", "context.credential_id"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of secret: ``anchors`` are plain strings one of which every match holds, so that most texts cost little.

    ``identifier``: the matched text names a credential without being one, so it may stand in a field for such names.
    """

    name: str
    anchors: tuple[str, ...]
    pattern: re.Pattern[str]
    identifier: bool = False


# Prefixes and lengths as their issuers document them; every repetition is bounded, so that matching is linear.
RULES: tuple[Rule, ...] = (
    Rule("aws-access-key-id", ("AKIA", "ASIA"), re.compile(r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b"), identifier=True),
    Rule(
        "github-token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9_]{22,244})"),
    ),
    Rule("slack-token", ("xox",), re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,250}")),
    Rule("google-api-key", ("AIza",), re.compile(r"\bAIza[0-9A-Za-z_-]{35}")),
    Rule("stripe-key", ("k_live_", "k_test_"), re.compile(r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,247}")),
    Rule(
        "private-key",
        ("PRIVATE KEY",),
        re.compile(r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
    ),
    Rule(
        "json-web-token",
        ("eyJ",),
        re.compile(r"\beyJ[A-Za-z0-9_-]{8,2048}\.eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,1024}"),
    ),
    Rule(
        "password-in-url",
        ("://",),
        re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://[^\s/:@?#]{0,128}:(?P<secret>[^\s/@?#]{3,256})@", re.IGNORECASE),
    ),
)
_ANCHORS = tuple(anchor for rule in RULES for anchor in rule.anchors)


def suspicious(text: str) -> bool:
    """Whether a closer look is needed; never false where a rule would match."""
    return any(map(text.__contains__, _ANCHORS))


class Scanner:
    """Looks for secrets under one fingerprint key; the same secret has the same fingerprint under the same key."""

    def __init__(self, key: bytes) -> None:
        """Derive the fingerprint key from the enforcement point's key."""
        self._key = hkdf(key, b"stayhand/fingerprint/v1")

    def scan(self, arguments: Mapping[str, Any] | Sequence[Any] | str) -> tuple[SecretMatch, ...]:
        """Every secret in every string of the arguments, keys included; at most 32, each fingerprint once.

        Raises:
            InvalidAction: where they nest deeper than 64.
        """
        found: dict[tuple[str, str], SecretMatch] = {}
        for where, text in _strings(arguments, "arguments"):
            for rule, secret in self.found(text):
                match = SecretMatch(rule=rule, fingerprint=self.fingerprint(secret), where=where[:256])
                found.setdefault((match.rule, match.fingerprint), match)
                if len(found) == MATCHES_MAX:
                    return tuple(found.values())
        return tuple(found.values())

    def found(self, text: str) -> Iterator[tuple[str, str]]:
        """Each rule's name with the secret's own text, for local use only; other rules come in here."""
        for rule, secret in matches(text):
            yield rule.name, secret

    def fingerprint(self, secret: str) -> str:
        """32 hexadecimal digits of HMAC-SHA256; useless to who has not the key."""
        return hmac.digest(self._key, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).hex()[:32]


class KingfisherScanner(Scanner):
    """The built-in rules and the 488 of ``kingfisher-secret-scanner`` (the extra ``secrets``), in process and offline.

    For arguments only: published fields are held to the built-in rules, since identifiers stand there. What is encoded
    as base64 is not decoded. Starting compiles the rules, which takes seconds, unless they are in the cache.
    """

    def __init__(self, key: bytes, cache_dir: str | None = None) -> None:
        """Load the rules.

        Args:
            key: as for `Scanner`; the fingerprints are this package's own, since the library's have no key.
            cache_dir: where compiled rules are kept, a folder that only its owner may write; by default the one that
                ``KF_RULE_CACHE_DIR`` names, or the user's cache.

        Raises:
            ConfigurationError: where the library is not installed.
        """
        super().__init__(key)
        try:
            library = importlib.import_module("kingfisher_sdk")
        except ImportError as error:
            raise ConfigurationError("scanner: kingfisher needs the extra: pip install stayhand[secrets]") from error
        self._library: Any = library.Scanner(library.Rules(cache_dir=cache_dir), base64=False)

    def found(self, text: str) -> Iterator[tuple[str, str]]:
        """What either set of rules finds."""
        yield from super().found(text)
        for finding in self._library.scan(text.encode("utf-8", "replace")):
            if finding.visible:
                # Behind the first dot stands the rule, before it where the library has it from.
                yield finding.rule_id.partition(".")[2] or finding.rule_id, finding.secret


def scanner_for(rules: SecretRules, key: bytes) -> Scanner:
    """The scanner with these rules.

    Raises:
        ConfigurationError: where they are not installed.
    """
    return KingfisherScanner(key) if rules == "kingfisher" else Scanner(key)


def refuse_secrets(value: Mapping[str, Any]) -> None:
    """Refuse an action that holds a secret in its own strings.

    Raises:
        InvalidAction: naming the field and the rule, never the text.
    """
    for part, inner in value.items():
        for where, text in _strings(inner, part):
            for rule, _ in matches(text):
                if not (rule.identifier and where in _IDENTIFIER_FIELDS):
                    raise InvalidAction(where, f"expected no secret in a published field (found: {rule.name})")


def matches(text: str) -> Iterator[tuple[Rule, str]]:
    """Each rule that matches with the secret's own text; for local use only."""
    for rule in RULES:
        if not any(anchor in text for anchor in rule.anchors):
            continue
        for match in rule.pattern.finditer(text):
            secret = _secret_of(rule, match, text)
            if not (_PLACEHOLDER.fullmatch(secret) or _filled_in(secret)):
                yield rule, secret


def _filled_in(secret: str) -> bool:
    """Whether behind a prefix there is nothing but filler, as in ``ghp_xxxx...``."""
    return len(secret) >= _LEAST_KEY and _FILLER.issuperset(secret[_PREFIX:].casefold())


def _secret_of(rule: Rule, match: re.Match[str], text: str) -> str:
    if rule.name == "private-key":
        body = text[match.end() : match.end() + _PEM_BODY_CHARACTERS].partition("-----END")[0]
        return "".join(body.replace("\\n", "").split()) or match.group()
    return match.groupdict().get("secret") or match.group()


def _masked(key: str) -> str:
    """A key as part of a path; one that could itself be a secret or a whole text is left out."""
    return key if _SAFE_KEY.fullmatch(key) and next(matches(key), None) is None else "*"


def _strings(value: Any, path: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every string below a value with the path to it; a key counts as a string of its holder."""
    if depth > NESTING_MAX:
        raise InvalidAction(path[:256], f"expected nesting of at most {NESTING_MAX}")
    if isinstance(value, str):
        yield path, value
    elif _is_mapping(value):
        for key, inner in value.items():
            yield path, str(key)
            yield from _strings(inner, f"{path}.{_masked(str(key))}", depth + 1)
    elif _is_array(value):
        for position, inner in enumerate(value):
            yield from _strings(inner, f"{path}.{position}", depth + 1)


def _is_mapping(value: Any) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _is_array(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, (list, tuple))
