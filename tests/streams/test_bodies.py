"""A body is read as its definition says: one reading, the shape, the limits, whatever short cuts there are."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stayhand import canonical, wire
from stayhand.errors import InvalidAction
from streams.bodies import action_of
from streams.refusal import Refusal

_KNOWN = [*wire.Context.model_fields, "job", "id", "context", "__class__"]
_TEXTS = ["", ":", "é", "\u2028", "\x7f", "\x1f", "\\", '"', "a\n", "\x00", "ab" * 32, "AB" * 32, "NaN", "done"]
_LONG = ["x" * size for size in (32, 33, 128, 129, 256, 257, 1_024, 1_025, 4_000)]
_NUMBERS = [0, -1, 1.0, 1e20, -0.0, 2**53, 2**53 + 1, -(2**53), -(2**53) - 1, 2**64, float("nan"), float("inf")]
_OTHERS = [True, False, None, [], {}, [1], {"a": 1}, {"a": {"b": [1.5]}}, [{"rule": "r", "fingerprint": "0123abcd"}]]
_EDGES = st.sampled_from([*_TEXTS, *_LONG, *_NUMBERS, *_OTHERS])
_ITEMS = st.one_of(_EDGES, st.text(max_size=8), st.integers(), st.floats())
_OBJECTS = st.dictionaries(st.one_of(st.text(max_size=3), st.sampled_from(_KNOWN)), _ITEMS, max_size=4)
_LABELS = st.one_of(st.text("abc:/.é", min_size=1, max_size=8), _EDGES)


def _named(*names: str) -> st.SearchStrategy[Any]:
    texts = {name: st.text("abc:é", min_size=1, max_size=6) for name in names}
    usual = st.fixed_dictionaries(texts, optional={"properties": _OBJECTS})
    odd = st.fixed_dictionaries(dict.fromkeys(names, _LABELS), optional={"properties": _ITEMS, "x": _ITEMS})
    return st.one_of(usual, usual, odd, _ITEMS)


_BODIES = st.fixed_dictionaries(
    {"subject": _named("type", "id"), "action": _named("name"), "resource": _named("type", "id")},
    optional={"context": st.one_of(_OBJECTS, _OBJECTS, _ITEMS), "other": _ITEMS},
)
_SOUND = '{"subject":{"type":"t","id":"i"},"action":{"name":"n"},"resource":{"type":"t","id":"i"},"context":{"a":"b"}}'


def _exact(raw: bytes) -> wire.PendingAction | tuple[str, str, str]:
    """The three steps that define what a body says: one reading, the shape, the limits."""
    try:
        value = canonical.loads(raw)
    except canonical.InvalidJson as error:
        return "bad-json", "value", str(error)
    try:
        action = wire.PendingAction.model_validate(value)
    except ValidationError as error:
        told = wire.invalid(error)
        return "bad-shape", told.field, told.expected
    try:
        wire.check_limits(value)
    except InvalidAction as error:
        return "over-limit", error.field, error.expected
    return action


def _read(raw: bytes) -> wire.PendingAction | tuple[str, str, str]:
    try:
        return action_of(raw)
    except Refusal as refusal:
        return refusal.code, refusal.field, refusal.message


def _same(raw: bytes) -> None:
    """Both refuse alike, or what they return is the same in every respect."""
    read, exact = _read(raw), _exact(raw)
    if isinstance(read, tuple) or isinstance(exact, tuple):
        assert read == exact
        return
    assert repr(read) == repr(exact)
    parts = [(getattr(read, name), getattr(exact, name)) for name in wire.PendingAction.model_fields]
    for one, other in ((read, exact), *parts):
        assert list(one.__dict__) == list(other.__dict__)
        assert one.__pydantic_fields_set__ == other.__pydantic_fields_set__
        assert repr(one.__pydantic_extra__) == repr(other.__pydantic_extra__)
    assert read.model_dump_json(exclude_defaults=True) == exact.model_dump_json(exclude_defaults=True)


@given(_BODIES, st.sampled_from([(",", ":"), (", ", ": ")]), st.booleans())
def test_any_body_is_read_as_the_exact_way_reads_it(body: Any, separators: Any, ascii_only: bool) -> None:
    _same(json.dumps(body, separators=separators, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))


@given(_BODIES, st.data())
def test_a_text_that_was_tampered_with_is_read_as_the_exact_way_reads_it(body: Any, data: st.DataObject) -> None:
    text = json.dumps(body, ensure_ascii=False)
    at = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(at, min(len(text), at + 6)))
    put = data.draw(
        st.sampled_from(['"', ":", ",", "{", "}", "\\", " ", "NaN", "-0", "1e400", '"a":1,', '"id":"i",', "é"])
    )
    _same((text[:at] + put + text[end:]).encode("utf-8", "surrogatepass"))


@given(st.data())
def test_a_key_that_stands_twice_is_never_read(data: st.DataObject) -> None:
    keys = [found.end() for found in re.finditer(r"[{,]", _SOUND)]
    at, key = data.draw(st.sampled_from(keys)), data.draw(st.sampled_from(re.findall(r'"([a-z]+)" ?:', _SOUND)))
    space, item = (
        data.draw(st.sampled_from(["", " ", "\t"])),
        data.draw(st.sampled_from(["1", '"i"', '":"', "{}", "[]"])),
    )
    _same(f'{_SOUND[:at]}"{key}"{space}:{item},{_SOUND[at:]}'.encode())


@pytest.mark.parametrize("part", ["subject", "action", "resource", "context", "type", "id", "name", "a"])
@pytest.mark.parametrize("item", ["1", '"i"', '":"', '{"type":"t"}'])
def test_the_refusal_of_a_key_that_stands_twice(part: str, item: str) -> None:
    twice = re.sub(f'"{part}":', f'"{part}" :{item},"{part}":', _SOUND, count=1)
    with pytest.raises(Refusal) as raised:
        action_of(twice.encode())
    assert (raised.value.code, raised.value.message) == ("bad-json", "a key stands twice in one object")
