"""Metrics and health: every metric of the table is computed, and the numbers are those that were observed."""

from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stayhand.errors import ConfigurationError
from streams.health import HealthServer
from streams.metrics import ANSWER_BUCKETS_S, NAMES, WORK_BUCKETS_S, Metrics, _Histogram


class FakeLog:
    replies_failed = 4

    def lag_records(self) -> dict[int, int]:
        return {1: 9, 0: 2}


class FakeStore:
    def records_estimate(self) -> int:
        return 5

    def disk_bytes(self) -> int:
        return 6

    def memory_bytes(self) -> int:
        return 7


class Scene:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.metrics = Metrics(FakeLog(), FakeStore(), monotonic_s=lambda: self.now_s)

    def sample(self, name: str, **labels: str) -> float | None:
        registry = CollectorRegistry()
        registry.register(self.metrics)
        return registry.get_sample_value(name, labels)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_every_metric_of_the_table_is_exposed_and_no_other(scene: Scene) -> None:
    registry = CollectorRegistry()
    registry.register(scene.metrics)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    assert sorted(each.name for each in families) == sorted(NAMES)


def test_decisions_are_counted_by_verdict_and_late_ones_have_no_latency(scene: Scene) -> None:
    scene.metrics.decided("permit", 20, 0.001, late=False)
    scene.metrics.decided("permit", 30, 0.002, late=False)
    scene.metrics.decided("block", 9_000, 0.003, late=True)
    assert scene.sample("stayhand_decisions_total", verdict="permit") == 2
    assert scene.sample("stayhand_decisions_total", verdict="block") == 1
    assert scene.sample("stayhand_late_total") == 1
    assert scene.sample("stayhand_answer_seconds_count") == 2
    assert scene.sample("stayhand_answer_seconds_sum") == pytest.approx(0.053)
    assert scene.sample("stayhand_answer_seconds_bucket", le="0.025") == 1
    assert scene.sample("stayhand_work_seconds_count") == 3
    assert scene.sample("stayhand_work_seconds_sum") == pytest.approx(0.006)


def test_a_clock_that_is_behind_the_brokers_gives_no_negative_latency(scene: Scene) -> None:
    scene.metrics.decided("permit", -5_000, 0.001, late=False)
    assert scene.sample("stayhand_answer_seconds_sum") == pytest.approx(0.001)


def test_each_other_event_moves_its_own_metric(scene: Scene) -> None:
    scene.metrics.refused("bad-signature")
    scene.metrics.reported("done")
    scene.metrics.controlled("freeze")
    scene.metrics.restored(0, 50, 2.0)
    scene.metrics.owns(3)
    assert scene.sample("stayhand_refusals_total", code="bad-signature") == 1
    assert scene.sample("stayhand_outcomes_total", result="done") == 1
    assert scene.sample("stayhand_controls_total", kind="freeze") == 1
    assert scene.sample("stayhand_restored_records_total") == 50
    assert scene.sample("stayhand_takeover_seconds_sum") == 2.0
    assert scene.sample("stayhand_partitions") == 3
    assert scene.sample("stayhand_replies_failed_total") == 4
    assert scene.sample("stayhand_lag_records", partition="1") == 9
    assert scene.sample("stayhand_state_records") == 5
    assert scene.sample("stayhand_state_disk_bytes") == 6
    assert scene.sample("stayhand_state_memory_bytes") == 7


def test_the_age_of_the_last_checkpoint_grows_until_the_next(scene: Scene) -> None:
    scene.now_s += 5
    assert scene.sample("stayhand_checkpoint_age_seconds") == 5
    scene.metrics.checkpointed(0.02, 10)
    scene.now_s += 1
    assert scene.sample("stayhand_checkpoint_age_seconds") == 1
    assert scene.sample("stayhand_checkpoint_records_total") == 10
    assert scene.sample("stayhand_checkpoint_seconds_sum") == 0.02


@given(st.lists(st.floats(0, 100, allow_nan=False)))
def test_a_bucket_counts_what_is_not_above_its_bound(values: list[float]) -> None:
    histogram = _Histogram(WORK_BUCKETS_S)
    for value in values:
        histogram.observe(value)
    counts = {
        sample.labels["le"]: sample.value
        for sample in histogram.family("stayhand_work_seconds", "told").samples
        if sample.name.endswith("_bucket")
    }
    assert counts == {
        **{str(bound): sum(value <= bound for value in values) for bound in WORK_BUCKETS_S},
        "+Inf": len(values),
    }


def test_buckets_begin_at_a_tenth_of_a_millisecond_and_rise() -> None:
    assert WORK_BUCKETS_S[0] == ANSWER_BUCKETS_S[0] == 0.0001
    assert sorted(set(ANSWER_BUCKETS_S)) == list(ANSWER_BUCKETS_S)


Serve = Callable[..., HealthServer]


@pytest.fixture
def serve(scene: Scene) -> Iterator[Serve]:
    servers: list[HealthServer] = []

    def make(
        *, live: str | None = None, ready: str | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> HealthServer:
        registry = CollectorRegistry()
        registry.register(scene.metrics)
        servers.append(HealthServer(host, port, registry, live=lambda: live, ready=lambda: ready))
        servers[-1].start()
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def get(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str]:
    address = urlsplit(server.address)
    assert address.hostname is not None
    connection = HTTPConnection(address.hostname, address.port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_metrics_are_served(serve: Serve, scene: Scene) -> None:
    scene.metrics.owns(3)
    status, body = get(serve(), "/metrics")
    assert status == 200
    assert "stayhand_partitions 3.0" in body


@pytest.mark.parametrize(
    ("live", "ready", "path", "answer"),
    [
        (None, None, "/health/live", (200, "ok\n")),
        (None, None, "/health/ready", (200, "ok\n")),
        (None, "restoring", "/health/live", (200, "ok\n")),
        (None, "restoring", "/health/ready", (503, "restoring\n")),
        ("stalled", None, "/health/live", (503, "stalled\n")),
    ],
)
def test_health_says_what_is_wrong(
    serve: Serve, live: str | None, ready: str | None, path: str, answer: tuple[int, str]
) -> None:
    assert get(serve(live=live, ready=ready), path) == answer


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("GET", "/metrics/", 404), ("POST", "/", 501)]
)
def test_nothing_else_is_served(serve: Serve, method: str, path: str, status: int) -> None:
    assert get(serve(), path, method)[0] == status


def test_a_port_that_is_taken_is_one_line_that_says_how_to_mend_it(serve: Serve) -> None:
    port = urlsplit(serve().address).port
    with pytest.raises(ConfigurationError, match="STAYHAND_HEALTH_PORT") as error:
        serve(port=port)
    assert "\n" not in str(error.value)


def test_partitions_that_returned_to_the_policy_before_are_seen(scene: Scene) -> None:
    assert scene.sample("stayhand_policy_returned") == 0
    scene.metrics.returned(2)
    assert scene.sample("stayhand_policy_returned") == 2
