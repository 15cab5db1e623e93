"""Where recorded decisions come from: the audit topic or a file of its records, effective ones alone."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, cast

import orjson

from streams import audit
from streams.audit import AuditEntry
from streams.commands import _kafka
from streams.commands._session import Mistaken, Refused, Session

Json = dict[str, Any]
# Higher levels of gzip take several times as long as deciding again does.
_COMPRESSION = 1


def from_topic(session: Session, partitions: list[int], since_ms: int | None) -> Iterator[Json]:
    """The effective records of the audit topic from a time on (None: from its beginning) to where it ends now.

    Raises:
        Mistaken: where the topic has no such partition.
        KafkaDown, Refused: as Kafka answers.
    """
    count = _kafka.partitions_of(session, "audit")
    if wrong := [each for each in partitions if each >= count]:
        raise Mistaken(f"--partition {wrong[0]}: expected 0 to {count - 1}")
    wanted = partitions or list(range(count))
    starts = dict.fromkeys(wanted, 0) if since_ms is None else _kafka.since(session, wanted, since_ms)
    for entry in _kafka.effective(session, starts):
        yield entry.body


def from_file(path: Path) -> Iterator[Json]:
    """The effective records of a file: one JSON object a line, each partition's in its order; ``.gz`` is unpacked.

    Raises:
        Mistaken: where the file cannot be read.
        Refused: naming the line that is no audit record.
    """
    terms: dict[int, int] = {}
    try:
        with closing(_opened(path, "rb")) as lines:
            for number, line in enumerate(lines, 1):
                if not line.isspace():
                    entry = _entry(path, number, line)
                    if entry.term >= terms.get(entry.partition, 0):
                        terms[entry.partition] = entry.term
                        yield entry.body
    except (OSError, EOFError) as error:
        raise Mistaken(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def narrowed(
    bodies: Iterable[Json], since_ms: int | None, until_ms: int | None, partitions: list[int], identity: str
) -> Iterator[Json]:
    """The records of these times (from ``since_ms`` to before ``until_ms``), partitions and identity."""
    for body in bodies:
        at_ms = body["at_ms"]
        if since_ms is not None and at_ms < since_ms:
            continue
        if until_ms is not None and at_ms >= until_ms:
            continue
        if partitions and body["vector"]["partition"] not in partitions:
            continue
        if not identity or body["identity"] == identity:
            yield body


def saving(bodies: Iterable[Json], path: Path) -> Iterator[Json]:
    """Pass records on, and write each into a new file that `from_file` reads.

    Raises:
        Mistaken: where the file is there already or cannot be written.
    """
    try:
        with closing(_opened(path, "xb")) as out:
            path.chmod(0o600)
            for body in bodies:
                out.write(audit.encode(body) + b"\n")
                yield body
    except FileExistsError as error:
        raise Mistaken(f"{path} is there already: name a file that is not") from error
    except OSError as error:
        raise Mistaken(f"cannot write {path}: {error.strerror}") from error


def _opened(path: Path, mode: str) -> IO[bytes]:
    opened = gzip.open(path, mode, _COMPRESSION) if path.suffix == ".gz" else path.open(mode)  # noqa: SIM115  by callers
    return cast("IO[bytes]", opened)


def _entry(path: Path, number: int, line: bytes) -> AuditEntry:
    try:
        body = orjson.loads(line)
        found = AuditEntry(body["vector"]["partition"], number, body)
        if not isinstance(found.term, int) or not isinstance(found.partition, int) or not isinstance(body["kind"], str):
            raise TypeError("a part of another kind")
        int(body["at_ms"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise Refused(f"{path}:{number}: expected an audit record as JSON on one line") from error
    return found
