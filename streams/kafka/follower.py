"""Controls of the owned partitions and the global topic, read by assignment: a freeze never waits behind actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, TopicPartition

from streams.kafka.clients import Conf
from streams.kafka.errors import Faults
from streams.kafka.records import record_of
from streams.ports import Record

_BATCH = 500


class Follower:
    """One consumer for both; partitions come and go without disturbing the others.

    ``followed`` tells by partition how many had been followed before it. It is replaced and never changed, so who keeps
    it has what held then.
    """

    def __init__(self, conf: Conf, faults: Faults, controls: str, global_topic: str) -> None:
        """Make the consumer; it follows nothing yet."""
        self._consumer = Consumer(conf)
        self._faults, self._controls, self._global = faults, controls, global_topic
        self._follows = 0
        self.followed: Mapping[int, int] = {}

    def start(self, global_low: int) -> None:
        """Read the global topic from its first offset."""
        self._consumer.incremental_assign([TopicPartition(self._global, 0, global_low)])

    def follow(self, partition: int, controls_next: int) -> None:
        """Read a partition's controls from an offset on."""
        self.unfollow([partition])
        self._consumer.incremental_assign([TopicPartition(self._controls, partition, controls_next)])
        self._follows += 1
        self.followed = {**self.followed, partition: self._follows}

    def unfollow(self, partitions: Sequence[int]) -> None:
        """Stop reading these; what is not followed is ignored."""
        gone = [partition for partition in partitions if partition in self.followed]
        if gone:
            self.followed = {partition: since for partition, since in self.followed.items() if partition not in gone}
            self._consumer.incremental_unassign([TopicPartition(self._controls, partition) for partition in gone])

    def take(self) -> tuple[list[Record], list[Record]]:
        """What is there, without waiting: records of global, records of controls.

        Raises:
            OffsetGone: the log does not hold the offset to read on from.
            KafkaFailed: an error that does not pass.
        """
        changes: list[Record] = []
        controls: list[Record] = []
        while len(changes) + len(controls) < _BATCH:
            message = self._consumer.poll(0)
            if message is None:
                break
            if message.error() is None:
                found = record_of(message)
                (changes if found.topic == self._global else controls).append(found)
            else:
                self._faults.judge(message, "following")
        return changes, controls

    def still(self, controls: Sequence[Record], followed: Mapping[int, int]) -> list[Record]:
        """Of these controls, those whose partition has been followed without a break since ``followed``."""
        now = self.followed
        return [each for each in controls if followed.get(each.partition, 0) == now.get(each.partition)]

    def close(self) -> None:
        """Release the consumer."""
        self._consumer.close()
