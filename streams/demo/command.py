"""`python -m streams demo`: the whole gate on one machine, with a theft in the middle; fails if it is not stopped."""

from __future__ import annotations

import secrets
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from schemas.topics import DEFAULT_PREFIX
from stayhand.errors import StayhandError
from streams.brokers import BrokerError, broker_from
from streams.commands._session import EXIT_NO, KafkaDown, Mistaken, Refused, Session
from streams.demo import story
from streams.demo.screen import screen
from streams.local.errors import Failed
from streams.local.interrupt import stoppable
from streams.replay.command import EXIT_STOPPED
from streams.topics import TopicsFailed

app = typer.Typer(help="Show the gate at work on a small simulated fleet.")
_OPERATOR = "demo"
_EXPECTED = (Failed, Mistaken, KafkaDown, Refused, TopicsFailed, BrokerError, StayhandError)


@app.command()
def run(
    *,
    broker: Annotated[
        str, typer.Option(metavar="embedded|apache|HOST:PORT", help="The broker to run on.")
    ] = "embedded",
    prefix: Annotated[str, typer.Option(help="What the topics' names begin with, unused so far.")] = DEFAULT_PREFIX,
    seed: Annotated[int, typer.Option(help="Of the fleet's habits.")] = 7,
) -> None:
    """Tell the story; exit status 1 when the stolen token was not blocked, or somebody honest was."""
    try:
        with stoppable():
            ending = _told(broker, prefix, seed)
    except _EXPECTED as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(EXIT_NO) from error
    except KeyboardInterrupt as error:
        sys.stderr.write("stopped\n")
        raise typer.Exit(EXIT_STOPPED) from error
    sys.stdout.write(_summary(ending))
    if ending.wrong:
        raise typer.Exit(EXIT_NO)


def _told(broker: str, prefix: str, seed: int) -> story.Ending:
    with screen() as shown, tempfile.TemporaryDirectory(prefix="stayhand-demo-") as folder:
        shown.say(f"starting Kafka ({broker}) ...")
        with broker_from(broker) as running:
            settings = {"bootstrap.servers": running.bootstrap}
            live = Session(settings, prefix, _OPERATOR)
            past = Session(settings, f"{prefix}-history-{secrets.token_hex(4)}", _OPERATOR)
            return story.tell(live, past, Path(folder), shown, seed)


def _summary(ending: story.Ending) -> str:
    lines = [
        "",
        f"history   {ending.report.scored:,} actions scored, {ending.report.backfilled} baselines taken over",
        f"honest    {_counts(ending.honest)}",
        f"stolen    {_counts(ending.stolen)}",
        f"check()   {ending.checks} calls, p50 {ending.p50_ms:.1f} ms, p99 {ending.p99_ms:.1f} ms",
        *(f"WRONG     {text}" for text in ending.wrong),
        "",
        "next      python -m streams replay YOUR-CLOUDTRAIL.json.gz   what would have been decided",
        "          policies/default.yaml                              the rules that decided here",
        "          docs/replay.md, docs/design.md, README.md          how it works, how to ask from your own program",
        "",
    ]
    return "\n".join(lines)


def _counts(verdicts: dict[str, int]) -> str:
    return ", ".join(f"{verdicts.get(verdict, 0)} {verdict}" for verdict in ("permit", "slow", "guide", "block"))
