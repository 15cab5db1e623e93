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
_BACKSLASH = ord("\\")
_EXACT = canonical.MAX_SAFE_INTEGER
# Of a pending action: type and id of subject and resource, the action's name.
_TEXTS = 5
_NO_TEXTS = frozenset(name for name, field in wire.Context.model_fields.items() if field.annotation is not str)
_Shape = TypeVar("_Shape", wire.PendingAction, wire.Outcome)


def action_of(raw: bytes) -> wire.PendingAction:
    """The pending action that a value holds.

    Raises:
        Refusal: ``bad-json``, ``bad-shape`` or ``over-limit``.
    """
    action = _read(raw)
    if action is not None and is_plain(action, raw):
        return action
    value = _parsed(raw)
    if action is None:
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


def is_plain(action: wire.PendingAction, raw: bytes) -> bool:
    """Whether the text that an action was read from surely has one reading and breaks no limit; most have.

    Reading alone keeps the last of two equal keys and takes NaN, integers and floats of any size. Here the text has no
    backslash, and the action flat properties and context without floats. Then:

    * Each quote begins or ends a string, so half of them is how many strings the text holds. If the action holds as
      many, none is missing: neither a key that was dropped for its twin nor one that the contract does not know. So
      all that stands in the text was looked at here.
    * An integer that is exact does not grow in canonical form, and no string needs an escape there. So no part is
      longer than the text, which is no longer than the least limit, and a flat one is 2 deep.
    """
    if len(raw) > wire.MAX_PROPERTIES_BYTES or _BACKSLASH in raw:
        return False
    subject, done, resource, context = action.subject, action.action, action.resource, action.context
    others, known = context.__pydantic_extra__ or {}, context.__pydantic_fields_set__
    if not known.isdisjoint(_NO_TEXTS):
        return False
    whose, how, which = subject.properties, done.properties, resource.properties
    strings = _TEXTS + len(action.__pydantic_fields_set__) + 2 * len(known) - len(others) + len(whose) + len(how)
    strings += len(which) + len(subject.__pydantic_fields_set__) + len(done.__pydantic_fields_set__)
    strings += len(resource.__pydantic_fields_set__)
    for item in (*whose.values(), *how.values(), *which.values(), *others.values()):
        kind = type(item)
        if kind is str:
            strings += 1
        elif item is not None and kind is not bool and (kind is not int or not -_EXACT <= item <= _EXACT):
            return False
    return 2 * strings == raw.count(b'"')


def _read(raw: bytes) -> wire.PendingAction | None:
    """The action where its shape is right; what else is wrong with its text, or which field, is told elsewhere."""
    try:
        return wire.PendingAction.model_validate_json(raw)
    except ValidationError:
        return None


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
