"""The story's end: it is well only where the stolen token was blocked and nobody honest was."""

import io

import pytest
from rich.console import Console

from streams.demo.command import _summary
from streams.demo.fleet import SIBLING, VICTIM
from streams.demo.screen import Lines, Shown
from streams.demo.story import Tallied, _ending
from streams.replay.ordering import Intake
from streams.replay.runner import Report

REPORT = Report("p", Intake(), {"permit": 3}, backfilled=2)


def shown(verdict, worker=SIBLING, *, stolen=False):
    """One decision."""
    return Shown(1.0, worker.identity, "a:b", "10.0.0.1", verdict, 2.0, "because", stolen)


def ending_of(*decisions, failure=""):
    """How the story ends after these."""
    tallied = Tallied()
    for decision in decisions:
        tallied.add(decision)
    if failure:
        tallied.failed(failure)
    return _ending(REPORT, tallied)


GOOD = (shown("permit"), shown("slow", VICTIM, stolen=True), shown("block", VICTIM, stolen=True), shown("permit"))


def test_a_theft_that_is_slowed_then_blocked_while_its_sibling_works_is_a_good_end():
    ending = ending_of(*GOOD)
    assert ending.wrong == ()
    assert ending.stolen == {"slow": 1, "block": 1}
    assert ending.honest == {"permit": 2}


@pytest.mark.parametrize(
    ("decisions", "failure", "word"),
    [
        (GOOD[:2] + GOOD[3:], "", "never blocked"),
        ((), "", "never blocked"),
        ((*GOOD, shown("block", VICTIM)), "", "honest"),
        (GOOD[:3], "", "not permitted"),
        ((GOOD[0], *GOOD[2:]), "", "not held back"),
        ((GOOD[0], GOOD[2], GOOD[1], GOOD[3]), "", "not held back"),
        (GOOD, "no decision", "no decision"),
    ],
)
def test_any_other_end_is_wrong_and_said_so(decisions, failure, word):
    ending = ending_of(*decisions, failure=failure)
    assert any(word in text for text in ending.wrong)
    assert "WRONG" in _summary(ending)


def test_without_a_terminal_each_decision_is_one_line_with_its_reason():
    out = io.StringIO()
    lines = Lines(Console(file=out, width=60, markup=False, highlight=False))
    lines.say("once upon a time")
    lines.show(shown("block", VICTIM, stolen=True))
    first, second = out.getvalue().splitlines()
    assert first == "once upon a time"
    assert second.startswith("!")
    assert all(word in second for word in ("block", VICTIM.identity, "a:b", "because"))
