"""Committed offsets and the metadata beside them: the owner, its term, and how far the audit belongs to them."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import TopicPartition

from streams import blast
from streams.ports import KafkaFailed, Position

_SEPARATOR = "|"


def encode(position: Position) -> str:
    """``worker|term|audit_next|audit_term``, and ``|guard`` where a policy is or was on trial.

    Kafka allows 4,096 bytes (``offset.metadata.max.bytes``).
    """
    parts = [position.worker, position.term, position.audit_next, position.audit_term]
    guard = [] if position.guard == blast.NO_GUARD else [blast.encode(position.guard)]
    return _SEPARATOR.join(map(str, [*parts, *guard]))


def decode(actions_next: int, controls_next: int, metadata: str | None) -> Position:
    """The position that was committed; offsets below 0 mean that there is none.

    Metadata without a guard has counted nothing.

    Raises:
        KafkaFailed: somebody else wrote this metadata.
    """
    if actions_next < 0:
        return Position()
    if not metadata:
        # An operator's tool moved the offsets: they count, but no owner stands beside them.
        return Position(actions_next, max(controls_next, -1))
    try:
        guarded = ":" in metadata.rpartition(_SEPARATOR)[2]
        rest, guard = metadata.rsplit(_SEPARATOR, 1) if guarded else (metadata, "")
        worker, term, audit_next, audit_term = rest.rsplit(_SEPARATOR, 3)
        return Position(
            actions_next=actions_next,
            controls_next=max(controls_next, -1),
            audit_next=int(audit_next),
            audit_term=int(audit_term),
            term=int(term),
            worker=worker,
            guard=blast.decode(guard) if guarded else blast.NO_GUARD,
        )
    except ValueError as error:
        expected = "worker|term|audit_next|audit_term[|guard]"
        raise KafkaFailed(f"commit metadata {metadata[:64]!r}: expected {expected}") from error


def offsets(actions: str, controls: str, positions: Mapping[int, Position]) -> list[TopicPartition]:
    """What to commit; actions and controls of a partition carry the same metadata."""
    found: list[TopicPartition] = []
    for partition, position in positions.items():
        metadata = encode(position)
        for topic, offset in ((actions, position.actions_next), (controls, position.controls_next)):
            if offset >= 0:
                found.append(TopicPartition(topic, partition, offset, metadata))
    return found
