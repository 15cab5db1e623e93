"""Secrets in old records: what a rule matches is told by the rule's name, and never goes on the wire."""

from __future__ import annotations

import secrets
from typing import Any

import orjson

from stayhand.secrets import Scanner, matches, suspicious

# Fingerprints are comparable within one run only: old logs get no key that any other program has.
_SCANNER = Scanner(secrets.token_bytes(32))


def found_in(arguments: Any) -> list[dict[str, Any]]:
    """The matches in an action's arguments as the wire's ``SecretMatch``; empty where there is nothing to scan.

    Raises:
        InvalidAction: where they nest deeper than 64.
    """
    if not arguments or not suspected_in(arguments):
        return []
    return [match.model_dump(mode="json") for match in _SCANNER.scan(arguments)]


def suspected_in(value: Any) -> bool:
    """Whether a value needs a closer look; never false where a rule would match, and much quicker than to look."""
    try:
        return suspicious(orjson.dumps(value).decode())
    except orjson.JSONEncodeError:
        return True


def masked(text: str, *, identifier: bool = False) -> str:
    """The text with each secret replaced by its rule's name; ``identifier`` lets public halves of credentials stand."""
    if suspicious(text):
        for rule, secret in list(matches(text)):
            if not (rule.identifier and identifier):
                text = text.replace(secret, f"[{rule.name}]")
    return text
