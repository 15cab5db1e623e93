"""A stand-in for scorers: says in the audit that it applied what operators write, and nothing else."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from schemas.documents import DeadLetter
from schemas.topics import topic

WORKER = "scorer-double"
PARTITIONS = 2
Body = dict[str, Any]


def audit_body(kind: str, *, term: int = 1, worker: str = WORKER, **parts: Any) -> Body:
    vector = {"actions": 3, "controls": 4, "globals": 5, "partition": 0, "policy": "ab" * 32, "model": "m1"}
    return {"kind": kind, "term": term, "worker": worker, "identity": "", "at_ms": 0, "vector": vector, **parts}


class ScorerDouble:
    """Answers every control and global change in the audit of each partition that it owns."""

    def __init__(self, bootstrap: str, prefix: str, owned: tuple[int, ...], refuse: Callable[[bytes], bool]) -> None:
        self.bootstrap, self.prefix, self.owned, self.refuse = bootstrap, prefix, owned, refuse
        self.producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.failure: BaseException | None = None

    def write(self, partition: int, body: Body) -> None:
        self.producer.produce(topic(self.prefix, "audit"), json.dumps(body), partition=partition)
        assert self.producer.flush(10) == 0

    def start(self) -> None:
        for partition in self.owned:
            self.write(partition, audit_body("mark"))
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(30)
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # noqa: BLE001 - raised again by stop()
            self.failure = error

    def _serve(self) -> None:
        conf = {"bootstrap.servers": self.bootstrap, "group.id": "double", "auto.offset.reset": "earliest"}
        consumer = Consumer(conf)
        controls = [TopicPartition(topic(self.prefix, "controls"), partition, 0) for partition in self.owned]
        consumer.assign([TopicPartition(topic(self.prefix, "global"), 0, 0), *controls])
        try:
            while not self._stopped.is_set():
                message = consumer.poll(0.05)
                if message is not None and message.error() is None:
                    self._answer(message)
        finally:
            consumer.close()

    def _answer(self, message: Any) -> None:
        name, partition, offset, value = message.topic(), message.partition(), message.offset(), message.value()
        if self.refuse(value or b""):
            letter = DeadLetter(
                topic=name, partition=partition, offset=offset, code="no", message="not like this", size_bytes=1
            )
            self.producer.produce(topic(self.prefix, "deadletter"), letter.model_dump_json())
            assert self.producer.flush(10) == 0
        elif name == topic(self.prefix, "global"):
            for each in self.owned:
                self.write(each, audit_body("applied", note={"global": offset}))
        else:
            control = json.loads(value)
            self.write(partition, audit_body("control", control=control, identity=message.key().decode()))


@contextmanager
def scoring(
    bootstrap: str,
    prefix: str,
    owned: tuple[int, ...] = tuple(range(PARTITIONS)),
    refuse: Callable[[bytes], bool] = lambda _value: False,
) -> Iterator[ScorerDouble]:
    double = ScorerDouble(bootstrap, prefix, owned, refuse)
    double.start()
    try:
        yield double
    finally:
        double.stop()
