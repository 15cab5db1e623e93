"""`python -m streams identity`: what a scorer knows of an identity, and forgetting it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from models import bar, baseline
from models.baseline import CHANNELS, Baseline
from models.policy import CompiledPack, compile_pack
from models.transition import decode_facts
from schemas.documents import Facts, PackDocument, Reset
from stayhand.headers import rfc3339
from stayhand.partition import partition_for
from streams import record
from streams.alarms import Alarms, rate_json
from streams.audit import AuditEntry
from streams.commands import _changes, _kafka, _values
from streams.commands._session import Refused, Session, command, shown, table
from streams.commands._values import DEFAULT_WAIT, Identity, Wait, WaitFor, Why
from streams.commands.explain import why
from streams.record import CorruptRecord, Source
from streams.shipped import shipped_pack

app = typer.Typer(no_args_is_help=True, add_completion=False, help="What is known of an identity.")
SCALE = 1024
TARGET_PERCENT = 1.0
Target = Annotated[
    float, typer.Option("--target", metavar="PERCENT", min=0, max=100, help="How often a score may reach a band.")
]
Json = dict[str, Any]


@command(app, "show")
def show(
    session: Session,
    identity: Identity,
    *,
    decisions: Annotated[int, typer.Option(min=0, help="How many of its last decisions to show.")] = 10,
    records: Annotated[int, typer.Option(min=1, help="How far back in the audit to look for them.")] = 20_000,
    target: Target = TARGET_PERCENT,
) -> None:
    """Show facts, baseline and the last decisions of an identity, as of the last checkpoint (at most 2 s ago)."""
    name = _values.identity(identity)
    facts, learned, source = _state(session, name)
    recent = _recent(session, name, records) if decisions else []
    if source is None and not recent:
        raise Refused(f"{name} is not known: it never asked, and nothing was said of it")
    data = {
        "identity": name,
        "facts": None if facts is None else facts.model_dump(mode="json", exclude_defaults=True),
        "baseline": None if learned is None else baseline_json(learned),
        "source": None if source is None else source_json(source),
        "alarms": _alarms_of(session, recent, target),
        "decisions": [decision_json(entry) for entry in recent[-decisions:]],
    }
    session.show(data, _page(data))


@command(app, "alarms")
def alarms_(
    session: Session,
    *,
    since: Annotated[str, typer.Option(metavar="DURATION", help="How far back to count, such as 24h.")] = "24h",
    top: Annotated[int, typer.Option(min=1, help="How many identities to show.")] = 20,
    target: Target = TARGET_PERCENT,
) -> None:
    """Show which identities' scores reach a band more often than they should, whatever the rules say."""
    at_ms = _values.now_ms() - _values.duration_ms(since, "--since")
    partitions = range(_kafka.partitions_of(session, "audit"))
    counted = Alarms(_packs(session))
    for entry in _kafka.effective(session, _kafka.since(session, partitions, at_ms)):
        counted.add(entry.body)
    found = [{"identity": name, **rate_json(rate, target)} for name, rate in counted.top(top)]
    data = {
        "since": since,
        "target_percent": target,
        "all": rate_json(counted.all, target),
        "above_target": counted.above(target),
        "identities": found,
        "unknown_policy": counted.unknown,
        "identities_forgotten": counted.forgotten,
    }
    session.show(data, _alarms_page(data))


@command(app, "reset")
def reset(
    session: Session,
    identity: Identity,
    *,
    why: Why = "",
    wait: Wait = True,
    wait_for: WaitFor = DEFAULT_WAIT,
) -> None:
    """Forget an identity's baseline; its facts stay. Until it has matured again, nothing is blocked by score."""
    name = _values.identity(identity)
    control = Reset(control_id=_changes.new_id(), by=session.by, why=why)
    _changes.change_identity(session, name, control, _values.wait_s(wait, wait_for), f"{name} reset")


def _alarms_of(session: Session, recent: list[AuditEntry], target: float) -> Json | None:
    """The rate of one identity's decisions; None where none was looked for or found."""
    counted = Alarms(_packs(session))
    for entry in recent:
        counted.add(entry.body)
    return rate_json(counted.all, target) if counted.all.decisions else None


def _packs(session: Session) -> Callable[[str], CompiledPack | None]:
    """The published packs by hash; each is compiled when it is first asked for."""

    @cache
    def published() -> dict[str, PackDocument]:
        return _changes.entries(session, "pack", PackDocument)

    @cache
    def known(pack_hash: str) -> CompiledPack | None:
        if pack_hash == shipped_pack().hash:
            return shipped_pack()
        found = published().get(pack_hash)
        return None if found is None else compile_pack(found.source)

    return known


def _alarms_page(data: Json) -> RenderableType:
    rows = [
        (
            each["identity"],
            f"{each['decisions']:,}",
            f"{each['alarms']:,}",
            f"{each['percent']:.2f} %",
            f"{each['least_percent']:.2f} %",
            "above" if each["above_target"] else "",
            f"{each['above_bar']:,}",
            f"{each['called_fine']:,} / {each['called_bad']:,}",
        )
        for each in data["identities"]
    ]
    every = data["all"]
    told = f"{every['alarms']:,} alarms in {every['decisions']:,} decisions ({every['percent']:.2f} %)"
    goal = f"{data['above_target']:,} identities are above {data['target_percent']:g} %, beyond chance"
    columns = ("identity", "decisions", "alarms", "rate", "at least", "target", "above its bar", "called fine / bad")
    return Group(f"{told}; {goal}", "", table(*columns, rows=rows))


def _state(session: Session, identity: str) -> tuple[Facts | None, Baseline | None, Source | None]:
    """What the changelog says of an identity; the source is that of the later record."""
    keys = {record.state_key("baseline", identity), record.state_key("facts", identity)}
    partition = partition_for(identity.encode(), _kafka.partitions_of(session, "state"))
    facts, learned, source = None, None, None
    for found in _kafka.latest(session, "state", partition, keys.__contains__).values():
        try:
            kind, its_source, body = record.unpack(found.value or b"")
        except CorruptRecord as error:
            raise Refused(f"{found.topic}/{found.partition}/{found.offset}: {error}") from error
        if kind == "facts":
            facts = decode_facts(body)
        else:
            learned = baseline.decode(body)
        if source is None or its_source.clock_ms >= source.clock_ms:
            source = its_source
    return facts, learned, source


def _recent(session: Session, identity: str, records: int) -> list[AuditEntry]:
    partition = partition_for(identity.encode(), _kafka.partitions_of(session, "audit"))
    end = _kafka.marks(session, [partition]).audit[partition]
    starts = {partition: max(0, end - records)}
    return [
        entry
        for entry in _kafka.effective(session, starts)
        if entry.body.get("identity") == identity and entry.body.get("decision") is not None
    ]


def baseline_json(learned: Baseline) -> Json:
    """What a baseline says in words and counts; the values themselves are kept as 16-bit codes only."""
    waiting = sum(epoch.events for epoch in (learned.open, learned.waiting) if epoch is not None)
    return {
        "first_seen": rfc3339(learned.first_seen_ms),
        "last": rfc3339(learned.last_ms),
        "events": learned.events,
        "matured": learned.matured,
        "waiting": waiting,
        "not_learned": learned.refused,
        "skipped": learned.skipped,
        "baseline_shifts": learned.habits.notices,
        "session_score": learned.session / SCALE,
        "bar": bar.bar_of(learned.extra).at / SCALE,
        "distinct": {name: _distinct(learned, at) for at, name in enumerate(CHANNELS)},
        "bytes": len(baseline.encode(learned)),
    }


def _distinct(learned: Baseline, channel: int) -> int:
    return learned.tables[channel].distinct


def source_json(source: Source) -> Json:
    """Up to which records a state is."""
    return {
        "partition": source.partition,
        "actions_offset": source.actions_offset,
        "controls_offset": source.controls_offset,
        "clock": rfc3339(source.clock_ms),
        "term": source.term,
    }


def decision_json(entry: AuditEntry) -> Json:
    """One line of an identity's history."""
    body, decision = entry.body, entry.body["decision"]
    action = body.get("action") or {}
    return {
        "at": rfc3339(body["at_ms"]),
        "decision_id": decision["decision_id"],
        "verdict": decision["verdict"],
        "would_be": decision.get("would_be"),
        "action": (action.get("action") or {}).get("name", ""),
        "resource": ":".join((action.get("resource") or {}).get(part, "") for part in ("type", "id")),
        "total": ((body.get("scores") or {}).get("total") or 0) / SCALE,
        "reasons": [reason["code"] for reason in decision.get("reasons", [])],
        "baseline_shift": "baseline_shift" in (body.get("facts") or {}),
        "why": [each["text"] for each in why(body, most=1)],
    }


def _page(data: Json) -> RenderableType:
    rows = [("identity", data["identity"])]
    for part in ("facts", "baseline", "source", "alarms"):
        rows += [(f"{part}.{name}", shown(value)) for name, value in (data[part] or {"": "none"}).items()]
    history = [
        (
            each["at"],
            each["verdict"],
            each["action"],
            each["resource"],
            f"{each['total']:.1f}",
            " ".join(each["reasons"]),
            "; ".join(each["why"]) if each["reasons"] else "",
            each["decision_id"],
        )
        for each in data["decisions"]
    ]
    columns = ("at", "verdict", "action", "resource", "score", "reasons", "most of it", "decision id")
    return Group(table("", "", rows=rows), "", table(*columns, rows=history))
