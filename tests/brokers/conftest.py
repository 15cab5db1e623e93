"""Clients of the contract suite, on whichever broker the session runs."""

from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from tests.brokers.clients import Clients

# Kafka's own default of group.min.session.timeout.ms, which a broker that does not tell it is taken to have.
_MIN_SESSION_TIMEOUT_MS = 6_000
_WANTED_SESSION_TIMEOUT_MS = 2_000


@pytest.fixture(scope="session")
def session_timeout_ms(admin: AdminClient) -> int:
    """The shortest session that the broker allows, but not below two seconds."""
    node = next(iter(admin.list_topics(timeout=10.0).brokers))
    resource = ConfigResource(ConfigResource.Type.BROKER, str(node))
    told = admin.describe_configs([resource])[resource].result(10.0).get("group.min.session.timeout.ms")
    allowed_ms = _MIN_SESSION_TIMEOUT_MS if told is None else int(told.value)
    return max(_WANTED_SESSION_TIMEOUT_MS, allowed_ms)


@pytest.fixture
def clients(bootstrap: str, session_timeout_ms: int) -> Iterator[Clients]:
    made = Clients(bootstrap, session_timeout_ms)
    yield made
    made.close()
