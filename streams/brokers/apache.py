"""Apache Kafka without a container: its own jars, one node in KRaft mode on loopback.

Settings are those of https://kafka.apache.org/documentation/#brokerconfigs; internal topics get one
replica and few partitions, and what makes tests wait (rebalance delay, log cleaner's pause) is short.
"""

import subprocess
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from streams.brokers.errors import BrokerFailedError
from streams.brokers.jars import KAFKA_VERSION, kafka_jars, program
from streams.brokers.process import HOST, BrokerHome, BrokerProcess, free_port

_JAVA_OPTIONS = (
    "-Xms256m",
    "-Xmx512m",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
_FORMAT_TIMEOUT_S = 60.0


def _settings(home: BrokerHome, port: int, controller_port: int) -> dict[str, str | int]:
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "log.dirs": str(home.data),
        "auto.create.topics.enable": "false",
        "default.replication.factor": 1,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        # A broker that was killed can register again only when its old session is over.
        "broker.session.timeout.ms": 3_000,
        "broker.heartbeat.interval.ms": 500,
        "group.min.session.timeout.ms": 1_000,
        # It shares its machine with who asks and who answers; Kafka's own numbers, 3 and 8, are for a whole server.
        # A hand-over from thread to thread costs tens of microseconds.
        "num.network.threads": 1,
        "num.io.threads": 2,
        "log.cleaner.backoff.ms": 500,
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
    }


def _write_settings(home: BrokerHome, port: int) -> Path:
    path = home.path / "server.properties"
    lines = [f"{name}={value}" for name, value in _settings(home, port, free_port()).items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def _format(java: list[str], settings: Path, home: BrokerHome) -> None:
    """Gives an empty data folder its cluster id, as KRaft demands; leaves a formatted one alone."""
    if (home.data / "meta.properties").exists():
        return
    cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    command = [*java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", str(settings)]
    with home.log.open("ab") as log:
        done = subprocess.run(  # noqa: S603 - the command comes from this module
            command, check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=_FORMAT_TIMEOUT_S
        )
    if done.returncode != 0:
        raise BrokerFailedError(_why_not_formatted(home))


def _why_not_formatted(home: BrokerHome) -> str:
    if "UnsupportedClassVersionError" in home.log.read_text(errors="replace"):
        return f"Apache Kafka {KAFKA_VERSION} needs Java 17 or newer: install it or put it first on the PATH"
    return f"Apache Kafka could not format its data folder: {home.last_log_line()}"


def prepare(home: BrokerHome, port: int) -> BrokerProcess:
    """Returns an Apache Kafka broker that is formatted but not yet started.

    Raises:
        BrokerMissingError: java or mvn is missing, or the jars cannot be had.
        BrokerFailedError: the data folder could not be formatted.
    """
    java_program = program("java", "install a Java runtime, 17 or newer")
    java = [java_program, *_JAVA_OPTIONS, "-cp", f"{kafka_jars()}/*"]
    settings = _write_settings(home, port)
    _format(java, settings, home)
    return BrokerProcess([*java, "kafka.Kafka", str(settings)], port=port, home=home)
