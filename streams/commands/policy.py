"""`python -m streams policy`: policy packs, which one decides, and which is only recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group

from models.policy import CompiledPack, InvalidPack, compile_pack
from schemas.documents import ActivePolicy, Document, PackDocument
from streams.blast import activation_of
from streams.commands import _changes, _kafka, _values
from streams.commands._session import Mistaken, Refused, Session, command, table
from streams.commands._values import DEFAULT_WAIT, Wait, WaitFor, Why

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Policy packs.")
Cap = Annotated[
    int,
    typer.Option(
        "--cap-percent",
        metavar="PERCENT",
        min=0,
        max=100,
        help="Back to shadow by itself once it blocks more of the window than the pack before; 100: never.",
    ),
]
Window = Annotated[
    int, typer.Option("--window", min=1, max=100_000, help="How many asks of each partition the guard watches.")
]
CAP_PERCENT: int = ActivePolicy.model_fields["cap_percent"].default
WINDOW: int = ActivePolicy.model_fields["window"].default
PackFile = Annotated[Path, typer.Argument(metavar="FILE", help="The pack's YAML.")]
KEY = "policy"
# How far back in each partition's audit the guard's last word is looked for.
GUARD_RECORDS = 500


@command(app, "check")
def check(session: Session, file: PackFile) -> None:
    """Compile a pack and name the line that is wrong; publishes nothing and needs no broker."""
    pack, _ = _compiled(file)
    session.show(_json(pack), f"{file}: {pack.name} {pack.version}, {len(pack.rules)} rules, hash {pack.hash}")


@command(app, "publish")
def publish(
    session: Session,
    file: PackFile,
    *,
    activate: Annotated[bool, typer.Option("--activate", help="Let it decide.")] = False,
    shadow: Annotated[bool, typer.Option("--shadow", help="Evaluate it beside the active one; only recorded.")] = False,
    cap_percent: Cap = CAP_PERCENT,
    window: Window = WINDOW,
    why: Why = "",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Publish a pack under its hash; without --activate or --shadow it only stands ready."""
    if activate and shadow:
        raise Mistaken("expected one of --activate and --shadow")
    pack, source = _compiled(file)
    document = PackDocument(hash=pack.hash, name=pack.name, version=pack.version, source=source, by=session.by)
    records: list[tuple[str, Document | None]] = [(f"pack/{pack.hash}", document)]
    what = f"{pack.name} {pack.version} ({pack.hash[:12]}) published"
    if activate:
        records.append((KEY, _activated(session, pack.hash, why, cap_percent, window)))
        what += " and active"
    elif shadow:
        records.append((KEY, _shadowed(session, pack.hash, why)))
        what += " as shadow"
    _changes.change_global(session, records, _values.wait_s(wait, wait_for), what)


@command(app, "activate")
def activate(
    session: Session,
    pack_hash: Annotated[str, typer.Argument(metavar="HASH", help="Of a published pack; its beginning will do.")],
    *,
    cap_percent: Cap = CAP_PERCENT,
    window: Window = WINDOW,
    why: Why = "",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Let a published pack decide; also one that returned to shadow, which is watched anew."""
    found = _published(session, pack_hash)
    policy = _activated(session, found.hash, why, cap_percent, window)
    what = f"{found.name} {found.version} ({found.hash[:12]}) active"
    _changes.change_global(session, [(KEY, policy)], _values.wait_s(wait, wait_for), what)


@command(app, "shadow")
def shadow(
    session: Session,
    pack_hash: Annotated[str | None, typer.Argument(metavar="HASH", help="Of a published pack.")] = None,
    *,
    none: Annotated[bool, typer.Option("--none", help="Evaluate no second pack.")] = False,
    why: Why = "",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Evaluate a published pack beside the active one, or none; what it says is only recorded."""
    if none == (pack_hash is not None):
        raise Mistaken("expected exactly one of HASH and --none")
    found = None if pack_hash is None else _published(session, pack_hash).hash
    what = "no shadow pack" if found is None else f"shadow pack {found[:12]}"
    policy = _shadowed(session, found, why)
    _changes.change_global(session, [(KEY, policy)], _values.wait_s(wait, wait_for), what)


@command(app, "rollback")
def rollback(
    session: Session,
    *,
    why: Why = "",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Let the pack decide that decided before the last activation, unguarded: a way back is not held up.

    A pack that returned to shadow is not kept as one to roll back to.
    """
    now = _policy(session)
    if now is None or now.previous is None:
        raise Refused("no earlier pack to roll back to: `policy list` shows those that are published")
    back = ActivePolicy(
        active=now.previous,
        shadow=now.shadow,
        previous=None if _returned(session, now) else now.active,
        activation=_changes.new_id(),
        cap_percent=100,
        by=session.by,
        why=why,
    )
    what = f"rolled back from {now.active[:12]} to {back.active[:12]}"
    _changes.change_global(session, [(KEY, back)], _values.wait_s(wait, wait_for), what)


@command(app, "list")
def list_(session: Session) -> None:
    """List the published packs, which one decides, and how the guard of the last change stands in each partition."""
    now = _policy(session)
    packs = _changes.entries(session, "pack", PackDocument).values()
    rows = [(_role(now, each.hash), each.name, each.version, each.hash, each.by) for each in packs]
    guards = {} if now is None else guards_of(session, now)
    data = [each.model_dump(exclude={"source"}) | {"role": _role(now, each.hash)} for each in packs]
    for each in data:
        if now is not None and each["hash"] == now.active:
            each["guard"] = {"cap_percent": now.cap_percent, "window": now.window, "partitions": guards}
    session.show(data, Group(table("role", "name", "version", "hash", "by", rows=rows), *_told(now, guards)))


def _compiled(file: Path) -> tuple[CompiledPack, str]:
    try:
        source = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "expected UTF-8"
        raise Mistaken(f"cannot read {file}: {reason}") from error
    try:
        return compile_pack(source), source
    except InvalidPack as error:
        raise Refused(f"{file}:{error.line}: {error.field}: {error.expected}") from error


def _json(pack: CompiledPack) -> dict[str, object]:
    return {"name": pack.name, "version": pack.version, "hash": pack.hash, "rules": len(pack.rules)}


def _published(session: Session, beginning: str) -> PackDocument:
    packs = _changes.entries(session, "pack", PackDocument)
    found = [pack for pack_hash, pack in packs.items() if pack_hash.startswith(beginning)]
    if len(beginning) < 4 or len(found) != 1:
        raise Refused(f"pack {beginning!r}: expected the hash of one published pack, see `policy list`")
    return found[0]


def _policy(session: Session) -> ActivePolicy | None:
    return _changes.entries(session, KEY, ActivePolicy).get("")


def _activated(session: Session, pack_hash: str, why: str, cap_percent: int, window: int) -> ActivePolicy:
    """The policy with this pack in force, on trial against the one that decides now."""
    now = _policy(session)
    new = ActivePolicy(
        active=pack_hash,
        activation=_changes.new_id(),
        cap_percent=cap_percent,
        window=window,
        by=session.by,
        why=why,
    )
    if now is None:
        return new
    previous = now.previous if now.active == pack_hash or _returned(session, now) else now.active
    return new.model_copy(update={"shadow": None if now.shadow == pack_hash else now.shadow, "previous": previous})


def _returned(session: Session, now: ActivePolicy) -> bool:
    """Whether the active pack returned to shadow somewhere, so that the one before it decides there."""
    return any(each["state"] == "returned" for each in guards_of(session, now).values())


def guards_of(session: Session, now: ActivePolicy) -> dict[int, dict[str, Any]]:
    """By partition, what the guard of this activation last said in the audit (``schemas.documents.GuardRecord``).

    Each decision of a trial or of a returned policy says it, and so does each taking over; partitions that said nothing
    within their last records are left out.
    """
    ends = _kafka.marks(session).audit
    starts = {partition: max(0, end - GUARD_RECORDS) for partition, end in ends.items()}
    found: dict[int, dict[str, Any]] = {}
    for entry in _kafka.effective(session, starts):
        told = entry.body.get("guard")
        if told is not None and told["activation"] == activation_of(now):
            found[entry.partition] = told
    return found


def _told(now: ActivePolicy | None, guards: dict[int, dict[str, Any]]) -> list[str]:
    """The guard's standing as lines for a person."""
    lines = []
    back = sorted(partition for partition, each in guards.items() if each["state"] == "returned")
    if now is not None and back:
        where, cap = ", ".join(map(str, back)), f"{now.cap_percent} % of {now.window} asks"
        lines.append(f"{now.active[:12]} blocked more than {cap} beyond the pack before, and returned to shadow")
        lines.append(f"in partition {where}: there the pack before decides, until one is activated anew")
    for partition, each in sorted(guards.items()):
        if each["state"] == "trial":
            counted = f"{each['decided']} decided, {each['blocks']} blocked, {each['blocks_before']} by the pack before"
            lines.append(f"on trial in partition {partition}: {counted}")
    return ["", *lines] if lines else []


def _shadowed(session: Session, pack_hash: str | None, why: str) -> ActivePolicy:
    now = _policy(session)
    if now is None:
        raise Refused("no pack is active yet: activate one first")
    return now.model_copy(update={"shadow": pack_hash, "by": session.by, "why": why})


def _role(now: ActivePolicy | None, pack_hash: str) -> str:
    if now is None:
        return ""
    roles = {now.previous: "previous", now.shadow: "shadow", now.active: "active"}
    return roles.get(pack_hash, "")
