"""From confluent-kafka's messages to the worker's records."""

from __future__ import annotations

from collections.abc import Sequence

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


def _headers(message: Message) -> Sequence[tuple[str, bytes | None]]:
    try:
        return message.headers() or ()  # type: ignore[return-value]  # read headers are a list of (str, bytes or None)
    except (UnicodeDecodeError, SystemError):
        # confluent-kafka 2.16 leaves the decoding error set and returns, for which the interpreter raises SystemError.
        return UNREADABLE
