"""What a Guard needs to know: explicit arguments first, then the environment (``STAYHAND_*``), then defaults."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import stat
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretBytes, ValidationError, field_validator, model_validator

from stayhand.errors import ConfigurationError
from stayhand.secrets import SecretRules
from stayhand.signing import KEY_BYTES
from stayhand.wire import FallbackMode

_KAFKA_PREFIX = "STAYHAND_KAFKA_"
_TOPIC_PART = r"^[A-Za-z0-9._-]*$"
# What the promises of this package rest on; see the module of the Kafka transport.
FIXED_SETTINGS = frozenset(
    {
        "acks",
        "auto.offset.reset",
        "bootstrap.servers",
        "delivery.timeout.ms",
        "enable.auto.commit",
        "enable.idempotence",
        "group.id",
        "isolation.level",
        "message.timeout.ms",
        "metadata.broker.list",
        "partitioner",
        "request.required.acks",
        "transactional.id",
    }
)


class GuardConfig(BaseModel):
    """The settings of a Guard; each but ``kafka`` is also read from ``STAYHAND_<NAME>``.

    Attributes:
        bootstrap: Kafka's ``host:port``, several with commas.
        prefix: the first part of every topic's name.
        domain: who may read the decisions: empty for ``<prefix>.decisions``, else ``<prefix>.decisions.<domain>``.
        point: the enforcement point's id, as registered.
        key_id: which of its keys this is.
        key: the key, 32 bytes; as text 64 hexadecimal digits or base64. ``key_file`` (``STAYHAND_KEY_FILE``) names a
            file with it. It is never shown.
        unsigned: neither sign asks nor verify answers: for a gate that runs unsigned, in development only.
        deadline_ms: how long an ask may take when the call does not say.
        deadline_ms_max: the longest deadline that a call may ask for, also how long Kafka may try to deliver an ask
            (one that arrives after its asker gave up would be decided for nobody); ``deadline_ms`` by default.
        fallback: what happens past the deadline: a mode, or modes by shell pattern of the action's name, the first that
            fits wins, closed where none does. The gate must have allowed the mode in an earlier decision.
        last_known_ms: for how long ``last-known`` may repeat a decision.
        spool_dir: where fallbacks and permits in use are kept until Kafka has them; a folder of the user's by default.
        spool_bytes_max: how much of them is kept.
        scanner: what looks for secrets in arguments: ``built-in`` rules, or ``kingfisher`` (the extra ``secrets``)
            on top of them.
        breaker_timeouts: after how many unanswered asks in a row the gate counts as away.
        kafka: settings of librdkafka passed through (TLS, SASL, OAUTHBEARER); in the environment
            ``STAYHAND_KAFKA_SECURITY_PROTOCOL`` is ``security.protocol``.

    Raises:
        ConfigurationError: one line that names the setting and says how to mend it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    bootstrap: Annotated[str, Field(min_length=1)] = "127.0.0.1:9092"
    prefix: Annotated[str, Field(min_length=1, max_length=64, pattern=_TOPIC_PART)] = "stayhand"
    domain: Annotated[str, Field(max_length=64, pattern=_TOPIC_PART)] = ""
    point: Annotated[str, Field(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    key_id: Annotated[str, Field(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    key: SecretBytes | None = None
    key_file: Path | None = None
    unsigned: bool = False
    deadline_ms: Annotated[int, Field(ge=1, le=600_000)] = 1_000
    deadline_ms_max: Annotated[int, Field(ge=1, le=600_000)] = 0
    fallback: dict[str, FallbackMode] = {}
    last_known_ms: Annotated[int, Field(ge=0)] = 300_000
    spool_dir: Path = Path()
    spool_bytes_max: Annotated[int, Field(ge=4_096)] = 16 * 1_048_576
    scanner: SecretRules = "built-in"
    breaker_timeouts: Annotated[int, Field(ge=1)] = 3
    kafka: dict[str, Any] = Field(default={}, repr=False)

    def __init__(self, **settings: Any) -> None:
        """Take what is given, and the rest from the environment."""
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise _configuration_error(error) from None

    @property
    def actions_topic(self) -> str:
        """Where asks and outcomes go."""
        return f"{self.prefix}.actions"

    @property
    def decisions_topic(self) -> str:
        """Where answers come from."""
        return f"{self.prefix}.decisions" + (f".{self.domain}" if self.domain else "")

    @property
    def fallbacks_topic(self) -> str:
        """Where what the point decided by itself goes."""
        return f"{self.prefix}.fallbacks"

    @property
    def key_bytes(self) -> bytes | None:
        """The key, or None where nothing is signed."""
        return None if self.unsigned or self.key is None else self.key.get_secret_value()

    def fallback_for(self, action_name: str) -> FallbackMode:
        """The mode of the first pattern that fits the action's name."""
        for pattern, mode in self.fallback.items():
            if fnmatchcase(action_name, pattern):
                return mode
        return "closed"

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: dict[str, Any]) -> dict[str, Any]:
        settings = _environment(os.environ, set(cls.model_fields)) | given
        settings.setdefault("deadline_ms_max", settings.get("deadline_ms", 1_000))
        settings.setdefault("spool_dir", _state_dir(os.environ))
        if "key" in given:
            settings.pop("key_file", None)
        if settings.get("key_file") and "key" not in given:
            settings["key"] = _key_from_file(Path(settings["key_file"]))
        return settings

    @field_validator("key", mode="before")
    @classmethod
    def _read_key(cls, value: Any) -> Any:
        if isinstance(value, SecretBytes):
            value = value.get_secret_value()
        key = _key_from_text(value) if isinstance(value, str) else value
        if isinstance(key, bytes) and len(key) != KEY_BYTES:
            raise ValueError(f"give {KEY_BYTES} bytes, as 64 hexadecimal digits or base64")
        return key

    @field_validator("fallback", mode="before")
    @classmethod
    def _read_fallback(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return json.loads(value) if value.lstrip().startswith("{") else {"*": value}

    @field_validator("kafka")
    @classmethod
    def _allowed(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in sorted(FIXED_SETTINGS & value.keys()):
            raise ValueError(f"leave out {name}: Stayhand sets it")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.deadline_ms_max < self.deadline_ms:
            raise ValueError(f"deadline_ms_max: give at least deadline_ms ({self.deadline_ms})")
        if self.unsigned:
            return self
        for name in ("point", "key_id", "key"):
            if not getattr(self, name):
                raise ValueError(
                    f"{name}: set STAYHAND_{name.upper()}{' or STAYHAND_KEY_FILE' * (name == 'key')}"
                    " (or unsigned=True, for development alone)"
                )
        return self


def _environment(environ: Mapping[str, str], names: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: environ[f"STAYHAND_{name.upper()}"]
        for name in names - {"kafka"}
        if environ.get(f"STAYHAND_{name.upper()}", "") != ""
    }
    kafka = {
        re.sub("_+", ".", name.removeprefix(_KAFKA_PREFIX).strip("_").lower()): value
        for name, value in environ.items()
        if name.startswith(_KAFKA_PREFIX)
    }
    return found | ({"kafka": kafka} if kafka else {})


def _state_dir(environ: Mapping[str, str]) -> Path:
    """The user's own state folder (XDG Base Directory Specification)."""
    home = environ.get("XDG_STATE_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".local" / "state") / "stayhand"


def _key_from_file(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"key_file: make {path} readable ({error.strerror})") from None
    if mode & stat.S_IRWXO:
        raise ValueError(f"key_file: run chmod o-rwx {path}: anybody can read the key")
    if len(content) == KEY_BYTES:
        return content
    try:
        return _key_from_text(content.decode("ascii"))
    except ValueError:
        raise ValueError(f"key_file: put {KEY_BYTES} bytes, 64 hexadecimal digits or base64 into {path}") from None


def _key_from_text(text: str) -> bytes:
    text = text.strip()
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text)
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"give {KEY_BYTES} bytes, as 64 hexadecimal digits or base64") from None


def _configuration_error(error: ValidationError) -> ConfigurationError:
    first = error.errors(include_url=False, include_input=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        message = "remove it: there is no such setting"
    return ConfigurationError(f"{field}: {message}" if field else message)
