"""Pending actions that were written down as JSON lines: an AuthZEN evaluation request with ``time`` and ``id``."""

from __future__ import annotations

from typing import Any

from streams.replay.event import Event, event, text, time_ms

KIND = "authzen"
_PARTS = ("subject", "action", "resource", "context")


def matches(record: dict[str, Any]) -> bool:
    """Whether this is a request in the sense of AuthZEN Authorization API 1.0, section 5."""
    return all(isinstance(record.get(part), dict) for part in _PARTS[:3])


def read(record: dict[str, Any]) -> Event:
    """The action that was asked for; every field is taken as it stands.

    Raises:
        Unmappable: naming the field that is missing or wrong.
    """
    action = {part: record[part] for part in _PARTS if part in record}
    return event(KIND, time_ms(record.get("time"), "time"), text(record, "id"), action)
