"""A rule's condition in CEL: compiled and bounded when a pack is loaded, evaluated over no more than it reads."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cel

ValueOf = Callable[[str, "frozenset[str] | None"], Any]
MAX_CONDITION = 2_048
MAX_COMPREHENSIONS = 4
_COMPREHENSION = re.compile(r"\.\s*(?:all|exists|exists_one|existsOne)\s*\(\s*([A-Za-z_]\w*)\s*,")
_STRING = re.compile(r"""[rR]"[^"\n]*"|[rR]'[^'\n]*'|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""")
_NEEDS = re.compile(r"\s*ready\s*\.\s*(epoch|p|drift|agent)\s*&&")
# A map is walked in no fixed order, so what builds a list of it could decide differently each time.
_UNORDERED = re.compile(r"\.\s*(map|filter)\s*\(")
# No matches(): the library compiles its pattern anew at each evaluation, which took 15 us to 85 ms (for a mere \w{99}).
_FUNCTIONS = frozenset(
    (
        *("size", "contains", "startsWith", "endsWith", "type"),
        *("int", "uint", "double", "string", "bool", "timestamp", "duration"),
        *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
        *("getHours", "getMinutes", "getSeconds"),
    )
)


class InvalidCondition(ValueError):
    """The text is not a condition that may be evaluated in the hot path; the message says what was expected."""


class ConditionFailed(Exception):
    """The condition could not be evaluated, or gave something other than true or false."""

    def __init__(self, kind: str, message: str) -> None:
        """Carry the kind of error, such as KeyError for a field that is not there."""
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition and what it reads: by variable the fields, or None for all of them.

    ``needs`` is the field of ``ready`` without which it cannot hold, empty where there is none: whoever asks looks at
    that first, for an evaluation takes a hundred times as long.
    """

    source: str
    program: Any
    reads: tuple[tuple[str, frozenset[str] | None], ...]
    needs: str = ""

    def holds(self, value_of: ValueOf) -> bool:
        """Evaluate over ``value_of(variable, fields)``.

        Raises:
            ConditionFailed: whatever went wrong; the caller fails closed.
        """
        try:
            result = self.program.execute({name: value_of(name, fields) for name, fields in self.reads})
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # noqa: BLE001  a panic of the native library is no Exception
            raise ConditionFailed(type(error).__name__, str(error)) from None
        if result is not True and result is not False:
            raise ConditionFailed("TypeError", f"expected true or false, not {type(result).__name__}")
        return result

    def reads_field(self, variable: str, field: str) -> bool:
        """Whether the condition can see this field."""
        return any(name == variable and (fields is None or field in fields) for name, fields in self.reads)


def compile_condition(
    source: str, fields: Mapping[str, frozenset[str] | None], samples: Sequence[ValueOf] = ()
) -> Condition:
    """Compile ``source``; ``fields`` gives each variable's known fields, None where any may be there.

    ``samples`` are asks to try it on: a condition that is a mistake of types on each of them is refused.

    Evaluation has no budget of its own, so the shape is bounded here: at most 2,048 characters and 4 comprehensions,
    none inside another (a list of the action has at most some thousand items), no regular expressions.

    Raises:
        InvalidCondition: naming what is wrong.
    """
    if len(source) > MAX_CONDITION:
        raise InvalidCondition(f"expected at most {MAX_CONDITION} characters")
    if '"""' in source or "'''" in source:
        raise InvalidCondition("expected no triple quotes")
    bare = _STRING.sub('""', source)
    if "//" in bare:
        raise InvalidCondition("expected no comment inside a condition; YAML has its own")
    _bounded(bare)
    try:
        program = cel.compile(source)
    except ValueError as error:
        raise InvalidCondition(f"expected CEL: {_first_line(error)}") from None
    bound = set(_COMPREHENSION.findall(bare))
    _known_functions(program)
    condition = Condition(source, program, _reads(program, bare, bound, fields), _needs(bare))
    _tried(condition, samples)
    return condition


def plain(value: Any) -> Any:
    """JSON as CEL shall see it: a whole number is an integer, however it was written (RFC 8785 writes 1.0 as 1)."""
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value == int(value) and abs(value) <= 2**53 else value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _needs(bare: str) -> str:
    """What must be ready by the condition's first word, where all else is joined to it with ``&&``."""
    found = _NEEDS.match(bare)
    return found[1] if found and not re.search(r"\|\||\?", bare) else ""


def _tried(condition: Condition, samples: Sequence[ValueOf]) -> None:
    """A missing field may be there another time; a wrong type on every sample will not mend itself."""
    told = ""
    for sample in samples:
        try:
            condition.holds(sample)
        except ConditionFailed as error:
            if error.kind not in {"TypeError", "RuntimeError"}:
                return
            told = error.message.partition(". ")[0]
        else:
            return
    if told:
        raise InvalidCondition(f"expected a condition that can be evaluated: {told[:200]}")


def _bounded(bare: str) -> None:
    spans = [(match.start(), _closing(bare, bare.index("(", match.start()))) for match in _COMPREHENSION.finditer(bare)]
    if len(spans) > MAX_COMPREHENSIONS:
        raise InvalidCondition(f"expected at most {MAX_COMPREHENSIONS} comprehensions")
    if any(start < inner < end for start, end in spans for inner, _ in spans):
        raise InvalidCondition("expected no comprehension inside another")
    if found := _UNORDERED.search(bare):
        raise InvalidCondition(f"expected all, exists or exists_one instead of {found[1]}()")


def _closing(bare: str, opening: int) -> int:
    depth = 0
    for position in range(opening, len(bare)):
        depth += {"(": 1, ")": -1}.get(bare[position], 0)
        if depth == 0:
            return position
    return len(bare)


def _known_functions(program: Any) -> None:
    for name in program.functions():
        if re.fullmatch(r"[A-Za-z_]\w*", name) and not name.startswith("_") and name not in _FUNCTIONS:
            raise InvalidCondition(f"expected a function of CEL's core, not {name}()")


def _reads(
    program: Any, bare: str, bound: set[str], fields: Mapping[str, frozenset[str] | None]
) -> tuple[tuple[str, frozenset[str] | None], ...]:
    found: list[tuple[str, frozenset[str] | None]] = []
    for name in sorted(program.variables()):
        if name not in fields:
            if name in bound:
                continue
            raise InvalidCondition(f"expected one of {', '.join(sorted(fields))}, not {name}")
        if name in bound:
            raise InvalidCondition(f"expected another name than {name} for a comprehension's variable")
        used = _fields_of(name, bare)
        known = fields[name]
        if used is not None and known is not None and used - known:
            raise InvalidCondition(f"expected a field of {name}: {', '.join(sorted(known))}, not {min(used - known)}")
        found.append((name, used))
    return tuple(found)


def _fields_of(name: str, bare: str) -> frozenset[str] | None:
    """The fields read as ``name.field``; None where the variable is used in another way, so that all are needed."""
    uses = re.findall(rf"(?<![\w.]){name}\b(?:\s*\.\s*([A-Za-z_]\w*)(?!\w*\s*\())?", bare)
    return frozenset(uses) if uses and "" not in uses else None


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if "ERROR" in line] or str(error).splitlines()
    return lines[0].split("ERROR: ")[-1][:200]
