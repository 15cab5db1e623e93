"""What the SDK's tests share: an environment without settings, topics of one test, a Guard on the broker."""

import os
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from stayhand import Guard
from stayhand.testing import KEY, FakeGuard
from tests.brokers.clients import eventually

ACTION: dict[str, Any] = {
    "subject": {"type": "token", "id": "ci-deployer"},
    "action": {"name": "deploy.push"},
    "resource": {"type": "environment", "id": "prod/eu"},
}


def action(name: str = "deploy.push", **context: Any) -> dict[str, Any]:
    return {**ACTION, "action": {"name": name}, "context": context}


def create_topics(bootstrap: str, prefix: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    partitions = {"actions": 4, "decisions": 3, "fallbacks": 2}
    topics = [NewTopic(f"{prefix}.{name}", count, 1) for name, count in partitions.items()]
    for created in admin.create_topics(topics).values():
        created.result(30)
    for name in partitions:
        eventually(partial(_is_there, admin, f"{prefix}.{name}"))


def _is_there(admin: AdminClient, topic: str) -> bool:
    return admin.list_topics(topic, 10).topics[topic].error is None


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("STAYHAND_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def guard() -> Iterator[FakeGuard]:
    with FakeGuard() as fake:
        yield fake


@pytest.fixture
def prefix(bootstrap: str) -> str:
    name = f"sdk-{uuid.uuid4().hex[:10]}"
    create_topics(bootstrap, name)
    return name


@pytest.fixture
def open_guard(tmp_path: Path) -> Iterator[Callable[..., Guard]]:
    """Makes Guards that are closed at the test's end."""
    guards: list[Guard] = []

    def make(bootstrap: str, prefix: str, **settings: Any) -> Guard:
        known: dict[str, Any] = {
            "point": "p1",
            "key_id": "k1",
            "key": KEY,
            "spool_dir": tmp_path / "spool",
            "deadline_ms": 10_000,
        }
        made = Guard(bootstrap=bootstrap, prefix=prefix, **(known | settings))
        guards.append(made)
        return made

    yield make
    for made in guards:
        made.close()
