"""Hands the baselines that a replay ended with to the live scorers, by way of their own controls."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from schemas.documents import Document, Import
from streams.commands import _kafka
from streams.commands._session import Session
from streams.record import parse_key, unpack
from streams.replay.ledger import states

_AT_ONCE = 500


def backfill(replayed: Session, live: Session, folder: Path) -> int:
    """Send an import for each baseline of the replay's prefix to the live prefix; returns how many.

    The live scorer takes each over as it does any control, in order and on the record. Run it when the replay's
    scorer has stopped, so that its last checkpoint is written.

    Raises:
        KafkaDown, Refused: where the live topics do not answer or do not exist.
        CorruptRecord: where the replay's state cannot be read.
    """
    imports = _imports(replayed, live, folder)
    count = 0
    while chunk := list(islice(imports, _AT_ONCE)):
        _kafka.send(live, "controls", chunk)
        count += len(chunk)
    return count


def _imports(replayed: Session, live: Session, folder: Path) -> Iterator[tuple[str, Document]]:
    starts = dict.fromkeys(range(_kafka.partitions_of(replayed, "state")), 0)
    found = ((record.key or b"", record.value) for record in _kafka.scan(replayed, "state", starts))
    for key, value in states(folder, found):
        kind, identity = parse_key(key)
        if kind != "baseline":
            continue
        body = unpack(value)[2]
        control_id = hashlib.sha256(f"{replayed.prefix}\0{identity}".encode()).hexdigest()[:32]
        text = base64.b64encode(body).decode("ascii")
        yield identity, Import(control_id=control_id, by=live.by, why=f"backfill from {replayed.prefix}", baseline=text)
