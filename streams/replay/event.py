"""What a log's record becomes: a pending action with its time, its id and the stage of its life that was logged."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stayhand import canonical
from stayhand.errors import InvalidAction
from stayhand.headers import InvalidHeaders, parse_rfc3339
from stayhand.secrets import refuse_secrets
from stayhand.wire import PendingAction, pending_action
from streams.replay.leaks import found_in, masked, suspected_in

MAX_TIME_MS = 253_402_300_799_999
MAX_LABEL = 256
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_DIGITS = 16
_SERVICE_HOSTS = (".amazonaws.com", ".amazonaws.com.cn", ".aws.internal")


class Unmappable(ValueError):
    """A record that is no event we know, or lacks what a pending action needs; the text says which field."""


class NotAnAction(Exception):
    """A record that is well-formed and no action of anybody (a digest file, an insight)."""


@dataclass(frozen=True, slots=True)
class Event:
    """One action as it stood before it happened.

    ``event_id`` is the log's own id, empty where it has none; ``stage`` tells apart the records of one request, of
    which only the first is an action.
    """

    kind: str
    at_ms: int
    event_id: str
    stage: str
    identity: str
    action: dict[str, Any]


def event(kind: str, at_ms: int, event_id: str, action: Mapping[str, Any], stage: str = "") -> Event:
    """Check an action against the wire's rules and make an event of it.

    Raises:
        Unmappable: naming the field.
    """
    plain = {part: _without_empty(value) for part, value in action.items()}
    try:
        checked: PendingAction = pending_action(plain)
        if suspected_in(plain):
            refuse_secrets(plain)
        identity = checked.identity
    except InvalidAction as error:
        raise Unmappable(str(error)) from error
    return Event(kind, at_ms, event_id, stage, identity, plain)


def time_ms(value: Any, field: str) -> int:
    """Milliseconds since 1970 from RFC 3339 text or from a number of milliseconds.

    Raises:
        Unmappable: naming ``field``.
    """
    found: int | None = None
    if isinstance(value, str):
        try:
            found = parse_rfc3339(value)
        except InvalidHeaders:
            found = None
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        found = int(value) if abs(value) <= MAX_TIME_MS else None
    if found is None or not 0 <= found <= MAX_TIME_MS:
        raise Unmappable(f"{field}: expected a time in RFC 3339 with its offset")
    return found


def text(holder: Any, *path: str) -> str:
    """The text at a path of keys; empty where there is none, numbers as their digits."""
    for key in path:
        holder = holder.get(key) if isinstance(holder, dict) else None
    if isinstance(holder, bool) or not isinstance(holder, (str, int)):
        return ""
    return str(holder)


def fit(raw: str, limit: int = MAX_LABEL, limit_bytes: int | None = None, *, identifier: bool = False) -> str:
    """Text that the wire takes: no secret, no control characters, no white space around it, within its limits.

    What had to be cut or cleaned ends in ``~`` and 16 digits of its SHA-256, so that two texts never become one.
    """
    raw = masked(raw, identifier=identifier)
    clean = _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", raw).strip()
    most = limit_bytes or limit * 4
    if clean == raw and len(clean) <= limit and len(clean.encode()) <= most:
        return clean
    tail = "~" + hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    head = clean[: limit - len(tail)].encode()[: most - len(tail)].decode("utf-8", "ignore")
    return head.rstrip() + tail if raw else ""


def fit_id(kind: str, raw: str) -> str:
    """An identity's id within 256 bytes, its type and colon included."""
    return fit(raw, limit_bytes=MAX_LABEL - len(kind) - 1, identifier=True)


def digest(value: Any) -> str:
    """SHA-256 over canonical JSON; over plain sorted JSON where numbers go beyond what RFC 8785 can say.

    Raises:
        Unmappable: where it is nested too deep.
    """
    try:
        return canonical.digest(value)
    except canonical.InvalidJson:
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    except RecursionError as error:
        raise Unmappable("nested too deep") from error


def secrets_in(arguments: Any) -> list[dict[str, Any]]:
    """The secrets in an action's arguments, as rule names and fingerprints.

    Raises:
        Unmappable: where they are nested too deep.
    """
    try:
        return found_in(arguments)
    except InvalidAction as error:
        raise Unmappable(str(error)) from error


def client_family(agent: str) -> str:
    """What kind of client a User-Agent names: its first product (RFC 9110 section 10.1.5), lower-cased, no version."""
    first = re.split(r"[/,;(]", agent.strip().lstrip("["), maxsplit=1)[0].strip().rstrip("]")
    return fit(first.lower(), 64)


def is_service(host: str) -> bool:
    """Whether a source is the provider itself, which says nothing about where the caller stands."""
    return host == "AWS Internal" or host.lower().endswith(_SERVICE_HOSTS)


def _without_empty(part: Any) -> Any:
    if not isinstance(part, Mapping):
        return part
    return {key: value for key, value in part.items() if value is not None and value not in ("", (), [], {})}
