"""The names that a reader of the bench's JSON relies on, and the page and plots that are made from it."""

from __future__ import annotations

import copy
import json
import xml.etree.ElementTree as ET

import pytest

from bench.detection import SETS, page
from bench.detection.goals import GOALS
from bench.detection.page import look_up, set_of, split, written
from bench.detection.sea_answered import SETTINGS
from bench.detection.svg import Axis, chart
from bench.figures import ROOT

NAMES = {
    "sea.auc": float,
    "sea.hit_fa_1_0": float,
    "sea.hit_fa_1_3": float,
    "sea.hit_fa_4_6": float,
    "sea_unvouched.hit_fa_1_0": float,
    "sea_unvouched.hit_fa_1_3": float,
    "sea_unvouched.hit_fa_4_6": float,
    "sea_cold100.auc": float,
    "sea_cold100.hit_fa_1_0": float,
    "sea_online.auc": float,
    "sea_online.hit_fa_4_6": float,
    "sea_online_unvouched.hit_fa_4_6": float,
    "sea_online.delay_median": float,
    "sea_poison.alarm_fa_5": float,
    "agentdojo_same.recall_fpr_1": float,
    "agentdojo_disjoint.recall_fpr_1": float,
    "agentdojo_session.confirm.recall_fpr_1": float,
    "agentdojo_session.confirm_strict.recall_fpr_1": float,
    "agentdojo_session.clean_sessions_flagged": float,
    "sans.benign_hours_alarmed": int,
    "sans.exfil_s": float,
    "sans.jmerckle_caught": bool,
    "cost.p99_us": float,
    "cost.state_bytes": int,
}
COUNTS = {"sea_online.delay_median", "sans.exfil_s", "sans.benign_hours_alarmed", "cost.p99_us", "cost.state_bytes"}
WITH_INTERVAL = {name for name in NAMES if not name.startswith("cost.")} - {"sans.exfil_s", "sans.jmerckle_caught"}
SEEN = json.loads((ROOT / "docs" / "detection.json").read_text(encoding="utf-8"))
FIGURES = {key: value for run in SEEN.values() for key, value in run.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_has_its_name_and_its_kind(name):
    value = look_up(FIGURES, name)
    assert isinstance(value, NAMES[name])
    if name not in COUNTS:
        assert 0 <= value <= 1, "rates are fractions"


@pytest.mark.parametrize("name", sorted(WITH_INTERVAL))
def test_a_main_figure_has_its_interval(name):
    low, high = look_up(FIGURES, f"{name}_ci")
    assert low <= look_up(FIGURES, name) <= high


def test_every_name_has_a_goal_and_every_goal_a_name():
    assert {goal.name for goal in GOALS} == set(NAMES)


def test_the_simple_methods_stand_beside_ours_on_each_set():
    methods = {"first_seen", "static_impact", "half_space_trees", "rrcf"}
    for place in ("sea_baselines", "agentdojo_same", "agentdojo_disjoint", "sans.at_equal_catch"):
        assert methods <= set(look_up(FIGURES, place)), place


def test_page_and_plots_are_those_that_the_figures_make():
    for name, text in written(SEEN).items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == text, f"run python -m {page.__name__}"


def test_a_figure_that_misses_its_goal_is_told():
    worse = copy.deepcopy(SEEN)
    worse["sea"]["sea"]["auc"] = 0.5
    assert written(worse)["detection.md"].count("**missed**") == 1 + written(SEEN)["detection.md"].count("**missed**")


def test_a_run_is_split_by_set_and_a_quick_one_is_refused():
    run = {"quick": False, "measured_on": "2026-01-01", "sans": {"a": 1}, "sea_online": {"b": 2}, "sea": {"c": 3}}
    found = split(run)
    assert set(found) == {"sans", "sea"}
    assert found["sea"]["sea_online"] == {"b": 2}
    assert found["sans"]["measured_on"] == "2026-01-01"
    with pytest.raises(ValueError, match="quick"):
        split(run | {"quick": True})


def test_what_answers_change_is_shown_by_setting_beside_no_answers():
    names = ("auc", "hit_fa_1_0", "hit_fa_4_6", "guided_hit", "guided_false", "questions")
    measured = copy.deepcopy(SEEN)
    measured["sea_answered"]["sea_answered"] = {"none": dict.fromkeys(names, 0.5), "half": dict.fromkeys(names, 0.625)}
    assert "| half | 62.5% |" in written(measured)["detection.md"]
    assert list(SEEN["sea_answered"]["sea_answered"]) == list(SETTINGS)


def test_a_key_belongs_to_the_set_that_it_begins_with():
    assert [set_of(key) for key in ("sea", "sea_online", "sea_answered", "agentdojo_same", "season")] == [
        "sea",
        "sea",
        "sea_answered",
        "agentdojo",
        "season",
    ]


def test_a_page_needs_every_set():
    with pytest.raises(ValueError, match=SETS[0]):
        written({name: SEEN[name] for name in SETS[1:]})


def test_a_chart_is_sound_xml_with_a_line_for_each_name_within_its_frame():
    x = Axis("x <&>", 0.01, 1.0, [(0.01, "low"), (1.0, "high")], logarithmic=True)
    y = Axis("y", 0.0, 1.0, [(0.0, "0"), (1.0, "1")])
    drawn = ET.fromstring(chart("a < b", x, y, {"one": [(0.01, 0.0), (0.1, 0.5), (5.0, 2.0)], "two": [(0.5, 0.5)]}))
    lines = drawn.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 2
    points = [tuple(map(float, pair.split(","))) for pair in lines[0].attrib["points"].split()]
    assert points[1][0] == pytest.approx((points[0][0] + points[2][0]) / 2, abs=0.1)
    assert points[0][1] > points[1][1] > points[2][1] >= 36
