"""`python -m streams topics`: creates and checks the topics of the contract, and their ACLs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from schemas.topics import DEFAULT_PARTITIONS, ROLES, Role, acls
from streams.commands._session import Mistaken, Session, command
from streams.topics import Difference, acl_lines, apply_acls, ensure

app = typer.Typer(add_completion=False)


@command(app, "topics")
def topics(
    session: Session,
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Create what is missing and mend settings.")] = False,
    partitions: Annotated[
        int, typer.Option(min=1, envvar="STAYHAND_PARTITIONS", help="Partitions of actions and all that follows it.")
    ] = (DEFAULT_PARTITIONS),
    replication: Annotated[int, typer.Option(min=1, help="Copies of each partition.")] = 1,
    domain: Annotated[list[str] | None, typer.Option(help="A further decisions topic, for one domain.")] = None,
    acl: Annotated[
        bool, typer.Option("--acls", help="The least that each role needs, as kafka-acls.sh lines; --apply sets it.")
    ] = False,
    principal: Annotated[
        list[str] | None, typer.Option(metavar="ROLE=PRINCIPAL", help="Who has a role, such as point=User:ci.")
    ] = None,
) -> None:
    """Create and check the topics; changes nothing without --apply.

    Exit code 1 when a topic differs from the contract and was not mended. Run it as the cluster's administrator.
    """
    if acl:
        _acls(session, domain or [], _principals(principal or []), apply=apply)
        return
    found = ensure(session.kafka, session.prefix, partitions, replication, apply, domain or ())
    session.show([asdict(each) for each in found], _told(found, session.prefix))
    if any(not each.mended for each in found):
        raise typer.Exit(1)


def _told(found: list[Difference], prefix: str) -> str:
    if not found:
        return f"the topics of {prefix} are as they should be"
    lines = [str(each) for each in found]
    if any(not each.mended and each.what in {"missing", "setting"} for each in found):
        lines.append("nothing was changed; --apply creates what is missing and mends settings")
    return "\n".join(lines)


def _acls(session: Session, domains: list[str], principals: dict[Role, str], *, apply: bool) -> None:
    rules = list(dict.fromkeys(rule for domain in domains or [""] for rule in acls(session.prefix, domain)))
    if apply:
        count = apply_acls(session.kafka, rules, principals)
        session.show({"applied": count}, f"{count} ACLs applied")
        return
    lines = acl_lines(rules, principals, str(session.kafka["bootstrap.servers"]))
    session.show(lines, "\n".join(lines))


def _principals(pairs: list[str]) -> dict[Role, str]:
    """What was given; without any, each role's own name as a user."""
    given = dict(pair.partition("=")[::2] for pair in pairs)
    if unknown := set(given) - set(ROLES):
        raise Mistaken(f"--principal {min(unknown)}: expected ROLE=PRINCIPAL with a role of {', '.join(ROLES)}")
    if wrong := [value for value in given.values() if ":" not in value]:
        raise Mistaken(f"--principal {wrong[0]!r}: expected a Kafka principal, such as User:ci")
    return {role: given[role] for role in ROLES if role in given} or {role: f"User:stayhand-{role}" for role in ROLES}
