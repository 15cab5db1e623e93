"""The common ground of operator commands: their options, how they print, and how their failures end."""

from __future__ import annotations

import functools
import getpass
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from confluent_kafka import KafkaException
from pydantic import ValidationError
from rich.console import Console, RenderableType
from rich.table import Table

from schemas.topics import DEFAULT_PREFIX, Kind, topic
from stayhand.errors import ConfigurationError, InvalidAction
from stayhand.wire import invalid
from streams.settings import load
from streams.topics import TopicsFailed

NO_BROKER = "no broker answers: start one, or correct --bootstrap (STAYHAND_BOOTSTRAP)"
EXIT_NO, EXIT_USAGE, EXIT_KAFKA = 1, 2, 3
_PIPE_WIDTH = 240
_PANEL = "Common options"


class Refused(Exception):
    """The answer is no: not found, not applied, not possible; the message is one line (exit code 1)."""


class Mistaken(Exception):
    """What was typed cannot be right; the message is one line (exit code 2)."""


class KafkaDown(Exception):
    """Kafka does not answer or refuses; the message is one line (exit code 3)."""


@dataclass(frozen=True, slots=True)
class Session:
    """Where a command works, for whom, and how it prints.

    ``kafka`` holds librdkafka's settings; ``by`` is the operator's name as it stands in what is written.
    """

    kafka: Mapping[str, Any]
    prefix: str = DEFAULT_PREFIX
    by: str = "operator"
    json: bool = False
    master_secret_file: Path | None = None

    def topic(self, kind: Kind, domain: str = "") -> str:
        """The full name of a topic."""
        return topic(self.prefix, kind, domain)

    def show(self, data: Any, text: RenderableType) -> None:
        """Print ``data`` as one line of JSON where that was asked for, else ``text``."""
        if self.json:
            sys.stdout.write(json.dumps(data, ensure_ascii=False) + "\n")
        else:
            _console(stderr=False).print(text, soft_wrap=isinstance(text, str))

    def note(self, text: str) -> None:
        """A line for the person at the terminal, on stderr."""
        _console(stderr=True).print(text, soft_wrap=True)


def table(*columns: str, rows: Iterable[tuple[str, ...]]) -> Table:
    """A plain table whose cells are never cut off or read as markup."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def shown(value: Any) -> str:
    """A value of a document as a person reads it: text as it is, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _console(*, stderr: bool) -> Console:
    """Text as it is, without markup; a pipe has no width, so lines there are not cut at 80."""
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, highlight=False, markup=False, width=None if terminal else _PIPE_WIDTH)


Config = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="STAYHAND_CONFIG", help="A settings file, as scorers read.", rich_help_panel=_PANEL
    ),
]
Bootstrap = Annotated[
    str | None,
    typer.Option("--bootstrap", help="Kafka, as HOST:PORT,... [env var: STAYHAND_BOOTSTRAP]", rich_help_panel=_PANEL),
]
Prefix = Annotated[
    str | None,
    typer.Option(
        "--prefix", help="What the topics' names begin with [env var: STAYHAND_PREFIX]", rich_help_panel=_PANEL
    ),
]
KafkaSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--kafka",
        metavar="KEY=VALUE",
        help="A setting of librdkafka [env var: STAYHAND_KAFKA_KEY]",
        rich_help_panel=_PANEL,
    ),
]
By = Annotated[
    str,
    typer.Option("--by", envvar="STAYHAND_OPERATOR", help="Your name in what is written.", rich_help_panel=_PANEL),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON.", rich_help_panel=_PANEL)]


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register ``function(session, ...)`` as a command that also takes the common options.

    Its failures end as one line on stderr and an exit code: 1 the answer is no, 2 usage, 3 Kafka.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

        @functools.wraps(function)
        def run(*arguments: Any, **options: Any) -> None:
            common = {each.name: options.pop(each.name) for each in _COMMON}
            with _told():
                function(_session(**common), *arguments, **options)

        signature = inspect.Signature([*own, *_COMMON])
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
        app.command(name)(run)
        return function

    return register


def _session(
    *, config: Path | None, bootstrap: str | None, prefix: str | None, kafka: list[str] | None, by: str, as_json: bool
) -> Session:
    """What was typed, over the settings that scorers read too: environment, file, defaults."""
    settings = load(config, bootstrap=bootstrap, prefix=prefix, kafka=_pairs(kafka) if kafka else None)
    clients = {**settings.kafka, "bootstrap.servers": settings.bootstrap}
    return Session(clients, settings.prefix, by, as_json, settings.master_secret_file)


def _pairs(texts: list[str]) -> dict[str, str]:
    """The mapping of KEY=VALUE pairs.

    Raises:
        Mistaken: for a pair without ``=``.
    """
    if wrong := [text for text in texts if "=" not in text]:
        raise Mistaken(f"--kafka {wrong[0]!r}: expected KEY=VALUE, such as security.protocol=SSL")
    return dict(text.partition("=")[::2] for text in texts)


def operator_name() -> str:
    """The name of the user that runs this."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_COMMON = (
    _option("config", Config, None),
    _option("bootstrap", Bootstrap, None),
    _option("prefix", Prefix, None),
    _option("kafka", KafkaSettings, None),
    _option("by", By, operator_name()),
    _option("as_json", AsJson, False),
)


@contextmanager
def _told() -> Iterator[None]:
    """Turn the failures that a command may have into one line and an exit code; any other one is a defect."""
    try:
        yield
    except _EXPECTED as error:
        code, message = _ending(error)
        sys.stderr.write(f"{message}\n")
        raise typer.Exit(code) from error


def _ending(error: BaseException) -> tuple[int, str]:
    if isinstance(error, Refused):
        return EXIT_NO, str(error)
    if isinstance(error, (KafkaDown, TopicsFailed)):
        return EXIT_KAFKA, str(error)
    if isinstance(error, KafkaException):
        return EXIT_KAFKA, f"Kafka refused: {error.args[0].str()}"
    if isinstance(error, ValidationError):
        return EXIT_USAGE, str(invalid(error))
    return EXIT_USAGE, str(error)


_EXPECTED = (
    Refused,
    Mistaken,
    KafkaDown,
    TopicsFailed,
    KafkaException,
    ValidationError,
    InvalidAction,
    ConfigurationError,
    ValueError,
)
