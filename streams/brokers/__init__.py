"""Kafka brokers for tests, demo and bench: one that we start, or one that is there.

``with start_broker("apache") as broker:`` gives one that serves at ``broker.bootstrap`` until the block ends.
"""

import re
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from streams.brokers import apache, embedded
from streams.brokers.errors import BrokerError, BrokerFailedError, BrokerMissingError, BrokerNotOursError
from streams.brokers.process import BrokerHome, BrokerProcess, free_port, port_is_free
from streams.brokers.serving import check_answers

__all__ = [
    "BrokerError",
    "BrokerFailedError",
    "BrokerKind",
    "BrokerMissingError",
    "BrokerNotOursError",
    "BrokerProcess",
    "LocalBroker",
    "broker_from",
    "start_broker",
]

BrokerKind = Literal["embedded", "apache"]
_ADDRESS = re.compile(r"[^\s:,]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}")
_PORT_ATTEMPTS = 3


class LocalBroker(Protocol):
    """A broker that a test or the demo talks to, and may disturb when it is ours."""

    bootstrap: str
    """``HOST:PORT`` for ``bootstrap.servers``; the same for the broker's whole life."""

    def stop(self) -> None:
        """Ends the broker in an orderly way and keeps its data. Idempotent."""

    def kill(self) -> None:
        """Ends the broker as ``kill -9`` does and keeps what is on its disk. Idempotent."""

    def pause(self) -> None:
        """Freezes the broker: connections stay open and nothing answers."""

    def resume(self) -> None:
        """Lets a paused broker go on."""

    def restart(self) -> None:
        """Serves again on the same port and data; stops the broker first if it still runs."""

    def close(self) -> None:
        """Stops the broker and removes its temporary data. Idempotent."""

    def __enter__(self) -> Self:
        """Returns the broker itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the broker."""


class _BrokerElsewhere:
    """A broker that somebody else started: it can be used, and ``stop`` and ``close`` leave it alone."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def stop(self) -> None:
        return

    def close(self) -> None:
        return

    def kill(self) -> None:
        self._refuse("kill")

    def pause(self) -> None:
        self._refuse("pause")

    def resume(self) -> None:
        self._refuse("resume")

    def restart(self) -> None:
        self._refuse("restart")

    def _refuse(self, what: str) -> None:
        raise BrokerNotOursError(f"the broker at {self.bootstrap} is not ours to {what}: use embedded or apache")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def start_broker(kind: BrokerKind, *, data_dir: Path | None = None) -> BrokerProcess:
    """Starts a broker on a free loopback port and returns when it serves.

    Args:
        kind: ``embedded`` needs the development dependencies; ``apache`` needs java 17 and, once, mvn.
        data_dir: keeps the broker's data, settings and log beyond its life; a temporary folder by default.

    Raises:
        BrokerMissingError: the broker cannot be had on this machine.
        BrokerFailedError: it was started but does not serve.
    """
    prepare = {"embedded": embedded.prepare, "apache": apache.prepare}[kind]
    home = BrokerHome(data_dir)
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        port = free_port()
        try:
            broker = prepare(home, port)
            broker.start()
        except BrokerFailedError:
            lost_the_port = not port_is_free(port)
            if lost_the_port and attempt < _PORT_ATTEMPTS:
                continue
            home.remove()
            raise
        except BaseException:
            home.remove()
            raise
        return broker
    raise AssertionError("the last attempt returns or raises")


def broker_from(option: str) -> LocalBroker:
    """Returns the broker that an option names: ``embedded``, ``apache`` or ``HOST:PORT`` of one that runs.

    Raises:
        ValueError: the option is none of these.
        BrokerMissingError: the broker cannot be had on this machine.
        BrokerFailedError: it does not serve.
    """
    if option in ("embedded", "apache"):
        return start_broker("apache" if option == "apache" else "embedded")
    if _ADDRESS.fullmatch(option) is None:
        raise ValueError(f"broker {option!r}: expected embedded, apache or HOST:PORT")
    check_answers(option)
    return _BrokerElsewhere(option)
