"""`python -m bench NAME`: measures, tells how it goes on stderr, and ends with the figures on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from confluent_kafka import KafkaException

from bench import detection, roundtrip, state, throughput
from bench.errors import BenchFailed
from bench.figures import load, surroundings
from streams.brokers import BrokerError, broker_from
from streams.brokers.jars import KAFKA_VERSION
from streams.commands._session import KafkaDown
from streams.local.errors import Failed
from streams.topics import TopicsFailed

_FAILURES = (BenchFailed, BrokerError, KafkaDown, KafkaException, Failed, TopicsFailed, ValueError)
_BROKERS = {"apache": f"Apache Kafka {KAFKA_VERSION}", "embedded": "embedded (noida-db)"}


class Name(StrEnum):
    """What can be measured."""

    ROUNDTRIP = "roundtrip"
    THROUGHPUT = "throughput"
    STATE = "state"
    DETECTION = "detection"


app = typer.Typer(add_completion=False)


@app.command()
def main(
    name: Annotated[Name, typer.Argument(help="What to measure.")],
    broker: Annotated[
        str, typer.Option(help="apache, embedded or HOST:PORT; state and detection need none.")
    ] = "apache",
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
    sets: Annotated[list[str] | None, typer.Option("--set", help="Of detection: which sets; all by default.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only show that it works: the figures mean nothing.")] = False,
) -> None:
    """Measure Stayhand against the same work without it, in the same run. See docs/measurements.md."""
    try:
        result = measure(name, broker, quick=quick, sets=sets or ())
    except _FAILURES as error:
        cause = error.args[0].str() if isinstance(error, KafkaException) else error
        say(f"{name}: {cause}")
        raise typer.Exit(1) from error
    sys.stdout.write(json.dumps(result, indent=None if as_json else 2) + "\n")


def measure(name: Name, broker: str, *, quick: bool, sets: Sequence[str] = ()) -> dict[str, Any]:
    """The figures of one measurement, with what must stand beside them."""
    if name is Name.STATE:
        around = surroundings("none")
        figures = state.run(state.QUICK if quick else state.Plan(), say)
    elif name is Name.DETECTION:
        around = surroundings("none")
        figures = detection.run(sets, say, quick=quick)
    else:
        bench: Any = roundtrip if name is Name.ROUNDTRIP else throughput
        around = surroundings(_BROKERS.get(broker, broker))
        with broker_from(broker) as running:
            figures = bench.run(running.bootstrap, bench.QUICK if quick else bench.Plan(), say)
    return {"bench": name.value, "quick": quick, **figures, **around, "load_after": load()}


def say(text: str) -> None:
    """A line on stderr."""
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    app()
