"""Conditions: they see no more than they name, fail closed, and say the same thing each time."""

from __future__ import annotations

from typing import Any

import pytest

from models.conditions import Condition, ConditionFailed, InvalidCondition, compile_condition, plain
from models.policy import _FIELDS
from models.samples import samples

FIELDS: dict[str, frozenset[str] | None] = {"facts": frozenset({"grant", "age"}), "context": None, "point": frozenset()}


def reads(source: str) -> dict[str, frozenset[str] | None]:
    return dict(compile_condition(source, FIELDS).reads)


def holds(source: str, **variables: Any) -> bool:
    return condition(source).holds(lambda name, _fields: variables[name])


def condition(source: str) -> Condition:
    return compile_condition(source, FIELDS)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("facts.grant", {"facts": {"grant"}}),
        ("context.a == 'facts.zzz' && context . b.c > 1", {"context": {"a", "b"}}),
        ("'x' in context", {"context": None}),
        ("context['a'] == 1", {"context": None}),
        ("context.exists(k, k == 'a')", {"context": None}),
        ("context.list.exists(k, k == 'a')", {"context": {"list"}}),
        ("has(context.a) && context.a.b.startsWith('x')", {"context": {"a"}}),
        ("(context).a == 1", {"context": None}),
        ("point == r'\\' || facts.age > 1", {"point": None, "facts": {"age"}}),
    ],
)
def test_a_condition_is_given_what_it_names_and_never_less(source: str, expected: dict[str, Any]) -> None:
    assert reads(source) == {name: None if used is None else frozenset(used) for name, used in expected.items()}


@pytest.mark.parametrize(
    "source",
    [
        "context.missing == 1",
        "context.text > 1",
        "1 / 0 == 1",
        "context.list[9] == 1",
        "context.text",
        "context.none.x",
    ],
)
def test_whatever_goes_wrong_is_one_failure_for_the_caller_to_close_on(source: str) -> None:
    with pytest.raises(ConditionFailed):
        holds(source, context={"text": "x", "list": [1], "none": None})


def test_absent_fields_can_be_asked_for() -> None:
    assert not holds("has(context.a) && context.a == 1", context={})
    assert holds("!has(context.a) || context.a == 1", context={})


def test_a_comprehension_may_not_take_a_variables_name() -> None:
    with pytest.raises(InvalidCondition, match="another name"):
        condition("context.list.exists(facts, facts == 1)")


def test_text_in_quotes_is_not_taken_for_code() -> None:
    assert holds("context.a == 'x.map(y, z) // now()'", context={"a": "x.map(y, z) // now()"})


def test_a_whole_number_is_an_integer_however_it_was_written() -> None:
    assert plain({"a": [1.0, 1.5, 2, True, float(2**60)]}) == {"a": [1, 1.5, 2, True, float(2**60)]}
    assert [type(item) for item in plain([1.0, 1.5, True, float(2**60)])] == [int, float, bool, float]


@pytest.mark.parametrize(
    ("source", "needs"),
    [
        ("ready.epoch && score.q > -4.9", "epoch"),
        (" ready.drift&&score.drift > 0.0", "drift"),
        ("ready.p && score.p < 0.05", "p"),
        ("ready.agent && score.agent >= 4", "agent"),
        ("ready.epoch && score.q > 1.0 || action.impact >= 2", ""),
        ("ready.epoch && score.q > 1.0 ? true : true", ""),
        ("!ready.epoch && action.impact >= 2", ""),
        ("action.impact >= 2 && ready.epoch", ""),
        ('ready.epoch && action.name == "a||b"', "epoch"),
    ],
)
def test_a_condition_cannot_hold_without_what_it_needs(source: str, needs: str) -> None:
    full, empty = samples()
    found = compile_condition(source, _FIELDS)
    assert found.needs == needs
    for scene in (full, empty):
        lacking = bool(needs) and not scene.ready(needs)
        assert not (lacking and found.holds(scene.value))
    assert not needs or not empty.ready(needs)
