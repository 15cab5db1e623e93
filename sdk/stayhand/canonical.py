"""JSON with one reading and one writing: strict parsing, RFC 8785 canonical bytes, SHA-256 digests of them."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, NoReturn

MAX_SAFE_INTEGER = 2**53
_ESCAPED = json.encoder.encode_basestring


class InvalidJson(ValueError):
    """The bytes are not JSON that has exactly one reading (RFC 8259 with the I-JSON limits of RFC 7493)."""


def loads(raw: bytes) -> Any:
    """Parse UTF-8 JSON; refuse duplicate keys, NaN, infinities, integers beyond 2**53 and lone surrogates.

    Raises:
        InvalidJson: with the cause, never with the text itself.
    """
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except InvalidJson:
        raise
    except UnicodeError as error:
        raise InvalidJson("text is not well-formed UTF-8") from error
    except RecursionError as error:
        raise InvalidJson("nesting is too deep") from error
    except ValueError as error:
        position = getattr(error, "pos", None)
        raise InvalidJson("not JSON" if position is None else f"not JSON at character {position}") from error
    return value


def canonical(value: Any) -> bytes:
    """Serialise as RFC 8785 (JCS): sorted by UTF-16 code units, no spaces, ECMAScript numbers.

    Raises:
        InvalidJson: for what JSON cannot say (NaN, integers beyond 2**53, other types).
    """
    parts: list[str] = []
    _write(value, parts)
    try:
        return "".join(parts).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidJson("lone surrogate in a string") from error


def digest(value: Any) -> str:
    """SHA-256 over the canonical bytes, as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise InvalidJson("a key stands twice in one object")
    return value


def _integer(text: str) -> int:
    if len(text) > 17 or abs(value := int(text)) > MAX_SAFE_INTEGER:
        raise InvalidJson("an integer lies beyond 2**53")
    return value


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InvalidJson("a number is out of range")
    return value


def _constant(text: str) -> NoReturn:
    raise InvalidJson(f"{text} is not JSON")


def _write(value: Any, parts: list[str]) -> None:
    if value is None or value is True or value is False:
        parts.append({None: "null", True: "true", False: "false"}[value])
    elif isinstance(value, str):
        parts.append(_ESCAPED(value))
    elif isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise InvalidJson("an integer lies beyond 2**53")
        parts.append(str(value))
    elif isinstance(value, float):
        parts.append(_ecmascript(value))
    elif isinstance(value, dict):
        _write_object(value, parts)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, (list, tuple)):
        _write_array(value, parts)  # pyright: ignore[reportUnknownArgumentType]
    else:
        raise InvalidJson(f"{type(value).__name__} has no JSON form")


def _write_object(value: dict[Any, Any], parts: list[str]) -> None:
    if not all(isinstance(key, str) for key in value):
        raise InvalidJson("an object's keys must be strings")
    parts.append("{")
    for position, key in enumerate(sorted(value, key=_utf16)):
        parts.append("," if position else "")
        parts.append(_ESCAPED(key))
        parts.append(":")
        _write(value[key], parts)
    parts.append("}")


def _write_array(value: list[Any] | tuple[Any, ...], parts: list[str]) -> None:
    parts.append("[")
    for position, item in enumerate(value):
        parts.append("," if position else "")
        _write(item, parts)
    parts.append("]")


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")


def _ecmascript(value: float) -> str:
    """ECMAScript's Number::toString, which RFC 8785 section 3.2.2.3 asks for."""
    if not math.isfinite(value):
        raise InvalidJson("NaN and infinities have no JSON form")
    if value == 0:
        return "0"
    sign, shortest = ("-", repr(-value)) if value < 0 else ("", repr(value))
    mantissa, _, power = shortest.partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(power or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    return sign + _placed(digits, point)


def _placed(digits: str, point: int) -> str:
    """Put the decimal point after ``point`` digits, or use an exponent beyond 10**21 and below 10**-6."""
    count = len(digits)
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    exponent = f"e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return f"{digits[0]}{'.' + digits[1:] if count > 1 else ''}{exponent}"
