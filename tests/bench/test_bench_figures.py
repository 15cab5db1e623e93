"""Percentiles, speeds and pacing: the arithmetic that every figure rests on."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import pacing
from bench.errors import BenchFailed
from bench.figures import cpu_s, percentile, spread, surroundings
from bench.watching import Seen, speed

SAMPLES = st.lists(st.floats(0, 1e6), min_size=1, max_size=200)


@given(SAMPLES, st.floats(0, 1))
def test_a_percentile_is_a_sample_that_its_share_does_not_exceed(samples, share):
    found = percentile(samples, share)
    assert found in samples
    assert sum(each <= found for each in samples) >= share * len(samples) - 1e-9
    assert sum(each < found for each in samples) <= share * len(samples)


@given(SAMPLES)
def test_percentiles_rise_to_the_largest_sample(samples):
    found = spread(samples)
    assert found["p50"] <= found["p99"] <= found["p999"] <= found["max"] == round(max(samples), 3)


@pytest.mark.parametrize(("samples", "share"), [([], 0.5), ([1.0], 1.1), ([1.0], -0.1)])
def test_no_samples_have_no_percentile(samples, share):
    with pytest.raises(ValueError, match="at least one sample"):
        percentile(samples, share)


def test_a_speed_leaves_start_and_end_out():
    steady = [Seen(at_s=2 + n, records=100 + 100 * n, cpu_s=5 + 0.01 * n) for n in range(1, 10)]
    seen = [Seen(0, 100, 1), *steady, Seen(60, 1_100, 50)]
    found = speed(seen, start=100, count=1_000)
    assert found.per_s == pytest.approx(100)
    assert found.cpu_us == pytest.approx(100)
    assert found.span_s == pytest.approx(7)


def test_what_was_over_before_it_could_be_watched_is_no_speed():
    with pytest.raises(BenchFailed, match="too quickly"):
        speed([Seen(0, 0, 0), Seen(1, 1_000, 1)], start=0, count=1_000)


def test_every_ask_is_made_once_and_measured():
    made, lock = [], threading.Lock()

    def ask(number):
        with lock:
            made.append(number)

    found = pacing.at_rate(ask, list(range(50)), rate_per_s=5_000, threads=4)
    assert sorted(made) == list(range(50))
    assert len(found.took_ms) == len(found.late_ms) == 50
    assert all(took >= 0 for took in found.took_ms)
    assert all(late >= 0 for late in found.late_ms), "none starts before its time"


def test_an_ask_that_fails_ends_the_pace():
    def ask(number):
        if number == 3:
            raise BenchFailed("no answer")

    with pytest.raises(BenchFailed, match="no answer"):
        pacing.at_once(ask, list(range(10)), threads=2)


def test_every_result_says_where_it_was_measured():
    found = surroundings("none")
    assert {"machine", "python", "versions", "broker", "commit", "load_before"} <= set(found)
    assert found["versions"]["confluent-kafka"]
    assert found["machine"]["cores"] >= 1


def test_processor_time_only_grows():
    before = cpu_s(os.getpid())
    assert 0 <= before <= cpu_s(os.getpid())
