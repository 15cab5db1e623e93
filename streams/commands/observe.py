"""`python -m streams observe`: everything is decided and recorded, and the answer is permit."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from schemas.documents import ObserveMode
from streams.commands import _changes, _values
from streams.commands._session import Mistaken, Refused, Session, command, table
from streams.commands._values import DEFAULT_WAIT, Wait, WaitFor, Why

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Decide and record, but permit.")
Family = Annotated[str | None, typer.Option(help="One action family, such as deploy.")]
Gate = Annotated[bool, typer.Option("--gate", help="Everything that is asked.")]


@command(app, "on")
def on(
    session: Session,
    *,
    family: Family = None,
    gate: Gate = False,
    why: Why = "",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Permit whatever is asked in this scope, and record what the verdict would have been."""
    scope, name = _scope(family, gate=gate)
    mode = ObserveMode(scope=scope, name=name, by=session.by, why=why)
    patience = _values.wait_s(wait, wait_for)
    _changes.change_global(session, [(_key(scope, name), mode)], patience, f"{_said(scope, name)} observed")


@command(app, "off")
def off(
    session: Session,
    *,
    family: Family = None,
    gate: Gate = False,
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Enforce again."""
    scope, name = _scope(family, gate=gate)
    if f"{scope}/{name}" not in _changes.entries(session, "observe", ObserveMode):
        raise Refused(f"{_said(scope, name)} is not observed")
    patience = _values.wait_s(wait, wait_for)
    _changes.change_global(session, [(_key(scope, name), None)], patience, f"{_said(scope, name)} enforced")


@command(app, "list")
def list_(session: Session) -> None:
    """Show what is observed. A point that is observed by itself stands in `point list`."""
    found = _changes.entries(session, "observe", ObserveMode).values()
    rows = [(each.scope, each.name, each.by, each.why) for each in found]
    session.show([each.model_dump() for each in found], table("scope", "name", "by", "why", rows=rows))


def _scope(family: str | None, *, gate: bool) -> tuple[Literal["family", "gate"], str]:
    if bool(family) == gate:
        raise Mistaken("expected exactly one of --family NAME and --gate")
    return ("family", family) if family else ("gate", "")


def _key(scope: str, name: str) -> str:
    return f"observe/{scope}/{name}"


def _said(scope: str, name: str) -> str:
    return f"{scope} {name}".rstrip()
