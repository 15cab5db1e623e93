"""The settings of each Kafka client of a worker; https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streams.kafka.errors import Faults, logger

SESSION_TIMEOUT_MS = 2_000
SESSION_TIMEOUT_DEFAULT_MIN_MS = 6_000
HEARTBEAT_MS = 500
REPLY_TIMEOUT_MS = 2_000
AUDIT_TIMEOUT_MS = 30_000
TRANSACTION_TIMEOUT_MS = 10_000
REQUEST_TIMEOUT_MS = 10_000

Conf = dict[str, Any]


class Clients:
    """Makes client settings from the address, the operator's own settings and what each client is for."""

    def __init__(self, bootstrap: str, group: str, passed: Mapping[str, Any], worker: str) -> None:
        """``passed`` reaches every client but gives way to what a client's purpose demands."""
        self._base: Conf = {
            "client.id": f"stayhand-{worker}",
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1_000,
            # Errors reach us by callbacks and exceptions; the log would tell each refused connection anew.
            "log_level": 2,
            **passed,
            "bootstrap.servers": bootstrap,
        }
        self._group, self._worker = group, worker

    def _client(self, faults: Faults, purpose: Conf) -> Conf:
        return {**self._base, "error_cb": faults.hear, "logger": logger, **purpose}

    def admin(self) -> Conf:
        """Looks positions, members and topic ids up."""
        return {**self._base, "logger": logger}

    def _consumer(self, faults: Faults, purpose: Conf) -> Conf:
        fixed: Conf = {
            "group.id": self._group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "fetch.min.bytes": 1,
        }
        return self._client(faults, {**fixed, "isolation.level": "read_uncommitted", **purpose})

    def member(self, faults: Faults, session_timeout_ms: int) -> Conf:
        """The group's member: actions only, one static name for each worker."""
        purpose: Conf = {
            "group.protocol": "classic",
            "group.instance.id": self._worker,
            "partition.assignment.strategy": "range",
            "session.timeout.ms": session_timeout_ms,
            "heartbeat.interval.ms": HEARTBEAT_MS,
            "socket.timeout.ms": REQUEST_TIMEOUT_MS,
        }
        return self._consumer(faults, purpose)

    def follower(self, faults: Faults) -> Conf:
        """Reads controls and global by assignment alone.

        A partition that is added is fetched only when the fetch under way has come back, hence the shorter wait.
        """
        return self._consumer(faults, {"fetch.wait.max.ms": 100})

    def reader(self, faults: Faults, *, committed: bool) -> Conf:
        """Reads a stretch of one partition; a short wait, for only an empty fetch tells the end of a log."""
        level = "read_committed" if committed else "read_uncommitted"
        purpose: Conf = {"isolation.level": level, "enable.partition.eof": True, "fetch.wait.max.ms": 10}
        return self._consumer(faults, purpose)

    def _producer(self, faults: Faults, purpose: Conf) -> Conf:
        return self._client(faults, {"partitioner": "murmur2_random", "acks": "all", **purpose})

    def replies(self, faults: Faults) -> Conf:
        """Answers: at once, soon given up, and only failures are reported."""
        purpose: Conf = {
            "linger.ms": 0,
            "message.timeout.ms": REPLY_TIMEOUT_MS,
            "delivery.report.only.error": True,
            "compression.type": "none",
        }
        return self._producer(faults, purpose)

    def journal(self, faults: Faults) -> Conf:
        """Audit and dead letters: each record once and in order; some together, as nobody waits but a checkpoint."""
        purpose: Conf = {
            "enable.idempotence": True,
            "linger.ms": 10,
            "message.timeout.ms": AUDIT_TIMEOUT_MS,
            "compression.type": "lz4",
        }
        return self._producer(faults, purpose)

    def transactional(self, faults: Faults, transactional_id: str) -> Conf:
        """State and positions. Without the short back-off a transaction soon after another one waits for 100 ms."""
        purpose: Conf = {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "retry.backoff.ms": 5,
            "linger.ms": 0,
        }
        return self._producer(faults, purpose)
