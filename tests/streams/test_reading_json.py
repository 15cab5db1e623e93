"""The fast ways of reading JSON and of checking limits say what the slow and exact ones say."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stayhand import canonical, wire
from stayhand.errors import InvalidAction
from streams.bodies import check_limits, strict_json

NUMBERS = st.one_of(
    st.integers(-(2**54), 2**54),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**53, 2**53 + 1, -(2**53), -(2**53) - 1, 2**64, 10**20]),
    st.floats(allow_nan=False, allow_infinity=False),
)
LEAVES = st.one_of(
    st.none(), st.booleans(), NUMBERS, st.text(max_size=12), st.sampled_from(['"', "\\", "{[", "\u2028"])
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)),
    max_leaves=20,
)
SMALL_JSON_CHARACTERS = st.text(alphabet='{}[]",:0123456789.eE+-tfn \\u/dD8aé\n', max_size=40)


def outcome(parse: Any, raw: bytes) -> Any:
    """What a parser makes of the bytes, so that 1, 1.0 and True differ."""
    try:
        return repr(parse(raw))
    except canonical.InvalidJson as error:
        return str(error)


@given(TREES, st.sampled_from([(",", ":"), (", ", ": ")]), st.booleans())
def test_strict_json_reads_every_tree_as_the_exact_parser(tree: Any, separators: Any, ascii_only: bool) -> None:
    raw = json.dumps(tree, separators=separators, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert outcome(strict_json, raw) == outcome(canonical.loads, raw)


@given(st.one_of(SMALL_JSON_CHARACTERS.map(str.encode), st.binary(max_size=40)))
@example(b"-0")
@example(b"-0.0")
@example(b"1E400")
@example(b"18446744073709551616")
@example(b"9007199254740992")
@example(b"9007199254740993")
@example(b'{"a":1,"a":1}')
@example(b'{"a":{"b":1,"b":2}}')
@example(b'[{"a":1},{"a":1,"\\u0061":1}]')
@example(b'"\\ud800"')
@example(b'"\xed\xa0\x80"')
@example(b"\xef\xbb\xbf{}")
@example(b"[1] ")
@example(b"")
def test_strict_json_reads_or_refuses_any_bytes_as_the_exact_parser(raw: bytes) -> None:
    assert outcome(strict_json, raw) == outcome(canonical.loads, raw)


@given(TREES, st.data())
def test_a_key_that_stands_twice_is_never_read(tree: Any, data: st.DataObject) -> None:
    text = json.dumps({"a": tree}, separators=(",", ":"))
    twice = text[:-1] + "," + json.dumps({data.draw(st.sampled_from(["a", "a"])): 1}, separators=(",", ":"))[1:]
    with pytest.raises(canonical.InvalidJson):
        strict_json(twice.encode("utf-8", "surrogatepass"))


@st.composite
def actions(draw: st.DrawFn) -> dict[str, Any]:
    """Bodies of the right shape, near and beyond the limits."""
    depths = st.integers(0, 12)
    sizes = st.sampled_from([0, 10, 600, 700, 1_300, 1_400, 4_080, 4_096, 8_170, 8_192])
    fillers = st.sampled_from(["x", "é", "{", "[", 1e20, 1e-6, 7])

    def part() -> dict[str, Any]:
        deep: Any = draw(st.sampled_from([[], {}, 1]))
        for _ in range(draw(depths)):
            deep = draw(st.sampled_from([[deep], {"k": deep}]))
        filler, size = draw(fillers), draw(sizes)
        wide = filler * size if isinstance(filler, str) else [filler] * (size // 6)
        return draw(st.sampled_from([{}, {"deep": deep}, {"wide": wide}, {"deep": deep, "wide": wide}]))

    return {
        "subject": {"type": "t", "id": "i", "properties": part()},
        "action": {"name": "n", "properties": part()},
        "resource": {"type": "t", "id": "i"},
        "context": part(),
    }


def _limits(check: Any, *arguments: Any) -> tuple[str, str] | None:
    try:
        check(*arguments)
    except InvalidAction as error:
        return error.field, error.expected
    return None


@given(actions(), st.booleans())
def test_limits_are_those_of_the_wire_types(action: dict[str, Any], ascii_only: bool) -> None:
    raw = json.dumps(action, ensure_ascii=ascii_only).encode()
    value = canonical.loads(raw)
    assert _limits(check_limits, value, raw) == _limits(wire.check_limits, value)


def _same_limits(raw: bytes) -> tuple[str, str] | None:
    value = canonical.loads(raw)
    said = _limits(wire.check_limits, value)
    assert _limits(check_limits, value, raw) == said
    return said


@pytest.mark.parametrize("size", [0, 700], ids=["small", "large"])
@pytest.mark.parametrize("bracket", ["[]", "{}"])
def test_the_deepest_part_that_is_allowed_is_the_same_one(bracket: str, size: int) -> None:
    opening, closing = ("[", "]") if bracket == "[]" else ('{"a":', "}")
    depths = {}
    for depth in range(12):
        context = '{"x":' + opening * depth + "1" + closing * depth + "}"
        text = f'{{"subject":{{}},"action":{{}},"resource":{{}},"y":"{"y" * size}","context":{context}}}'
        depths[depth] = _same_limits(text.encode())
    assert [depth for depth, said in depths.items() if said is None] == list(range(7))


@pytest.mark.parametrize("number", ["1e20", "9e9", "1e-6", "-1e20", "7", "0.5"])
def test_numbers_that_grow_in_canonical_form_break_the_same_limits(number: str) -> None:
    said = set()
    for count in range(100, 1_500, 50):
        wide = ",".join([number] * count)
        said.add(
            _same_limits(f'{{"subject":{{}},"action":{{"properties":{{"x":[{wide}]}}}},"resource":{{}}}}'.encode())
        )
    assert None in said
    assert number == "7" or len(said) > 1
