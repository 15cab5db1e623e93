"""The worker's membership: polls actions, and tells the listener what the group gives and takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from streams.kafka.clients import Conf
from streams.kafka.errors import Faults, error_of
from streams.ports import Fenced, Listener

_CACHED_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class _Held:
    """What one assignment gave: the group's metadata as it was then, and by partition the term committed under it."""

    metadata: Any
    terms: Mapping[int, int]


class Member:
    """One static member of the group; the listener is called from within ``poll`` alone.

    ``changes`` counts rebalances: what was polled before one is not this worker's any more after it. ``settled`` says
    that an assignment, be it empty, is in force and taken over; ``taking_over`` that the listener is at it.

    It must be polled all the while: when the session times out, librdkafka forgets the member id but goes on with
    heartbeats until the loss is answered, and a broker that comes back then fences it as a stranger with its own name.

    A checkpoint that began before partitions were lost must not be taken for one of the member that joined anew: a
    partition is written for only under the term that was committed for it since it was assigned, and with the group's
    metadata of that assignment.
    """

    def __init__(self, conf: Conf, faults: Faults, topic: str) -> None:
        """Make the consumer; it joins with ``start``."""
        self._consumer = Consumer(conf)
        self._faults, self._topic = faults, topic
        self._failure: BaseException | None = None
        self._closing = False
        self._held: _Held | None = None
        self.settled = self.taking_over = False
        self.changes = 0
        self.owned: frozenset[int] = frozenset()

    def start(self, listener: Listener) -> None:
        """Subscribe; the first polls join."""

        def assigned(_: Consumer, given: list[TopicPartition]) -> None:
            partitions = sorted(each.partition for each in given)
            self._call(lambda: self._assign(listener, partitions))

        def revoked(_: Consumer, taken: list[TopicPartition]) -> None:
            self._call(lambda: self._give_up(listener, taken))

        def lost(_: Consumer, taken: list[TopicPartition]) -> None:
            self._held = None
            self._call(lambda: self._lose(listener, taken))

        self._consumer.subscribe([self._topic], on_assign=assigned, on_revoke=revoked, on_lost=lost)

    def _call(self, step: Callable[[], None]) -> None:
        """Run a listener's method; its exception waits for the end of the poll, with nothing assigned."""
        self.changes += 1
        if self._closing or self._failure is not None:
            self._held = None
            self._consumer.unassign()
            return
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - raised again by poll
            self._failure = error
            self._held = None
            self._consumer.unassign()

    def _assign(self, listener: Listener, partitions: Sequence[int]) -> None:
        self._held = _Held(self._consumer.consumer_group_metadata(), {})
        self.taking_over = True
        try:
            starts = listener.assigned(partitions)
        finally:
            self.taking_over = False
        self._consumer.assign([TopicPartition(self._topic, *start) for start in starts.items()])
        self.owned = frozenset(starts)
        self.settled = True

    def _give_up(self, listener: Listener, taken: Sequence[TopicPartition]) -> None:
        """The membership holds until the listener is done."""
        self.owned, self.settled = frozenset(), False
        listener.revoked(sorted(each.partition for each in taken))
        self._held = None
        self._consumer.unassign()

    def _lose(self, listener: Listener, taken: Sequence[TopicPartition]) -> None:
        """Nothing holds any more: librdkafka is answered before the listener is told, see above."""
        self.owned, self.settled = frozenset(), False
        self._consumer.unassign()
        listener.lost(sorted(each.partition for each in taken))

    def poll(self, timeout_s: float) -> Message | None:
        """The next action, or None; raises what the listener raised.

        Raises:
            Fenced: another process has this worker's name.
            KafkaFailed: an error that does not pass.
            OffsetGone: the log does not hold the offset to read on from.
        """
        try:
            message = self._consumer.poll(timeout_s)
        except KafkaException as error:
            raise self._faults.translate(error_of(error), "poll") from error
        if self._failure is not None:
            raise self._failure
        if message is None:
            return None
        if message.error() is None:
            return message
        self._faults.judge(message, "poll")
        return None

    def commit(self, offsets: list[TopicPartition], terms: Mapping[int, int]) -> None:
        """A plain commit; the coordinator refuses it from a stale member. Belongs to the thread that polls.

        Raises:
            Fenced, KafkaFailed.
        """
        held = self._under(terms, renew=True)
        try:
            answers = self._consumer.commit(offsets=offsets, asynchronous=False) or []
        except KafkaException as error:
            raise self._faults.translate(error_of(error), "commit") from error
        for answer in answers:
            if answer.error is not None:
                raise self._faults.translate(answer.error, f"commit of {answer.topic}/{answer.partition}")
        self._held = _Held(held.metadata, {**held.terms, **terms})

    def metadata(self, terms: Mapping[int, int]) -> Any:
        """The group's metadata for a transaction (KIP-447) that writes for partitions under these terms.

        Raises:
            Fenced: not assigned, or not under that term.
        """
        return self._under(terms, renew=False).metadata

    def _under(self, terms: Mapping[int, int], *, renew: bool) -> _Held:
        """What is held, if it fits these terms; ``renew`` lets a partition enter, or its term grow."""
        held = self._held
        if held is None:
            raise Fenced(f"partitions {sorted(terms)} are not assigned to this worker any more")
        for partition, term in terms.items():
            known = held.terms.get(partition)
            if term != known and not (renew and (known is None or term > known)):
                raise Fenced(f"partition {partition} is held under term {known}, not {term}")
        return held

    def lag_records(self) -> dict[int, int]:
        """By owned partition, how many actions stand behind the last polled one, as of the last fetch."""
        owned = [TopicPartition(self._topic, partition) for partition in self.owned]
        lag: dict[int, int] = {}
        try:
            for place in self._consumer.position(owned):
                _, high = self._consumer.get_watermark_offsets(place, timeout=_CACHED_TIMEOUT_S, cached=True)
                if place.offset >= 0 and high >= 0:
                    lag[place.partition] = max(0, high - place.offset)
        except (KafkaException, RuntimeError):
            return {}  # a rebalance or the end came between: there is nothing to tell
        return lag

    def close(self) -> None:
        """Stop polling; a static member does not leave, so its partitions wait for it until the session ends."""
        self._closing = True
        self._consumer.close()
