"""Audit records: how they are written, read, and told apart into effective and void."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from streams.ports import Record, Stale

Json = dict[str, Any]


class CorruptAudit(ValueError):
    """An audit record is not what a scorer writes."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An audit record and where it stands; the body has the shape of ``schemas.documents.AuditRecord``."""

    partition: int
    offset: int
    body: Json

    @property
    def term(self) -> int:
        """The term of the ownership that wrote it."""
        term: int = self.body["term"]
        return term


def encode(body: Mapping[str, Any]) -> bytes:
    """The record's bytes as JSON; a decision within it stands as the very bytes that its asker is told."""
    return orjson.dumps(body)


def decode(record: Record) -> AuditEntry:
    """Read a record of the audit topic.

    Raises:
        CorruptAudit: where it cannot be read.
    """
    try:
        body = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError as error:
        raise CorruptAudit(f"audit {record.partition}/{record.offset} is not JSON") from error
    if not isinstance(body, dict) or not isinstance(body.get("term"), int) or "kind" not in body:
        raise CorruptAudit(f"audit {record.partition}/{record.offset} has no kind or no term")
    return AuditEntry(record.partition, record.offset, body)


def effective(entries: Iterable[AuditEntry], term: int = 0) -> Iterator[AuditEntry]:
    """The effective records of one partition, in order: those before which no higher term stands.

    A record of an older life can land after its successor's take-over mark; it is void for every reader.

    Args:
        entries: records in the order of their offsets, from one partition.
        term: the highest term known to stand before the first of them.
    """
    for entry in entries:
        if entry.term >= term:
            term = entry.term
            yield entry


def own_history(entries: Iterable[AuditEntry], term: int, before: int) -> Iterator[AuditEntry]:
    """The effective records that a new owner of ``term`` finds before its own mark.

    Raises:
        Stale: when a higher term stands there, so that this owner's time is over already.
    """
    for entry in effective(entries, before):
        if entry.term > term:
            raise Stale(f"audit {entry.partition}/{entry.offset} carries term {entry.term}, beyond {term}")
        yield entry
