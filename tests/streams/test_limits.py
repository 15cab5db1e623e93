"""Limits by record time: never more than allowed in a window, whatever the order, in bounded memory."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from schemas.documents import EnforcementPoint, PointKey
from streams.limits import HOUR_MS, Limiter

TIMES = st.lists(st.integers(0, 5_000), max_size=60)


def point(name: str = "gateway", rate_per_s: int = 3, new: int = 2) -> EnforcementPoint:
    return EnforcementPoint(
        point=name,
        keys=(PointKey(key_id="k"),),
        identities=("*",),
        actions=("*",),
        reply_topics=(),
        rate_per_s=rate_per_s,
        new_identities_per_hour=new,
    )


@given(TIMES, st.integers(1, 5))
def test_a_second_admits_what_was_asked_up_to_its_rate(times: list[int], rate: int) -> None:
    limiter, asking = Limiter(), point(rate_per_s=rate)
    admitted = Counter(at_ms // 1_000 for at_ms in times if limiter.admit(asking, at_ms))
    asked = Counter(at_ms // 1_000 for at_ms in times)
    assert admitted == {second: min(count, rate) for second, count in asked.items()}


@given(TIMES, st.integers(1, 5))
def test_the_longer_run_never_exceeds_rate_times_seconds_and_one_burst(times: list[int], rate: int) -> None:
    limiter, asking = Limiter(), point(rate_per_s=rate)
    admitted = [at_ms for at_ms in sorted(times) if limiter.admit(asking, at_ms)]
    for first in admitted:
        for span_s in (1, 2, 3):
            assert sum(first <= at_ms < first + 1_000 * span_s for at_ms in admitted) <= rate * (span_s + 1)


@given(TIMES, st.randoms(use_true_random=False))
def test_how_many_are_admitted_does_not_depend_on_the_order_of_reading(times: list[int], shuffle: object) -> None:
    shuffled = list(times)
    shuffle.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = Limiter(), Limiter()
    assert sum(first.admit(point(), t) for t in times) == sum(second.admit(point(), t) for t in shuffled)


def test_a_partition_that_is_read_after_another_is_not_refused_for_its_older_records() -> None:
    limiter = Limiter()
    half = [at_ms for at_ms in range(0, 10_000, 1_000) for _ in range(2)]
    asking = point(rate_per_s=4)
    assert all(limiter.admit(asking, at_ms) for at_ms in half + half)
    assert not limiter.admit(asking, 0)


def test_points_do_not_share_an_allowance() -> None:
    limiter = Limiter()
    one, other = point("one", rate_per_s=1), point("other", rate_per_s=1)
    assert [limiter.admit(one, 0), limiter.admit(one, 0), limiter.admit(other, 0)] == [True, False, True]


def test_new_identities_are_counted_by_the_hour_and_apart_from_asks() -> None:
    limiter, asking = Limiter(), point(rate_per_s=1, new=2)
    assert limiter.admit(asking, 0)
    assert [limiter.admit_new(asking, at_ms) for at_ms in (0, 1, HOUR_MS - 1, HOUR_MS)] == [True, True, False, True]
    assert not Limiter().admit_new(point(new=0), 0)


def test_memory_is_bounded_and_the_oldest_count_goes_first() -> None:
    limiter, asking = Limiter(windows_max=3), point(rate_per_s=1)
    assert all(limiter.admit(asking, second * 1_000) for second in range(4))
    assert [limiter.admit(asking, second * 1_000) for second in (3, 2, 1)] == [False, False, False]
    assert limiter.admit(asking, 0)
