"""What a measurement stands on: a broker, topics of its own with a point and the shipped policy, and processes."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import NewTopic

from bench.errors import BenchFailed
from streams import topics
from streams.commands._session import Session
from streams.local.child import Child
from streams.local.ground import Ground, lay, remove, replay_point
from streams.local.scorer import ScorerProcess
from streams.shipped import DEFAULT_PACK

TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Topics under a prefix of their own, and a folder for state and logs."""

    ground: Ground
    folder: Path

    @property
    def bootstrap(self) -> str:
        """Kafka's address."""
        return str(self.ground.session.kafka["bootstrap.servers"])

    def topic(self, name: str) -> str:
        """The full name of a topic that this measurement adds."""
        return f"{self.ground.session.prefix}.{name}"

    def add_topic(self, name: str, partitions: int = 1) -> str:
        """Make a topic; returns its full name.

        Raises:
            BenchFailed: Kafka refuses it.
        """
        full = self.topic(name)
        client = topics.admin_client(self.ground.session.kafka)
        try:
            client.create_topics([NewTopic(full, partitions, 1)], operation_timeout=TIMEOUT_S)[full].result(TIMEOUT_S)
        except KafkaException as error:
            raise BenchFailed(f"topic {full}: {error.args[0].str()}") from error
        return full

    def drop_topic(self, full: str) -> None:
        """Delete a topic that was added; one that stays takes only disk."""
        topics.admin_client(self.ground.session.kafka).delete_topics([full])

    def scorer(self) -> ScorerProcess:
        """A scorer with everything on, as it ships; its state lasts from one to the next."""
        settings = {**self.ground.settings, "STAYHAND_STATE_DIR": str(self.folder / "state")}
        return ScorerProcess(settings, self.folder / "scorer.log")

    def child(self, module: str, *arguments: str) -> Child:
        """A process of ours, ``python -m MODULE ARGUMENTS``."""
        return Child(module, arguments, self.folder / f"{module}.log", {})


@contextmanager
def staged(bootstrap: str, partitions: int) -> Iterator[Stage]:
    """A stage on a broker; its topics are removed at the end."""
    session = Session({"bootstrap.servers": bootstrap}, f"bench-{uuid.uuid4().hex[:8]}", by="bench")
    with tempfile.TemporaryDirectory(prefix="stayhand-bench-") as name:
        folder = Path(name)
        ground = lay(session, replay_point(session, "bench"), DEFAULT_PACK, folder, partitions)
        try:
            yield Stage(ground, folder)
        finally:
            remove(session)
