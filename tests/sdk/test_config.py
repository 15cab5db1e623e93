"""Settings: what wins, what is hidden, and what a mistake is told."""

import base64
from pathlib import Path
from typing import Any

import pytest

from stayhand import ConfigurationError, Guard, GuardConfig
from stayhand._kafka import client_settings, consumer_settings, producer_settings
from stayhand.testing import KEY

SIGNED: dict[str, Any] = {"point": "p1", "key_id": "k1", "key": KEY}


def test_arguments_win_over_the_environment_and_that_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAYHAND_PREFIX", "from-env")
    monkeypatch.setenv("STAYHAND_BOOTSTRAP", "kafka:9092")
    monkeypatch.setenv("STAYHAND_DEADLINE_MS", "250")
    config = GuardConfig(prefix="given", **SIGNED)
    assert (config.prefix, config.bootstrap, config.deadline_ms, config.deadline_ms_max) == (
        "given",
        "kafka:9092",
        250,
        250,
    )
    assert config.last_known_ms == 300_000


def test_librdkafkas_settings_pass_through_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAYHAND_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("STAYHAND_KAFKA__SASL__OAUTHBEARER__CLIENT__ID", "me")
    config = GuardConfig(**SIGNED)
    assert config.kafka == {"security.protocol": "SASL_SSL", "sasl.oauthbearer.client.id": "me"}
    assert client_settings(config)["security.protocol"] == "SASL_SSL"


@pytest.mark.parametrize("name", ["acks", "partitioner", "message.timeout.ms", "group.id", "transactional.id"])
def test_what_the_promises_rest_on_cannot_be_set(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"leave out {name}"):
        GuardConfig(kafka={name: "1"}, **SIGNED)


def test_an_ask_is_sent_at_once_and_never_after_the_longest_deadline() -> None:
    settings = producer_settings(GuardConfig(deadline_ms=700, deadline_ms_max=900, **SIGNED))
    assert settings["message.timeout.ms"] == 900
    assert (settings["linger.ms"], settings["acks"], settings["enable.idempotence"]) == (0, "all", True)
    assert settings["partitioner"] == "murmur2_random"
    assert consumer_settings("i")["auto.offset.reset"] == "earliest"


@pytest.mark.parametrize("text", [KEY.hex(), KEY.hex().upper(), base64.b64encode(KEY).decode(), f"{KEY.hex()}\n"])
def test_a_key_is_read_from_text(text: str) -> None:
    assert GuardConfig(**(SIGNED | {"key": text})).key_bytes == KEY


@pytest.mark.parametrize("content", [KEY, KEY.hex().encode(), base64.urlsafe_b64encode(KEY)])
def test_a_key_is_read_from_a_file(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    monkeypatch.setenv("STAYHAND_KEY_FILE", str(path))
    assert GuardConfig(point="p1", key_id="k1").key_bytes == KEY


def test_a_key_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(KEY)
    path.chmod(0o604)
    with pytest.raises(ConfigurationError, match="chmod o-rwx"):
        GuardConfig(point="p1", key_id="k1", key_file=path)


def test_neither_the_key_nor_kafkas_passwords_are_shown() -> None:
    config = GuardConfig(kafka={"sasl.password": "hunter2"}, **(SIGNED | {"key": KEY.hex()}))
    for shown in (repr(config), str(config), str(config.model_dump())):
        assert KEY.hex() not in shown
        assert repr(KEY) not in shown
    assert "hunter2" not in repr(config) + str(config)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "point: set STAYHAND_POINT"),
        ({"point": "p"}, "key_id: set STAYHAND_KEY_ID"),
        ({"point": "p", "key_id": "k"}, "key: set STAYHAND_KEY or STAYHAND_KEY_FILE"),
        (SIGNED | {"key": "abc"}, "key: give 32 bytes"),
        (SIGNED | {"key_file": "/nowhere/key", "key": None}, "key: set STAYHAND_KEY"),
        ({"point": "p", "key_id": "k", "key_file": "/nowhere/key"}, "key_file: make /nowhere/key readable"),
        (SIGNED | {"deadline_ms": 0}, "deadline_ms: "),
        (SIGNED | {"deadline_ms": 10, "deadline_ms_max": 5}, "deadline_ms_max: give at least deadline_ms"),
        (SIGNED | {"prefix": "a b"}, "prefix: "),
        (SIGNED | {"fallback": {"*": "ajar"}}, r"fallback\.\*: "),
        (SIGNED | {"fallback": "{not json"}, "fallback: "),
        (SIGNED | {"bootstrp": "x"}, "bootstrp: remove it"),
    ],
)
def test_a_mistake_is_told_in_one_line_that_names_the_setting(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{told}") as raised:
        GuardConfig(**settings)
    assert "\n" not in str(raised.value)


def test_a_setting_that_librdkafka_refuses_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^kafka: .*no\.such\.setting") as raised:
        Guard(kafka={"no.such.setting": 1}, spool_dir=tmp_path / "spool", **SIGNED)
    assert "\n" not in str(raised.value)


def test_the_first_pattern_that_fits_names_the_fallback_and_none_means_closed() -> None:
    config = GuardConfig(fallback={"read.secret": "closed", "read.*": "open"}, **SIGNED)
    names = ["read.secret", "read.file", "write.file"]
    assert [config.fallback_for(name) for name in names] == ["closed", "open", "closed"]
    assert GuardConfig(fallback="local", **SIGNED).fallback_for("anything") == "local"


def test_the_domain_chooses_the_topic_of_decisions() -> None:
    assert GuardConfig(**SIGNED).decisions_topic == "stayhand.decisions"
    assert GuardConfig(domain="ci", prefix="x", **SIGNED).decisions_topic == "x.decisions.ci"
