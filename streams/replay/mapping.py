"""Which log a record belongs to, told by its content, and the pending action that it stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streams.replay import authzen, cloudtrail, github, kubernetes
from streams.replay.event import Event, Unmappable

_Record = dict[str, Any]
_FORMATS: tuple[tuple[Callable[[_Record], bool], Callable[[_Record], Event]], ...] = tuple(
    (log.matches, log.read) for log in (cloudtrail, kubernetes, authzen, github)
)


def map_record(value: Any) -> Event:
    """The event in a record of any log that we know.

    Raises:
        NotAnAction: it is well-formed, and nobody's action.
        Unmappable: it is none that we know, or lacks what a pending action needs.
    """
    if not isinstance(value, dict):
        raise Unmappable("expected an object")
    for matches, read in _FORMATS:
        if matches(value):
            return read(value)
    raise Unmappable("neither a CloudTrail, Kubernetes or GitHub audit record nor an AuthZEN request")
