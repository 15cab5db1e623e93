"""Commands about one identity's facts: register, offboard, grants, the answers to holds; freeze, also in general."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from schemas.documents import Approve, Deny, Freeze, Grant, GrantFact, KillSwitch, Offboard, Register, Revoke, Unfreeze
from stayhand.canonical import digest, loads
from streams.commands import _changes, _values
from streams.commands._session import Mistaken, Refused, Session, command
from streams.commands._values import DEFAULT_WAIT, Identity, Wait, WaitFor, Why

app = typer.Typer(add_completion=False)
Scope = Literal["family", "point", "everything"]
MaybeIdentity = Annotated[str | None, typer.Argument(metavar="IDENTITY", help="type:id of whom to freeze.")]
Family = Annotated[str | None, typer.Option(help="An action family, such as deploy.")]
Point = Annotated[str | None, typer.Option(help="An enforcement point.")]
Everything = Annotated[bool, typer.Option("--everything", help="Whatever is asked.")]
HoldId = Annotated[str, typer.Argument(help="The hold's id, from the decision or the audit.")]


@command(app, "freeze")
def freeze(
    session: Session,
    identity: MaybeIdentity = None,
    *,
    family: Family = None,
    point: Point = None,
    everything: Everything = False,
    why: Why = "",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Block whatever one identity, one action family, one point or everybody asks, until it is unfrozen."""
    patience = _values.wait_s(wait, wait_for)
    scope, name = _scope(identity, family, point, everything=everything)
    if scope == "identity":
        frozen = Freeze(control_id=_changes.new_id(), by=session.by, why=why)
        _changes.change_identity(session, name, frozen, patience, f"{name} frozen")
        return
    switch = KillSwitch(scope=scope, name=name, by=session.by, why=why)
    _changes.change_global(session, [(_switch_key(scope, name), switch)], patience, f"{_scoped(scope, name)} frozen")


@command(app, "unfreeze")
def unfreeze(
    session: Session,
    identity: MaybeIdentity = None,
    *,
    family: Family = None,
    point: Point = None,
    everything: Everything = False,
    why: Why = "",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """End a freeze of the same scope."""
    patience = _values.wait_s(wait, wait_for)
    scope, name = _scope(identity, family, point, everything=everything)
    if scope == "identity":
        ended = Unfreeze(control_id=_changes.new_id(), by=session.by, why=why)
        _changes.change_identity(session, name, ended, patience, f"{name} unfrozen")
        return
    if f"{scope}/{name}" not in _changes.entries(session, "switch", KillSwitch):
        raise Refused(f"{_scoped(scope, name)} is not frozen")
    _changes.change_global(session, [(_switch_key(scope, name), None)], patience, f"{_scoped(scope, name)} unfrozen")


@command(app, "register")
def register(
    session: Session,
    identity: Identity,
    *,
    owner: Annotated[str, typer.Option(help="Who answers for it.")] = "",
    group: Annotated[str, typer.Option(help="Its peers.")] = "",
    why: Why = "",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Make an identity known, and say whose it is."""
    name = _values.identity(identity)
    known = Register(control_id=_changes.new_id(), by=session.by, why=why, owner=owner, group=group)
    _changes.change_identity(session, name, known, _values.wait_s(wait, wait_for), f"{name} registered")


@command(app, "offboard")
def offboard(
    session: Session,
    identity: Identity,
    *,
    why: Why = "",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Say that an identity has left: whatever it asks from now on is blocked."""
    name = _values.identity(identity)
    gone = Offboard(control_id=_changes.new_id(), by=session.by, why=why)
    _changes.change_identity(session, name, gone, _values.wait_s(wait, wait_for), f"{name} offboarded")


@command(app, "grant")
def grant(
    session: Session,
    identity: Identity,
    *,
    action: Annotated[str, typer.Option(help="Shell pattern over the action's name.")],
    resource: Annotated[str, typer.Option(help="Shell pattern over the resource's type:id.")],
    lasts: Annotated[str, typer.Option("--for", metavar="DURATION", help="How long it lives.")] = "15m",
    uses: Annotated[int, typer.Option(min=0, help="How many times it may be used; 0 for any number.")] = 1,
    arguments: Annotated[str, typer.Option(help="JSON of the only arguments that it allows.")] = "",
    why: Why = "",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Approve in advance. The action is scored again when it runs, with the grant as one fact among others."""
    name = _values.identity(identity)
    given = GrantFact(
        grant_id=_changes.new_id(),
        action=action,
        resource=resource,
        argument_digest=digest(loads(arguments.encode())) if arguments else "",
        expires_at_ms=_values.now_ms() + _values.duration_ms(lasts, "--for"),
        uses_left=uses or None,
    )
    control = Grant(control_id=_changes.new_id(), by=session.by, why=why, grant=given)
    patience = _values.wait_s(wait, wait_for)
    _changes.change_identity(session, name, control, patience, f"grant {given.grant_id} given to {name}")


@command(app, "revoke-grant")
def revoke_grant(
    session: Session,
    identity: Identity,
    grant_id: Annotated[str, typer.Argument(help="The grant's id, from `identity show`.")],
    *,
    why: Why = "",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Take a grant back."""
    name = _values.identity(identity)
    control = Revoke(control_id=_changes.new_id(), by=session.by, why=why, grant_id=grant_id)
    patience = _values.wait_s(wait, wait_for)
    _changes.change_identity(session, name, control, patience, f"grant {grant_id} taken back from {name}")


@command(app, "approve")
def approve(
    session: Session,
    hold_id: HoldId,
    identity: Identity,
    *,
    why: Why = "",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Answer a hold with yes. The scorer checks everything again before it says so to the asker."""
    name = _values.identity(identity)
    control = Approve(control_id=_changes.new_id(), by=session.by, why=why, hold_id=hold_id)
    _changes.change_identity(session, name, control, _values.wait_s(wait, wait_for), f"hold {hold_id} approved")


@command(app, "deny")
def deny(
    session: Session,
    hold_id: HoldId,
    identity: Identity,
    *,
    why: Why = "",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Answer a hold with no."""
    name = _values.identity(identity)
    control = Deny(control_id=_changes.new_id(), by=session.by, why=why, hold_id=hold_id)
    _changes.change_identity(session, name, control, _values.wait_s(wait, wait_for), f"hold {hold_id} denied")


def _scope(
    identity: str | None, family: str | None, point: str | None, *, everything: bool
) -> tuple[Scope | Literal["identity"], str]:
    given: list[tuple[Scope | Literal["identity"], str]] = []
    if identity is not None:
        given.append(("identity", _values.identity(identity)))
    if family is not None:
        given.append(("family", family))
    if point is not None:
        given.append(("point", point))
    if everything:
        given.append(("everything", ""))
    if len(given) != 1 or (given[0][0] != "everything" and not given[0][1]):
        raise Mistaken("expected exactly one of IDENTITY, --family, --point and --everything")
    return given[0]


def _switch_key(scope: str, name: str) -> str:
    return f"switch/{scope}/{name}"


def _scoped(scope: str, name: str) -> str:
    return f"{scope} {name}".rstrip()
