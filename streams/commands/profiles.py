"""`python -m streams profiles`: what peers do, from what scorers learned, published for scorers to compare with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from models import baseline
from models.baseline import InvalidBaseline
from models.facts import NO_FACTS, InvalidFacts, decode_facts
from models.peers import LEAST_EPOCHS, LEAST_IDENTITIES, Built, built, member
from models.profiles import Member, Profile
from schemas.documents import Document, Facts
from schemas.profiles import ProfileDocument
from stayhand.headers import rfc3339
from streams import record
from streams.commands import _changes, _kafka, _values
from streams.commands._session import Mistaken, Refused, Session, command, table
from streams.commands._values import DEFAULT_WAIT, Wait, WaitFor, Why
from streams.ports import Record
from streams.record import CorruptRecord
from streams.registry import key_of

app = typer.Typer(add_completion=False)
Json = dict[str, Any]
Version = Annotated[str, typer.Option("--version", help="Of what is published; the time if not given.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be published, and publish nothing.")]
Withdraw = Annotated[bool, typer.Option("--withdraw", help="Take all profiles away: nothing is compared with peers.")]
NEEDED = f"expected at least {LEAST_IDENTITIES} identities that learned an epoch, and {LEAST_EPOCHS} epochs together"


@command(app, "profiles")
def profiles(
    session: Session,
    *,
    version: Version = "",
    dry_run: DryRun = False,
    withdraw: Withdraw = False,
    why: Why = "",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Build the profiles of groups, types and everybody as of the last checkpoint, and publish them in place of others.

    A group or type of too few has none; its identities are compared with the next wider peers.
    """
    if withdraw and (dry_run or version):
        raise Mistaken("expected --withdraw without --dry-run and --version")
    patience = _values.wait_s(wait, wait_for)
    if withdraw:
        _withdraw(session, patience)
        return
    read = _Read()
    found = built(version or rfc3339(_values.now_ms()), read.members(session))
    documents = {key_of(each): each for each in _documents(found, session.by, why)}
    gone = sorted(_published(session) - documents.keys())
    data = _json(found, read, documents, gone)
    if not session.json or dry_run or not documents:
        session.show(data, _page(data))
    if found[0].profile is None:
        raise Refused(f"too few to publish a profile: {NEEDED}; found {found[0].identities} with {found[0].epochs}")
    if not dry_run:
        records: list[tuple[str, Document | None]] = [*documents.items(), *((key, None) for key in gone)]
        what = f"{len(documents)} profiles {found[0].profile.version}"
        _changes.change_global(session, records, patience, what, data if session.json else {}, one_by_one=True)


def _withdraw(session: Session, patience: float | None) -> None:
    published = sorted(_published(session))
    if not published:
        raise Refused("no profile is published")
    gone: list[tuple[str, Document | None]] = [(key, None) for key in published]
    _changes.change_global(session, gone, patience, "all profiles taken away")


def _published(session: Session) -> set[str]:
    """The keys under which profiles stand, whether they can be read or not."""
    return {key.decode("utf-8", "replace") for key in _kafka.latest(session, "global", 0, _is_profile)}


def _is_profile(key: bytes) -> bool:
    return key.startswith(b"profile/")


@dataclass(slots=True)
class _Read:
    """Reads the state, one partition after another, and counts what it leaves out.

    Attributes:
        counted: identities that learned an epoch; ``young`` did not yet.
        stopped: frozen or offboarded identities: what they did last may not have been theirs.
        unreadable: state records that are damaged.
    """

    counted: int = 0
    young: int = 0
    stopped: int = 0
    unreadable: list[str] = field(default_factory=list)

    def members(self, session: Session) -> Iterator[tuple[str, str, Member]]:
        """Each identity that counts, its group, and what it adds."""
        for partition in range(_kafka.partitions_of(session, "state")):
            records = _kafka.latest(session, "state", partition, lambda _key: True)
            for key in sorted(records):
                if key.startswith(b"b:"):
                    yield from self._member(key, records)

    def _member(self, key: bytes, records: dict[bytes, Record]) -> Iterator[tuple[str, str, Member]]:
        try:
            identity = record.parse_key(key)[1]
            facts = _facts(records.get(record.state_key("facts", identity)))
            found = member(baseline.decode(record.unpack(records[key].value or b"")[2]).habits)
        except (CorruptRecord, InvalidBaseline, InvalidFacts, UnicodeDecodeError) as error:
            self.unreadable.append(f"{records[key].partition}/{records[key].offset}: {error}")
            return
        if facts.offboarded or facts.frozen is not None:
            self.stopped += 1
        elif found is None:
            self.young += 1
        else:
            self.counted += 1
            yield identity, facts.group, found


def _facts(found: Record | None) -> Facts:
    return NO_FACTS if found is None else decode_facts(record.unpack(found.value or b"")[2])


def _documents(found: list[Built], by: str, why: str) -> Iterator[ProfileDocument]:
    for each in found:
        if (profile := each.profile) is not None and found[0].profile is not None:
            yield ProfileDocument(
                scope=each.scope, name=each.name, hash=profile.hash, profile=profile.counts, by=by, why=why
            )


def _json(found: list[Built], read: _Read, documents: dict[str, ProfileDocument], gone: list[str]) -> Json:
    return {
        "identities": read.counted,
        "events": found[0].events,
        "epochs": found[0].epochs,
        "young": read.young,
        "stopped": read.stopped,
        "unreadable": read.unreadable,
        "needed": {"identities": LEAST_IDENTITIES, "epochs": LEAST_EPOCHS},
        "profiles": [_built_json(each) for each in found],
        "bytes": {key: len(each.model_dump_json().encode()) for key, each in documents.items()},
        "taken_away": gone,
    }


def _built_json(each: Built) -> Json:
    told: Json = {
        "scope": each.scope,
        "name": each.name,
        "identities": each.identities,
        "events": each.events,
        "epochs": each.epochs,
    }
    return told | {"published": each.profile is not None} | (_profile_json(each.profile) if each.profile else {})


def _profile_json(profile: Profile) -> Json:
    return {
        "version": profile.version,
        "hash": profile.hash,
        "actions": len(profile.counts.values),
        "pairs": len(profile.counts.bigrams),
        "calibrated": bool(profile.rarer),
    }


def _page(data: Json) -> RenderableType:
    rows = [
        (
            f"{each['scope']} {each['name']}".rstrip(),
            f"{each['identities']:,}",
            f"{each['events']:,}",
            f"{each['epochs']:,}",
            each["hash"][:12] if each["published"] else "too few",
            ("yes" if each["calibrated"] else "not yet") if each["published"] else "",
        )
        for each in data["profiles"]
    ]
    left_out = f"left out: {data['young']:,} that learned no epoch yet, {data['stopped']:,} frozen or offboarded"
    lines = [
        f"{data['identities']:,} identities with {data['events']:,} actions in {data['epochs']:,} epochs; {left_out}",
        *(f"left out, damaged: state {each}" for each in data["unreadable"]),
        *(f"taken away: {each}" for each in data["taken_away"]),
    ]
    return Group(table("peers", "identities", "actions", "epochs", "profile", "calibrated", rows=rows), "", *lines)
