"""Bodies: what the value of a record says, as JSON with one reading, of the right shape and within the limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError

from stayhand import canonical, wire
from stayhand.errors import InvalidAction
from streams.refusal import Refusal

# A number written with an exponent grows to at most 21 digits in canonical form (1e20 has 4), so by less than 6 times.
_SMALL_BYTES = wire.MAX_PROPERTIES_BYTES // 6
# The message's own object, its subject, action and resource.
_OUTER_BRACKETS = 4
_Shape = TypeVar("_Shape", wire.PendingAction, wire.Outcome)


def action_of(raw: bytes) -> wire.PendingAction:
    """The pending action that a value holds.

    Raises:
        Refusal: ``bad-json``, ``bad-shape`` or ``over-limit``.
    """
    value = _parsed(raw)
    action = _shaped(wire.PendingAction, value)
    try:
        check_limits(value, raw)
    except InvalidAction as error:
        raise Refusal("over-limit", error.expected, error.field) from error
    return action


def outcome_of(raw: bytes) -> wire.Outcome:
    """The outcome that a value holds.

    Raises:
        Refusal: ``bad-json`` or ``bad-shape``.
    """
    return _shaped(wire.Outcome, _parsed(raw))


def strict_json(raw: bytes) -> Any:
    """What ``canonical.loads`` returns, faster where the bytes are compact JSON.

    orjson keeps the last of two equal keys and takes wider integers. But bytes that orjson writes again exactly as
    they were, with its 53-bit limit, hold neither: a key that was dropped would be missing. Everything else takes the
    slow way, which has the last word.

    Raises:
        canonical.InvalidJson: as ``canonical.loads``.
    """
    try:
        value = orjson.loads(raw)
        if orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER) == raw:
            return value
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass  # the slow way tells what is wrong
    return canonical.loads(raw)


def check_limits(value: Mapping[str, Any], raw: bytes) -> None:
    """As ``wire.check_limits`` on an action that has its shape; skips what cannot break a limit.

    Raises:
        InvalidAction: naming the part.
    """
    brackets = raw.count(b"{") + raw.count(b"[")  # those within strings count as well, so there are no more
    if len(raw) > _SMALL_BYTES or brackets >= _OUTER_BRACKETS + wire.MAX_DEPTH:
        wire.check_limits(value)


def _parsed(value: bytes) -> Any:
    try:
        return strict_json(value)
    except canonical.InvalidJson as error:
        raise Refusal("bad-json", str(error), "value") from error


def _shaped(model: type[_Shape], value: Any) -> _Shape:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        told = wire.invalid(error)
        raise Refusal("bad-shape", told.expected, told.field) from error
