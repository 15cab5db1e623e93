"""From confluent-kafka's messages to the worker's records."""

from __future__ import annotations

from collections.abc import Sequence
from operator import methodcaller

from confluent_kafka import Message

from streams.ports import Record

# Stands for headers whose names are no UTF-8: whoever reads headers refuses one without a value.
UNREADABLE: tuple[tuple[str, bytes | None], ...] = (("unreadable", None),)


def record_of(message: Message) -> Record:
    """The record in a message that is no error."""
    return Record(
        message.topic(),  # type: ignore[arg-type]  # None only in error messages, as the three below
        message.partition(),  # type: ignore[arg-type]
        message.offset(),  # type: ignore[arg-type]
        message.timestamp()[1],
        message.key(),
        message.value(),
        _headers(message),
    )


# A header whose name is no UTF-8 makes confluent-kafka 2.16 return although an error is set. The interpreter's fast
# paths do not look for that, so that some later call would fail; a methodcaller does look, and raises SystemError.
_read_headers = methodcaller("headers")


def _headers(message: Message) -> Sequence[tuple[str, bytes | None]]:
    try:
        return _read_headers(message) or ()
    except (UnicodeDecodeError, SystemError):
        return UNREADABLE
