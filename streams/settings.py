"""A scorer's settings: environment variables ``STAYHAND_*``, under them a YAML file, under that the defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from schemas.topics import DEFAULT_PREFIX, check_prefix, group
from stayhand.errors import ConfigurationError

PREFIX = "STAYHAND_"
KAFKA_PREFIX = "STAYHAND_KAFKA_"
_MIB = 1024 * 1024
# How alike a name must be to be taken for a setting: `checkpoint_interval_ms` is (.74), `bootstrap_servers` (.69).
# An asker's own names are not, nor those that Kubernetes makes.
_ALIKE = 0.68
# What the scorer's correctness rests on is not the operator's to change.
_OWN_KEYS = frozenset(
    {
        "bootstrap.servers",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "group.remote.assignor",
        "partition.assignment.strategy",
        "transactional.id",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "auto.offset.reset",
        "isolation.level",
        "partitioner",
        "acks",
        "request.required.acks",
    }
)


class Settings(BaseSettings):
    """Everything that a scorer can be told; each field's environment variable is ``STAYHAND_`` and its name."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True)

    bootstrap: Annotated[str, Field(min_length=1, description="Kafka, as HOST:PORT,...")] = "127.0.0.1:9092"
    prefix: Annotated[str, Field(description="what the topics' names begin with")] = DEFAULT_PREFIX
    group: Annotated[str, Field(description="the consumer group; empty: <prefix>.scorer")] = ""
    state_dir: Annotated[Path, Field(description="this worker's folder, its own")] = Path(".state/scorer")
    master_secret_file: Annotated[Path | None, Field(description="the file that the points' keys are derived from")] = (
        None
    )
    allow_unsigned: Annotated[bool, Field(description="take asks without a signature; for a demo on one machine")] = (
        False
    )
    clock: Annotated[
        Literal["append", "event"], Field(description="the models' time; event (ce_time) is for replays of old logs")
    ] = "append"
    freshness_ms: Annotated[int, Field(ge=0, description="how far ce_time may lie from the append time; 0: any")] = (
        300_000
    )
    accept_gap: Annotated[bool, Field(description="go on where committed input is gone")] = False
    checkpoint_ms: Annotated[int, Field(ge=10, le=5_000, description="how long a change may wait for a checkpoint")] = (
        2_000
    )
    poll_records_max: Annotated[int, Field(ge=1, le=10_000, description="actions that one turn takes")] = 500
    store_cache_mib: Annotated[int, Field(ge=8, description="RocksDB's block cache")] = 256
    store_age_max_ms: Annotated[
        int,
        Field(ge=60_000, description="an older local copy is restored anew; below the changelog's delete.retention.ms"),
    ] = 6 * 86_400_000
    health_host: Annotated[str, Field(description="where metrics and health are served")] = "127.0.0.1"
    health_port: Annotated[int, Field(ge=0, le=65_535, description="0: any free port, printed at start")] = 9464
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Field(description="what is logged")] = "info"
    log_json: Annotated[bool | None, Field(description="JSON lines; unset: unless stderr is a terminal")] = None
    kafka: Annotated[
        dict[str, str | int | float | bool], Field(repr=False, description="librdkafka's settings, for every client")
    ] = {}

    @field_validator("prefix")
    @classmethod
    def _check_prefix(cls, prefix: str) -> str:
        check_prefix(prefix)
        return prefix

    @field_validator("kafka", mode="before")
    @classmethod
    def _check_kafka(cls, kafka: Any) -> Any:
        if isinstance(kafka, Mapping) and (own := _OWN_KEYS & {str(key) for key in kafka}):
            raise ValueError(f"{', '.join(sorted(own))}: set by the scorer itself, leave it out")
        return kafka

    @property
    def consumer_group(self) -> str:
        """The consumer group's name."""
        return self.group or group(self.prefix, "scorer")

    @property
    def store_cache_bytes(self) -> int:
        """RocksDB's block cache."""
        return self.store_cache_mib * _MIB

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the parent's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What was told, then the environment; ``load`` adds the file below them."""
        kafka = kafka_from(os.environ)
        passed = InitSettingsSource(settings_cls, {"kafka": kafka} if kafka else {})
        return init_settings, env_settings, passed


def kafka_from(environment: Mapping[str, str]) -> dict[str, str]:
    """Settings of librdkafka among environment variables.

    ``STAYHAND_KAFKA_SECURITY_PROTOCOL`` (or ``STAYHAND_KAFKA__SECURITY__PROTOCOL``) is ``security.protocol``.
    """
    return {
        ".".join(part for part in name[len(KAFKA_PREFIX) :].lower().split("_") if part): value
        for name, value in environment.items()
        if name.startswith(KAFKA_PREFIX)
    }


def misspelt(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that look like a setting but are none, each with the one that may have been meant.

    Only those: askers have ``STAYHAND_`` variables too, and Kubernetes makes some for a service of that name.
    """
    fields = Settings.model_fields
    meant: dict[str, str] = {}
    for name in environment:
        field = name.removeprefix(PREFIX).lower()
        if not name.startswith(PREFIX) or name.startswith(KAFKA_PREFIX) or field in fields:
            continue
        for near in get_close_matches(field, fields, 1, _ALIKE):
            meant[name] = f"{PREFIX}{near.upper()}"
    return meant


def load(config: Path | None = None, **told: Any) -> Settings:
    """Settings from what was told (None: not told), the environment, and a YAML file, in this order.

    Raises:
        ConfigurationError: one line that names the setting and says what was expected.
    """
    written = {} if config is None else _read(config)

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource, **named: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            above = super().settings_customise_sources(settings_cls, *sources, **named)
            return *above, InitSettingsSource(settings_cls, written)

    try:
        return Loaded(**{name: value for name, value in told.items() if value is not None})
    except ValidationError as error:
        raise ConfigurationError(_one_line(error)) from error


def _read(config: Path) -> dict[str, Any]:
    try:
        written = yaml.safe_load(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the settings file {config}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place is not None else ""
        raise ConfigurationError(f"the settings file {config}{line}: expected YAML") from error
    if written is None:
        return {}
    if not isinstance(written, dict) or not all(isinstance(name, str) for name in written):
        raise ConfigurationError(f"the settings file {config}: expected a mapping of settings to values")
    return written


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"][:2])
    expected = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"setting {name} is not known; known are {', '.join(sorted(Settings.model_fields))}"
    name_of_all = str(first["loc"][0])
    variable = f"{KAFKA_PREFIX}_KEY" if name_of_all == "kafka" else f"{PREFIX}{name_of_all.upper()}"
    return f"setting {name}: {expected}; set {variable} or the key in the settings file"
