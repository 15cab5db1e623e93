"""`python -m streams backtest`: what another policy would have changed about the decisions that are recorded."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from models.policy import CompiledPack, InvalidPack
from schemas.documents import ActivePolicy, PackDocument
from streams.backtest import report, sources
from streams.backtest.packs import changed
from streams.backtest.sources import Json
from streams.backtest.tally import Tally
from streams.commands import _changes, _values
from streams.commands._session import Mistaken, Refused, Session, command
from streams.shipped import DEFAULT_PACK

app = typer.Typer(add_completion=False)
Ago = Annotated[str, typer.Option(metavar="DURATION", help="Only decisions made this long ago, such as 24h, or later.")]


@command(app, "backtest")
def backtest(
    session: Session,
    *,
    policy: Annotated[
        str, typer.Option(metavar="FILE|HASH", help="The pack to try: YAML, or one that is published.")
    ] = "",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a value of it: bands.slow.at=5.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Read a file of audit records instead of the topic.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the records that were read to a new file.")] = None,
    since: Ago = "",
    until: Annotated[str, typer.Option(metavar="DURATION", help="Only decisions made longer ago than this.")] = "",
    partition: Annotated[list[int] | None, typer.Option(min=0, help="Only this partition; may be repeated.")] = None,
    identity: Annotated[str, typer.Option(help="Only this identity's decisions.")] = "",
    identities: Annotated[int, typer.Option(min=0, help="How many identities to name.")] = 10,
    examples: Annotated[int, typer.Option(min=0, help="How many examples of each change to show.")] = 3,
    fail_above: Annotated[
        float | None,
        typer.Option(metavar="PERCENT", help="End with 1 if blocks rise by more than this share of all decisions."),
    ] = None,
) -> None:
    """Decide what is recorded again by another policy, with the scorer's own code, and show what would have changed.

    Each decision is looked at alone, with the score and the facts of its time: what a verdict would have taught, held
    or spent for those after it stays as it was.
    """
    pack = _pack(session, policy, set_ or [], online=file is None)
    name = _values.identity(identity) if identity else ""
    since_ms, until_ms = _ago(since, "--since"), _ago(until, "--until")
    found = sources.from_topic(session, partition or [], since_ms) if file is None else sources.from_file(file)
    found = sources.narrowed(found, since_ms, until_ms, partition or [], name)
    tally, took_s = _counted(found if save is None else sources.saving(found, save), pack, examples)
    if not tally.decisions and not tally.unreadable:
        raise Refused("no decision in what was read")
    data = report.as_json(tally, took_s, identities)
    session.show(data, report.page(data))
    if fail_above is not None and tally.rise_percent > fail_above:
        raise Refused(f"blocks would rise by {tally.rise_percent:.2f} % of all decisions, above {fail_above:g} %")


def _counted(bodies: Iterable[Json], pack: CompiledPack, examples: int) -> tuple[Tally, float]:
    tally, began_s = Tally(pack, examples), time.perf_counter()
    for body in bodies:
        tally.add(body)
    return tally, time.perf_counter() - began_s


def _ago(text: str, option: str) -> int | None:
    return _values.now_ms() - _values.duration_ms(text, option) if text else None


def _pack(session: Session, policy: str, changes: list[str], *, online: bool) -> CompiledPack:
    """The pack of that file or hash, else the one that is active; with changes."""
    path = Path(policy)
    if policy and path.is_file():
        told, source = policy, _read(path)
    elif policy or online:
        told, source = _published(session, policy)
    else:
        raise Mistaken("--policy: expected the pack to try, since no scorers are asked which one decides")
    try:
        return changed(source, changes)
    except InvalidPack as error:
        raise Refused(f"{told}:{error.line}: {error.field}: {error.expected}") from error


def _published(session: Session, beginning: str) -> tuple[str, str]:
    """A published pack's hash and source; without a beginning those of the active one, else the shipped one's."""
    packs = _changes.entries(session, "pack", PackDocument)
    if not beginning:
        active = _changes.entries(session, "policy", ActivePolicy).get("")
        if active is None:
            return str(DEFAULT_PACK), _read(DEFAULT_PACK)
        beginning = active.active
    found = [pack for pack_hash, pack in packs.items() if pack_hash.startswith(beginning)]
    if len(found) != 1:
        raise Refused(f"--policy {beginning!r}: neither a file nor the hash of one published pack, see `policy list`")
    return found[0].hash[:12], found[0].source


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Mistaken(f"cannot read {path}: expected a text file in UTF-8") from error
