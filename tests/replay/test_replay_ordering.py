"""Ordering: events leave in order of (time, file, position), once each, and every one is accounted for."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.replay.event import Event
from streams.replay.ordering import Intake, Queue, take_in
from streams.replay.sources import leaves
from tests.replay.samples import AUTHZEN, K8S, TRAIL, but


def event_at(at_ms, event_id="", kind="authzen", stage=""):
    """An event whose body tells where it came from."""
    action = {
        "subject": {"type": "t", "id": "x"},
        "action": {"name": f"a:{at_ms}"},
        "resource": {"type": "r", "id": "r"},
    }
    return Event(kind, at_ms, event_id, stage, "t:x", action)


def intake_of(path, tmp_path, number=0):
    """What reading a path gives: the count, and the queued events."""
    intake = Intake()
    with Queue(tmp_path / f"queue{number}") as queue:
        for _ in take_in(leaves([path]), queue, intake):
            pass
        return intake, list(queue.ordered())


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 300), st.integers(0, 70_000)), max_size=40, unique=True)
)
def test_events_leave_in_order_of_time_file_and_position(tmp_path_factory, places):
    with Queue(tmp_path_factory.mktemp("queue")) as queue:
        for at_ms, file_index, position in places:
            assert queue.add(event_at(at_ms), file_index, position) == "queued"
        left = list(queue.ordered())
    assert [queued.number for queued in left] == list(range(len(places)))
    assert [queued.at_ms for queued in left] == [place[0] for place in sorted(places)]
    assert len({queued.ce_id for queued in left}) == len(places)


def test_the_same_id_is_a_duplicate_only_within_its_own_kind_of_log(tmp_path):
    with Queue(tmp_path / "q") as queue:
        assert queue.add(event_at(5, "one"), 0, 0) == "queued"
        assert queue.add(event_at(5, "one"), 1, 0) == "duplicate"
        assert queue.add(event_at(1, "one"), 2, 0) == "duplicate"
        assert queue.add(event_at(5, "one", kind="github"), 0, 1) == "queued"
        assert queue.add(event_at(5, ""), 0, 2) == "queued"
        assert queue.add(event_at(5, ""), 0, 3) == "queued"
        assert [queued.at_ms for queued in queue.ordered()] == [5, 5, 5, 5]


def test_only_the_first_stage_of_a_kubernetes_request_is_an_action(tmp_path):
    stages = [but(K8S, stage=stage) for stage in ("RequestReceived", "ResponseComplete", "RequestReceived")]
    path = tmp_path / "audit.log"
    path.write_text("\n".join(json.dumps(stage) for stage in stages))
    intake, queued = intake_of(path, tmp_path)
    assert (intake.events, intake.queued, intake.skipped, intake.duplicates) == (3, 1, 1, 1)
    assert len(queued) == 1


def test_reading_the_same_files_twice_gives_the_same_bytes(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps({"Records": [but(TRAIL, eventID=""), TRAIL, but(TRAIL, eventID="", eventName="GetObject")]})
    )
    assert intake_of(path, tmp_path, 1) == intake_of(path, tmp_path, 2)


PIECES = st.one_of(
    st.integers(0, 3).map(lambda n: json.dumps(but(AUTHZEN, id=f"id-{n}"))),
    st.integers(0, 3).map(lambda n: json.dumps(but(TRAIL, eventID=f"id-{n}"))),
    st.sampled_from(["RequestReceived", "ResponseComplete"]).map(lambda stage: json.dumps(but(K8S, stage=stage))),
    st.sampled_from(
        ['{"no": "event"}', "{broken", "7", "[]", '{"digestS3Object": 1}', json.dumps({"Records": [TRAIL]})]
    ),
)


@settings(deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=15))
def test_every_event_is_queued_or_a_duplicate_or_skipped_or_unreadable(tmp_path_factory, pieces):
    folder = tmp_path_factory.mktemp("in")
    path = folder / "mixed.log"
    path.write_text(json.dumps(AUTHZEN) + "\n" + "\n".join(pieces))
    intake, queued = intake_of(path, folder)
    assert intake.accounted
    assert intake.events == len(pieces) + 1
    assert intake.queued == len(queued) == len({one.ce_id for one in queued})
    assert len(intake.unreadable_names) == intake.unreadable


def test_names_are_kept_up_to_a_bound_and_counted_beyond_it():
    intake = Intake()
    for number in range(1_000):
        intake.unread(f"line {number}", "broken")
        intake.aside(f"file {number}", "no log")
    assert (intake.unreadable, intake.others, intake.events) == (1_000, 1_000, 1_000)
    assert len(intake.unreadable_names) == len(intake.other_names) == 100


@pytest.mark.parametrize("missing", ["queued", "duplicates", "skipped", "unreadable"])
def test_an_event_that_became_nothing_is_noticed(missing):
    intake = Intake(events=1)
    assert not intake.accounted
    setattr(intake, missing, 1)
    assert intake.accounted
