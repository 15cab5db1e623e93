"""What the signals of an agent's tool call are worth: points that add up, each with a sentence of its own.

The signals are classes and flags that the enforcement point computed where the texts are (`stayhand.agents`); they
stand in the action's context under ``agent``. The weights were set by hand on runs of AgentDojo (Debenedetti et al.
2024).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from stayhand import canonical
from stayhand.wire import Context

Term = tuple[str, int]
SIGNALS = "agent"
_LINKED = frozenset({"", "T", "L", "D"})
# All but what stands in third parties' texts alone; there, any class that is not known counts as foreign.
_OWN = _LINKED | {"C", "N", "unknown"}
_INSIDE = frozenset({"internal", "own"})
# From this effect on, or reading something this sensitive, a call outside the task weighs as much as an act.
_ACTS = 1
_SENSITIVE = 2
POINTS: Final = {
    "argument-unknown": 2,
    "argument-unlinked": 2,
    "argument-third-party": 1,
    "argument-foreign": 3,
    "argument-from-outside": 3,
    "argument-source-unnamed": 1,
    "argument-address": 1,
    "argument-steered": 1,
    "argument-instead-of-own": 1,
    "content-foreign-address": 1,
    "selector-foreign": 4,
    "selector-from-outside": 2,
    "selector-fetched": 1,
    "family-not-declared": 3,
    "irreversible-not-declared": 1,
    "family-not-in-task": 3,
}
# Of a family outside the task: what does and reveals little, what is near the task, and what the task delegated.
LIGHT, NEAR, DELEGATED = 1, 2, 1


class AgentScore(NamedTuple):
    """``total`` points, 0 or more, and the ``terms`` that are not zero, the largest first."""

    total: int
    terms: tuple[Term, ...]


def weights_version(points: Mapping[str, int] = POINTS) -> str:
    """A name of these weights; other weights have another one."""
    return canonical.digest([dict(points), LIGHT, NEAR, DELEGATED, _ACTS, _SENSITIVE])[:8]


def agent_points(context: Context) -> AgentScore | None:
    """The points of a call whose context carries signals; None where it carries none, which is not 0.

    A signal that is missing or has another type than it should counts as the worst that it can be.
    """
    signals = (context.model_extra or {}).get(SIGNALS)
    if signals is None:
        return None
    told: Mapping[str, Any] = signals if isinstance(signals, dict) else {}
    terms = [*_argument(told), *_selector(told), *_family(told)]
    terms.sort(key=_size, reverse=True)
    return AgentScore(sum(points for _, points in terms), tuple(terms))


def _worth(name: str) -> Term:
    return name, POINTS[name]


def _size(term: Term) -> int:
    return term[1]


def _argument(told: Mapping[str, Any]) -> Iterator[Term]:
    """Whom or what the call acts on, and where that came from."""
    kind = _text(told, "argument_class")
    if kind == "unknown":
        yield _worth("argument-unknown")
    elif kind in {"f", "N"}:
        yield _worth("argument-unlinked")
    elif kind == "C":
        yield _worth("argument-third-party")
    elif kind not in _LINKED:
        yield from _foreign(told)
    if kind not in _OWN and told.get("task_names_own") is not False and told.get("delegated") is not True:
        yield _worth("argument-instead-of-own")
    if told.get("content_foreign_address") is not False:
        yield _worth("content-foreign-address")


def _foreign(told: Mapping[str, Any]) -> Iterator[Term]:
    yield _worth("argument-foreign")
    if _text(told, "source_trust") not in _INSIDE:
        yield _worth("argument-from-outside")
    if told.get("source_named") is not True:
        yield _worth("argument-source-unnamed")
    if _text(told, "argument_type") != "name":
        yield _worth("argument-address")
    if not _below(told.get("hops"), 1):
        yield _worth("argument-steered")


def _selector(told: Mapping[str, Any]) -> Iterator[Term]:
    """A read of what somebody else's text points to."""
    kind = _text(told, "selector_class")
    if kind in _OWN or kind == "f" or _text(told, "selector_type") == "name":
        return
    yield _worth("selector-foreign")
    if _text(told, "selector_trust") not in _INSIDE:
        yield _worth("selector-from-outside")
    # Fetching an address tells its owner something; looking it up in one's own records does not.
    if _text(told, "selector_type") == "url":
        yield _worth("selector-fetched")


def _family(told: Mapping[str, Any]) -> Iterator[Term]:
    """Whether what the task's owner declared, or else the task's text, covers what the tool does."""
    declared, implied = _text(told, "family_declared"), _text(told, "family_in_task")
    heavy = not (_below(told.get("effect"), _ACTS) and _below(told.get("sensitivity"), _SENSITIVE))
    if declared == "inside":
        return
    if declared == "outside":
        yield "family-not-declared", POINTS["family-not-declared"] if heavy else LIGHT
        if told.get("irreversible") is not False:
            yield _worth("irreversible-not-declared")
    elif implied != "yes":
        points = _outside_task(told, near=implied == "near", heavy=heavy)
        if points:
            yield "family-not-in-task", points


def _outside_task(told: Mapping[str, Any], *, near: bool, heavy: bool) -> int:
    if told.get("delegated") is True:
        return DELEGATED if heavy else 0
    if not heavy:
        return LIGHT
    return NEAR if near else POINTS["family-not-in-task"]


def _text(told: Mapping[str, Any], name: str) -> str:
    """The signal where it is a text; what is no signal at all otherwise."""
    value = told.get(name)
    return value if isinstance(value, str) else "?"


def _below(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < least
