"""What a measurement stands on: a broker, topics of its own with a point and the shipped policy, and processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import NewTopic

from bench.errors import BenchFailed
from bench.figures import ROOT
from streams import topics
from streams.brokers import tether
from streams.commands._session import Session
from streams.replay.ground import DEFAULT_POLICY, Ground, lay, remove, replay_point
from streams.replay.scorer import ScorerProcess

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
        return Child(module, arguments, self.folder / f"{module}.log")


class Child:
    """A Python process that ends with this one (on Linux), or with its ``with`` block."""

    def __init__(self, module: str, arguments: Sequence[str], log: Path) -> None:
        """Start it; what it says goes to ``log``."""
        self._log = log
        path = os.pathsep.join([str(ROOT), str(ROOT / "sdk")])
        command = [sys.executable, "-I", "-S", str(tether.__file__), str(os.getpid())]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def check(self) -> None:
        """Raise BenchFailed with the last line of its log when it ended."""
        status = self._process.poll()
        if status is not None:
            said = self._log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
            raise BenchFailed(f"{self._log.stem} ended with status {status}: {said or 'it said nothing'}")

    def kill(self) -> None:
        """End it at once. Idempotent."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


@contextmanager
def staged(bootstrap: str, partitions: int) -> Iterator[Stage]:
    """A stage on a broker; its topics are removed at the end."""
    session = Session({"bootstrap.servers": bootstrap}, f"bench-{uuid.uuid4().hex[:8]}", by="bench")
    with tempfile.TemporaryDirectory(prefix="stayhand-bench-") as name:
        folder = Path(name)
        ground = lay(session, replay_point(session, "bench"), DEFAULT_POLICY, folder, partitions)
        try:
            yield Stage(ground, folder)
        finally:
            remove(session)
