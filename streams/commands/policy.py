"""`python -m streams policy`: policy packs, which one decides, and which is only recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.policy import CompiledPack, InvalidPack, compile_pack
from schemas.documents import ActivePolicy, Document, PackDocument
from streams.commands import _changes, _values
from streams.commands._session import Mistaken, Refused, Session, command, table
from streams.commands._values import DEFAULT_WAIT, Wait, WaitFor, Why

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Policy packs.")
PackFile = Annotated[Path, typer.Argument(metavar="FILE", help="The pack's YAML.")]
KEY = "policy"


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
        records.append((KEY, _activated(session, pack.hash, why)))
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
    why: Why = "",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Let a published pack decide."""
    found = _published(session, pack_hash)
    policy = _activated(session, found.hash, why)
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
    """Let the pack decide that decided before the last activation."""
    now = _policy(session)
    if now is None or now.previous is None:
        raise Refused("no earlier pack to roll back to: `policy list` shows those that are published")
    back = ActivePolicy(active=now.previous, shadow=now.shadow, previous=now.active, by=session.by, why=why)
    what = f"rolled back from {now.active[:12]} to {back.active[:12]}"
    _changes.change_global(session, [(KEY, back)], _values.wait_s(wait, wait_for), what)


@command(app, "list")
def list_(session: Session) -> None:
    """List the published packs and which one decides."""
    now = _policy(session)
    packs = _changes.entries(session, "pack", PackDocument).values()
    rows = [(_role(now, each.hash), each.name, each.version, each.hash, each.by) for each in packs]
    shown = table("role", "name", "version", "hash", "by", rows=rows)
    data = [each.model_dump(exclude={"source"}) | {"role": _role(now, each.hash)} for each in packs]
    session.show(data, shown)


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


def _activated(session: Session, pack_hash: str, why: str) -> ActivePolicy:
    now = _policy(session)
    if now is None:
        return ActivePolicy(active=pack_hash, by=session.by, why=why)
    previous = now.previous if now.active == pack_hash else now.active
    shadow_hash = None if now.shadow == pack_hash else now.shadow
    return ActivePolicy(active=pack_hash, shadow=shadow_hash, previous=previous, by=session.by, why=why)


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
