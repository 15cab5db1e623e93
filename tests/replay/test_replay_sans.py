"""A real trail: CloudTrail of a training range, as AWS delivered it; needs the development data."""

import os
from pathlib import Path

import pytest

from streams.commands._session import Session
from streams.replay.ordering import Intake, Queue, take_in
from streams.replay.runner import Plan, replay
from streams.replay.sources import leaves

ROOT = Path(os.environ.get("STAYHAND_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
ARCHIVES = sorted((ROOT / "sans504").glob("*.tar.gz"))
pytestmark = pytest.mark.skipif(
    not ARCHIVES, reason="no development data: set STAYHAND_DATA to a folder that holds sans504/*.tar.gz"
)


def test_every_event_of_the_trail_is_accounted_for(tmp_path):
    intake = Intake()
    with Queue(tmp_path / "queue") as queue:
        for _ in take_in(leaves(ARCHIVES), queue, intake):
            pass
        times = [queued.at_ms for queued in queue.ordered()]
    assert intake.accounted
    assert (intake.events, intake.queued, intake.duplicates, intake.unreadable) == (30_477, 23_981, 6_496, 0)
    assert times == sorted(times)
    assert len(times) == 23_981


class Watcher:
    """Remembers how far the replay said that it was."""

    def __init__(self):
        self.done = 0

    def reading(self, intake):
        """A file more is read."""

    def scoring(self, done, total):
        """Never back, never beyond the whole."""
        assert self.done <= done <= total
        self.done = done


def test_the_whole_trail_gets_its_verdicts(bootstrap, unique_prefix):
    watcher = Watcher()
    where = Session({"bootstrap.servers": bootstrap}, unique_prefix, "test")
    report = replay(Plan(tuple(ARCHIVES), where), watcher)
    assert report.accounted
    assert (report.scored, report.refused, watcher.done) == (23_981, {}, 23_981)
    assert {peak.identity.partition(":")[0] for peak, _ in report.top} == {
        "aws-root",
        "aws-service",
        "iam-user",
        "iam-role",
    }
