"""Sets that go through the scorer's decisions: what counts as a false alarm, an attack found, and how soon."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bench.detection import sans, sea_gate
from bench.detection.gate import First, Gate, firsts
from bench.detection.sea_data import BLOCK, BLOCKS, USERS
from bench.detection.waits import by_user, episodes, median_interval
from models.transition import NEW
from stayhand.wire import pending_action

DATA = Path(os.environ.get("STAYHAND_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def act(name="svc:Get", user="a", **context):
    return pending_action(
        {
            "subject": {"type": "iam-user", "id": user},
            "action": {"name": name},
            "resource": {"type": "bucket", "id": "b"},
            "context": context,
        }
    )


def test_a_gate_remembers_each_identity_by_itself():
    gate = Gate()
    ruling = gate.ask(act(), 1_700_000_000_000)
    assert ruling.decision["verdict"] == "permit"
    assert gate.states["iam-user:a"].baseline.events == 1
    assert gate.states.get("iam-user:b", NEW) is NEW


def test_the_first_of_a_level_is_the_first_that_is_as_severe():
    found = firsts([(0, "permit"), (1_000, "guide"), (3_000, "slow"), (4_000, "permit")])
    assert found == {"slow": First(2, 1.0), "guide": First(2, 1.0), "block": None}


def logged(hour, label="", user="a", at_ms=0):
    return sans.Logged(hour * sans.HOUR_MS + at_ms, f"{hour}", act(user=user), label)


def test_benign_hours_are_counted_once_and_attacks_by_their_first_alarm():
    events = [logged(1), logged(1), logged(2), logged(3, sans.BURST), logged(3, sans.BURST, at_ms=4_000)]
    events.append(logged(5, sans.JMERCKLE, user="j"))
    told = sans.figures(events, ["slow", "guide", "permit", "permit", "slow", "permit"])
    assert (told["benign_hours_alarmed"], told["benign_hours"]) == (1, 2)
    assert (told["exfil_s"], told["exfil_actions"]) == (4.0, 2)
    assert told["jmerckle_caught"] is False
    assert told["benign_hours_alarmed_ci"] == [1.0, 1.0], "one identity drawn anew is itself"


def test_at_equal_catch_a_score_pays_for_the_attack_that_it_sees_least():
    events = [logged(1), logged(2), logged(3, sans.BURST), logged(3, sans.BURST, at_ms=9_000), logged(4, sans.JMERCKLE)]
    assert sans.hours_at_equal_catch(events, [1, 5, 3, 9, 7]) == 1, "what comes after five seconds does not count"
    assert sans.hours_at_equal_catch(events, [3, 5, 3, 9, 7]) == 2
    assert sans.hours_at_equal_catch(events, [1, 2, 3, 3, 3]) == 0


def test_a_simple_rule_is_told_by_what_it_alarms_and_misses():
    events = [logged(1), logged(2), logged(3, sans.BURST), logged(4, sans.JMERCKLE, user="j")]
    told = sans.at_own_level(events)["first_seen"]
    assert told == {"benign_hours_alarmed": 1, "burst_caught": False, "jmerckle_caught": True}


def test_what_is_new_is_counted_within_its_hour():
    assert sans.first_seen([logged(1), logged(1), logged(2), logged(2, user="b")]) == [2, 2, 0, 2]


def test_verdicts_on_masquerades_are_counted_by_level():
    labels = np.zeros((USERS, BLOCKS), dtype=bool)
    labels[0, 10] = labels[1, 20] = True
    ruled = np.zeros((USERS, BLOCKS * BLOCK, 5), dtype=int)
    ruled[:, :, 3:] = -9 * 1024
    ruled[0, 10 * BLOCK + 4] = 2, 0, 2, 0, 0
    ruled[1, 20 * BLOCK + 4] = 0, 0, 0, 1024, 1024
    ruled[2, 50] = 1, 1, 0, -9 * 1024, -9 * 1024
    whole = sea_gate.figures(ruled, labels)
    assert whole["masquerades"] == 2
    assert (whole["rules"]["slow"]["reached"], whole["bands"]["slow"]["reached"]) == (0.0, 0.5)
    assert whole["bands"]["slow"]["benign_blocks"] == 0
    assert whole["online"]["auc"] == 1.0
    assert (whole["online"]["hit_fa_1_0"], whole["online"]["delay_median"]) == (1.0, 5.0)
    told = whole["pack"]
    assert (told["slow"]["reached"], told["guide"]["reached"], told["block"]["reached"]) == (0.5, 0.5, 0.0)
    assert told["slow"]["actions_median_of_reached"] == 5
    assert told["slow"]["benign_blocks"] > told["guide"]["benign_blocks"] == 0
    assert told["block"]["actions_median"] is None


def test_waits_are_by_user_and_an_interval_covers_them():
    labels = np.zeros((3, 4), dtype=bool)
    labels[:, 1] = True
    alarms = np.zeros((3, 4 * BLOCK), dtype=bool)
    alarms[0, BLOCK], alarms[1, BLOCK + 49] = True, True
    waits = by_user(alarms, labels)
    assert waits == [[1.0], [50.0], [float("inf")]]
    low, high = median_interval([waits])
    assert low <= 50.0 <= high
    assert episodes(alarms, ~np.repeat(labels, BLOCK, axis=1)) == 0


@pytest.mark.skipif(not (DATA / "sans504").is_dir(), reason="the development data is not there")
def test_both_attacks_in_the_cloud_logs_are_found_and_few_benign_hours_alarm(monkeypatch):
    monkeypatch.setenv("STAYHAND_DATA", str(DATA))
    told = sans.measure(lambda _: None, quick=True)["sans"]
    assert told["benign_hours"] == 199
    assert told["benign_hours_alarmed"] <= 9
    assert told["exfil_s"] <= 5
    assert told["jmerckle_caught"] is True
