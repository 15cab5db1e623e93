"""`python -m streams point`: enforcement points, their rights and the ids of their keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from schemas.documents import EnforcementPoint, PointKey
from schemas.topics import topic
from streams.commands import _changes, _values
from streams.commands._session import Mistaken, Refused, Session, command, shown, table
from streams.commands._values import DEFAULT_WAIT, Wait, WaitFor
from streams.commands.secret import write_private
from streams.keyring import KeyRing, load_secret

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Enforcement points and their keys.")
Name = Annotated[str, typer.Argument(metavar="POINT", help="The point's id.")]
Secret = Annotated[
    Path | None,
    typer.Option("--master-secret-file", help="From `secret new` [env var: STAYHAND_MASTER_SECRET_FILE]"),
]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", help="Write the key here (mode 0600) instead of printing it once.")
]


@command(app, "register")
def register(
    session: Session,
    point: Name,
    *,
    identity: Annotated[list[str], typer.Option(help="Shell pattern of identities that it may speak for.")],
    action: Annotated[list[str], typer.Option(help="Shell pattern of action names that it may ask about.")],
    master_secret_file: Secret = None,
    key_file: KeyFile = None,
    domain: Annotated[str, typer.Option(help="The domain of decisions that it may read.")] = "",
    reply_topic: Annotated[list[str] | None, typer.Option(help="Where answers may go; the domain's topic.")] = None,
    rate_per_s: Annotated[int, typer.Option(min=1, help="Asks a second.")] = 1_000,
    new_identities_per_hour: Annotated[int, typer.Option(min=0, help="Identities that nobody saw before.")] = 100,
    fallback: Annotated[list[str] | None, typer.Option(help="closed, open, local or last-known.")] = None,
    obligation: Annotated[
        list[str] | None, typer.Option(help="wait, message, approval, reconfirm: default all.")
    ] = None,
    observe: Annotated[bool, typer.Option("--observe", help="Decide and record, but permit.")] = False,
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Register a point with its rights, and hand out its key: printed once, or in a file of mode 0600."""
    known = _changes.entries(session, "point", EnforcementPoint)
    if point in known:
        raise Refused(f"point {point} is registered: `point rotate` gives a new key")
    key_id = "k1"
    key = _derived(session, master_secret_file, point, key_id)
    entry = EnforcementPoint.model_validate(
        {
            "point": point,
            "domain": domain,
            "keys": ({"key_id": key_id},),
            "identities": identity,
            "actions": action,
            "reply_topics": reply_topic or [topic(session.prefix, "decisions", domain)],
            "rate_per_s": rate_per_s,
            "new_identities_per_hour": new_identities_per_hour,
            "fallbacks": fallback or ["closed"],
            **({"obligations": obligation} if obligation else {}),
            "observe": observe,
        }
    )
    what = f"point {point} registered with key {key_id}"
    _write(session, entry, what, wait, wait_for, _handed_out(key_file, key))


@command(app, "rotate")
def rotate(
    session: Session,
    point: Name,
    *,
    master_secret_file: Secret = None,
    key_file: KeyFile = None,
    overlap: Annotated[str, typer.Option(metavar="DURATION", help="How long older keys still hold.")] = "24h",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Give a point its next key; older ones end after the overlap."""
    entry = _known(session, point)
    ends_ms = _values.now_ms() + _values.duration_ms(overlap, "--overlap")
    key_id = _next_id(entry)
    key = _derived(session, master_secret_file, point, key_id)
    still = [_ending(each, ends_ms) for each in entry.keys if not _over(each)]
    rotated = entry.model_copy(update={"keys": (*still, PointKey(key_id=key_id))})
    what = f"point {point} has key {key_id}"
    _write(session, rotated, what, wait, wait_for, _handed_out(key_file, key))


@command(app, "revoke")
def revoke(
    session: Session,
    point: Name,
    *,
    key_id: Annotated[str, typer.Option(help="One key; all of them without it.")] = "",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Revoke one key of a point, or all of them: what is signed with it is refused from then on."""
    entry = _known(session, point)
    if key_id and key_id not in {each.key_id for each in entry.keys}:
        raise Refused(f"point {point} has no key {key_id}: it has {', '.join(each.key_id for each in entry.keys)}")
    keys = tuple(
        each.model_copy(update={"revoked": True}) if key_id in {"", each.key_id} else each for each in entry.keys
    )
    what = f"key {key_id} of point {point} revoked" if key_id else f"all keys of point {point} revoked"
    _write(session, entry.model_copy(update={"keys": keys}), what, wait, wait_for)


@command(app, "list")
def list_(session: Session) -> None:
    """List the registered points."""
    points = _changes.entries(session, "point", EnforcementPoint).values()
    rows = [
        (each.point, each.domain, " ".join(each.identities), " ".join(each.actions), _keys(each), _observed(each))
        for each in points
    ]
    shown = table("point", "domain", "identities", "actions", "keys", "mode", rows=rows)
    session.show([each.model_dump(mode="json") for each in points], shown)


@command(app, "show")
def show(session: Session, point: Name) -> None:
    """Show a point's rights and the ids of its keys."""
    entry = _known(session, point)
    rows = [(name, shown(value)) for name, value in entry.model_dump(mode="json", exclude={"keys"}).items()]
    session.show(entry.model_dump(mode="json"), table("right", "value", rows=[*rows, ("keys", _keys(entry))]))


def _known(session: Session, point: str) -> EnforcementPoint:
    entry = _changes.entries(session, "point", EnforcementPoint).get(point)
    if entry is None:
        raise Refused(f"no point {point}: `point list` shows those that are registered")
    return entry


def _write(
    session: Session,
    entry: EnforcementPoint,
    what: str,
    wait: bool,
    wait_for: str,
    handed_out: Mapping[str, str] | None = None,
) -> None:
    patience = _values.wait_s(wait, wait_for)
    _changes.change_global(session, [(f"point/{entry.point}", entry)], patience, what, handed_out or {})


def _derived(session: Session, file: Path | None, point: str, key_id: str) -> bytes:
    path = file or session.master_secret_file
    if path is None:
        raise Mistaken("master secret: expected --master-secret-file or STAYHAND_MASTER_SECRET_FILE, see `secret new`")
    return KeyRing(load_secret(path)).key(point, key_id)


def _handed_out(key_file: Path | None, key: bytes) -> dict[str, str]:
    """The key, or the new file that now holds it; it is derived, so a run that fails later gives the same one."""
    if key_file is None:
        return {"key": key.hex()}
    write_private(key_file, key.hex())
    return {"key_file": str(key_file)}


def _next_id(entry: EnforcementPoint) -> str:
    numbers = [int(found[1]) for each in entry.keys if (found := re.fullmatch(r"k(\d{1,9})", each.key_id))]
    return f"k{max(numbers, default=0) + 1}"


def _over(key: PointKey) -> bool:
    return key.not_after_ms is not None and key.not_after_ms < _values.now_ms()


def _ending(key: PointKey, ends_ms: int) -> PointKey:
    sooner = ends_ms if key.not_after_ms is None else min(ends_ms, key.not_after_ms)
    return key.model_copy(update={"not_after_ms": sooner})


def _keys(entry: EnforcementPoint) -> str:
    return " ".join(f"{each.key_id}{_state(each)}" for each in entry.keys)


def _state(key: PointKey) -> str:
    if key.revoked:
        return " (revoked)"
    return "" if key.not_after_ms is None else " (ended)" if _over(key) else " (ending)"


def _observed(entry: EnforcementPoint) -> str:
    return "observe" if entry.observe else "enforce"
