"""`python -m streams review`: a person's word on one decision, with what the scorer needs to learn from it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from models.body import hold_id_of
from models.reviews import lesson_of
from schemas.documents import LessonFact, Review
from streams.audit import AuditEntry
from streams.commands import _changes, _values
from streams.commands._session import Mistaken, Refused, Session, command
from streams.commands._values import DEFAULT_WAIT, Wait, WaitFor, Why
from streams.commands.explain import about, recorded

app = typer.Typer(add_completion=False)
Json = dict[str, Any]


@command(app, "review")
def review(
    session: Session,
    decision_id: Annotated[str, typer.Argument(metavar="DECISION_ID", help="From the decision, or `identity show`.")],
    *,
    fine: Annotated[bool, typer.Option("--fine", help="It was this identity, and as it should be.")] = False,
    bad: Annotated[bool, typer.Option("--bad", help="It was not, or should not have been.")] = False,
    identity: Annotated[str, typer.Option(help="Whose it was: reads one partition instead of all.")] = "",
    since: Annotated[str, typer.Option(metavar="DURATION", help="How long ago it was at most, such as 24h.")] = "",
    why: Why = "",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Say that a decision's action was fine (it may become normal, ten minutes from now) or bad (taken back, watched).

    Ask somebody whom an intruder cannot answer for: a word from the identity's own session is worth nothing.
    """
    if fine == bad:
        raise Mistaken("expected exactly one of --fine and --bad")
    patience = _values.wait_s(wait, wait_for)
    decided = _decided(session, decision_id, identity, since)
    said = Review(
        control_id=_changes.new_id(),
        by=session.by,
        why=why,
        decision_id=decided.body["decision"]["decision_id"],
        said="fine" if fine else "bad",
        lesson=_lesson(decided),
    )
    name = decided.body["identity"]
    _changes.change_identity(session, name, said, patience, f"decision {said.decision_id} of {name} called {said.said}")


def _decided(session: Session, decision_id: str, identity: str, since: str) -> AuditEntry:
    """The first decision on the ask: the answer of a hold has an id of its own."""
    found = _first(about(session, decision_id, identity, since))
    if found is not None and found.body["kind"] == "final":
        hold_id = found.body["ask"]["ce_id"]
        found = _first(recorded(session, lambda body: _opened(body, hold_id), found.body["identity"], since))
    if found is None:
        raise Refused(f"decision {decision_id} is not in the audit that was read")
    return found


def _first(entries: list[AuditEntry]) -> AuditEntry | None:
    return next((entry for entry in entries if entry.body.get("decision") is not None), None)


def _opened(body: Json, hold_id: str) -> bool:
    return body["kind"] == "decision" and hold_id_of(body["decision"]["decision_id"]) == hold_id


def _lesson(entry: AuditEntry) -> LessonFact:
    try:
        lesson = lesson_of(entry.body)
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(f"audit {entry.partition}/{entry.offset}: not a record that this release can read") from error
    if lesson is None:
        raise Refused("the decision refused a repeated ask: it saw nothing new, so there is nothing to say of it")
    return lesson
