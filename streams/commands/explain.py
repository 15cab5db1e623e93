"""`python -m streams explain`: why a decision was made, from its audit record alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from models.explain import explained
from schemas.documents import PackDocument
from stayhand.headers import rfc3339
from stayhand.partition import partition_for
from streams.audit import AuditEntry
from streams.commands import _changes, _kafka, _values
from streams.commands._session import Mistaken, Refused, Session, command, shown, table

app = typer.Typer(add_completion=False)
SCALE = 1024
_SCORES = ("event", "session", "rate", "total", "epoch", "q", "p", "drift")
Json = dict[str, Any]


@command(app, "explain")
def explain(
    session: Session,
    decision_id: Annotated[str, typer.Argument(metavar="DECISION_ID", help="From the decision or its log line.")],
    *,
    identity: Annotated[str, typer.Option(help="Whose it was: reads one partition instead of all.")] = "",
    since: Annotated[str, typer.Option(metavar="DURATION", help="How long ago it was at most, such as 24h.")] = "",
    replay: Annotated[bool, typer.Option("--replay", help="Decide again from the record, and compare the bytes.")] = (
        False
    ),
) -> None:
    """Show an action, its score by terms, the facts that were used, the policy and the reasons."""
    found = about(session, decision_id, identity, since)
    decided = next((entry for entry in found if entry.body.get("decision") is not None), None)
    if decided is None:
        raise Refused(f"decision {decision_id} is not in the audit that was read")
    same = _replayed(session, decided) if replay else None
    data = {
        **decided.body,
        "partition": decided.partition,
        "offset": decided.offset,
        "outcomes": _outcomes(found),
        "reviews": _reviews(found),
        "why": why(decided.body),
    }
    if replay:
        data["replay"] = {"same": same}
    session.show(data, _page(data, same))
    if same is False:
        raise Refused("decided again from its record, the decision is another one")


def about(session: Session, decision_id: str, identity: str, since: str) -> list[AuditEntry]:
    """The effective audit records about one decision: itself, its outcome, and reviews of it.

    Raises:
        Mistaken: where the id is none.
    """
    if not decision_id or decision_id.strip("0123456789abcdef"):
        raise Mistaken(f"decision id {decision_id!r}: expected hexadecimal digits")
    return recorded(session, lambda body: _about(body, decision_id), identity, since)


def recorded(session: Session, keep: Callable[[Json], bool], identity: str, since: str) -> list[AuditEntry]:
    """The effective audit records that ``keep`` wants: of one identity's partition or all, since a time or ever."""
    count = _kafka.partitions_of(session, "audit")
    wanted = [partition_for(_values.identity(identity).encode(), count)] if identity else list(range(count))
    starts = dict.fromkeys(wanted, 0)
    if since:
        starts = _kafka.since(session, wanted, _values.now_ms() - _values.duration_ms(since, "--since"))
    return [entry for entry in _kafka.effective(session, starts) if keep(entry.body)]


def _about(body: Json, decision_id: str) -> bool:
    parts = (body.get("decision"), body.get("outcome"), body.get("control"))
    return any(part is not None and part.get("decision_id") == decision_id for part in parts)


def _outcomes(found: list[AuditEntry]) -> list[Json]:
    return [{"at_ms": each.body["at_ms"], **each.body["outcome"]} for each in found if each.body.get("outcome")]


def _reviews(found: list[AuditEntry]) -> list[Json]:
    said = [(each.body["at_ms"], each.body.get("control") or {}) for each in found]
    return [
        {"at_ms": at_ms, **{name: control[name] for name in ("said", "by", "why")}}
        for at_ms, control in said
        if control.get("kind") == "review"
    ]


def _replayed(session: Session, entry: AuditEntry) -> bool:
    """Whether the record and its pack give the same decision again, byte for byte."""
    from models.policy import compile_pack  # noqa: PLC0415 - only --replay needs the policy engine
    from models.transition import redecide  # noqa: PLC0415
    from streams.answers import decision_bytes  # noqa: PLC0415
    from streams.shipped import shipped_pack  # noqa: PLC0415

    decision = entry.body["decision"]
    pack_hash = decision["policy"]["hash"]
    published = _changes.entries(session, "pack", PackDocument).get(pack_hash)
    if published is not None:
        pack = compile_pack(published.source)
    elif (pack := shipped_pack()).hash != pack_hash:
        raise Refused(f"pack {pack_hash} is no longer in {session.topic('global')}: it cannot be replayed")
    return redecide(entry.body, pack) == decision_bytes(decision)


def why(body: Json, most: int = 5) -> list[Json]:
    """The heaviest reasons for a recorded decision's score, each with its numbers; none where they cannot be told."""
    try:
        told = explained(body, most)
    except (KeyError, TypeError, ValueError):
        return []
    return [{"term": each.term, "nats": each.weight / SCALE, "text": each.text, "plain": each.plain} for each in told]


def _page(data: Json, same: bool | None) -> RenderableType:
    parts: list[RenderableType] = [table("", "", rows=_summary(data, same)), ""]
    for title, rows in (
        ("why", [(f"+{each['nats']:.2f}", each["text"]) for each in data["why"]]),
        ("reasons", _reasons(data["decision"])),
        ("terms of the score", _terms(data.get("scores") or {})),
        ("points of the agent's call", _points(data)),
        ("features", _flat(data.get("features") or {})),
        ("facts", _flat(data.get("facts") or {})),
    ):
        parts += [table(title, "", rows=rows or [("none", "")]), ""]
    return Group(*parts)


def _summary(data: Json, same: bool | None) -> list[tuple[str, str]]:
    decision, vector, ask = data["decision"], data["vector"], data.get("ask") or {}
    action = data.get("action") or {}
    policy = decision.get("policy") or {}
    rows = [
        ("decision", decision["decision_id"]),
        ("at", rfc3339(data["at_ms"])),
        ("identity", data["identity"]),
        ("action", (action.get("action") or {}).get("name", "")),
        ("resource", ":".join((action.get("resource") or {}).get(part, "") for part in ("type", "id"))),
        ("verdict", decision["verdict"] + _would(decision)),
        ("obligations", " ".join(each["type"] for each in decision.get("obligations", [])) or "none"),
        ("policy", f"{policy.get('name')} {policy.get('version')} {policy.get('hash')}"),
        ("point", f"{ask.get('point')} key {ask.get('key_id')}{' (late)' if ask.get('late') else ''}"),
        ("partition", str(vector["partition"])),
        ("after", ", ".join(f"{name} {vector[name]}" for name in ("actions", "controls", "globals"))),
        ("model", vector["model"]),
        ("profile", vector.get("profile") or "none"),
        ("audit", f"partition {data['partition']}, offset {data['offset']}, term {data['term']}, by {data['worker']}"),
        ("outcome", " ".join(each["result"] for each in data["outcomes"]) or "not reported"),
        ("review", "; ".join(f"{each['said']} ({each['by']})" for each in data["reviews"]) or "none"),
    ]
    if guard := data.get("guard"):
        rows.append(("policy change", f"{guard['state']}: {guard['decided']} asks decided, {_beyond(guard)}"))
    if same is not None:
        rows.append(("decided again", "the same bytes" if same else "OTHER BYTES"))
    return rows


def _beyond(guard: Json) -> str:
    return f"{guard['blocks']} blocked by the new pack, {guard['blocks_before']} by the one before"


def _would(decision: Json) -> str:
    return f" (observed; it would have been {decision['would_be']})" if decision.get("would_be") else ""


def _reasons(decision: Json) -> list[tuple[str, str]]:
    return [
        (each["code"], f"{each['message']} {' '.join(each.get('references', []))}".rstrip())
        for each in decision.get("reasons", [])
    ]


def _terms(scores: Json) -> list[tuple[str, str]]:
    terms = [(str(name), f"{value / SCALE:+.2f}") for name, value in scores.get("terms", [])]
    totals = [(name, _scaled(scores.get(name))) for name in _SCORES]
    return terms + totals


def _points(data: Json) -> list[tuple[str, str]]:
    """What the call's signals are worth, counted again: the record holds the signals."""
    from models.agent import agent_points  # noqa: PLC0415 - only this page needs it
    from stayhand.wire import Context  # noqa: PLC0415

    found = agent_points(Context.model_validate((data.get("action") or {}).get("context") or {}))
    if found is None:
        return []
    return [(name, f"{points:+d}") for name, points in found.terms] + [("agent", str(found.total))]


def _scaled(value: int | None) -> str:
    return "not ready" if value is None else f"{value / SCALE:.2f}"


def _flat(value: Json) -> list[tuple[str, str]]:
    return [(str(name), shown(part)) for name, part in value.items()]
