"""The broker that tests talk to: ``--broker embedded | apache | HOST:PORT``, one for the session (and xdist worker)."""

import uuid
from collections.abc import Callable, Iterator, Mapping

import hypothesis
import pytest
from confluent_kafka.admin import AdminClient

from streams.brokers import LocalBroker, broker_from
from tests.brokers.clients import TopicFactory, create_topic

_ADMIN_TIMEOUT_S = 20.0

# Tests are never timed: what draws slowly, or discards much, on a busy machine is no failure.
hypothesis.settings.register_profile(
    "untimed",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much],
)
hypothesis.settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--broker",
        default="embedded",
        metavar="embedded|apache|HOST:PORT",
        help="Kafka broker for tests: embedded (default), apache (from its jars), or one that is there",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks what needs a broker, and takes out what the chosen one cannot show."""
    chosen = config.getoption("--broker")
    unfit = []
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & {"broker", "start_own_broker"}:
            item.add_marker("kafka")
        proven_elsewhere = chosen == "embedded" and item.get_closest_marker("apache") is not None
        not_ours = chosen not in ("embedded", "apache") and "start_own_broker" in fixtures
        if proven_elsewhere or not_ours:
            unfit.append(item)
    if unfit:
        config.hook.pytest_deselected(items=unfit)
        items[:] = [item for item in items if item not in unfit]


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Iterator[LocalBroker]:
    """The session's broker. Never disturb it: what kills or pauses one uses ``start_own_broker``."""
    with broker_from(request.config.getoption("--broker")) as running:
        yield running


@pytest.fixture(scope="session")
def bootstrap(broker: LocalBroker) -> str:
    return broker.bootstrap


@pytest.fixture
def start_own_broker(request: pytest.FixtureRequest) -> Iterator[Callable[[], LocalBroker]]:
    """Starts further brokers of the chosen kind, which a test may kill."""
    own: list[LocalBroker] = []

    def start() -> LocalBroker:
        own.append(broker_from(request.config.getoption("--broker")))
        return own[-1]

    yield start
    for running in own:
        running.close()


@pytest.fixture
def unique_prefix() -> str:
    """A prefix for the topics, groups and transactional ids of one test."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture(scope="session")
def admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


@pytest.fixture
def topic_factory(admin: AdminClient, unique_prefix: str) -> Iterator[TopicFactory]:
    """Creates topics under the test's prefix, and deletes them after it."""
    made: list[str] = []

    def create(name: str = "topic", *, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        topic = f"{unique_prefix}.{name}"
        create_topic(admin, topic, partitions=partitions, config=config)
        made.append(topic)
        return topic

    yield create
    if made:
        for deletion in admin.delete_topics(made).values():
            deletion.result(_ADMIN_TIMEOUT_S)
