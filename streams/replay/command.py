"""`python -m streams replay`: score recorded logs under a prefix of their own, and say what would have been decided."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from schemas.topics import DEFAULT_PREFIX, check_prefix
from stayhand.errors import ConfigurationError
from streams.brokers import BrokerError, broker_from
from streams.commands._session import (
    EXIT_KAFKA,
    EXIT_NO,
    EXIT_USAGE,
    By,
    KafkaDown,
    KafkaSettings,
    Mistaken,
    Refused,
    Session,
    operator_name,
)
from streams.local.errors import Failed
from streams.local.interrupt import stoppable
from streams.replay import report
from streams.replay.progress import Bar
from streams.replay.runner import Plan, Report, replay
from streams.settings import load
from streams.shipped import DEFAULT_PACK
from streams.topics import TopicsFailed

app = typer.Typer(help="Score recorded logs under a prefix of their own.")
_WIDTH = 240
EXIT_STOPPED = 130
_OPERATOR = operator_name()
_ENDINGS: tuple[tuple[tuple[type[Exception], ...], int], ...] = (
    ((Failed, Refused), EXIT_NO),
    ((KafkaDown, TopicsFailed, BrokerError), EXIT_KAFKA),
    ((Mistaken, ConfigurationError, ValueError), EXIT_USAGE),
)
_EXPECTED = tuple(kind for kinds, _ in _ENDINGS for kind in kinds)


@app.command()
def run(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            exists=True,
            help="CloudTrail, Kubernetes or GitHub audit logs, or AuthZEN requests with a time: JSON, JSON lines, "
            "gzip, tar, directories.",
        ),
    ],
    *,
    bootstrap: Annotated[str, typer.Option(envvar="STAYHAND_BOOTSTRAP", help="Kafka's address, HOST:PORT,...")] = "",
    broker: Annotated[
        str,
        typer.Option(
            metavar="embedded|apache|HOST:PORT", help="A broker for this run; --bootstrap names one that is there."
        ),
    ] = "embedded",
    prefix: Annotated[
        str, typer.Option(help="What the topics' names begin with, unused so far; a random one is made, and removed.")
    ] = "",
    policy: Annotated[Path, typer.Option(help="The policy pack that decides.")] = DEFAULT_PACK,
    backfill: Annotated[bool, typer.Option("--backfill", help="Hand the baselines to the live prefix.")] = False,
    live_prefix: Annotated[str, typer.Option(envvar="STAYHAND_PREFIX", help="The live prefix.")] = DEFAULT_PREFIX,
    partitions: Annotated[int, typer.Option(min=1, help="Of the replay's topics.")] = 4,
    patience_s: Annotated[
        float, typer.Option("--patience", min=1.0, help="Seconds without any answer until it gives up.")
    ] = 60.0,
    kafka: KafkaSettings = None,
    by: By = _OPERATOR,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Read the logs, score every action in order of time as if it were still pending, and report."""
    made = prefix or f"stayhand-replay-{secrets.token_hex(4)}"
    try:
        if backfill and not bootstrap and broker in ("embedded", "apache"):
            raise Mistaken("--backfill: name the live broker with --bootstrap")
        with stoppable(), broker_from(bootstrap or broker) as running:
            settings = _clients(running.bootstrap, kafka or [])
            session = Session(settings, check_prefix(made), by)
            live = Session(settings, check_prefix(live_prefix), by) if backfill else None
            plan = Plan(tuple(files), session, policy, live, bool(prefix), partitions, patience_s)
            with Bar(embedded=(bootstrap or broker) == "embedded") as bar:
                ended = replay(plan, bar)
    except KeyboardInterrupt as error:
        sys.stderr.write("stopped\n")
        raise typer.Exit(EXIT_STOPPED) from error
    except _EXPECTED as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(next(code for kinds, code in _ENDINGS if isinstance(error, kinds))) from error
    _print(ended, as_json=as_json)


def _clients(bootstrap: str, pairs: list[str]) -> dict[str, Any]:
    """Settings of librdkafka: those that scorers read too, then KEY=VALUE."""
    if wrong := next((pair for pair in pairs if "=" not in pair), None):
        raise Mistaken(f"--kafka {wrong!r}: expected KEY=VALUE, such as security.protocol=SSL")
    settings = load(kafka=dict(pair.split("=", 1) for pair in pairs) or None)
    return {**settings.kafka, "bootstrap.servers": bootstrap}


def _print(ended: Report, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(report.as_json(ended), ensure_ascii=False) + "\n")
    else:
        console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _WIDTH)
        report.show(ended, console)
    if not ended.intake.events:
        sys.stderr.write("no event in any of these files\n")
        raise typer.Exit(EXIT_NO)
