"""Changes that operators make, from the record that says so to the scorers' word that they applied it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from pydantic import ValidationError

from schemas.documents import Control, DeadLetter, Document
from stayhand.partition import partition_for
from stayhand.wire import invalid
from streams.audit import AuditEntry
from streams.commands import _kafka
from streams.commands._kafka import Marks, Sent
from streams.commands._session import Refused, Session

Entry = TypeVar("Entry", bound=Document)


@dataclass(frozen=True, slots=True)
class Applied:
    """One worker's word, in an effective audit record, that it applied a change."""

    worker: str
    partition: int
    term: int
    offset: int


def new_id() -> str:
    """An id for a control, grant or hold."""
    return uuid.uuid4().hex


def entries(session: Session, kind: str, model: type[Entry]) -> dict[str, Entry]:
    """The documents of one kind in `stayhand.global`, by what follows ``kind/`` in their key.

    Raises:
        Refused: when one of them cannot be read.
    """
    wanted = f"{kind}/".encode() if kind != "policy" else b"policy"
    records = _kafka.latest(session, "global", 0, lambda key: key.startswith(wanted))
    found = {}
    for key, record in sorted(records.items()):
        try:
            found[key[len(wanted) :].decode()] = model.model_validate_json(record.value or b"")
        except ValidationError as error:
            raise Refused(f"{session.topic('global')}/{record.offset}: {invalid(error)}") from error
    return found


def change_global(
    session: Session,
    records: Sequence[tuple[str, Document | None]],
    wait_s: float | None,
    what: str,
    handed_out: Mapping[str, Any] | None = None,
    *,
    one_by_one: bool = False,
) -> None:
    """Write documents (None: a tombstone), wait until every worker applied them, and say so.

    ``handed_out`` is shown once they are written, whatever the workers say. ``one_by_one`` waits after each: large ones
    keep a worker from its asks for a moment, and many at once would do so for long.

    Raises:
        Refused: when a scorer refuses one of them, or some did not say in time that they applied it.
    """
    outcome = None
    for step in [[record] for record in records] if one_by_one else [records]:
        outcome = _changed(session, step, wait_s, what, handed_out or {})
        if outcome.silent:
            break
    assert outcome is not None, "there is something to write"
    _tell(session, outcome)


def _changed(
    session: Session,
    records: Sequence[tuple[str, Document | None]],
    wait_s: float | None,
    what: str,
    handed_out: Mapping[str, Any],
) -> _Outcome:
    before = None if wait_s is None else _kafka.marks(session)
    sent = _kafka.send(session, "global", records)
    outcome = _Outcome(what, sent[-1], handed_out=handed_out)
    if before is None or wait_s is None:
        return outcome
    return _await_everyone(session, before, sent, wait_s, outcome)


def change_identity(session: Session, identity: str, control: Control, wait_s: float | None, what: str) -> None:
    """Write a control, wait until the identity's worker applied it, and say so.

    Raises:
        Refused: when the scorer refuses it, or did not say in time that it applied it.
    """
    partition = partition_for(identity.encode(), _kafka.partitions_of(session, "controls"))
    before = None if wait_s is None else _kafka.marks(session, [partition])
    [sent] = _kafka.send(session, "controls", [(identity, control)])
    outcome = _Outcome(what, sent, control_id=control.control_id)
    if before is not None and wait_s is not None:
        outcome = _await_owner(session, before, sent, wait_s, outcome)
    _tell(session, outcome)


@dataclass(frozen=True, slots=True)
class _Outcome:
    what: str
    sent: Sent
    waited: bool = False
    applied: tuple[Applied, ...] = ()
    silent: tuple[int, ...] = ()
    control_id: str = ""
    handed_out: Mapping[str, Any] = field(default_factory=dict)


def _await_everyone(
    session: Session, before: Marks, sent: Sequence[Sent], wait_s: float, outcome: _Outcome
) -> _Outcome:
    """Every partition that a worker ever owned must carry a later owner's word; one never owned has no worker."""
    missing = {partition for partition, end in before.audit.items() if end > 0}
    applied: list[Applied] = []
    for said in _kafka.follow(session, before, wait_s) if missing else ():
        if isinstance(said, DeadLetter):
            _refuse_if_ours(said, sent)
        elif said.partition in missing and _says_applied(said, sent[-1]):
            applied.append(_word(said))
            missing.discard(said.partition)
            if not missing:
                break
    return replace(outcome, waited=True, applied=tuple(applied), silent=tuple(sorted(missing)))


def _await_owner(session: Session, before: Marks, sent: Sent, wait_s: float, outcome: _Outcome) -> _Outcome:
    for said in _kafka.follow(session, before, wait_s):
        if isinstance(said, DeadLetter):
            _refuse_if_ours(said, [sent])
        elif (said.body.get("control") or {}).get("control_id") == outcome.control_id:
            return replace(outcome, waited=True, applied=(_word(said),))
    return replace(outcome, waited=True, silent=(sent.partition,))


def _says_applied(entry: AuditEntry, sent: Sent) -> bool:
    """Whether a worker says there that it applied this; a decision's vector would also count what was refused."""
    return entry.body["kind"] == "applied" and int((entry.body.get("note") or {}).get("global", -1)) >= sent.offset


def _refuse_if_ours(letter: DeadLetter, sent: Iterable[Sent]) -> None:
    if any(
        (letter.topic, letter.partition, letter.offset) == (each.topic, each.partition, each.offset) for each in sent
    ):
        raise Refused(f"refused by the scorer: {letter.code}: {letter.message}")


def _word(entry: AuditEntry) -> Applied:
    return Applied(str(entry.body["worker"]), entry.partition, entry.term, entry.offset)


def _tell(session: Session, outcome: _Outcome) -> None:
    """Say what was written and who applied it; a change that somebody did not apply is an error."""
    data: Mapping[str, Any] = {
        "what": outcome.what,
        "topic": outcome.sent.topic,
        "partition": outcome.sent.partition,
        "offset": outcome.sent.offset,
        "control_id": outcome.control_id,
        "applied": [asdict(each) for each in outcome.applied],
        "silent_partitions": list(outcome.silent),
        "waited": outcome.waited,
        **outcome.handed_out,
    }
    handed_out = [f"{name.replace('_', ' ')}: {value}" for name, value in outcome.handed_out.items()]
    session.show(data, "\n".join([*handed_out, _sentence(outcome)]))
    if outcome.silent:
        raise Refused(_silence(outcome))


def _sentence(outcome: _Outcome) -> str:
    if outcome.applied:
        workers = ", ".join(sorted({each.worker for each in outcome.applied}))
        return f"{outcome.what}: applied by {workers}"
    if outcome.waited and not outcome.silent:
        return f"{outcome.what}: written; no scorer has run yet, the first one applies it at its start"
    return f"{outcome.what}: written to {outcome.sent.topic}/{outcome.sent.partition} at {outcome.sent.offset}"


def _silence(outcome: _Outcome) -> str:
    partitions = ", ".join(str(each) for each in outcome.silent)
    return f"not yet applied for partition {partitions}: no word from its scorer in time; it is written and will be"
