"""What a worker asks Kafka about: topics, positions, members, open transactions and the allowed session timeout."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
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

from streams.kafka.clients import SESSION_TIMEOUT_DEFAULT_MIN_MS, SESSION_TIMEOUT_MS, Conf
from streams.kafka.errors import PASSING, error_of, logger
from streams.ports import KafkaFailed

_PATIENCE_S = 30.0
_ATTEMPT_S = 3.0
_AGAIN_S = 0.02
_LOOK_AGAIN_S = 10.0
_LOOK_TIMEOUT_S = 1.0
_HINT = "; make what is missing with `python -m streams topics --apply`"
_NO_ID = bytes(16)


class Lookup:
    """Questions to the cluster; each is given 30 s and raises KafkaFailed then."""

    def __init__(self, conf: Conf, group: str) -> None:
        """Connect; nothing is asked yet."""
        self._conf, self._admin = conf, AdminClient(conf)
        self._group = group
        self._partitions: dict[str, int] = {}
        self._looked_s = float("-inf")

    def topics(self, names: Sequence[str]) -> Mapping[str, tuple[bytes, int]]:
        """The 16-byte id and the number of partitions of each topic."""
        collection = TopicCollection(list(names))

        def ask(name: str) -> Future[Any]:
            return self._admin.describe_topics(collection, request_timeout=_ATTEMPT_S)[name]

        found = {name: self._answer(partial(ask, name), f"topic {name}") for name in names}
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
            brokers = self._admin.list_topics(timeout=_ATTEMPT_S).brokers
            resource = ConfigResource(ResourceType.BROKER, str(next(iter(brokers))))

            def ask() -> Future[Any]:
                return self._admin.describe_configs([resource], request_timeout=_ATTEMPT_S)[resource]

            entry = self._answer(ask, "broker settings").get("group.min.session.timeout.ms")
            least_ms = least_ms if entry is None else int(entry.value)
        except (KafkaException, KafkaFailed) as error:
            logger.warning("the broker's settings cannot be read, assuming session timeouts from 6 s: %s", error)
        return max(SESSION_TIMEOUT_MS, least_ms)

    def committed(self, partitions: Sequence[TopicPartition], *, stable: bool) -> Sequence[TopicPartition]:
        """The group's committed offsets; with ``stable`` the error of one that a transaction holds open is set."""
        request = ConsumerGroupTopicPartitions(self._group, list(partitions))

        def ask() -> Future[Any]:
            asked = self._admin.list_consumer_group_offsets(
                [request], require_stable=stable, request_timeout=_ATTEMPT_S
            )
            return next(iter(asked.values()))

        found = self._answer(ask, "committed offsets").topic_partitions
        for offset in found:
            if offset.error is not None and offset.error.code() != KafkaError.UNSTABLE_OFFSET_COMMIT:
                raise KafkaFailed(f"committed offset of {offset.topic}/{offset.partition}: {offset.error.str()}")
        return list(found)

    def pending(self, partitions: Sequence[TopicPartition]) -> bool:
        """Whether an unfinished transaction holds one of these committed offsets open."""
        return any(offset.error is not None for offset in self.committed(partitions, stable=True))

    def has_member(self, worker: str) -> bool:
        """Whether the group has a static member of that name."""

        def ask() -> Future[Any]:
            return self._admin.describe_consumer_groups([self._group], request_timeout=_ATTEMPT_S)[self._group]

        members = self._answer(ask, f"group {self._group}").members
        return any(member.group_instance_id == worker for member in members)

    def _answer(self, ask: Callable[[], Future[Any]], what: str) -> Any:
        """The answer to a question that is put again, for 30 s, where the broker is only away or busy.

        Each time by a new client: librdkafka 2.16 goes on sending coordinator requests to its handle of a broker that
        was away and has another handle by now.
        """
        until_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return ask().result(_ATTEMPT_S + 1)
            except KafkaException as error:
                cause = error_of(error)
                if cause.code() not in PASSING or time.monotonic() > until_s:
                    missing = cause.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
                    raise KafkaFailed(f"{what}: {cause.str()}{_HINT if missing else ''}") from error
            except TimeoutError as error:
                if time.monotonic() > until_s:
                    raise KafkaFailed(f"{what}: no answer within {_PATIENCE_S:.0f} s") from error
            time.sleep(_AGAIN_S)
            self._admin = AdminClient(self._conf)


def _stand_in(name: str, topic_id: bytes) -> bytes:
    """The topic's id, or one that its name alone gives where the broker has none."""
    return topic_id if topic_id != _NO_ID else hashlib.sha256(name.encode()).digest()[:16]


def _uuid_bytes(uuid: Uuid) -> bytes:
    high, low = uuid.get_most_significant_bits(), uuid.get_least_significant_bits()  # type: ignore[attr-defined]
    return b"".join(half.to_bytes(8, "big", signed=True) for half in (high, low))
