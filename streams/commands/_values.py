"""Values as operators type them: durations, and the identity that a command is about."""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer

from stayhand.identity import parse_identity
from streams.commands._session import Mistaken

_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d{1,6})([smhd])")

Identity = Annotated[str, typer.Argument(metavar="IDENTITY", help="type:id, such as token:ci-deployer.")]
Why = Annotated[str, typer.Option("--why", help="The reason, as it stands in the record.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until scorers say that they applied it.")]
WaitFor = Annotated[str, typer.Option("--wait-for", metavar="DURATION", help="How long to wait, such as 10s.")]
DEFAULT_WAIT = "10s"


def duration_ms(text: str, field: str) -> int:
    """Milliseconds of a duration such as ``90s``, ``15m``, ``24h`` or ``7d``.

    Raises:
        Mistaken: naming the option.
    """
    found = _DURATION.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise Mistaken(f"{field} {text!r}: expected a duration such as 90s, 15m, 24h or 7d")
    return int(found[1]) * _UNIT_MS[found[2]]


def wait_s(wait: bool, wait_for: str) -> float | None:
    """Seconds to wait for scorers; None where nobody wants to."""
    return duration_ms(wait_for, "--wait-for") / 1000 if wait else None


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def identity(text: str) -> str:
    """The identity that was typed, normalised as scorers do.

    Raises:
        InvalidAction: naming what is wrong with it.
    """
    return parse_identity(text)
