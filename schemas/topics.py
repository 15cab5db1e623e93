"""The topic table as data: each topic's name, key, messages, partitions, settings, and who may write and read it.

A prefix is at most 64 characters, so that the longest topic name stays within Kafka's 249.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from stayhand import headers

Kind = Literal["actions", "decisions", "controls", "global", "state", "audit", "fallbacks", "deadletter"]
Role = Literal["point", "scorer", "desk", "operator"]

DEFAULT_PREFIX = "stayhand"
DEFAULT_PARTITIONS = 8
TYPE_CONTROL = "stayhand.control.v1"
TYPE_GLOBAL = "stayhand.global.v1"
TYPE_AUDIT = "stayhand.audit.v1"
TYPE_DEADLETTER = "stayhand.deadletter.v1"
# The beginning of the group that each Guard of the SDK names and never joins.
POINT_GROUP = "stayhand-"
ROLES: tuple[Role, ...] = ("point", "scorer", "desk", "operator")

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DOMAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class MessageSpec:
    """One kind of message: its CloudEvents type (empty where it is no CloudEvent) and the name of its model."""

    ce_type: str
    model: str


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic of the contract; times are milliseconds, -1 stands for "kept for ever".

    ``partitions`` None means as many as actions. A tombstone (a record without a value) is allowed where
    ``cleanup`` is compact. ``explicit`` says that the writer names the partition instead of hashing the key.
    """

    kind: Kind
    purpose: str
    key: str
    messages: tuple[MessageSpec, ...]
    writers: tuple[Role, ...]
    readers: tuple[Role, ...]
    cleanup: Literal["delete", "compact"]
    segment_ms: int
    retention_ms: int = -1
    partitions: int | None = None
    explicit: bool = False
    timestamp_type: Literal["LogAppendTime", "CreateTime"] = "LogAppendTime"
    min_compaction_lag_ms: int = 0
    max_compaction_lag_ms: int = 0
    delete_retention_ms: int = 0

    @property
    def name_suffix(self) -> str:
        """What follows the prefix and its dot; a decision topic's domain follows that."""
        return self.kind

    def partition_count(self, partitions: int) -> int:
        """The number of partitions where actions has ``partitions``."""
        return partitions if self.partitions is None else self.partitions

    def config(self) -> dict[str, str]:
        """The topic's settings under Kafka's names; what is left out stays at the broker's default."""
        settings = {
            "cleanup.policy": self.cleanup,
            "message.timestamp.type": self.timestamp_type,
            "retention.ms": str(self.retention_ms),
            "segment.ms": str(self.segment_ms),
        }
        if self.cleanup == "compact":
            settings["min.compaction.lag.ms"] = str(self.min_compaction_lag_ms)
            settings["max.compaction.lag.ms"] = str(self.max_compaction_lag_ms)
            settings["delete.retention.ms"] = str(self.delete_retention_ms)
        return settings


# The broker stamps every topic: no writer chooses how long its own record lives, or which time a reader sees.
# Segments are shorter than the retention, or Kafka would keep the active segment long past it.
# A tombstone stays for a week: a local database that is older must be restored instead of caught up.
TOPICS: tuple[TopicSpec, ...] = (
    TopicSpec(
        kind="actions",
        purpose="Pending actions, and later what became of them.",
        key="identity",
        messages=(
            MessageSpec(headers.TYPE_PENDING, "PendingAction"),
            MessageSpec(headers.TYPE_OUTCOME, "Outcome"),
        ),
        writers=("point",),
        readers=("scorer",),
        cleanup="delete",
        retention_ms=24 * _HOUR_MS,
        segment_ms=_HOUR_MS,
    ),
    TopicSpec(
        kind="decisions",
        purpose="Answers, in the partition that the asker named; one topic for each domain of readers.",
        key="decision id",
        messages=(
            MessageSpec(headers.TYPE_DECISION, "Decision"),
            MessageSpec(headers.TYPE_REJECTION, "Rejection"),
        ),
        writers=("scorer",),
        readers=("point",),
        cleanup="delete",
        retention_ms=10 * _MINUTE_MS,
        segment_ms=5 * _MINUTE_MS,
        explicit=True,
    ),
    TopicSpec(
        kind="controls",
        purpose="What operators and the desk change of one identity: who did it, and why.",
        key="identity",
        messages=(MessageSpec(TYPE_CONTROL, "Control"),),
        writers=("desk", "operator"),
        readers=("scorer",),
        cleanup="delete",
        retention_ms=35 * _DAY_MS,
        segment_ms=_DAY_MS,
    ),
    TopicSpec(
        kind="global",
        purpose="What every worker knows: enforcement points, policy packs, profiles, kill switches, observe mode.",
        key="name",
        messages=(MessageSpec(TYPE_GLOBAL, "Global"),),
        writers=("desk", "operator"),
        readers=("scorer", "desk", "operator"),
        cleanup="compact",
        segment_ms=_DAY_MS,
        partitions=1,
        max_compaction_lag_ms=_DAY_MS,
        delete_retention_ms=7 * _DAY_MS,
    ),
    TopicSpec(
        kind="state",
        purpose="Each identity's baseline and facts: the changelog from which a worker restores.",
        key="kind and identity",
        messages=(MessageSpec("", "StateRecord"),),
        writers=("scorer",),
        readers=("scorer", "desk", "operator"),
        cleanup="compact",
        segment_ms=6 * _HOUR_MS,
        explicit=True,
        # Records that a restore may just be reading, and open transactions, are left alone for a minute.
        min_compaction_lag_ms=_MINUTE_MS,
        max_compaction_lag_ms=_DAY_MS,
        delete_retention_ms=7 * _DAY_MS,
    ),
    TopicSpec(
        kind="audit",
        purpose="Each decision with all that it depended on, controls as applied, and take-over marks.",
        key="identity",
        messages=(MessageSpec(TYPE_AUDIT, "AuditRecord"),),
        writers=("scorer",),
        readers=("scorer", "desk", "operator"),
        cleanup="delete",
        retention_ms=28 * _DAY_MS,
        segment_ms=_DAY_MS,
        explicit=True,
    ),
    TopicSpec(
        kind="fallbacks",
        purpose="What a point decided by itself, and why: a claim, not a fact.",
        key="identity",
        messages=(MessageSpec(headers.TYPE_FALLBACK, "Fallback"),),
        writers=("point",),
        readers=("desk", "operator"),
        cleanup="delete",
        retention_ms=28 * _DAY_MS,
        segment_ms=_DAY_MS,
    ),
    TopicSpec(
        kind="deadletter",
        purpose="A size-capped copy of what could not be read or was not allowed, and why.",
        key="as it came",
        messages=(MessageSpec(TYPE_DEADLETTER, "DeadLetter"),),
        writers=("scorer", "desk"),
        readers=("desk", "operator"),
        cleanup="delete",
        retention_ms=7 * _DAY_MS,
        segment_ms=_DAY_MS,
        partitions=1,
    ),
)
BY_KIND: Mapping[Kind, TopicSpec] = {spec.kind: spec for spec in TOPICS}


def check_prefix(prefix: str) -> str:
    """The prefix itself.

    Raises:
        ValueError: when it cannot begin a topic's name.
    """
    if not _PREFIX.fullmatch(prefix) or prefix.endswith("."):
        raise ValueError(f"prefix {prefix!r}: expected 1 to 64 of A-Z a-z 0-9 . _ -, no dot at either end")
    return prefix


def topic(prefix: str, kind: Kind, domain: str = "") -> str:
    """The name of a topic: ``stayhand.actions``; of a domain's decisions: ``stayhand.decisions.payments``.

    Raises:
        ValueError: for a bad prefix, an unknown kind, a bad domain, or a domain where the kind has none.
    """
    check_prefix(prefix)
    if kind not in BY_KIND:
        raise ValueError(f"topic kind {kind!r}: expected one of {', '.join(BY_KIND)}")
    if not domain:
        return f"{prefix}.{BY_KIND[kind].name_suffix}"
    if kind != "decisions" or not _DOMAIN.fullmatch(domain):
        raise ValueError(f"domain {domain!r}: expected 1 to 64 of A-Z a-z 0-9 _ -, for decisions only")
    return f"{prefix}.{kind}.{domain}"


def group(prefix: str, role: Literal["scorer", "desk", "operator"]) -> str:
    """The consumer group of a role, and the beginning of a scorer's transactional ids: ``stayhand.scorer``."""
    return f"{check_prefix(prefix)}.{role}"


@dataclass(frozen=True, slots=True)
class Acl:
    """One allowed operation of one role, in Kafka's words (``TOPIC``, ``LITERAL``, ``WRITE``)."""

    role: Role
    resource: Literal["TOPIC", "GROUP", "TRANSACTIONAL_ID", "CLUSTER"]
    name: str
    pattern: Literal["LITERAL", "PREFIXED"]
    operation: Literal["READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"]


def acls(prefix: str, domain: str = "") -> tuple[Acl, ...]:
    """The least that each role needs; whoever creates topics and ACLs is the cluster's administrator, not a role.

    READ and WRITE imply DESCRIBE (KIP-11), and WRITE to a topic allows an idempotent producer (KIP-679). Points and
    operators belong to no group, but librdkafka looks for the coordinator of the one that they name.
    """
    rules: list[Acl] = []
    for spec in TOPICS:
        name = topic(prefix, spec.kind, domain if spec.kind == "decisions" else "")
        rules += [Acl(role, "TOPIC", name, "LITERAL", "WRITE") for role in spec.writers]
        rules += [Acl(role, "TOPIC", name, "LITERAL", "READ") for role in spec.readers]
        rules += [Acl(role, "TOPIC", name, "LITERAL", "DESCRIBE_CONFIGS") for role in ("scorer", "operator")]
    rules += [Acl("operator", "TOPIC", f"{prefix}.", "PREFIXED", "DESCRIBE")]
    rules += [Acl("operator", "GROUP", group(prefix, "operator"), "LITERAL", "DESCRIBE")]
    rules += [Acl("point", "GROUP", POINT_GROUP, "PREFIXED", "DESCRIBE")]
    # The broker's shortest session timeout; without this right a scorer assumes six seconds.
    rules += [Acl("scorer", "CLUSTER", "kafka-cluster", "LITERAL", "DESCRIBE_CONFIGS")]
    rules += [Acl("scorer", "GROUP", group(prefix, "scorer"), "LITERAL", "READ")]
    rules += [Acl("desk", "GROUP", group(prefix, "desk"), "PREFIXED", "READ")]
    for operation in ("WRITE", "DESCRIBE"):
        rules += [Acl("scorer", "TRANSACTIONAL_ID", group(prefix, "scorer"), "PREFIXED", operation)]
    return tuple(rules)
