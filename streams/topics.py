"""Creates the topics of the contract and says where a cluster's topics differ from it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Literal

from confluent_kafka import Consumer, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    TopicDescription,
)

from schemas import topics as table
from schemas.topics import Acl, Role, TopicSpec

TIMEOUT_S = 10.0
_POLL_S = 0.02
_QUIET = logging.getLogger("stayhand.kafka.admin")
_ANY_HOST = "*"
_NOT_YET = {
    "UNKNOWN_TOPIC_OR_PART",
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_FOR_PARTITION",
    "_UNKNOWN_PARTITION",
    "_UNKNOWN_TOPIC",
}
_OPERATION_WORD = {"READ": "Read", "WRITE": "Write", "DESCRIBE": "Describe", "DESCRIBE_CONFIGS": "DescribeConfigs"}
_REMEDY = {
    "partitions": " (never changed here, for keys would move: see 'More partitions' in docs/operating.md)",
    "replication": " (reassign with kafka-reassign-partitions.sh)",
}


class TopicsFailed(Exception):
    """Kafka could not be asked or refused; the message is one line."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a topic is not as the contract says; ``mended`` says that it now is.

    ``what`` is ``missing``, ``partitions``, ``replication`` or ``setting`` (then ``name`` is Kafka's name of it).
    """

    topic: str
    what: Literal["missing", "partitions", "replication", "setting"]
    expected: str
    actual: str
    name: str = ""
    mended: bool = False

    def __str__(self) -> str:
        """One line for a person."""
        if self.what == "missing":
            return f"{self.topic}: {'created' if self.mended else 'missing'} ({self.expected})"
        told = f"{self.topic}: {self.name or self.what} is {self.actual}, expected {self.expected}"
        if self.mended:
            return f"{told}: changed"
        return told + _REMEDY.get(self.what, "")


@dataclass(frozen=True, slots=True)
class _Wanted:
    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]


def ensure(
    admin: str | Mapping[str, Any],
    prefix: str = table.DEFAULT_PREFIX,
    partitions: int = table.DEFAULT_PARTITIONS,
    replication: int = 1,
    apply: bool = True,
    domains: Sequence[str] = (),
    timeout_s: float | None = None,
) -> list[Difference]:
    """Compare a cluster's topics with the contract; with ``apply``, create what is missing and mend settings.

    Returns when brokers show what was changed. Never changes a number of partitions or replicas, never deletes.

    Args:
        admin: ``HOST:PORT,...`` or librdkafka's settings.
        prefix: what the topics' names begin with.
        partitions: of actions, and of every topic that follows it.
        replication: copies of each partition; with 3 or more, ``min.insync.replicas`` is 2.
        apply: False looks only.
        domains: further decision topics, one for each domain of readers.
        timeout_s: how long to look for a broker; ten seconds by default.

    Raises:
        TopicsFailed: when no broker answers or one refuses.
        ValueError: for a bad prefix, domain or count.
    """
    wanted = _wanted(prefix, partitions, replication, domains)
    client = admin_client(admin)
    _reach(client, TIMEOUT_S if timeout_s is None else timeout_s)
    there = _describe(client, list(wanted))
    settings = _settings(client, list(there))
    found = [
        difference
        for name, want in wanted.items()
        for difference in (_compare(want, there[name], settings[name]) if name in there else [_missing(want)])
    ]
    if apply:
        created = [wanted[difference.topic] for difference in found if difference.what == "missing"]
        _create(client, created)
        _mend(client, found)
        _await_serving(admin, created)
        _await_settings(client, [each for each in found if each.what == "setting"])
        found = [replace(each, mended=each.what in {"missing", "setting"}) for each in found]
    return found


def admin_client(admin: str | Mapping[str, Any]) -> AdminClient:
    """An admin client for ``HOST:PORT,...`` or librdkafka's settings, which prints nothing by itself.

    Raises:
        TopicsFailed: when librdkafka does not understand a setting.
    """
    try:
        return AdminClient(_conf(admin), logger=_QUIET)
    except KafkaException as error:
        raise TopicsFailed(_why(error)) from error


def _conf(admin: str | Mapping[str, Any]) -> dict[str, Any]:
    return {"bootstrap.servers": admin} if isinstance(admin, str) else dict(admin)


def apply_acls(admin: str | Mapping[str, Any], rules: Iterable[Acl], principals: Mapping[Role, str]) -> int:
    """Create the rules of the roles that have a principal (``User:ci``), from any host; returns how many.

    Raises:
        TopicsFailed: when no broker answers, or it keeps no ACLs.
    """
    bindings = [_binding(rule, principals[rule.role]) for rule in rules if rule.role in principals]
    if bindings:
        client = admin_client(admin)
        _reach(client, TIMEOUT_S)
        _all_done(client.create_acls(bindings, request_timeout=TIMEOUT_S))
    return len(bindings)


def acl_lines(rules: Iterable[Acl], principals: Mapping[Role, str], bootstrap: str) -> list[str]:
    """The same rules as commands of Kafka's own ``kafka-acls.sh``."""
    return [
        f"kafka-acls.sh --bootstrap-server {bootstrap} --add --allow-principal {principals[rule.role]}"
        f" --operation {_OPERATION_WORD[rule.operation]} {_resource_option(rule)}"
        for rule in rules
        if rule.role in principals
    ]


def _resource_option(rule: Acl) -> str:
    if rule.resource == "CLUSTER":
        return "--cluster"
    name = rule.resource.lower().replace("_", "-")
    return f"--{name} {rule.name} --resource-pattern-type {rule.pattern.lower()}"


def _binding(rule: Acl, principal: str) -> AclBinding:
    # librdkafka calls the cluster's resource by its older name.
    return AclBinding(
        ResourceType["BROKER" if rule.resource == "CLUSTER" else rule.resource],
        rule.name,
        ResourcePatternType[rule.pattern],
        principal,
        _ANY_HOST,
        AclOperation[rule.operation],
        AclPermissionType.ALLOW,
    )


def _wanted(prefix: str, partitions: int, replication: int, domains: Sequence[str]) -> dict[str, _Wanted]:
    if partitions < 1 or replication < 1:
        raise ValueError("partitions and replication: expected 1 or more")
    safe = {"min.insync.replicas": "2"} if replication >= 3 else {}
    return {
        name: _Wanted(name, spec.partition_count(partitions), replication, spec.config() | safe)
        for spec in table.TOPICS
        for name in _names(prefix, spec, domains)
    }


def _names(prefix: str, spec: TopicSpec, domains: Sequence[str]) -> list[str]:
    further = domains if spec.kind == "decisions" else ()
    return [table.topic(prefix, spec.kind), *(table.topic(prefix, spec.kind, domain) for domain in further)]


def _missing(want: _Wanted) -> Difference:
    return Difference(want.name, "missing", f"{want.partitions} partitions, {want.config['cleanup.policy']}", "none")


def _compare(want: _Wanted, there: TopicDescription, settings: Mapping[str, str]) -> list[Difference]:
    found = []
    if (count := len(there.partitions)) != want.partitions:
        found.append(Difference(want.name, "partitions", str(want.partitions), str(count)))
    copies = min((len(partition.replicas) for partition in there.partitions), default=0)
    if copies < want.replication:
        found.append(Difference(want.name, "replication", str(want.replication), str(copies)))
    for name, value in want.config.items():
        if (actual := settings.get(name, "unknown")) != value:
            found.append(Difference(want.name, "setting", value, actual, name))
    return found


def _reach(client: AdminClient, timeout_s: float) -> None:
    try:
        client.list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise TopicsFailed(_why(error)) from error


def _describe(client: AdminClient, names: list[str]) -> dict[str, TopicDescription]:
    futures = client.describe_topics(TopicCollection(names), request_timeout=TIMEOUT_S)
    found = {}
    for name, future in futures.items():
        try:
            found[name] = _result(future)
        except _NoSuchTopic:
            continue
    return found


def _settings(client: AdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    futures = client.describe_configs(resources, request_timeout=TIMEOUT_S)
    return {
        resource.name: {entry.name: entry.value for entry in _result(future).values()}
        for resource, future in futures.items()
    }


def _create(client: AdminClient, topics: list[_Wanted]) -> None:
    if topics:
        new = [NewTopic(each.name, each.partitions, each.replication, config=dict(each.config)) for each in topics]
        _all_done(client.create_topics(new, operation_timeout=TIMEOUT_S, request_timeout=TIMEOUT_S))


def _mend(client: AdminClient, found: Iterable[Difference]) -> None:
    entries: dict[str, list[ConfigEntry]] = {}
    for each in found:
        if each.what == "setting":
            entry = ConfigEntry(each.name, each.expected, incremental_operation=AlterConfigOpType.SET)
            entries.setdefault(each.topic, []).append(entry)
    if entries:
        resources = [
            ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=changes)
            for name, changes in entries.items()
        ]
        _all_done(client.incremental_alter_configs(resources, request_timeout=TIMEOUT_S))


def _await_serving(admin: str | Mapping[str, Any], created: list[_Wanted]) -> None:
    """A topic that was just created has no leader for a moment, and whoever uses it then gets an error."""
    if not created:
        return
    give_up = time.monotonic() + TIMEOUT_S
    consumer = Consumer({**_conf(admin), "group.id": "stayhand-topics", "enable.auto.commit": False}, logger=_QUIET)
    try:
        for each in created:
            for partition in range(each.partitions):
                _await_partition(consumer, TopicPartition(each.name, partition), give_up)
    finally:
        consumer.close()


def _await_partition(consumer: Consumer, partition: TopicPartition, give_up_s: float) -> None:
    while True:
        try:
            consumer.get_watermark_offsets(partition, timeout=TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].name() not in _NOT_YET or time.monotonic() > give_up_s:
                raise TopicsFailed(f"{partition.topic}/{partition.partition}: {_why(error)}") from error
            time.sleep(_POLL_S)
        else:
            return


def _await_settings(client: AdminClient, changed: list[Difference]) -> None:
    """The controller accepts a change a moment before brokers tell it."""
    give_up = time.monotonic() + TIMEOUT_S
    names = sorted({each.topic for each in changed})
    while changed:
        told = _settings(client, names)
        changed = [each for each in changed if told[each.topic].get(each.name) != each.expected]
        if changed and time.monotonic() > give_up:
            raise TopicsFailed(f"{changed[0].topic}: {changed[0].name} is still not {changed[0].expected}")
        if changed:
            time.sleep(_POLL_S)


class _NoSuchTopic(Exception):
    pass


def _all_done(futures: Mapping[Any, Future[Any]]) -> None:
    for future in futures.values():
        _result(future)


def _result(future: Future[Any]) -> Any:
    try:
        return future.result()
    except KafkaException as error:
        if error.args[0].name() in {"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC"}:
            raise _NoSuchTopic from error
        raise TopicsFailed(_why(error)) from error


def _why(error: KafkaException) -> str:
    cause = error.args[0]
    if cause.name() in {"_TRANSPORT", "_TIMED_OUT", "_ALL_BROKERS_DOWN", "_RESOLVE"}:
        return "no broker answers: start one, or correct --bootstrap (STAYHAND_BOOTSTRAP)"
    return f"Kafka refused: {cause.str()}"
