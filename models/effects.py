"""What a decision, an outcome or a control changes: small values with an exact JSON form, for the log to carry."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from models.eventform import lesson_from_json, lesson_json
from models.lessons import Lesson
from schemas.documents import CONTROL, Control, HoldFact


@dataclass(frozen=True, slots=True)
class Observe:
    """The event happened: the baseline sees it."""

    lesson: Lesson


@dataclass(frozen=True, slots=True)
class Spend:
    """One use of a counted grant is gone."""

    grant_id: str


@dataclass(frozen=True, slots=True)
class Hold:
    """An ask waits for an approval."""

    hold: HoldFact
    at_ms: int


@dataclass(frozen=True, slots=True)
class MoveHold:
    """A hold answers to the ask that repeated it."""

    hold_id: str
    actions_offset: int
    correlation_id: str
    reply_topic: str
    reply_partition: int | None
    point: str
    key_id: str


@dataclass(frozen=True, slots=True)
class Unhold:
    """A hold has its answer."""

    hold_id: str


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key is spent."""

    digest: str


@dataclass(frozen=True, slots=True)
class TakeBack:
    """What an action taught is not to be learned; once for each decision."""

    taught: bytes
    decision_id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Apply:
    """A control takes hold."""

    control: Control
    at_ms: int


Effect = Observe | Spend | Hold | MoveHold | Unhold | Key | TakeBack | Apply


_KINDS: dict[str, type[Effect]] = {
    "observe": Observe,
    "spend": Spend,
    "hold": Hold,
    "move-hold": MoveHold,
    "unhold": Unhold,
    "key": Key,
    "take-back": TakeBack,
    "apply": Apply,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
# Fields that are not JSON by themselves: how they are written, and how they are read.
_CODECS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "lesson": (lesson_json, lesson_from_json),
    "hold": (lambda hold: hold.model_dump(mode="json", exclude_defaults=True), HoldFact.model_validate),
    "control": (lambda control: CONTROL.dump_python(control, mode="json"), CONTROL.validate_python),
    "taught": (lambda raw: base64.b64encode(raw).decode(), lambda text: base64.b64decode(text, validate=True)),
}


def effect_json(effect: Effect) -> dict[str, Any]:
    """The effect as plain JSON with its kind under ``do``; integers and strings only."""
    written: dict[str, Any] = {"do": _NAMES[type(effect)]}
    for name in effect.__slots__:
        value = getattr(effect, name)
        written[name] = _CODECS[name][0](value) if name in _CODECS else value
    return written


def effect_from_json(value: Mapping[str, Any]) -> Effect:
    """The inverse of :func:`effect_json`.

    Raises:
        ValueError: for a kind or a shape that is not one of ours.
    """
    kind = _KINDS.get(value.get("do", ""))
    if kind is None or {*value} != {"do", *kind.__slots__}:
        raise ValueError(f"effects: expected the fields of one effect, got do={value.get('do')!r}")
    return kind(**{name: _CODECS[name][1](value[name]) if name in _CODECS else value[name] for name in kind.__slots__})
