"""Detection's figures: what they say of scores whose answer is known, and that the sets can be run."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bench import detection
from bench.detection import cost, sea
from bench.detection.ranking import auc, hit, interval, intervals, mean, summary, threshold
from bench.errors import BenchFailed

DATA = Path(os.environ.get("STAYHAND_DATA", Path(__file__).parents[3] / "shared" / "data"))


def test_the_area_is_one_where_scores_sort_and_half_where_they_say_nothing() -> None:
    labels = np.array([[False, False, True, True]])
    assert auc(np.array([[0.0, 1.0, 2.0, 3.0]]), labels) == 1.0
    assert auc(np.array([[3.0, 2.0, 1.0, 0.0]]), labels) == 0.0
    assert auc(np.zeros((1, 4)), labels) == 0.5


def test_a_hit_is_above_what_so_many_negatives_reach() -> None:
    scores, labels = np.arange(200.0).reshape(2, 100), np.zeros((2, 100), dtype=bool)
    labels[1, 90:] = True
    assert (scores[~labels] > threshold(scores[~labels], 0.05)).mean() <= 0.05
    assert hit(scores, labels, 0.05) == 1.0
    assert hit(-scores, labels, 0.05) == 0.0
    assert summary(scores, labels)["auc"] == 1.0
    assert interval([scores], labels, auc) == [1.0, 1.0]
    assert intervals([scores], labels, ("auc", "hit_fa_1_0")) == {"auc_ci": [1.0, 1.0], "hit_fa_1_0_ci": [1.0, 1.0]}


def test_an_interval_holds_what_varies_between_identities_and_is_the_same_each_time() -> None:
    drawn = np.random.default_rng(5)
    labels = np.zeros((40, 50), dtype=bool)
    labels[:, 40:] = True
    scores = drawn.normal(size=labels.shape) + labels * drawn.normal(1.0, 1.0, size=(40, 1))
    low, high = interval([scores], labels, auc)
    assert low < auc(scores, labels) < high
    assert interval([scores], labels, auc) == [low, high]


def test_a_mean_tells_its_range_where_there_are_several_runs() -> None:
    assert mean([{"auc": 0.5}]) == {"auc": 0.5}
    assert mean([{"auc": 0.5}, {"auc": 1.0}]) == {"auc": 0.75, "auc_range": [0.5, 1.0]}


def test_alarms_near_one_another_are_one_episode_and_a_delay_counts_from_the_first_command() -> None:
    labels = np.zeros((sea.USERS, sea.BLOCKS), dtype=bool)
    labels[0, 50] = True
    q = np.full((sea.USERS, sea.BLOCKS * sea.BLOCK), -9.0)
    q[0, 5_029] = 5.0
    q[1, 10:60:7] = 1.0
    told = sea.delays(q, labels)
    assert (told["delay_median"], told["delay_caught"]) == (30.0, 1.0)


def test_an_unknown_set_is_refused_by_name() -> None:
    with pytest.raises(BenchFailed, match="sea"):
        detection.run(["other"], str, quick=True)


def test_the_cost_is_told_with_a_profile_and_without_one() -> None:
    told = cost.measure(lambda _: None, quick=True)["cost"]
    assert 0 < told["median_us"] <= told["p99_us"]
    assert told["state_bytes_usual"] <= told["state_bytes"] <= told["state_bytes_at_most"]
    assert told["how"]
    assert told["without_profile"]["median_us"] > 0
    assert 0 < told["control_median_us"] <= told["control_p99_us"]
    assert told["control_instructions"] > 0


@pytest.mark.skipif(not (DATA / "sea_masquerade").is_dir(), reason="the development data is not there")
def test_one_user_of_sea_is_told_from_its_masquerader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAYHAND_DATA", str(DATA))
    user = 1
    labels = sea.masquerades()[user]
    closed = np.array(sea.closed_blocks(user, salt=0))
    assert closed.shape == (sea.BLOCKS, 2)
    assert labels.any()
    assert auc(closed[:, 0], labels) > 0.9
