"""What may be published: validated, bounded, digested; the field is named otherwise."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stayhand import Action, Context, InvalidAction, PendingAction, Resource, Subject, canonical
from stayhand._prepare import prepare
from stayhand.secrets import Scanner
from stayhand.testing import KEY, FakeGuard
from stayhand.wire import MAX_ACTION_BYTES, MAX_CONTEXT_BYTES
from tests.sdk.conftest import ACTION, action

SCANNER = Scanner(KEY)
DEEP: Any = 0
for _ in range(100):
    DEEP = [DEEP]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"subject": None}, "subject"),
        ({"subject": {"type": "token"}}, "subject.id"),
        ({"subject": {"type": "To:ken", "id": "x"}}, "subject.type"),
        ({"subject": {"type": "token", "id": "a\nb"}}, "subject.id"),
        ({"action": {"name": 3}}, "action.name"),
        ({"resource": {"type": "r", "id": ""}}, "resource.id"),
        ({"resource": {"type": "r", "id": "\ud800"}}, "resource.id"),
        ({"context": {"bytes_out": -1}}, "context.bytes_out"),
        ({"context": {"note": "x" * MAX_CONTEXT_BYTES}}, "context"),
        ({"context": {"number": float("nan")}}, "context"),
        ({"context": {"number": 2**60}}, "context"),
        ({"context": {"deep": DEEP}}, "context"),
        ({"resource": {"type": "r", "id": "x", "properties": {"p": "x" * 5_000}}}, "resource.properties"),
        ({"context": {"argument_digest": "zz"}}, "context.argument_digest"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_published(change: Any, field: str, guard: FakeGuard) -> None:
    with pytest.raises(InvalidAction) as raised:
        guard.check(ACTION | change)
    assert raised.value.field == field
    assert guard.gate.asks == []


def test_an_action_of_too_many_bytes_is_refused() -> None:
    parts = {name: {"type": "t", "id": "x", "properties": {"p": "x" * 4_000}} for name in ("subject", "resource")}
    parts["action"] = {"name": "a", "properties": {"p": "x" * 4_000}}
    with pytest.raises(InvalidAction, match=f"at most {MAX_ACTION_BYTES}"):
        prepare(parts | {"context": {"note": "x" * 8_000}}, None, SCANNER)


@settings(deadline=None)
@given(JSON.filter(lambda value: isinstance(value, dict)))
def test_the_digest_is_that_of_the_canonical_arguments_whatever_their_order(arguments: dict[str, Any]) -> None:
    turned = dict(reversed(arguments.items()))
    digests = {prepare(ACTION, each, SCANNER).action.context.argument_digest for each in (arguments, turned)}
    assert digests == {canonical.digest(arguments)}


def test_a_digest_that_is_given_stays() -> None:
    assert prepare(action(argument_digest="ab" * 32), {"a": 1}, SCANNER).action.context.argument_digest == "ab" * 32


@pytest.mark.parametrize("arguments", [{"a": object()}, {"a": float("inf")}, {1: "a"}, {"a": DEEP}])
def test_arguments_that_are_no_plain_json_are_refused(arguments: Any) -> None:
    with pytest.raises(InvalidAction, match=r"^arguments"):
        prepare(ACTION, arguments, SCANNER)


def test_arguments_that_hold_themselves_are_refused() -> None:
    arguments: dict[str, Any] = {}
    arguments["self"] = arguments
    with pytest.raises(InvalidAction, match=r"^arguments"):
        prepare(ACTION, arguments, SCANNER)


def test_wire_types_and_plain_data_make_the_same_ask() -> None:
    typed = PendingAction(
        subject=Subject(type="token", id="ci-deployer"),
        action=Action(name="deploy.push"),
        resource=Resource(type="environment", id="prod/eu"),
        context=Context(source="10.0.0.1"),
    )
    mixed = {"subject": typed.subject, "action": typed.action, "resource": typed.resource, "context": typed.context}
    plain = action(source="10.0.0.1")
    made = [prepare(each, None, SCANNER) for each in (typed, mixed, plain)]
    assert len({each.value for each in made}) == 1
    assert {each.identity for each in made} == {"token:ci-deployer"}


def test_the_key_is_the_normalised_identity() -> None:
    subject = {"subject": {"type": "email", "id": "Ann@Example.ORG"}}
    assert prepare(ACTION | subject, None, SCANNER).identity == "email:ann@example.org"
