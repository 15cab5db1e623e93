"""What answers change: streams whose owner is known, with and without a person's word."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.detection.sea_answered import (
    ASK_ABOVE,
    SETTINGS,
    Answers,
    Replayed,
    Reviewer,
    compared,
    figures,
    replayed,
    shell_history,
)
from bench.detection.sea_data import masquerades
from models.profiles import build_profile, counted
from models.transition import NEW, State, decide, settle
from tests.models.asks import START_MS, ask, default_pack, world

DATA = Path(os.environ.get("STAYHAND_DATA", Path(__file__).parents[3] / "shared" / "data"))
PROFILE = build_profile("others", [counted([f"their{(n * n) % 60}" for n in range(600)], 100) for _ in range(3)])


def own(count: int, start: int = 0) -> Iterator[tuple[str, bool]]:
    for n in range(start, start + count):
        yield f"mine{(n * 7) % 11}", True


def new_role(count: int) -> Iterator[tuple[str, bool]]:
    """The identity itself, doing what others do and it never did."""
    for n in range(count):
        yield f"their{(n * 5) % 40}", True


def intruder(count: int) -> Iterator[tuple[str, bool]]:
    for name, _ in new_role(count):
        yield name, False


def above(played: Replayed, first: int, last: int) -> int:
    return sum(h > ASK_ABOVE for h, _ in played.events[first:last])


def test_a_change_of_habits_that_is_answered_for_alarms_less_than_one_that_is_not() -> None:
    story = [*own(2_000), *new_role(600)]
    silent, heard = (replayed(story, PROFILE, answers) for answers in (None, Answers(1.0)))
    assert heard.fine >= 1
    assert heard.bad == 0
    assert silent.events[:2_000] == heard.events[:2_000]
    assert above(silent, 2_000, 2_600) > 200
    assert above(heard, 2_000, 2_600) < 0.8 * above(silent, 2_000, 2_600)


def test_an_intruder_who_is_disowned_never_becomes_normal_and_one_who_is_not_does() -> None:
    story = [*own(2_000), *intruder(2_400)]
    silent, heard = (replayed(story, PROFILE, answers) for answers in (None, Answers(1.0)))
    assert heard.bad >= 2
    assert above(silent, 4_000, 4_400) < 400
    assert above(heard, 4_000, 4_400) == 400


def test_an_intruder_who_answers_himself_is_normal_sooner() -> None:
    story = [*own(2_000), *intruder(1_000)]
    silent, lied = (replayed(story, PROFILE, answers) for answers in (None, Answers(1.0, lies=1.0)))
    assert lied.bad == 0
    assert above(lied, 2_000, 3_000) < above(silent, 2_000, 3_000)


def test_what_nobody_asks_about_goes_on_as_without_answers() -> None:
    story = [*own(1_500)]
    assert replayed(story, PROFILE, Answers(1.0, above=99.0)) == replayed(story, PROFILE, None)


def _play(given: tuple[int, Answers | None]) -> Replayed:
    row, answers = given
    return replayed([*own(2_000), *(own(200, 3) if row else intruder(200)), *own(100, 5)], PROFILE, answers, row)


def test_the_figures_compare_all_settings_on_the_same_blocks() -> None:
    labels = np.array([[True, True, False], [False, False, False]])
    told = compared(_play, (0, 1), labels)
    assert set(told) == set(SETTINGS)
    assert told["none"]["questions"] == 0
    assert told["all"]["questions"] > 0
    assert told["all"]["answered_bad"] >= 1
    assert told["none"] == figures([_play((0, None)), _play((1, None))], labels)


def odd_hours(said: str | None) -> tuple[Reviewer, int]:
    """A token that begins to do something odd once a minute, for two hours; the alarms of these hours."""
    reviewer = Reviewer(1.0 if said else 0.0, apart_ms=900_000, delay_ms=60_000)
    states: dict[str, State] = {"token:ci": NEW}
    here, verdicts = world(default_pack()), list[str]()
    for n in range(420):
        at_ms, odd = START_MS + n * 60_000, n >= 300
        resource = {"type": "host", "id": "odd" if odd else "a"}
        source = "198.51.100.9" if odd else "192.0.2.7"
        given = ask("iam.role.read" if odd else "ci.job.start", at_ms=at_ms, n=n, resource=resource, source=source)
        reviewer.hear(states, at_ms)
        ruling = decide(states["token:ci"], given, here)
        states["token:ci"] = settle(states["token:ci"], ruling.effects)
        reviewer.ruled(given, ruling, own=said == "fine")
        verdicts.append(ruling.decision["verdict"])
    return reviewer, sum(verdict != "permit" for verdict in verdicts[300:])


def test_through_the_scorers_own_decisions_an_answer_changes_what_alarms_afterwards() -> None:
    (silent, unanswered), (one, fine), (other, bad) = (odd_hours(said) for said in (None, "fine", "bad"))
    assert (silent.fine, silent.bad) == (0, 0)
    assert one.fine > 0 == one.bad
    assert other.bad > 0 == other.fine
    assert fine < unanswered <= bad


@pytest.mark.skipif(not (DATA / "sea_masquerade").is_dir(), reason="the shell histories are not in STAYHAND_DATA")
def test_on_the_shell_histories_answers_find_more_at_the_same_price(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAYHAND_DATA", str(DATA))
    told = compared(shell_history, MARKED, masquerades()[MARKED])
    assert told["all"]["answered_bad"] > 0
    assert told["all"]["auc"] > told["none"]["auc"]
    assert told["all"]["guided_false"] <= told["none"]["guided_false"]


# Users whose histories hold masquerades.
MARKED = [1, 8, 15, 23, 41]
