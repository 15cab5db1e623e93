"""A backtest's report: one line of JSON for programs, a page for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType

from stayhand.headers import rfc3339
from streams.backtest.tally import VERDICTS, Tally
from streams.commands._session import table

Json = dict[str, Any]
_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


def as_json(tally: Tally, took_s: float, identities: int) -> Json:
    """The report as plain data; ``identities`` is how many of those that moved most are named."""
    before, after = tally.blocks()
    counted = tally.decisions + sum(map(sum, tally.finals))
    return {
        "policy": tally.pack.ref_body,
        "records": {
            "decisions": tally.decisions,
            "finals": sum(map(sum, tally.finals)),
            **{name: getattr(tally, name) for name in ("late", "observed", "others", "unreadable", "trouble")},
            "first": rfc3339(tally.first_ms) if counted else None,
            "last": rfc3339(tally.last_ms) if counted else None,
        },
        "matrix": _square(tally.matrix),
        "finals": _square(tally.finals),
        "recorded": dict(zip(VERDICTS, map(sum, tally.matrix), strict=True)),
        "would_be": dict(zip(VERDICTS, map(sum, zip(*tally.matrix, strict=True)), strict=True)),
        "stricter": _moved(tally, 1),
        "milder": _moved(tally, -1),
        "other_obligations": tally.duties,
        "blocks": {"recorded": before, "would_be": after, "rise_percent": round(tally.rise_percent, 4)},
        "wait_ms": _pair(tally.before.wait_ms, tally.after.wait_ms),
        "approvals": _pair(tally.before.approvals, tally.after.approvals),
        "latency_ms": {name: tally.delays.quantile(share) for name, share in _QUANTILES}
        | {"max": tally.delays.most_ms, "records": len(tally.delays)},
        "reasons": _reasons(tally.codes_before, tally.codes_after),
        "identities": [{"identity": name, **asdict(moved)} for name, moved in tally.movers.top(identities)],
        "identities_moved": len(tally.movers),
        "identities_forgotten": tally.movers.forgotten,
        "failed_rules": dict(tally.failed.most_common()),
        "rescored": tally.rescored,
        "unfaithful": tally.unfaithful,
        "examples": [told for cell in sorted(tally.examples) for told in tally.examples[cell].values()],
        "took_s": round(took_s, 3),
        "records_per_s": round(counted / took_s) if took_s else 0,
    }


def page(data: Json) -> RenderableType:
    """The report for a person."""
    parts: list[RenderableType] = [*_heading(data), "", _matrix(data["matrix"], "recorded, then under this pack")]
    if data["records"]["finals"]:
        parts += ["", _matrix(data["finals"], "answers to holds")]
    parts += [
        "",
        table("", "recorded", "would be", "change", rows=_totals(data)),
        "",
        _changed_reasons(data["reasons"]),
    ]
    if data["identities"]:
        parts += ["", _identities(data)]
    parts += [line for told in data["examples"] for line in ("", *_example(told))]
    return Group(*parts, "", *_warnings(data), _closing(data))


def _square(matrix: list[list[int]]) -> Json:
    return {name: dict(zip(VERDICTS, row, strict=True)) for name, row in zip(VERDICTS, matrix, strict=True)}


def _moved(tally: Tally, direction: int) -> int:
    return sum(
        count
        for before, row in enumerate(tally.matrix)
        for after, count in enumerate(row)
        if (after - before) * direction > 0
    )


def _pair(before: int, after: int) -> Json:
    return {"recorded": before, "would_be": after, "change": after - before}


def _reasons(before: Counter[str], after: Counter[str]) -> Json:
    """By the code of a rule's or a band's reason; those that change most come first."""
    codes = sorted(before | after, key=lambda code: (-abs(after[code] - before[code]), code))
    return {code: _pair(before[code], after[code]) for code in codes}


def _heading(data: Json) -> list[str]:
    policy, records = data["policy"], data["records"]
    span = f", {records['first']} to {records['last']}" if records["first"] else ""
    told = f"{records['decisions']:,} decisions and {records['finals']:,} answers to holds{span}"
    moved = f"stricter {data['stricter']:,}, milder {data['milder']:,}"
    return [
        f"{policy['name']} {policy['version']} ({policy['hash'][:12]}) on {told}",
        f"{moved}, same verdict with other obligations {data['other_obligations']:,}",
    ]


def _matrix(square: Json, title: str) -> RenderableType:
    rows = [(before, *(f"{row[after]:,}" for after in VERDICTS)) for before, row in square.items()]
    return table(title, *VERDICTS, rows=rows)


def _totals(data: Json) -> list[tuple[str, ...]]:
    rows = [_row(verdict, data["recorded"][verdict], data["would_be"][verdict]) for verdict in VERDICTS]
    wait, asked = data["wait_ms"], data["approvals"]
    rows.append(_row("seconds of waiting", wait["recorded"] // 1_000, wait["would_be"] // 1_000))
    rows.append(_row("approvals asked for", asked["recorded"], asked["would_be"]))
    return rows


def _row(name: str, before: int, after: int) -> tuple[str, ...]:
    return (name, f"{before:,}", f"{after:,}", f"{after - before:+,}" if after != before else "")


def _changed_reasons(reasons: Json) -> RenderableType:
    rows = [_row(code, each["recorded"], each["would_be"]) for code, each in reasons.items()]
    return table("by rule and band", "recorded", "would be", "change", rows=rows or [("none", "", "", "")])


def _identities(data: Json) -> RenderableType:
    rows = [
        (each["identity"], *(f"{each[part]:,}" for part in ("stricter", "milder", "blocked", "freed")))
        for each in data["identities"]
    ]
    return table("by identity", "stricter", "milder", "newly blocked", "no longer blocked", rows=rows)


def _example(told: Json) -> list[str]:
    lines = [
        f"{told['recorded']} would be {told['would_be']}: {told['identity']}, {told['action']} on {told['resource']}",
        f"  {told['at']}, decision {told['decision_id']}",
        f"  {told['says']}",
        f"  score {told['total']:.1f}: {told['why'] or 'nothing raised it'}",
    ]
    return [line for line in lines if line.strip()]


def _warnings(data: Json) -> list[str]:
    told: list[str] = []
    records = data["records"]
    if records["unreadable"]:
        told.append(f"{records['unreadable']:,} records cannot be decided again: {records['trouble']}")
    if data["rescored"]:
        told.append(f"{data['rescored']:,} have another score in this release than when they were decided")
    if data["unfaithful"]:
        told.append(f"{data['unfaithful']:,} of this very pack come out otherwise: this release decides otherwise")
    told += [
        f"rule {rule}: its condition could not be evaluated {n:,} times" for rule, n in data["failed_rules"].items()
    ]
    if data["identities_forgotten"]:
        told.append("so many identities would have moved that the counts by identity are of the larger ones only")
    return told


def _closing(data: Json) -> str:
    delay, blocks = data["latency_ms"], data["blocks"]
    latency = ", ".join(f"{name} {delay[name]} ms" for name in ("p50", "p95", "p99", "max"))
    measured = f"recorded, from append to read: {latency}\n" if delay["records"] else ""
    return (
        f"{measured}blocks would rise by {blocks['rise_percent']:+.2f} percentage points of all decisions; "
        f"{data['records_per_s']:,} records/s"
    )
