"""Settings: where each value comes from, and that a wrong one is a single line that says how to mend it."""

import os
from pathlib import Path

import pytest

from stayhand.errors import ConfigurationError
from streams.settings import Settings, kafka_from, load, misspelt


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("STAYHAND_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def test_what_is_told_beats_the_environment_which_beats_the_file_which_beats_the_default(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("prefix: filed\ncheckpoint_ms: 111\nfreshness_ms: 1\n")
    monkeypatch.setenv("STAYHAND_CHECKPOINT_MS", "222")
    monkeypatch.setenv("STAYHAND_FRESHNESS_MS", "2")
    settings = load(file, freshness_ms=3, bootstrap=None)
    assert (settings.freshness_ms, settings.checkpoint_ms, settings.prefix) == (3, 222, "filed")
    assert settings.bootstrap == Settings().bootstrap


def test_kafka_settings_of_file_and_environment_add_up_and_the_environment_wins(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("kafka:\n  security.protocol: SSL\n  ssl.ca.location: /ca\n  socket.timeout.ms: 5000\n")
    monkeypatch.setenv("STAYHAND_KAFKA__SECURITY__PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("STAYHAND_KAFKA_SASL_USERNAME", "scorer")
    assert load(file).kafka == {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": "/ca",
        "socket.timeout.ms": 5000,
        "sasl.username": "scorer",
    }


def test_other_variables_are_no_kafka_settings() -> None:
    assert kafka_from({"STAYHAND_BOOTSTRAP": "b", "KAFKA_X": "y", "STAYHAND_KAFKA__LINGER__MS": "1"}) == {
        "linger.ms": "1"
    }


def test_the_group_follows_the_prefix_unless_it_is_told() -> None:
    assert load(prefix="team.a").consumer_group == "team.a.scorer"
    assert load(prefix="team.a", group="g").consumer_group == "g"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("STAYHAND_CHECKPOINT_MS", "1", "checkpoint_ms"),
        ("STAYHAND_CHECKPOINT_MS", "soon", "checkpoint_ms"),
        ("STAYHAND_CLOCK", "wall", "clock"),
        ("STAYHAND_PREFIX", "a b", "prefix"),
        ("STAYHAND_HEALTH_PORT", "65536", "health_port"),
        ("STAYHAND_BOOTSTRAP", "", "bootstrap"),
        ("STAYHAND_KAFKA__ACKS", "1", "acks"),
        ("STAYHAND_KAFKA__GROUP__INSTANCE__ID", "me", "group.instance.id"),
    ],
)
def test_a_wrong_variable_is_one_line_that_names_it(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as error:
        load()
    assert "\n" not in str(error.value)
    assert told in str(error.value)
    assert name.partition("__")[0] in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nope: 1", "setting nope is not known; known are accept_gap"),
        ("- 1", "expected a mapping"),
        ("1: 2", "expected a mapping"),
        ("a: [", "line 1: expected YAML"),
        ("kafka: {isolation.level: read_committed}", "isolation.level: set by the scorer itself"),
        ("kafka: 7", "setting kafka"),
    ],
)
def test_a_wrong_file_is_one_line_that_says_what_was_expected(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigurationError) as error:
        load(file)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_a_mistake_and_an_empty_one_is_none(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read the settings file"):
        load(file)
    file.write_text("")
    assert load(file).model_dump() == load().model_dump()


def test_kafka_credentials_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAYHAND_KAFKA__SASL__PASSWORD", "hush")
    assert "hush" not in repr(load())
    monkeypatch.setenv("STAYHAND_KAFKA__ACKS", "hush")
    with pytest.raises(ConfigurationError) as error:
        load()
    assert "hush" not in str(error.value)


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_a_variable_that_only_looks_like_a_setting_is_told() -> None:
    environment = {
        "STAYHAND_CHECKPOINT_INTERVAL_MS": "5000",
        "STAYHAND_BOOTSTRAP_SERVERS": "kafka:9092",
        "STAYHAND_CHECKPOINT_MS": "5000",
        "STAYHAND_KAFKA_SASL_USERNAME": "scorer",
        "STAYHAND_KEY_FILE": "an asker's",
        "STAYHAND_SERVICE_HOST": "made by Kubernetes",
        "STAYHAND_PORT_9464_TCP_ADDR": "made by Kubernetes",
    }
    assert misspelt(environment) == {
        "STAYHAND_CHECKPOINT_INTERVAL_MS": "STAYHAND_CHECKPOINT_MS",
        "STAYHAND_BOOTSTRAP_SERVERS": "STAYHAND_BOOTSTRAP",
    }
