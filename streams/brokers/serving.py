"""Tells whether a broker really serves: not an open port, but a committed record that comes back."""

import socket
import time
import uuid
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.brokers.errors import BrokerFailedError

_Settings = dict[str, str | int | float | bool]
_REQUEST_TIMEOUT_S = 10.0
_RETRY_INTERVAL_S = 0.05


def _client_settings(bootstrap: str) -> _Settings:
    """Settings of a probing client: it reconnects at once and keeps refused connections out of the log."""
    return {
        "bootstrap.servers": bootstrap,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 200,
        "log_level": 0,
    }


def check_answers(bootstrap: str, *, timeout_s: float = _REQUEST_TIMEOUT_S) -> None:
    """Asks for the cluster's metadata and changes nothing.

    Raises:
        BrokerFailedError: nothing that speaks Kafka answered within ``timeout_s``.
    """
    admin = AdminClient(_client_settings(bootstrap))
    try:
        admin.list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise BrokerFailedError(f"no Kafka broker answers at {bootstrap}: {error.args[0].str()}") from error


def wait_until_serving(bootstrap: str, *, timeout_s: float, is_running: Callable[[], bool]) -> None:
    """Waits until a topic can be created, written in a transaction, read back and deleted.

    The transaction makes the broker create its internal topics, so that no test pays for that.

    Raises:
        BrokerFailedError: the process ended, or the round trip did not work within ``timeout_s``.
    """
    deadline_s = time.monotonic() + timeout_s
    reason = "it never answered"
    while time.monotonic() < deadline_s:
        if not is_running():
            raise BrokerFailedError("the broker ended while it was starting")
        if not _is_listening(bootstrap):
            time.sleep(_RETRY_INTERVAL_S)
            continue
        try:
            _round_trip(bootstrap)
        except (KafkaException, TimeoutError) as error:
            reason = str(error)
            time.sleep(_RETRY_INTERVAL_S)
        else:
            return
    raise BrokerFailedError(f"the broker at {bootstrap} did not serve within {timeout_s:.0f} s: {reason}")


def _is_listening(bootstrap: str) -> bool:
    """Tells whether the port is open; far cheaper than a Kafka client for each look at a broker that starts."""
    host, _, port = bootstrap.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1.0):
            return True
    except OSError:
        return False


def _round_trip(bootstrap: str) -> None:
    """Sends one record through a topic of its own. Raises KafkaException or TimeoutError."""
    settings = _client_settings(bootstrap)
    admin = AdminClient(settings)
    topic = f"stayhand.probe.{uuid.uuid4().hex[:12]}"
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(_REQUEST_TIMEOUT_S)
    try:
        _write_in_transaction(settings, topic)
        _read_back(settings, topic)
    finally:
        admin.delete_topics([topic])[topic].result(_REQUEST_TIMEOUT_S)


def _write_in_transaction(settings: _Settings, topic: str) -> None:
    producer = Producer({**settings, "transactional.id": topic, "linger.ms": 0})
    producer.init_transactions(_REQUEST_TIMEOUT_S)
    producer.begin_transaction()
    producer.produce(topic, b"probe")
    producer.commit_transaction(_REQUEST_TIMEOUT_S)


def _read_back(settings: _Settings, topic: str) -> None:
    consumer = Consumer({**settings, "group.id": topic, "isolation.level": "read_committed"})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        message = consumer.poll(_REQUEST_TIMEOUT_S)
        if message is None:
            raise TimeoutError("a committed record did not come back")
        if (error := message.error()) is not None:
            raise KafkaException(error)
    finally:
        consumer.close()
