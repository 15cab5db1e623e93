"""A replay's report: one line of JSON for programs, a few tables for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from stayhand.headers import rfc3339
from streams.replay.ledger import VERDICTS, Peak
from streams.replay.runner import Report

_NAMES_SHOWN = 10
_TERMS_SHOWN = 4


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain data; scores are in 1/1024 as everywhere on the wire."""
    intake = report.intake
    return {
        "prefix": report.prefix,
        "events": intake.events,
        "scored": report.scored,
        "duplicates": intake.duplicates,
        "unreadable": intake.unreadable,
        "skipped": intake.skipped,
        "refused": sum(report.refused.values()),
        "verdicts": {verdict: report.verdicts.get(verdict, 0) for verdict in VERDICTS},
        "refusals": report.refused,
        "answers_lost": report.answers_lost,
        "digest": report.digest,
        "events_per_s": _pace(report),
        "kinds": dict(intake.kinds),
        "unreadable_names": intake.unreadable_names,
        "other_files": intake.other_names,
        "backfilled": report.backfilled,
        "top": [_peak(peak, counts) for peak, counts in report.top],
    }


def show(report: Report, console: Console) -> None:
    """Print the report for a person."""
    intake = report.intake
    console.print(
        f"{intake.events:,} events: {report.scored:,} scored, {intake.duplicates:,} duplicates, "
        f"{intake.unreadable:,} unreadable, {intake.skipped:,} no actions, {sum(report.refused.values()):,} refused"
    )
    console.print("  ".join(f"{verdict} {report.verdicts.get(verdict, 0):,}" for verdict in VERDICTS))
    if report.top:
        console.print(_identities(report))
    for title, names, count in (
        ("unreadable", intake.unreadable_names, intake.unreadable),
        ("no logs, left out", intake.other_names, intake.others),
    ):
        _names(console, title, names, count)
    for code, count in sorted(report.refused.items()):
        console.print(f"refused by the gate: {code} {count:,}")
    if report.answers_lost:
        console.print(f"{report.answers_lost:,} answers got lost on their way; their verdicts are those of the audit")
    if report.backfilled is not None:
        console.print(f"{report.backfilled:,} baselines handed to the live prefix")
    if report.digest:
        console.print(f"{_pace(report):,} events/s; digest of ids, verdicts and totals {report.digest}")


def _identities(report: Report) -> Table:
    table = Table(title="highest risk", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("identity", *VERDICTS, "peak", "at", "what", "because"):
        table.add_column(name, overflow="fold", justify="right" if name in (*VERDICTS, "peak") else "left")
    for peak, counts in report.top:
        cells = [f"{counts[verdict]:,}" for verdict in VERDICTS]
        because = "; ".join(message for _, message in peak.reasons)
        table.add_row(
            peak.identity,
            *cells,
            f"{peak.total / 1024:.1f}",
            rfc3339(peak.at_ms),
            f"{peak.action} {peak.resource}",
            f"{because} ({_terms(peak)})" if because else _terms(peak),
        )
    return table


def _terms(peak: Peak) -> str:
    return ", ".join(f"{name} {value / 1024:+.1f}" for name, value in peak.terms[:_TERMS_SHOWN])


def _names(console: Console, title: str, names: list[str], count: int) -> None:
    if count:
        console.print(f"{title}: {count:,}")
        for name in names[:_NAMES_SHOWN]:
            console.print(f"  {name}")
        if count > _NAMES_SHOWN:
            console.print(f"  and {count - _NAMES_SHOWN:,} more")


def _peak(peak: Peak, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "identity": peak.identity,
        "verdicts": counts,
        "peak": {
            "verdict": peak.verdict,
            "total": peak.total,
            "at": rfc3339(peak.at_ms),
            "action": peak.action,
            "resource": peak.resource,
            "terms": [list(term) for term in peak.terms],
            "reasons": [list(reason) for reason in peak.reasons],
        },
    }


def _pace(report: Report) -> int:
    return round(report.intake.queued / report.scoring_s) if report.scoring_s else 0
