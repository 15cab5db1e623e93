"""The report: its numbers are the replay's, for programs and for people, and a warning comes once."""

import io

from rich.console import Console

from streams.replay.ledger import Peak
from streams.replay.ordering import Intake
from streams.replay.progress import EMBEDDED_EVENTS, Bar
from streams.replay.report import as_json, show
from streams.replay.runner import Report

PEAK = Peak(
    "t:x", 4, 1_700_000_000_000, "block", 30_720, "a:b", "r:1", (("action", 2_048),), (("odd", "This is odd."),)
)
INTAKE = Intake(
    events=13,
    queued=9,
    duplicates=2,
    skipped=1,
    unreadable=1,
    unreadable_names=["a.log line 3: not JSON"],
    others=12,
    other_names=[f"README{number}" for number in range(12)],
)
REPORT = Report(
    prefix="p",
    intake=INTAKE,
    verdicts={"permit": 7, "block": 1},
    refused={"bad-shape": 1},
    digest="d" * 64,
    top=((PEAK, {"permit": 7, "slow": 0, "guide": 0, "block": 1}),),
    scoring_s=3.0,
    backfilled=4,
    answers_lost=2,
)


def test_the_json_adds_up_and_says_why():
    told = as_json(REPORT)
    assert REPORT.accounted
    assert told["events"] == sum(told[name] for name in ("scored", "duplicates", "unreadable", "skipped", "refused"))
    assert told["verdicts"] == {"permit": 7, "slow": 0, "guide": 0, "block": 1}
    assert (told["refusals"], told["backfilled"], told["answers_lost"], told["events_per_s"]) == (
        {"bad-shape": 1},
        4,
        2,
        3,
    )
    assert told["top"][0]["peak"]["reasons"] == [["odd", "This is odd."]]


def test_people_are_told_the_same():
    out = io.StringIO()
    show(REPORT, Console(file=out, width=200))
    text = out.getvalue()
    for part in (
        "13 events",
        "8 scored",
        "a.log line 3",
        "t:x",
        "30.0",
        "This is odd.",
        "bad-shape",
        "and 2 more",
        "4 baselines",
    ):
        assert part in text
    assert "README11" not in text


def test_a_missing_verdict_is_not_accounted_for():
    assert not Report("p", INTAKE, {"permit": 7}, {"bad-shape": 1}).accounted


def test_a_broker_in_memory_is_warned_of_once_and_only_above_its_measure(capsys):
    with Bar(embedded=True) as bar:
        bar.reading(INTAKE)
        bar.scoring(1, EMBEDDED_EVENTS)
        assert capsys.readouterr().err == ""
        bar.scoring(2, EMBEDDED_EVENTS + 1)
        bar.scoring(3, EMBEDDED_EVENTS + 1)
    assert capsys.readouterr().err.count("--broker apache") == 1
    with Bar() as bar:
        bar.scoring(1, EMBEDDED_EVENTS + 1)
    assert capsys.readouterr().err == ""
