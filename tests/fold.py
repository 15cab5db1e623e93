"""An audit read alone: each effective record follows from the fold of those before it, and their fold is the state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from models.effects import effect_json
from models.policy import CompiledPack
from models.prior import Prior
from models.profiles import Profile, Profiles
from models.transition import Ask, State, World, decide, redecide
from schemas.documents import AuditRecord, EnforcementPoint
from stayhand.wire import PendingAction
from streams.audit import AuditEntry
from streams.ownership import Ownership
from streams.ports import Position
from streams.takeover import replay


class MemoryStore:
    """`streams.ports.Store` in memory; it outlives a simulated crash, as a disk does."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, bytes], bytes] = {}
        self.reach: dict[int, int] = {}

    def get(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.rows.get((partition, key)) for key in keys]

    def changelog_next(self, partition: int) -> int:
        return self.reach.get(partition, 0)

    def restore(self, partition: int, records: Iterable[tuple[bytes, bytes | None]], changelog_next: int) -> None:
        for key, value in records:
            if value is None:
                self.rows.pop((partition, key), None)
            else:
                self.rows[partition, key] = value
        self.reach[partition] = changelog_next

    def write(self, partition: int, records: Sequence[tuple[bytes, bytes]], changelog_next: int) -> None:
        self.restore(partition, records, changelog_next)

    def wipe(self, partition: int) -> None:
        self.rows = {key: value for key, value in self.rows.items() if key[0] != partition}
        self.reach.pop(partition, None)

    def close(self) -> None:
        pass


def empty_ownership(topics: tuple[bytes, bytes], partition: int = 0) -> Ownership:
    """An owner of nothing yet, to fold an audit into."""
    return Ownership(
        partition=partition,
        worker="fold",
        term=0,
        topics=topics,
        store=MemoryStore(),
        committed=Position(),
        actions_next=0,
        controls_next=0,
        audit_next=0,
    )


def fold(
    history: Iterable[AuditEntry],
    own: Ownership,
    pack: CompiledPack,
    prior: Prior,
    point: EnforcementPoint,
    profiles: Mapping[str, Profile] | None = None,
) -> Ownership:
    """Fold effective records into ``own``, holding each against the state before it and against its own replay.

    ``profiles`` are those that the records name, by hash.
    """
    for entry in history:
        body = entry.body
        AuditRecord.model_validate_json(orjson.dumps(body))
        if body["kind"] == "decision":
            compared = body["vector"]["profile"]
            peers = Profiles(everybody=(profiles or {})[compared] if compared else None)
            world = World(pack, None, prior, None, observe=False, profiles=peers)
            _decided_again(own.entry(body["identity"]).state, body, world, point)
        if body["kind"] in {"decision", "final"}:
            recorded = orjson.dumps(body["decision"], option=orjson.OPT_SORT_KEYS)
            assert redecide(body, pack) == recorded, f"audit {entry.partition}/{entry.offset} does not replay"
        replay(own, body)
    return own


def _decided_again(state: State, body: dict[str, Any], world: World, point: EnforcementPoint) -> None:
    """Decide the recorded ask from the folded state: decision and effects must come out the same."""
    asked = body["ask"]
    ask = Ask(
        identity=body["identity"],
        action=PendingAction.model_validate_json(json.dumps(body["action"])),
        at_ms=body["at_ms"],
        ce_id=asked["ce_id"],
        decision_id=body["decision"]["decision_id"],
        actions_offset=body["vector"]["actions"],
        late=asked["late"],
        point=point,
        key_id=asked["key_id"],
        correlation_id=bytes.fromhex(asked["correlation_id"]),
        reply_topic=asked["reply_topic"],
        reply_partition=asked["reply_partition"],
    )
    ruling = decide(state, ask, world)
    assert ruling.decision == body["decision"], "the record's facts are not those of the fold before it"
    assert ruling.profile == body["vector"]["profile"]
    assert [effect_json(effect) for effect in ruling.effects] == body["effects"]
