"""What a worker asks Kafka about: topics, positions, members, open transactions and the allowed session timeout."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
    Uuid,
)
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from streams.kafka.clients import REQUEST_TIMEOUT_MS, SESSION_TIMEOUT_DEFAULT_MIN_MS, SESSION_TIMEOUT_MS, Conf
from streams.kafka.errors import error_of, logger
from streams.ports import KafkaFailed

_TIMEOUT_S = REQUEST_TIMEOUT_MS / 1000
_LOOK_AGAIN_S = 10.0
_LOOK_TIMEOUT_S = 1.0
_HINT = "; make what is missing with `python -m streams topics --apply`"
_NO_ID = bytes(16)


class Lookup:
    """Questions to the cluster; each takes at most 10 seconds and raises KafkaFailed."""

    def __init__(self, conf: Conf, group: str) -> None:
        """Connect; nothing is asked yet."""
        self._admin = AdminClient(conf)
        self._group = group
        self._partitions: dict[str, int] = {}
        self._looked_s = float("-inf")

    def topics(self, names: Sequence[str]) -> Mapping[str, tuple[bytes, int]]:
        """The 16-byte id and the number of partitions of each topic."""
        answers = self._admin.describe_topics(TopicCollection(list(names)), request_timeout=_TIMEOUT_S)
        found = {name: _result(answer, f"topic {name}") for name, answer in answers.items()}
        ids = {name: _NO_ID if topic.topic_id is None else _uuid_bytes(topic.topic_id) for name, topic in found.items()}
        if _NO_ID in ids.values():
            logger.warning("this broker gives topics no id: one that is made anew under its old name is not noticed")
        return {name: (_stand_in(name, ids[name]), len(topic.partitions)) for name, topic in found.items()}

    def reply_partitions(self, name: str) -> int | None:
        """How many partitions a topic of answers has, from memory; None where there is none.

        A name that is not known makes it look again, at most every 10 seconds.
        """
        known = self._partitions.get(name)
        if known is None and time.monotonic() - self._looked_s > _LOOK_AGAIN_S:
            self._looked_s = time.monotonic()
            self._partitions = self._all_partitions()
            known = self._partitions.get(name)
        return known

    def _all_partitions(self) -> dict[str, int]:
        try:
            topics = self._admin.list_topics(timeout=_LOOK_TIMEOUT_S).topics
        except KafkaException as error:
            logger.warning("topics cannot be listed: %s", error_of(error).str())
            return self._partitions
        return {name: len(topic.partitions) for name, topic in topics.items() if topic.error is None}

    def session_timeout_ms(self) -> int:
        """2 s where the broker allows that, else the least it allows; 6 s (Kafka's default) where it does not say."""
        least_ms = SESSION_TIMEOUT_DEFAULT_MIN_MS
        try:
            brokers = self._admin.list_topics(timeout=_TIMEOUT_S).brokers
            resource = ConfigResource(ResourceType.BROKER, str(next(iter(brokers))))
            answer = self._admin.describe_configs([resource], request_timeout=_TIMEOUT_S)[resource]
            entry = _result(answer, "broker settings").get("group.min.session.timeout.ms")
            least_ms = least_ms if entry is None else int(entry.value)
        except (KafkaException, KafkaFailed) as error:
            logger.warning("the broker's settings cannot be read, assuming session timeouts from 6 s: %s", error)
        return max(SESSION_TIMEOUT_MS, least_ms)

    def committed(self, partitions: Sequence[TopicPartition], *, stable: bool) -> Sequence[TopicPartition]:
        """The group's committed offsets; with ``stable`` the error of one that a transaction holds open is set."""
        request = ConsumerGroupTopicPartitions(self._group, list(partitions))
        answers = self._admin.list_consumer_group_offsets([request], require_stable=stable, request_timeout=_TIMEOUT_S)
        found = _result(next(iter(answers.values())), "committed offsets").topic_partitions
        for offset in found:
            if offset.error is not None and offset.error.code() != KafkaError.UNSTABLE_OFFSET_COMMIT:
                raise KafkaFailed(f"committed offset of {offset.topic}/{offset.partition}: {offset.error.str()}")
        return list(found)

    def pending(self, partitions: Sequence[TopicPartition]) -> bool:
        """Whether an unfinished transaction holds one of these committed offsets open."""
        return any(offset.error is not None for offset in self.committed(partitions, stable=True))

    def has_member(self, worker: str) -> bool:
        """Whether the group has a static member of that name."""
        answer = self._admin.describe_consumer_groups([self._group], request_timeout=_TIMEOUT_S)[self._group]
        members = _result(answer, f"group {self._group}").members
        return any(member.group_instance_id == worker for member in members)


def _result(answer: Future[Any], what: str) -> Any:
    try:
        return answer.result(_TIMEOUT_S + 1)
    except KafkaException as error:
        missing = error_of(error).code() == KafkaError.UNKNOWN_TOPIC_OR_PART
        raise KafkaFailed(f"{what}: {error_of(error).str()}{_HINT if missing else ''}") from error
    except TimeoutError as error:
        raise KafkaFailed(f"{what}: no answer within {_TIMEOUT_S:.0f} s") from error


def _stand_in(name: str, topic_id: bytes) -> bytes:
    """The topic's id, or one that its name alone gives where the broker has none."""
    return topic_id if topic_id != _NO_ID else hashlib.sha256(name.encode()).digest()[:16]


def _uuid_bytes(uuid: Uuid) -> bytes:
    high, low = uuid.get_most_significant_bits(), uuid.get_least_significant_bits()  # type: ignore[attr-defined]
    return b"".join(half.to_bytes(8, "big", signed=True) for half in (high, low))
